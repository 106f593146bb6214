"""What a provider says of its limits is believed where it is less than the user said, and only there."""

from llm_api_client import APIClient
from llm_api_client.admit.limiter import Go, Limiter, NotBefore, Place
from llm_api_client.admit.rates import Charge, RateLimit
from llm_api_client.simulator import SimulatedProvider
from llm_api_client.testing import FakeClock


def admitted_at_once(limiter: Limiter, most: int = 1_000) -> int:
    place = Place(lambda: None)
    number = 0
    while number < most and isinstance(limiter.ask(place, Charge()), Go):
        number += 1
    limiter.leave(place)
    return number


def test_a_smaller_limit_is_kept_to_at_once() -> None:
    """From the moment it is known, window and pace are those of the provider's limit."""
    clock = FakeClock()
    limiter = Limiter(RateLimit(requests_per_minute=6_000), clock)
    limiter.observe("m", {"requests_per_minute": 120})
    assert admitted_at_once(limiter) == 3
    place = Place(lambda: None)
    sent = 3
    while clock.now() < 60:
        match limiter.ask(place, Charge()):
            case Go():
                sent += 1
            case NotBefore(when, _):
                clock.advance(when - clock.now())
    assert 0.97 * 120 <= sent <= 121


def test_a_larger_limit_changes_nothing() -> None:
    """The user's limit is the user's word."""
    limiter = Limiter(RateLimit(requests_per_minute=60), FakeClock())
    limiter.observe("m", {"requests_per_minute": 10_000})
    assert admitted_at_once(limiter) == 3


def test_a_limit_that_is_switched_off_stays_off() -> None:
    """None is no limit, whatever the provider says."""
    limiter = Limiter(RateLimit(), FakeClock())
    limiter.observe("m", {"requests_per_minute": 1})
    assert admitted_at_once(limiter) == 1_000


def test_the_newest_word_counts() -> None:
    """A provider that raises its limit again is believed up to the user's."""
    limiter = Limiter(RateLimit(requests_per_minute=6_000), FakeClock())
    limiter.observe("m", {"requests_per_minute": 60})
    limiter.observe("m", {"requests_per_minute": 1_200})
    assert admitted_at_once(limiter) == 20


def test_limits_of_one_model_do_not_bind_another() -> None:
    """With a second model under the same limiter, neither's limits can be taken for both."""
    limiter = Limiter(RateLimit(requests_per_minute=6_000), FakeClock())
    limiter.observe("small", {"requests_per_minute": 60})
    limiter.observe("large", {"requests_per_minute": 5_000})
    assert admitted_at_once(limiter) == 100
    limiter.observe("small", {"requests_per_minute": 60})
    assert admitted_at_once(limiter) == 0


def test_a_head_that_may_go_earlier_is_woken() -> None:
    """When the provider raises its limit, whoever waits for it is told."""
    clock = FakeClock()
    limiter = Limiter(RateLimit(requests_per_minute=6_000), clock)
    limiter.observe("m", {"requests_per_minute": 3})
    admitted_at_once(limiter)
    woken: list[int] = []
    limiter.ask(Place(lambda: woken.append(1)), Charge())
    limiter.observe("m", {"requests_per_minute": 6_000})
    assert woken == [1]


def test_the_defaults_meet_a_small_provider_without_a_storm() -> None:
    """A client whose limits are far above the provider's learns them from the first answers, and is never refused."""
    requests = [{"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}] * 60
    with SimulatedProvider(requests_per_minute=40) as provider:
        with APIClient(base_url=provider.base_url, api_key="sk-test", max_workers=4) as client:
            client.make_requests(requests, timeout=4)
        assert provider.counts.refused == 0
        assert provider.counts.answered >= 4
