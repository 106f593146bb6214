"""When to try again: pure arithmetic, with time and chance as arguments."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.call.retry import RetryBudget, RetryPolicy
from llm_api_client.errors import ConfigurationError

chances = st.floats(0, 1)
policies = st.builds(RetryPolicy, st.floats(0, 1e6), st.floats(1, 1e6), st.floats(0, 1e6))


@given(policies, st.integers(1, 10**12), chances)
def test_the_wait_is_drawn_from_zero_to_the_longest(policy, attempt, chance):
    """A wait is finite, never negative and never above `max_delay`, whatever the attempt: nothing overflows."""
    assert 0 <= policy.delay(attempt, None, chance) <= policy.max_delay


def test_the_longest_wait_doubles_up_to_the_greatest():
    """The longest wait is `initial_delay * multiplier ** (attempt - 1)`, at most `max_delay`; the shortest is 0."""
    policy = RetryPolicy(initial_delay=1, multiplier=2, max_delay=10)
    assert [policy.delay(attempt, None, 1.0) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert policy.delay(3, None, 0.0) == 0
    assert policy.delay(3, None, 0.25) == 1


@given(policies, st.integers(1, 1_000), st.floats(0, 1e9), chances)
def test_retry_after_is_a_floor(policy, attempt, retry_after, chance):
    """Nobody comes back before the provider said, nor much later."""
    assert retry_after <= policy.delay(attempt, retry_after, chance) <= retry_after + 1
    assert policy.pause(attempt, retry_after, chance) >= retry_after


def test_the_first_pause_is_the_provider_s_own():
    """A limit pauses for exactly as long as the provider asks."""
    assert RetryPolicy().pause(1, 7.0, 0.9) == 7.0


def test_a_hint_of_no_wait_is_not_believed_twice():
    """A provider that refuses and says 0 seconds is not asked again at once for ever."""
    pauses = [RetryPolicy().pause(refusals, 0.0, 0.5) for refusals in range(1, 5)]
    assert pauses[0] == 0
    assert all(0.5 <= pause <= 1 for pause in pauses[1:])


def test_a_pause_without_a_hint_grows():
    """Without Retry-After a limit pauses between half of the longest wait and all of it."""
    policy = RetryPolicy()
    assert [policy.pause(refusals, None, 1.0) for refusals in (1, 2, 3, 100)] == [1, 2, 4, 60]
    assert [policy.pause(refusals, None, 0.0) for refusals in (1, 2, 3, 100)] == [0.5, 1, 2, 30]


@pytest.mark.parametrize("name", ["initial_delay", "multiplier", "max_delay"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, True, "2", None])
def test_a_policy_that_makes_no_sense_is_refused_by_name(name, value):
    """A value that is no finite number in its range is refused with its name."""
    with pytest.raises(ConfigurationError, match=rf"RetryPolicy\.{name} must be a finite number"):
        RetryPolicy(**{name: value})


def test_a_multiplier_below_one_is_refused():
    """Waits do not shrink."""
    with pytest.raises(ConfigurationError, match="at least 1"):
        RetryPolicy(multiplier=0.5)


def retries_sent(budget: RetryBudget, seconds: float, *, answers_per_second: float, well: bool) -> int:
    """How many of an endless supply of retries go within `seconds`, at most a thousand a second."""
    now, sent, answered = 0.0, 0, 0.0
    while now < seconds:
        now += 0.001
        answered += answers_per_second * 0.001
        while answered >= 1:
            budget.answered(retry=False)
            answered -= 1
        if budget.ready_at(now) <= now:
            budget.take(now)
            sent += 1
            if well:
                budget.answered(retry=True)
    return sent


def test_a_sick_provider_is_asked_about_once_a_second():
    """Where all fails, retries come down to one a second once the first hundred are spent."""
    budget = RetryBudget()
    assert 158 <= retries_sent(budget, 60.0, answers_per_second=0, well=False) <= 162
    assert budget.ready_at(60.0) > 60.0


def test_a_provider_that_is_well_again_is_asked_at_full_speed():
    """After an outage the pace doubles with every answered retry, so full speed is a matter of seconds."""
    budget = RetryBudget()
    now = 0.0
    while budget.ready_at(now) <= now:
        budget.take(now)
    sent = retries_sent(budget, 5.0, answers_per_second=0, well=True)
    assert sent > 3_000


def test_few_errors_are_never_slowed():
    """With 2 % of the calls failing, no retry ever waits for the budget."""
    budget, chance, now = RetryBudget(), random.Random(7), 0.0
    for _ in range(50_000):
        now += 60 / 10_000
        if chance.random() < 0.02:
            assert budget.ready_at(now) <= now
            budget.take(now)
            budget.answered(retry=True)
        else:
            budget.answered(retry=False)


def test_many_answers_pay_for_few_retries_that_fail():
    """While 5 % of a fast run's calls fail, retries go at once even if they fail too: the answers pay for them."""
    budget, now = RetryBudget(), 0.0
    for call in range(20_000):
        now += 0.001
        if call % 20:
            budget.answered(retry=False)
        else:
            assert budget.ready_at(now) <= now
            budget.take(now)


@given(st.lists(st.tuples(st.sampled_from(["take", "answer", "retry"]), st.floats(-5, 100)), max_size=300))
def test_no_retry_waits_for_ever(events):
    """Whatever happens, and even if the clock goes back, the next retry may go within a bounded time."""
    budget, now = RetryBudget(), 0.0
    taken = 0
    for event, step in events:
        now += step
        if event == "take":
            budget.take(now)
            taken += 1
        else:
            budget.answered(retry=event == "retry")
        wait = budget.ready_at(now) - now
        assert 0 <= wait <= taken + 1


def test_the_budget_is_not_saved_up():
    """A long good run does not buy more than the capacity."""
    budget = RetryBudget()
    for _ in range(10_000):
        budget.answered(retry=True)
    taken = 0
    while budget.ready_at(0.0) <= 0.0:
        budget.take(0.0)
        taken += 1
    assert taken == RetryBudget.CAPACITY
