"""The ledger's law: never more than the limits in any window, and nothing refused that fits."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.simulator.limits import Ledger


def test_a_request_counts_for_one_whole_window():
    """What was admitted at 0 counts until just before 60, and leaves at 60."""
    ledger = Ledger(1, None, 60.0)
    assert ledger.admit(1, 0.0) is None
    refusal = ledger.admit(1, 59.75)
    assert refusal is not None
    assert (refusal.axis, refusal.limit, refusal.used, refusal.wait) == ("requests", 1, 1, 0.25)
    assert ledger.admit(1, 60.0) is None


def test_a_refused_request_charges_nothing():
    """A refusal leaves all that is left as it was, on both axes."""
    ledger = Ledger(5, 100, 60.0)
    ledger.admit(60, 0.0)
    before = ledger.standing(1.0)
    assert ledger.admit(50, 1.0) is not None
    assert ledger.standing(1.0) == before


def test_the_wait_is_that_of_the_axis_which_takes_longer():
    """Of two limits in the way, the refusal names the later to give way."""
    ledger = Ledger(2, 100, 60.0)
    ledger.admit(10, 0.0)
    ledger.admit(90, 10.0)
    refusal = ledger.admit(50, 20.0)
    assert refusal is not None
    assert (refusal.axis, refusal.used, refusal.requested, refusal.wait) == ("tokens", 100, 50, 50.0)


def test_a_request_larger_than_the_limit_never_fits():
    """No wait helps a request that is larger than the whole limit."""
    refusal = Ledger(None, 100, 60.0).admit(101, 0.0)
    assert refusal is not None
    assert refusal.wait == inf


def test_without_limits_the_fullest_window_is_still_known():
    """The maxima are of any window, not of the present one, and memory is of the present one."""
    ledger = Ledger(None, None, 10.0)
    for now in (0.0, 1.0, 2.0, 30.0):
        assert ledger.admit(7, now) is None
    assert (ledger.worst_requests, ledger.worst_tokens) == (3, 21)
    assert len(ledger._stamps) == 1


# Steps that are likely to land on a window's very edge.
STEPS = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.5, 4.0, 9.0]), st.integers(1, 7)), max_size=60)


@given(STEPS, st.none() | st.integers(1, 4), st.none() | st.integers(1, 12))
def test_the_ledger_agrees_with_counting_by_hand(steps, max_requests, max_tokens):
    """A request is admitted exactly if both sums stay within the limits, and fits exactly when it is said to."""
    window, now = 4.0, 0.0
    ledger = Ledger(max_requests, max_tokens, window)
    admitted: list[tuple[float, int]] = []

    def fits(tokens: int, at: float) -> bool:
        live = [size for stamp, size in admitted if at - window < stamp <= at]
        return (max_requests is None or len(live) < max_requests) and (
            max_tokens is None or sum(live) + tokens <= max_tokens
        )

    for step, tokens in steps:
        now += step
        expected = fits(tokens, now)
        refusal = ledger.admit(tokens, now)
        assert (refusal is None) == expected
        if refusal is None:
            admitted.append((now, tokens))
        elif refusal.wait < inf:
            assert fits(tokens, now + refusal.wait)
            assert not fits(tokens, now + refusal.wait - 0.25)
        live = [size for stamp, size in admitted if now - window < stamp <= now]
        standing = ledger.standing(now)
        assert standing.requests == (None if max_requests is None else max_requests - len(live))
        assert standing.tokens == (None if max_tokens is None else max_tokens - sum(live))
        assert standing.reset == (max(stamp for stamp, _ in admitted) + window - now if live else 0.0)

    windows = [[size for stamp, size in admitted if end - window < stamp <= end] for end, _ in admitted]
    assert ledger.worst_requests == max(map(len, windows), default=0)
    assert ledger.worst_tokens == max(map(sum, windows), default=0)
