"""Limits are checked when they are made, and charges are what they say."""

from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.admit.limits import Limits
from llm_api_client.admit.rates import AXES, Charge, RateLimit
from llm_api_client.errors import ClientClosedError, ConfigurationError
from llm_api_client.records import Usage

from .hands import Asker, HandClock, done, refused

NAMES = [field.name for field in fields(RateLimit)]
TOKENS = st.integers(0, 10_000)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, 1.5, 0.0, float("inf"), float("nan"), True, False, "10", [], 1j])
def test_limit_must_be_a_positive_whole_number(name, value):
    """What is no positive whole number is refused by name."""
    with pytest.raises(ConfigurationError, match=f"{name} must be a positive whole number, or None") as told:
        RateLimit(**{name: value})
    assert repr(value) in told.value.message


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, 1, 2_000_000, 2e6])
def test_limit_may_be_whole_or_none(name, value):
    """None switches a limit off, and a whole number of either type is one."""
    assert getattr(RateLimit(**{name: value}), name) == value


def test_limits_do_not_change():
    """A limit is a value."""
    with pytest.raises(FrozenInstanceError):
        RateLimit().requests_per_minute = 1
    assert RateLimit(5) == RateLimit(requests_per_minute=5)


def test_every_limit_has_an_axis():
    """Each field of `RateLimit` is counted, under a name for people and over the span that it names."""
    assert list(AXES) == NAMES
    for name, axis in AXES.items():
        assert axis.name == name.replace("_", " ")
        assert axis.span == (60 if name.endswith("minute") else 86_400)
        assert axis.amount(Charge(100, 10)) == (
            1 if "requests" in name else 100 if "input" in name else 10 if "output" in name else 110
        )


@given(prompt=TOKENS, answer=TOKENS)
def test_unknown_usage_settles_as_reserved(prompt, answer):
    """Unknown usage keeps the charge as it is."""
    assert Charge(prompt, answer).settled(None) == Charge(prompt, answer)


@given(prompt=TOKENS, answer=TOKENS, used_prompt=TOKENS, used_answer=TOKENS)
def test_settled_charge_covers_what_was_used(prompt, answer, used_prompt, used_answer):
    """On every axis the settled charge covers the usage, and gives back at most the answer's part."""
    reserved = Charge(prompt, answer)
    settled = reserved.settled(Usage(used_prompt, used_answer))
    for axis in AXES.values():
        assert axis.amount(settled) >= axis.amount(Charge(used_prompt, used_answer))
        assert axis.amount(reserved) - axis.amount(settled) <= axis.answer * answer
    assert settled == Charge(max(prompt, used_prompt), used_answer)


def test_models_with_limits_of_their_own_have_limiters_of_their_own():
    """A model's own limit replaces the shared one, and what it spends is not spent of the others'."""
    limits = Limits(RateLimit(2), {"large": RateLimit(1), "free": RateLimit()}, HandClock())
    assert limits.several
    assert limits.of("this") is limits.of("that")
    assert limits.of("large") is limits.of("large")
    assert len({limits.of("large"), limits.of("free"), limits.of("this")}) == 3
    assert limits.of("large").limit == RateLimit(1)
    done(limits.of("large"))
    refused(limits.of("large"))
    done(limits.of("this"))
    done(limits.of("that"))
    refused(limits.of("other"))
    for _ in range(5):
        done(limits.of("free"))


def test_one_limit_for_all_is_not_several():
    """Where all models share a limit, none can overtake another."""
    assert not Limits(RateLimit(2), {}, HandClock()).several


def test_closing_the_limits_closes_all():
    """Closing reaches those who wait for the shared limit and for a model's own."""
    limits = Limits(RateLimit(1), {"large": RateLimit(1)}, HandClock())
    places = [Asker(), Asker()]
    for place, model in zip(places, ["small", "large"], strict=True):
        done(limits.of(model))
        refused(limits.of(model), place=place)
    limits.close()
    assert [place.wakes for place in places] == [1, 1]
    for model in ("small", "large"):
        with pytest.raises(ClientClosedError):
            limits.of(model).ask(Asker(), Charge())
