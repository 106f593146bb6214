"""What needs no provider: names of jobs, lines of files, states, and reasons."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.call import litellm_door
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.errors import InvalidRequestError, MalformedResponseError, ServerError
from llm_api_client.jobs.account import Account, Desk
from llm_api_client.jobs.answers import Reading
from llm_api_client.jobs.lines import Came, line_of, read_asked, read_came
from llm_api_client.jobs.parts import job_id, read_job_id
from llm_api_client.jobs.status import status_of
from llm_api_client.testing import FakeClock

WORDS = st.text(min_size=1).filter(lambda text: text.isprintable())


def account(model="openai/gpt-4o-mini", provider="openai"):
    return Account(Desk(RetryPolicy(), FakeClock(), lambda: 0.5, lambda: None), model, provider)


@given(st.integers(0), st.lists(st.tuples(WORDS, WORDS)))
def test_a_jobs_name_holds_all_that_it_says(total, batches):
    """Whatever models and ids are called, they are read again from the name in their order."""
    assert read_job_id(job_id(total, batches)) == (total, batches)


@given(st.integers(0), st.none() | st.text(), st.dictionaries(st.text(), st.text()))
def test_a_line_is_read_as_it_was_written(index, name, body):
    """Position, name and body survive the file, whatever characters they have."""
    line = line_of(index, name, "/v1/chat/completions", body)
    assert line.count(b"\n") == 1
    (asked,) = read_asked(line)
    assert (asked.index, asked.name, asked.body) == (index, name, body)


def test_what_cannot_be_read_is_left_out():
    """Garbage among the lines that came back, or others' lines, cost no answer beside them."""
    good = {"custom_id": "3:a", "response": {"status_code": 200, "request_id": "r", "body": {"x": 1}}, "error": None}
    failed = {"custom_id": "4", "response": None, "error": {"code": "batch_expired", "message": "late"}}
    lines = [b"", b"{", b"[]", b'{"custom_id": 5}', b'{"custom_id": "x"}', b'{"custom_id": "7"}', b"\xff"]
    content = b"\n".join([*lines, json.dumps(good).encode(), json.dumps(failed).encode()])
    assert list(read_came(content)) == [
        Came(3, "a", 200, {"x": 1}, request_id="r"),
        Came(4, None, code="batch_expired", message="late"),
    ]


STATES = {
    ("validating",): "validating",
    ("validating", "validating"): "validating",
    ("validating", "completed"): "in_progress",
    ("finalizing", "completed"): "in_progress",
    ("finalizing",): "finalizing",
    ("in_progress", "failed"): "in_progress",
    ("cancelling", "in_progress", "completed"): "cancelling",
    ("completed", "completed"): "completed",
    ("completed", "expired"): "expired",
    ("expired", "failed", "completed"): "failed",
    ("cancelled", "completed"): "cancelled",
    (): "completed",
}


@pytest.mark.parametrize("states", STATES)
def test_a_job_is_where_its_batches_are(states):
    """Of batches in several states, the job has that of those that go on, and else the worst."""
    batches = [{"id": "b", "status": state} for state in states]
    assert status_of(batches, total=5, refused=0).state == STATES[states]


def test_counts_are_sums_over_all_batches():
    """What the provider counts is added up, what was never uploaded has failed, and times are the first."""
    batches = [
        {"id": "a", "status": "in_progress", "created_at": 5, "expires_at": 9,
         "request_counts": {"total": 6, "completed": 3, "failed": 1}},
        {"id": "b", "status": "completed", "created_at": 4, "request_counts": {"total": 2, "completed": 2}},
    ]  # fmt: skip
    status = status_of(batches, total=9, refused=1, unsubmitted=1)
    assert (status.total, status.completed, status.failed, status.unsubmitted) == (9, 5, 2, 1)
    assert (status.created_at, status.expires_at) == (4, 9)
    assert str(status) == "in_progress: 5 of 9 answered, 2 failed; 1 batches not submitted"


