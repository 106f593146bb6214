"""Single calls of every kind over HTTP: what they take, send, give and raise."""

import logging
import pickle
import traceback

import pytest

from llm_api_client import APIClient, ChatMessage, errors
from llm_api_client.testing import ScriptedCalls

from .conftest import KEY

MODEL = "openai/gpt-4o-mini"


def test_a_chat_has_all_that_came(client, provider):
    """A chat's answer has text, reason, tokens, cost, time and the provider's id; the raw answer is LiteLLM's."""
    answer = client.chat([{"role": "user", "content": "hello there"}], MODEL)
    assert answer.data == "Simulated answer to: hello there"
    assert (answer.model, answer.provider, answer.finish_reason, answer.success) == (MODEL, "openai", "stop", True)
    [seen] = provider.requests
    assert seen.body["temperature"] == 0.7
    assert answer.request_id == "req-sim-1"
    usage = answer.usage
    assert (usage.tokens_prompt, usage.tokens_completion, usage.tokens_total) == (7, 8, 15)
    assert usage.cost == answer.cost == pytest.approx(7 * 0.15e-6 + 8 * 0.6e-6)
    assert usage.latency > 0
    assert usage.timestamp > 1_700_000_000
    assert answer.raw_response.choices[0].message.content == answer.data
    assert "text" in answer.message
    assert client.tracker.total_cost == pytest.approx(answer.cost)
    assert client.history[0]["content"] == answer.data


def test_the_arguments_have_the_order_of_the_reference(client, provider):
    """messages, model, temperature, max_tokens, stream and return_generator may be given by position."""
    answer = client.chat([ChatMessage("user", "one two three four five")], MODEL, 0.2, 4, True, False)
    assert answer.finish_reason == "length"
    assert answer.usage.completion_tokens == 4
    body = provider.requests[0].body
    assert (body["temperature"], body["max_tokens"], body["stream"]) == (0.2, 4, True)
    answer = client.completion("Once upon", "gpt-3.5-turbo-instruct", 0.2, 4, True, False)
    assert (answer.finish_reason, answer.usage.completion_tokens) == ("length", 4)


def test_a_text_is_what_the_user_says(client, provider):
    """A str as messages is one message of the user's."""
    assert client.chat("hello", MODEL).data == "Simulated answer to: hello"
    assert provider.requests[0].body["messages"] == [{"role": "user", "content": "hello"}]


def test_a_conversation_with_tools_goes_on(make_client):
    """An answer that calls a tool becomes a message again, and the tool's result refers to it."""
    import litellm

    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    first = litellm.ModelResponse(
        choices=[
            {"message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
        ]
    )
    client = make_client(api_call=(calls := ScriptedCalls([first, "Sunny."])))
    said = [ChatMessage("user", [{"type": "text", "text": "Weather?"}], name="ada")]
    answer = client.chat(said, MODEL, tools=[{"type": "function", "function": {"name": "weather"}}])
    assert (answer.data, answer.finish_reason) == ("", "tool_calls")
    said += [
        ChatMessage.of(answer.raw_response.choices[0].message),
        ChatMessage("tool", "25 degrees", tool_call_id="call_1"),
    ]
    assert client.chat(said, MODEL).data == "Sunny."
    sent = calls.calls[1].params["messages"]
    assert sent[0] == {"role": "user", "content": [{"type": "text", "text": "Weather?"}], "name": "ada"}
    assert sent[1]["content"] is None
    [sent_call] = sent[1]["tool_calls"]
    assert sent_call["function"] == {"name": "weather", "arguments": "{}"}
    assert sent[2] == {"role": "tool", "content": "25 degrees", "tool_call_id": "call_1"}


def test_the_usual_temperature_gives_way(make_client, provider, caplog):
    """0.7 yields to `model_defaults`, and is left out without a word where a model takes none; others with one."""
    client = make_client(model_defaults={MODEL: {"temperature": 0.1}})
    client.chat("hello", MODEL)
    with caplog.at_level(logging.INFO, "llm_api_client"):
        client.chat("hello", "o3-mini")
        client.chat("hello", "gpt-5")
        assert not caplog.records
        client.chat("hello", "o3-mini", temperature=0.3)
    assert "'temperature' dropped for model 'o3-mini'" in caplog.text
    assert [seen.body.get("temperature") for seen in provider.requests] == [0.1, None, None, None]


def test_none_leaves_the_temperature_to_the_model(client, provider):
    """temperature=None sends none."""
    client.chat("hello", MODEL, temperature=None)
    assert "temperature" not in provider.requests[0].body


def test_all_else_reaches_the_provider(client, provider):
    """Further parameters are sent as they are, and a request's own key wins."""
    client.chat("hello", MODEL, top_p=0.5, user="me", seed=3, api_key="sk-other-0123456789abcdef")
    [seen] = provider.requests
    assert (seen.body["top_p"], seen.body["user"], seen.body["seed"]) == (0.5, "me", 3)
    assert seen.headers["authorization"] == "Bearer sk-other-0123456789abcdef"


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ("401", errors.AuthenticationError, 401),
        ("404", errors.NotFoundError, 404),
        ("400", errors.InvalidRequestError, 400),
        ("quota", errors.QuotaExceededError, 429),
        ("500", errors.ServerError, 500),
        ("content-filter", errors.ContentRefusedError, 400),
    ],
)
def test_failures_are_raised(client, provider, fault, kind, status):
    """What fails is raised as what it is, of no batch, with LiteLLM's error as the cause, and without the key."""
    with pytest.raises(errors.APICallException) as raised:
        client.chat(f"[simulate: {fault}]", MODEL, max_retries=0)
    error = raised.value
    assert type(error) is kind
    assert (error.status_code, error.index, error.model, error.provider) == (status, None, MODEL, "openai")
    assert str(error) == error.message
    assert not str(error).startswith("request ")
    assert type(error.__cause__).__module__.startswith("litellm")
    assert provider.counts.received == 1
    assert KEY not in "".join(traceback.format_exception(error))
    assert pickle.loads(pickle.dumps(error)).message == error.message  # noqa: S301  our own


