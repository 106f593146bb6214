"""The pace and its slowing, against what they are by definition."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.admit.pace import FLOOR, RECOVERY, RECOVERY_SECONDS, SLOWDOWN, Pace, Throttle

from .hands import most_in_any

STEPS = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 12)), min_size=1, max_size=60)


@given(steps=STEPS, rate=st.floats(0.1, 10), burst=st.floats(1, 5))
def test_pace_bounds_any_second(steps, rate, burst):
    """Any second carries at most a burst, a second's share, and one request that is larger than a burst."""
    pace, now, events = Pace(rate, burst), 0.0, []
    for pause, amount in steps:
        now = max(now + pause, pace.go_at(amount))
        pace.spend(amount, now, 1.0)
        events.append((now, amount))
    for span in (1.0, 7.0):
        over = max([amount for _, amount in events if amount > burst], default=0)
        assert most_in_any(span, events) <= burst + rate * span + over + 1e-6


@given(steps=STEPS, rate=st.floats(0.1, 10), burst=st.floats(1, 5))
def test_pace_is_a_bucket(steps, rate, burst):
    """A request may go exactly when a bucket of `burst` units, filled at `rate`, holds it, or is full."""
    pace, now, held = Pace(rate, burst), 0.0, burst
    for pause, amount in steps:
        wait = max(0.0, (min(amount, burst) - held) / rate)
        assert max(now, pace.go_at(amount)) == pytest.approx(now + wait, abs=1e-6)
        moved = max(wait, pause)
        now += moved
        held = min(burst, held + moved * rate) - amount
        pace.spend(amount, now, 1.0)


def test_burst_goes_at_once_and_then_one_at_a_time():
    """An idle pace lets a burst go, and then what is earned back."""
    pace = Pace(rate=2.0, burst=3)
    for _ in range(3):
        assert pace.go_at(1) <= 100.0
        pace.spend(1, 100.0, 1.0)
    assert pace.go_at(1) == 100.5
    assert pace.go_at(2) == 101.0
    assert pace.go_at(3) == pace.go_at(50) == 101.5


@given(amount=st.integers(0, 50), factor=st.floats(0.05, 1), before=st.integers(0, 9))
def test_refund_undoes_what_was_spent(amount, factor, before):
    """What comes back at the factor at which it was spent leaves the pace as it was."""
    pace = Pace(rate=2.0, burst=3)
    pace.spend(before, 10.0, 1.0)
    due = pace._due
    pace.spend(amount, 10.0, factor)
    assert pace._due == pytest.approx(due + amount / (2.0 * factor))
    pace.refund(amount, factor)
    assert pace._due == pytest.approx(due)


def test_untouched_throttle_is_open():
    """Without a 429 the pace is the full one, always."""
    assert Throttle().at(-inf) == Throttle().at(0.0) == Throttle().at(1e9) == 1.0


def test_numbers_of_the_throttle():
    """A 429 takes a fifth; each ten seconds without one give two hundredths back."""
    throttle = Throttle().after_refusal(100.0, 99.0)
    assert throttle.at(100.0) == throttle.at(109.9) == pytest.approx(0.8)
    assert throttle.at(110.0) == pytest.approx(0.82)
    assert throttle.at(155.0) == pytest.approx(0.9)
    assert throttle.at(200.0) == pytest.approx(1.0)
    assert throttle.at(1e9) == 1.0
    assert (SLOWDOWN, RECOVERY, RECOVERY_SECONDS, FLOOR) == (0.8, 0.02, 10.0, 0.05)


def test_one_cut_for_each_episode():
    """A 429 to a call that was sent before the pace was cut, or just then, says nothing new, but is no clean time."""
    throttle = Throttle().after_refusal(100.0, 99.0)
    for sent_at in (-inf, 50.0, 99.9, 100.0):
        throttle = throttle.after_refusal(105.0, sent_at)
        assert throttle.at(105.0) == pytest.approx(0.8)
    assert throttle.at(114.9) == pytest.approx(0.8)
    assert throttle.at(115.0) == pytest.approx(0.82)
    again = throttle.after_refusal(115.0, 100.1)
    assert again.at(115.0) == pytest.approx(0.82 * 0.8)
    assert again.after_refusal(116.0, 114.0).at(116.0) == pytest.approx(0.82 * 0.8)


@given(events=st.lists(st.tuples(st.floats(0, 60), st.floats(0, 80)), max_size=50))
def test_throttle_only_slows_and_never_stops(events):
    """Whatever the provider says, the pace is between the floor and the full one, and full again after a while."""
    throttle, now = Throttle(), 0.0
    for pause, age in events:
        now += pause
        before = throttle.at(now)
        throttle = throttle.after_refusal(now, now - age)
        assert FLOOR <= throttle.at(now) <= before <= 1.0
    assert throttle.at(now + 10 * 50) == 1.0


def test_floor():
    """However many 429s come, a twentieth of the pace remains."""
    throttle = Throttle()
    for second in range(100):
        throttle = throttle.after_refusal(float(second), inf)
    assert throttle.at(99.0) == FLOOR