def test_a_refused_file_gives_each_request_its_own_reason():
    """The line at fault has its own fault, and the others say that the file was refused for it."""
    faults = [{"line": 2, "message": "No such model.", "code": "model_not_found"}]
    reading = Reading(account(), {"id": "b", "status": "failed", "errors": {"data": faults}}, 0.0)
    own, other = reading.missing(2), reading.missing(1)
    assert isinstance(own, InvalidRequestError)
    assert "refused the request: No such model." in str(own)
    assert "refused the file" in str(other)
    assert "line 2: No such model." in str(other)
    assert "no reason" in str(Reading(account(), {"status": "failed"}, 0.0).missing(1))


def test_an_answer_that_is_missing_or_unusable_is_no_answer():
    """A request without a line, an answer without choices, and a refusal to perform it are failures that say so."""
    reading = Reading(account(), {"id": "b", "status": "completed"}, 0.0)
    assert isinstance(reading.missing(1), MalformedResponseError)
    for body in (None, "x", {"object": "chat.completion", "choices": []}):
        result, attempt = reading.answer(Came(0, None, 200, body), None)
        assert isinstance(result.error, MalformedResponseError)
        assert attempt is not None
    result, attempt = reading.answer(Came(0, None, code="server_error", message="sorry"), None)
    assert isinstance(result.error, ServerError)
    assert "sorry" in str(result.error)
    assert attempt is None


def test_azure_is_asked_through_litellm(litellm, monkeypatch):
    """Providers other than OpenAI are LiteLLM's: with its own function, without its retries."""
    calls = []

    def retrieve_batch(**given):
        calls.append(given)
        return litellm.Usage(prompt_tokens=1, completion_tokens=2)

    monkeypatch.setattr(litellm, "retrieve_batch", retrieve_batch)
    where = {"api_base": "http://localhost", "api_version": "1", "api_key": "k", "timeout": 3.0}
    assert litellm_door.file_call("retrieve_batch", "azure", where, batch_id="b")["prompt_tokens"] == 1
    assert calls == [{"custom_llm_provider": "azure", "max_retries": 0, **where, "batch_id": "b"}]


def test_azures_lines_name_the_deployment(litellm):
    """A line's model is the deployment, without the provider before it; parameters are mapped as for a call."""
    params = {"model": "azure/my-gpt", "messages": [{"role": "user", "content": "x"}], "max_tokens": 3}
    body = litellm_door.batch_body(params, "azure", is_chat=True)
    assert body == {"model": "my-gpt", "messages": params["messages"], "max_tokens": 3}


@pytest.mark.parametrize("missing", ["filter_out_litellm_params", "get_optional_params"])
def test_lines_are_written_without_what_litellm_does_not_promise(missing, litellm, monkeypatch):
    """Where a version of LiteLLM lacks what maps parameters, they are sent as they are."""
    params = {"model": "openai/gpt-4o", "messages": [], "temperature": 0, "timeout": 3, "extra_body": {"more": 1}}
    whole = litellm_door.batch_body(params, "openai", is_chat=True)
    monkeypatch.delattr(f"litellm.utils.{missing}")
    assert litellm_door.batch_body(params, "openai", is_chat=True) == whole
    assert whole == {"model": "gpt-4o", "messages": [], "temperature": 0, "more": 1}


def test_a_price_is_found_without_what_litellm_does_not_promise(litellm, monkeypatch):
    """Where a version of LiteLLM has no prices for batches, it is half of the usual price."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    whole = litellm_door.batch_price("gpt-4o-mini", "openai", usage)
    monkeypatch.delattr("litellm.cost_calculator.batch_cost_calculator")
    assert litellm_door.batch_price("gpt-4o-mini", "openai", usage) == pytest.approx(whole)


def test_without_a_key_nothing_is_sent(monkeypatch, litellm):
    """A call without any key fails as one whose key is refused, and says where to put one."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Exception, match="Check the key") as refused:
        account().call("retrieve_batch", "asking for b", batch_id="b")
    assert type(refused.value).__name__ == "AuthenticationError"
    assert refused.value.status_code == 0
