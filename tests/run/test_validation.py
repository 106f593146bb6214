"""Answers that are not what the caller asked for: tried again, counted, and kept with the reason."""

import json

import pydantic
import pytest

from llm_api_client.errors import AnswerValidationError, ConfigurationError
from llm_api_client.testing import ScriptedAnswer

from .conftest import questions


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


def cut(text):
    answer = ScriptedAnswer(text)
    answer.choices[0].finish_reason = "length"
    return answer


class TestValues:
    def test_the_value_of_a_callable_is_the_result_s_parsed(self, make_client):
        """What the callable returns stands in the result; the slot is the answer as ever."""
        client, _ = make_client(["4", "5"], max_workers=1)
        results = list(client.iter_requests(questions(2), validate=int))
        assert [result.parsed for result in results] == [4, 5]
        assert results[0].response.choices[0].message.content == "4"

    def test_a_pydantic_model_gives_its_instances(self, make_client):
        """The answer's JSON becomes an instance of the model."""
        client, _ = make_client(['{"name": "Bern", "inhabitants": 134591}'])
        (result,) = client.iter_requests(questions(1), validate=City)
        assert result.parsed == City(name="Bern", inhabitants=134_591)

    def test_a_schema_gives_plain_data(self, make_client):
        """The answer's JSON is checked against the schema and handed over."""
        client, _ = make_client(["[1, 2]"])
        (result,) = client.iter_requests(questions(1), validate={"type": "array", "items": {"type": "integer"}})
        assert result.parsed == [1, 2]

    def test_a_schema_is_sent_to_models_that_keep_to_it(self, make_client):
        """The model is asked for what the answer is checked by, unless the request asks for a format itself."""
        own = {"type": "json_object"}
        client, calls = make_client(['{"name": "Bern", "inhabitants": 1}'] * 3)
        client.make_requests([*questions(1), *questions(1, response_format=own)], validate=City, max_workers=1)
        asked, kept = (call.params["response_format"] for call in calls.calls)
        assert asked["json_schema"]["schema"]["properties"]["inhabitants"]["type"] == "integer"
        assert json.dumps(asked)
        assert kept == own

    def test_a_model_that_does_not_know_schemas_is_not_given_one(self, make_client):
        """It would refuse the request."""
        client, calls = make_client(['{"name": "Bern", "inhabitants": 1}'])
        client.make_requests([{**questions(1)[0], "model": "gpt-3.5-turbo"}], validate=City)
        assert "response_format" not in calls.calls[0].params

    def test_what_is_no_validation_is_refused_before_anything_is_sent(self, make_client):
        """The error says what is taken."""
        client, calls = make_client()
        with pytest.raises(ConfigurationError, match="Pydantic"):
            client.make_requests(questions(1), validate=5)
        assert calls.calls == []


class TestFailures:
    def test_an_answer_that_does_not_fit_is_tried_again_at_once(self, make_client, clock):
        """The provider is well: there is nothing to wait for, and the attempts are those of the retries."""
        client, calls = make_client(["four", "still four", "4"], latency=1)
        (result,) = client.iter_requests(questions(1), validate=int)
        assert (result.parsed, result.attempts) == (4, 3)
        assert clock.now() == pytest.approx(3)
        assert len(calls.calls) == 3

    def test_every_attempt_is_paid_for_and_counted(self, make_client):
        """Answers that did not fit are in the cost, the tokens and the number of answered calls."""
        client, _ = make_client(["four", "4"])
        (result,) = client.iter_requests(questions(1), validate=int)
        assert result.cost == pytest.approx(0.002)
        assert client.tracker.total_cost == pytest.approx(0.002)
        assert client.tracker.num_api_calls == 2
        assert client.tracker.status.num_tasks_succeeded == 1
        assert client.tracker.status.num_other_errors == 0

    def test_the_text_is_kept_with_the_reason(self, make_client):
        """When the attempts are used up, the error has the last answer's text; so have failures and history."""
        client, calls = make_client(["four", "five"])
        (slot,) = client.make_requests_with_retries(questions(1), max_retries=1, validate=int, return_exceptions=True)
        assert isinstance(slot, AnswerValidationError)
        assert (slot.reason, slot.content) == ("invalid", "five")
        assert client.failures[0].content == "five"
        assert client.history[0]["content"] == "five"
        assert client.tracker.status.num_tasks_failed == 1
        assert len(calls.calls) == 2

    def test_an_answer_that_was_cut_off_is_not_asked_again(self, make_client):
        """It would be cut off again, and cost the same again; the error says what to raise."""
        client, calls = make_client([cut('{"name": "Be')])
        (slot,) = client.make_requests_with_retries(questions(1), validate=City, return_exceptions=True)
        assert slot.reason == "length"
        assert "max_tokens" in str(slot)
        assert len(calls.calls) == 1
