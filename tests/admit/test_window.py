"""The sliding window, against a plain list."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.admit.window import SlidingWindow

PAUSES = st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0])
EVENTS = st.lists(st.tuples(PAUSES, st.integers(0, 4), st.integers(0, 25)), max_size=40)


@given(events=EVENTS, asked=st.integers(0, 12))
def test_window_is_a_list(events, asked):
    """Use is the sum of what has not left, and something fits at the first moment at which the sum allows it."""
    window, now, leaving, held = SlidingWindow(12, 10.0), 0.0, [], 0
    for pause, amount, leaves_in in events:
        now += pause
        window.hold(amount)
        if leaves_in % 3:
            leaving.append((now + leaves_in / 2, amount))
            window.leave_at(*leaving[-1])
        else:
            held += amount

        def use(moment, held=held):
            return held + sum(units for when, units in leaving if when > moment)

        moments = [now, *sorted(when for when, _ in leaving if when > now)]
        expected = next((moment for moment in moments if use(moment) + asked <= 12), inf)
        for _ in range(2):
            assert window.fits_at(asked, now) == expected
            assert window.used == use(now)
            assert len(window) == sum(when > now for when, _ in leaving)


def test_what_leaves_at_a_moment_has_left_at_it():
    """At the very moment something leaves, its room is free."""
    window = SlidingWindow(1, 10.0)
    window.hold(1)
    window.leave_at(10.0, 1)
    assert window.fits_at(1, 9.5) == 10.0
    assert window.used == 1
    assert window.fits_at(1, 10.0) == 10.0
    assert window.used == 0


def test_asking_changes_nothing():
    """However often it is asked, and for whatever, the window answers the same."""
    window = SlidingWindow(10, 10.0)
    for when in (3.0, 1.0, 2.0):
        window.hold(3)
        window.leave_at(when, 3)
    for _ in range(3):
        assert [window.fits_at(amount, 0.0) for amount in (1, 2, 4, 7, 8, 10)] == [0.0, 1.0, 1.0, 2.0, 3.0, 3.0]
    assert len(window) == 3


def test_what_is_held_never_leaves_by_itself():
    """What has no time to leave counts for ever, until it is given back."""
    window = SlidingWindow(10, 10.0)
    window.hold(8)
    assert window.fits_at(3, 1e9) == inf
    window.hold(-1)
    assert window.fits_at(3, 1e9) == 1e9


def test_use_above_the_limit_is_not_cut():
    """What was used beyond the limit is remembered, and must leave before anything fits."""
    window = SlidingWindow(10, 10.0)
    window.hold(25)
    window.leave_at(5.0, 12)
    window.leave_at(7.0, 4)
    window.leave_at(9.0, 9)
    assert window.fits_at(0, 0.0) == 7.0
    assert window.fits_at(2, 0.0) == 9.0
