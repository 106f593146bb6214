"""How much of a limit is reached, and what a strict provider sees of it. Pure simulation: no time passes."""

from random import Random

import pytest

from llm_api_client.admit.limiter import BURST_SECONDS, PACE, SKEW
from llm_api_client.admit.rates import Charge, RateLimit
from llm_api_client.records import Usage

from .hands import Traffic, most_in_any

MINUTES = 10


def _seen(chance, traffic, amount):
    """What reaches the provider: each call up to 200 ms after it was sent, whatever the others' ways take."""
    return [(at + chance.uniform(0, 0.2), amount(usage)) for at, usage in traffic.sent]


@pytest.mark.parametrize("limit", [600, 10_000])
def test_steady_state_reaches_the_limit(limit):
    """Over ten minutes, at least 97 % of what the limit allows is sent, and no minute carries more than the limit."""
    traffic = Traffic(RateLimit(requests_per_minute=limit), latency=lambda: 0.3).run(60 * MINUTES)
    assert 0.97 * limit * MINUTES <= len(traffic.sent) <= limit * MINUTES
    assert most_in_any(60.2, [(at, 1) for at, _ in traffic.sent]) <= limit


@pytest.mark.parametrize("seed", range(12))
def test_strict_provider_sees_no_more_requests_than_the_limit(seed):
    """A provider that counts arrivals in a sliding minute never counts more than the limit, whatever delays them."""
    chance = Random(seed)
    limit = chance.choice([1, 2, 5, 59, 181, 600, 1500])
    traffic = Traffic(RateLimit(requests_per_minute=limit), latency=lambda: chance.uniform(0.2, 3)).run(240)
    assert most_in_any(60.0, _seen(chance, traffic, lambda usage: 1)) <= limit


@pytest.mark.parametrize("seed", range(12))
def test_strict_provider_sees_no_more_tokens_than_the_limit(seed):
    """The same holds for tokens, with answers of any length up to what was reserved."""
    chance = Random(seed)
    limit = chance.choice([5000, 100_000, 1_000_000])

    def usage(charge):
        return Usage(charge.prompt_tokens, min(charge.answer_tokens, int(chance.lognormvariate(5.2, 1))))

    traffic = Traffic(
        RateLimit(tokens_per_minute=limit),
        latency=lambda: chance.uniform(0.2, 3),
        charge=lambda: Charge(chance.randrange(500), chance.choice([100, 500, 4000])),
        usage=usage,
    ).run(200)
    assert most_in_any(60.0, _seen(chance, traffic, lambda usage: usage.total_tokens)) <= limit


@pytest.mark.parametrize("seed", range(2))
def test_steady_state_reaches_the_limit_of_tokens(seed):
    """Reserving five times what answers turn out to need still sends 97 % of the tokens that the limit allows."""
    chance = Random(seed)
    limit = 1_000_000
    traffic = Traffic(
        RateLimit(tokens_per_minute=limit),
        latency=lambda: 0.3,
        charge=lambda: Charge(500, 1500),
        usage=lambda charge: Usage(500, chance.randrange(600)),
    ).run(60 * MINUTES)
    total = sum(usage.total_tokens for _, usage in traffic.sent)
    assert 0.97 * limit * MINUTES <= total <= limit * MINUTES
    assert most_in_any(60.2, [(at, usage.total_tokens) for at, usage in traffic.sent]) <= limit


def test_steady_state_reaches_small_limits():
    """Small limits, which are spent in bursts, are reached as well."""
    for limit in (1, 2, 3, 10, 100):
        traffic = Traffic(RateLimit(requests_per_minute=limit), latency=lambda: 0.3).run(60 * MINUTES)
        assert len(traffic.sent) >= 0.97 * limit * MINUTES


def test_pace_and_burst_together_are_within_the_limit():
    """What the pace lets through in the longest minute that a provider can see is at most the limit."""
    assert BURST_SECONDS / 60 + PACE * (60 + SKEW) / 60 <= 1
