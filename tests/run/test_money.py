"""A batch stops before its money is passed, and says so in the slots of what is left."""

import pytest

from llm_api_client import APIClient
from llm_api_client.errors import BudgetExceededError, ConfigurationError
from llm_api_client.testing import ScriptedAnswer, ScriptedError

from .conftest import questions

# gpt-4o-mini takes $0.15 a million tokens of prompt and $0.60 of answer (LiteLLM's list): 1,000 answer tokens cost at
# most about $0.0006.
WORST = 0.0006


def costing(cost):
    return lambda _: ScriptedAnswer(cost=cost)


class TestTheCap:
    def test_what_is_left_fails_and_can_be_asked_again(self, make_client):
        """Requests that the money could not pay for are not sent, and say why."""
        client, calls = make_client([costing(WORST)] * 100, max_cost=10 * WORST)
        answers = client.make_requests(questions(30, max_tokens=1_000), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BudgetExceededError)]
        assert client.tracker.total_cost <= 10 * WORST
        assert 8 <= len(calls.calls) <= 10
        assert len(refused) == 30 - len(calls.calls)
        assert "max_cost" in str(refused[0])

    def test_calls_that_are_cheaper_than_feared_give_the_rest_back(self, make_client):
        """The worst case is held only while a call is under way: a hundred cheap calls fit where ten dear ones do."""
        client, calls = make_client([costing(WORST / 20)] * 200, max_cost=10 * WORST)
        answers = client.make_requests(questions(100, max_tokens=1_000))
        assert None not in answers
        assert len(calls.calls) == 100

    def test_never_more_is_under_way_than_the_money_could_pay(self, make_client, clock):
        """At the cap, requests wait for calls under way instead of failing."""
        at_once, most = 0, 0

        def call(**_):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            clock.sleep(1)
            at_once -= 1
            return ScriptedAnswer(cost=0.0)

        client = APIClient(None, None, api_call=call, clock=clock, max_cost=5.5 * WORST)
        assert None not in client.make_requests(questions(20, max_tokens=1_000))
        assert most == 5

    def test_an_attempt_that_may_be_billed_is_counted_at_its_worst(self, make_client):
        """No answer came of it, and yet the money may be gone; a refusal by the provider costs nothing."""
        client, calls = make_client([ConnectionError("reset")] * 50, max_cost=10 * WORST)
        client.make_requests(questions(50, max_tokens=1_000))
        assert len(calls.calls) <= 10
        client, calls = make_client([ScriptedError(500)] * 50, max_cost=10 * WORST)
        client.make_requests(questions(50, max_tokens=1_000))
        assert len(calls.calls) == 50

    def test_retries_are_paid_from_the_same_money(self, make_client):
        """A second attempt is admitted like a first."""
        client, calls = make_client([ConnectionError("reset")] * 50, max_cost=2.5 * WORST)
        (slot,) = client.make_requests_with_retries(
            questions(1, max_tokens=1_000), max_retries=9, return_exceptions=True
        )
        assert isinstance(slot, BudgetExceededError)
        assert len(calls.calls) == 2

    def test_a_batch_has_money_of_its_own_within_the_client_s(self, make_client):
        """The batch's cap ends the batch, the client's ends all batches."""
        client, calls = make_client([costing(WORST)] * 100, max_cost=10 * WORST)
        client.make_requests(questions(20, max_tokens=1_000), max_cost=5 * WORST)
        assert 4 <= len(calls.calls) <= 5
        client.make_requests(questions(20, max_tokens=1_000), max_cost=1_000)
        assert 8 <= len(calls.calls) <= 10

    def test_without_a_cap_nothing_is_refused(self, make_client):
        """Unknown prices and unbounded answers matter only where there is a cap."""
        client, calls = make_client()
        client.make_requests([{**request, "model": "my/own"} for request in questions(3)])
        assert len(calls.calls) == 3


class TestUnknownPrices:
    def test_an_unknown_price_is_refused_under_a_cap(self, make_client):
        """What nobody can price could pass the cap unseen."""
        client, calls = make_client(max_cost=1)
        (slot,) = client.make_requests(
            [{**questions(1)[0], "model": "openai/my-own", "max_tokens": 5}], return_exceptions=True
        )
        assert isinstance(slot, BudgetExceededError)
        assert "allow_unpriced" in str(slot)
        assert calls.calls == []

    def test_it_goes_where_that_is_allowed(self, make_client):
        """Allowed explicitly, such calls count as nothing."""
        client, calls = make_client(max_cost=1, allow_unpriced=True)
        assert None not in client.make_requests([{**questions(1)[0], "model": "openai/my-own"}])
        assert len(calls.calls) == 1

    @pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "5", True])
    def test_a_cap_is_a_finite_number_above_zero(self, make_client, wrong):
        """Anything else is refused when the client is made."""
        with pytest.raises(ConfigurationError, match="max_cost"):
            make_client(max_cost=wrong)
