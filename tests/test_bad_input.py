"""Bad input spoils its own slot, and the error names the request's index, the fault and the cure.

Each case goes through the real LiteLLM, to a provider that answers over HTTP where one is asked at all, and always
between two good requests, which must be answered.
"""

import os
import socket

import pytest

from llm_api_client import APIClient
from llm_api_client.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    InvalidRequestError,
    LLMAPIClientError,
    MalformedResponseError,
    NetworkError,
    NotFoundError,
    RequestTimeoutError,
)
from llm_api_client.simulator import SimulatedProvider

MODEL = "openai/gpt-4o-mini"


def asking(content, **params):
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **params}


@pytest.fixture(scope="module")
def provider():
    with SimulatedProvider(api_keys=["sk-good-key-0123456789"]) as simulated:
        yield simulated


@pytest.fixture
def client(provider):
    with APIClient(base_url=provider.base_url, api_key="sk-good-key-0123456789", request_timeout=20) as made:
        yield made


def error_between_good_requests(client, bad):
    slots = client.make_requests([asking("before"), bad, asking("after")], return_exceptions=True)
    assert slots[0].choices[0].message.content
    assert slots[2].choices[0].message.content
    error = slots[1]
    assert isinstance(error, LLMAPIClientError)
    assert str(error).startswith("request 1: ")
    return error


CYCLE: dict = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
CYCLE["metadata"] = CYCLE


@pytest.mark.parametrize(
    ("bad", "fault", "cure"),
    [
        (None, "None", "must be a dict"),
        ("just a prompt", "str", "must be a dict"),
        ([asking("x")], "list", "must be a dict"),
        ({"messages": [{"role": "user", "content": "x"}]}, "model", "name one"),
        ({"model": "", "messages": [{"role": "user", "content": "x"}]}, "model", "gpt-4o-mini"),
        ({"model": 5, "messages": [{"role": "user", "content": "x"}]}, "model", "gpt-4o-mini"),
        ({"model": MODEL}, "messages", "give a list"),
        ({"model": MODEL, "messages": []}, "messages", "role"),
        ({"model": MODEL, "messages": "hello"}, "messages", "list"),
        ({"model": MODEL, "messages": ["hello"]}, "messages[0]", "role"),
        ({"model": MODEL, "messages": [{"content": "x"}]}, "messages[0]", "role"),
        ({"model": MODEL, "messages": [{"role": "user", "content": 5}]}, "messages[0]", "content"),
        ({"model": MODEL, "messages": [{"role": "user"}]}, "messages[0]", "content"),
        (asking("x", temperature=float("nan")), "temperature", "NaN"),
        (asking("x", logit_bias={"50256": float("inf")}), "logit_bias", "inf"),
        (asking("broken \ud83d surrogate"), "messages[0]", 'encode("utf-8", "replace")'),
        (CYCLE, "metadata", ""),
        (asking("x", fallbacks=["gpt-4o"]), "fallbacks", "send what failed again"),
    ],
)
def test_what_is_no_request_is_never_sent(client, provider, bad, fault, cure):
    """A malformed request is refused before anything is sent, with what is wrong and how to put it right."""
    before = provider.counts.received
    error = error_between_good_requests(client, bad)
    assert isinstance(error, InvalidInputError)
    assert fault in str(error)
    assert cure in str(error)
    assert provider.counts.received == before + 2


@pytest.mark.parametrize("wrong", [None, 7, "prompt", b"prompt", asking("x")])
def test_what_is_no_list_is_refused_as_a_whole(client, wrong):
    """A batch must be a list of requests; the error shows one."""
    with pytest.raises(InvalidInputError, match="list of request dicts"):
        client.make_requests(wrong)


def test_a_prompt_of_ten_megabytes_is_truncated_in_time(client):
    """A huge prompt neither hangs nor crashes: it is cut to what the model takes, and answered."""
    (answer,) = client.make_requests([asking("word " * 2_000_000)], timeout=60)
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens < 200_000


def test_an_unknown_provider_says_how_to_name_one(client):
    """A model that LiteLLM cannot place fails with the form that it expects."""
    error = error_between_good_requests(client, {**asking("x"), "model": "my-own-model"})
    assert isinstance(error, InvalidRequestError)
    assert "openai/my-own-model" in str(error)


