"""Money is never spent beyond its bound, and comes back when a call was cheaper than feared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.admit.budget import Budget
from llm_api_client.admit.limiter import Place


def place(woken=None):
    return Place(lambda: woken.append(1) if woken is not None else None)


def test_the_worst_case_is_held_until_the_call_has_ended():
    """What calls under way may cost is not promised to others."""
    budget = Budget(1.0)
    hold = budget.hold(0.6, place())
    assert budget.hold(0.6, place()) is None
    assert budget.lacks(0.6) is None
    hold.settle(0.1)
    assert budget.spent == pytest.approx(0.1)
    assert budget.hold(0.6, place()) is not None


def test_whoever_waits_is_woken_when_a_call_has_ended():
    """A refused asker hears of the next settlement, once."""
    woken = []
    budget = Budget(1.0)
    hold = budget.hold(1.0, place())
    assert budget.hold(0.5, place(woken)) is None
    hold.settle(0.0)
    assert woken == [1]
    budget.hold(0.5, place()).settle(0.0)
    assert woken == [1]


def test_what_can_never_be_paid_is_told_apart_from_what_must_wait():
    """Only money that is spent is gone for good."""
    budget = Budget(1.0)
    budget.hold(0.5, place()).settle(0.5)
    assert budget.lacks(0.6) is budget
    hold = budget.hold(0.5, place())
    assert budget.lacks(0.5) is None
    hold.settle(None)
    assert budget.lacks(0.01) is budget


def test_an_unknown_cost_stays_at_its_worst():
    """A call that may have been billed is counted as if it had been, in full."""
    budget = Budget(1.0)
    budget.hold(0.7, place()).settle(None)
    assert budget.spent == pytest.approx(0.7)


def test_a_call_is_settled_once():
    """A late second settlement changes nothing."""
    budget = Budget(1.0)
    hold = budget.hold(0.7, place())
    hold.settle(0.2)
    hold.settle(0.5)
    assert budget.spent == pytest.approx(0.2)


def test_a_budget_within_another_keeps_to_both():
    """A batch's money is the client's money too; the message names the one that is short."""
    client = Budget(1.0)
    first, second = Budget(0.8, within=client), Budget(0.8, within=client)
    first.hold(0.7, place()).settle(0.7)
    assert second.lacks(0.5) is client
    assert first.lacks(0.2) is first
    woken = []
    hold = second.hold(0.3, place())
    assert Budget(1.0, within=client).hold(0.1, place(woken)) is None
    hold.settle(0.0)
    assert woken == [1]


def test_the_whole_budget_can_be_spent_in_parts():
    """Ten tenths are one, whatever binary fractions make of it."""
    budget = Budget(1.0)
    assert all(budget.hold(0.1, place()) for _ in range(10))


@given(
    st.floats(0.01, 100),
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 1), st.booleans(), st.booleans()), max_size=40),
)
def test_the_bound_holds_whatever_is_asked_and_settled(limit, steps):
    """Spent money never exceeds the limit, as long as no call costs more than its worst case."""
    budget = Budget(limit)
    inner = Budget(limit / 2, within=budget)
    under_way = []
    for worst, share, ends, narrow in steps:
        hold = (inner if narrow else budget).hold(worst, place())
        if hold is not None:
            under_way.append((hold, worst * share))
        if ends and under_way:
            done, cost = under_way.pop(0)
            done.settle(cost)
    for hold, cost in under_way:
        hold.settle(cost)
    assert budget.spent <= limit * (1 + 1e-6)
    assert inner.spent <= limit / 2 * (1 + 1e-6)