def test_a_failure_keeps_no_frames_in_the_history(client):
    """The error that is raised is not the one that the history keeps, which would keep the frames that it passed."""
    with pytest.raises(errors.ServerError):
        client.chat("[simulate: 500]", MODEL, max_retries=0)
    assert client.history._snapshot()[0].error.__traceback__ is None


def test_failures_that_may_pass_are_tried_again(client, provider):
    """A single call is tried twice more unless it is told otherwise."""
    provider.next("500", "503")
    assert client.chat("hello", MODEL).success
    assert provider.counts.received == 3
    provider.next("500")
    with pytest.raises(errors.ServerError):
        client.embeddings("hello", "openai/text-embedding-3-small", max_retries=0)


def test_a_bad_request_is_refused_before_it_is_sent(client, provider):
    """What is no request raises what is wrong with it, without an index, and reaches nobody."""
    for call in (
        lambda: client.chat([], MODEL),
        lambda: client.chat(7, MODEL),
        lambda: client.chat("hello", ""),
        lambda: client.completion("", MODEL),
        lambda: client.embeddings([], MODEL),
        lambda: client.rerank("q", [], MODEL),
        lambda: client.transcription("/not/there.wav", MODEL),
        lambda: client.request({"model": MODEL}),
    ):
        with pytest.raises(errors.InvalidInputError) as raised:
            call()
        assert raised.value.index is None
    assert provider.counts.received == 0


def test_a_generator_needs_a_stream(client):
    """return_generator without stream is refused, and so are options that are none."""
    with pytest.raises(errors.ConfigurationError, match="stream=True"):
        client.chat("hello", MODEL, return_generator=True)
    with pytest.raises(errors.ConfigurationError, match="max_retries"):
        client.chat("hello", MODEL, max_retries=-1)
    with pytest.raises(errors.ConfigurationError, match="there are chat, completion"):
        client.request({}, endpoint="chats")


def test_a_request_is_performed_as_in_a_batch(client):
    """`request` returns LiteLLM's answer, and takes a timeout, an endpoint and a validation."""
    request = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    assert client.request(request).choices[0].message.content == "Simulated answer to: hello"
    assert (
        len(client.request({"model": "openai/text-embedding-3-small", "input": "x"}, endpoint="embeddings").data) == 1
    )
    with pytest.raises(errors.AnswerValidationError):
        client.request(request, validate=int, max_retries=0)
    slow = {"model": MODEL, "messages": [{"role": "user", "content": "[simulate: hang]"}]}
    with pytest.raises(errors.BatchTimeoutError):
        client.request(slow, timeout=0.2)
    assert client.failures == []


def test_a_closed_client_says_so(client):
    """After `close` every single call raises the same error."""
    client.close()
    for call in (
        lambda: client.chat("hello", MODEL),
        lambda: client.chat("hello", MODEL, stream=True, return_generator=True),
        lambda: client.embeddings("hello", MODEL),
        lambda: client.submit({}),
    ):
        with pytest.raises(errors.ClientClosedError):
            call()


def test_an_answer_of_another_form_is_an_error(make_client):
    """What an endpoint should not answer is a typed error with what came in its place."""
    client = make_client(api_call=lambda **_: {"choices": "none"})
    with pytest.raises(errors.MalformedResponseError, match="a text"):
        client.chat("hello", MODEL)


def test_a_client_of_a_scripted_call_needs_no_litellm():
    """A chat goes through whatever performs requests."""
    with APIClient(api_call=ScriptedCalls(["Yes."])) as client:
        answer = client.chat("Really?", "any-model")
        assert (answer.data, answer.provider, answer.request_id, answer.cost) == ("Yes.", None, None, 0.001)