def test_a_wrong_key_is_named_but_not_shown(client, provider, caplog):
    """A refused key fails with where to put the right one; the key itself is nowhere."""
    key = "sk-wrong-key-9876543210-abcdef"
    error = error_between_good_requests(client, asking("x", api_key=key))
    assert isinstance(error, AuthenticationError)
    assert error.status_code == 401
    assert "api_key" in str(error)
    for text in (str(error), repr(error), repr(error.__cause__), caplog.text, repr(client.history[:]), repr(client)):
        assert key not in text


def test_a_missing_key_says_where_to_put_it(provider, monkeypatch):
    """No key at all is a fault of the key, although LiteLLM calls it a server error."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with APIClient(base_url=provider.base_url) as client:
        (error,) = client.make_requests_with_retries([asking("x")], return_exceptions=True)
    assert isinstance(error, AuthenticationError)
    assert "OPENAI_API_KEY" in str(error)
    assert "OPENAI_API_KEY" not in os.environ


def test_a_dead_port_is_no_answer(client):
    """Where nothing listens there is no status, and the address is named."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        error = error_between_good_requests(client, asking("x", base_url=url, api_key="sk-test"))
    assert isinstance(error, NetworkError)
    assert error.status_code == 0
    assert url in str(error)
    assert "base_url" in str(error)


@pytest.mark.parametrize("fault", ["html", "bad-json", "empty"])
def test_an_unreadable_answer_points_at_the_base_url(client, fault):
    """HTML, cut JSON or nothing at all on a 200 is no completion."""
    error = error_between_good_requests(client, asking(f"[simulate: {fault}]"))
    assert isinstance(error, MalformedResponseError)
    assert error.status_code == 200
    assert "base_url" in str(error)


def test_an_answer_without_choices_is_a_failure_whose_cost_counts(client):
    """An answer that says nothing is no answer, but what it used is in the tracker."""
    error = error_between_good_requests(client, asking("[simulate: no-choices]"))
    assert isinstance(error, MalformedResponseError)
    assert "without any choices" in str(error)
    answered = [entry for entry in client.history if entry["error"] is None]
    spent = sum(entry["response"]["usage"]["prompt_tokens"] for entry in answered)
    assert client.tracker.total_prompt_tokens > spent


def test_an_answer_without_usage_is_an_answer(client):
    """Tokens that nobody reports are unknown, not zero, and so is their price."""
    (answer,) = client.make_requests([asking("[simulate: no-usage]")])
    assert answer.choices[0].message.content
    assert client.tracker.num_api_calls == 1
    assert client.tracker.num_unmeasured_calls == 1
    assert client.tracker.num_unpriced_calls == 1
    assert "unknown" in str(client.tracker)


def test_a_hanging_call_ends_with_its_own_timeout(client):
    """request_timeout ends a call; the error says that it may be billed."""
    error = error_between_good_requests(client, asking("[simulate: hang]", timeout=0.5))
    assert isinstance(error, RequestTimeoutError)
    assert error.status_code == 0
    assert "bill" in str(error)


def test_an_unknown_model_of_a_known_provider_is_not_found(client):
    """A 404 names the model."""
    error = error_between_good_requests(client, {**asking("x"), "model": "openai/missing-model"})
    assert isinstance(error, NotFoundError)
    assert "missing-model" in str(error)


def test_nothing_reaches_standard_output(client, capfd):
    """LiteLLM's advertisements are not the user's business, whatever goes wrong."""
    bad = [asking("[simulate: 500]"), {**asking("x"), "model": "nonsense"}, asking("[simulate: 400]")]
    client.make_requests(bad)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("base_url", ["sk-0123456789abcdefghij", "api.openai.com/v1", "", "https://", "ftp://x/v1", 5])
def test_a_base_url_that_is_none_is_refused_at_once(base_url):
    """What is no address fails when the client is made, and is not shown: it may be a key in the wrong place."""
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        APIClient(base_url=base_url)
    assert "sk-" not in str(caught.value)
