"""Plain HTTP through a client: its key, limits, retries, tracker, history and errors."""

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from call.serving import Reply, Seen, Serving

from llm_api_client import APIClient, RateLimit, RetryPolicy, errors
from llm_api_client.operations import CHAT
from llm_api_client.run.raw import RAW, RawPreparer
from llm_api_client.simulator import SimulatedProvider
from llm_api_client.testing import FakeClock

KEY = "sk-made-up-0123456789abcdefghij"
CHAT_PATH = "chat/completions"
PAYLOAD = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
AT_ONCE = RetryPolicy(initial_delay=0)
ANSWER = {
    "id": "x", "choices": [{"message": {"role": "assistant", "content": "Hi"}}],
    "usage": {"prompt_tokens": 1_000, "completion_tokens": 500},
}  # fmt: skip


@pytest.fixture
def serving() -> Iterator[Serving]:
    with Serving() as serving:
        yield serving


@pytest.fixture
def make(serving: Serving) -> Iterator[Callable[..., APIClient]]:
    """A client of that server, with any option."""
    made = []

    def client(**options: Any) -> APIClient:
        made.append(
            APIClient(**{"base_url": serving.base_url, "api_key": KEY, "progress": False, "retry": AT_ONCE, **options})
        )
        return made[-1]

    yield client
    for each in made:
        each.close()


def test_a_post_is_sent_and_its_answer_returned(make, serving):
    """The payload goes to the endpoint below the base URL as it is, with the client's key."""
    serving.replies.append(Reply({"translation": "Bonjour"}))
    payload = {"text": "Hello", "target": "fr", "formality": None}
    assert make().post_request("/translate", payload, headers={"X-Trace": "1"}) == {"translation": "Bonjour"}
    [seen] = serving.seen
    assert (seen.method, seen.path, seen.json) == ("POST", "/v1/translate", payload)
    assert (seen.headers["authorization"], seen.headers["x-trace"]) == (f"Bearer {KEY}", "1")


def test_a_chat_is_counted_and_priced(make, serving, litellm):
    """An answer's usage is the tracker's, and its price that of the payload's model."""
    client = make()
    serving.replies.append(Reply(ANSWER))
    assert client.post_request(CHAT_PATH, PAYLOAD) == ANSWER
    tracker = client.tracker
    assert (tracker.total_prompt_tokens, tracker.total_completion_tokens, tracker.num_api_calls) == (1_000, 500, 1)
    assert tracker.total_cost == pytest.approx(1_000 * 0.15e-6 + 500 * 0.6e-6)
    assert (tracker.num_unpriced_calls, tracker.status.num_tasks_succeeded) == (0, 1)
    assert tracker.usage["by_provider"]["openai"]["tokens"] == 1_500


def test_the_history_has_the_request_without_its_secrets(make, serving):
    """An entry has what was asked and answered; what is a key is masked, wherever it stands."""
    client = make()
    client.post_request("x", {"model": "m", "api_key": KEY}, headers={"X-Api-Key": KEY})
    [entry] = client.history
    assert entry["request"]["endpoint"] == "x"
    assert entry["request"]["payload"] == {"model": "m", "api_key": "***"}
    assert (entry["response"], entry["model"], entry["error"], entry["attempts"]) == ({"ok": True}, "m", None, 1)
    assert KEY not in repr(entry)
    assert serving.seen[0].json["api_key"] == KEY


def test_a_get_has_a_query_and_costs_nothing(make, serving):
    """It is counted as a call of a known price, which is none."""
    client = make()
    serving.replies.append(Reply([1, 2]))
    assert client.get("models", {"limit": 3}) == [1, 2]
    assert (serving.seen[0].method, serving.seen[0].path, serving.seen[0].body) == ("GET", "/v1/models?limit=3", b"")
    assert client.tracker.num_api_calls == 1
    assert (client.tracker.num_unpriced_calls, client.tracker.num_unmeasured_calls) == (0, 0)
    before = client.tracker.usage
    serving.replies.append(Reply({}, 404))
    with pytest.raises(errors.NotFoundError):
        client.get("gone")
    assert client.tracker.usage == before
    assert client.tracker.status.num_api_errors == 1


def test_a_failed_call_is_tried_again_as_often_as_asked(make, serving):
    """What may pass is tried `max_retries` times more, and then raised with its status and body."""
    client = make()
    serving.replies += [Reply({}, 500), Reply({}, 503), Reply({"third": True})]
    assert client.post_request("x", {}) == {"third": True}
    assert client.history[0]["attempts"] == 3
    serving.otherwise = lambda _: Reply({"error": {"message": "Oops."}}, 502, {"x-request-id": "req-1"})
    with pytest.raises(errors.ServerError) as caught:
        client.post_request("x", {}, max_retries=1)
    error = caught.value
    assert (error.status_code, error.response_body, error.request_id) == (
        502,
        '{"error": {"message": "Oops."}}',
        "req-1",
    )
    assert len(serving.seen) == 5
    assert str(error).startswith("502 from the provider at")
    assert client.history[1]["error"].startswith("ServerError: 502")


@pytest.mark.parametrize(
    ("status", "error_class"),
    [(400, errors.InvalidRequestError), (401, errors.AuthenticationError), (404, errors.NotFoundError)],
)
def test_what_would_fail_again_is_asked_once(make, serving, status, error_class):
    """A refusal is raised at once, as the class that it is."""
    serving.otherwise = lambda _: Reply({"error": {"message": "No."}}, status)
    with pytest.raises(error_class) as caught:
        make().post_request("x", {})
    assert (caught.value.status_code, caught.value.retry_after, len(serving.seen)) == (status, None, 1)
    assert isinstance(caught.value, errors.APICallException)


def test_a_429_is_waited_out_and_no_attempt(serving, make):
    """After a 429 the request waits as long as it was told to, without a retry of its own being spent."""
    clock = FakeClock()
    client = make(clock=clock)
    serving.replies += [Reply({}, 429, {"retry-after": "30"}), Reply({"late": True})]
    began = clock.now()
    assert client.post_request("x", {}, max_retries=0) == {"late": True}
    assert clock.now() - began >= 30
    assert client.tracker.status.num_rate_limit_errors == 1


def test_it_is_admitted_by_its_model_s_limits(make, serving):
    """The limit of the payload's model holds, for requests and for tokens, and other models do not wait for it."""
    clock = FakeClock()
    limits = {"m": RateLimit(requests_per_minute=2), "small": RateLimit(tokens_per_minute=10)}
    client = make(clock=clock, model_limits=limits)
    for _ in range(3):
        client.post_request("x", {"model": "m"})
    assert clock.now() >= 60
    client.post_request("x", {"model": "other"})
    assert clock.now() < 61.5
    with pytest.raises(errors.RequestTooLargeError):
        client.post_request(CHAT_PATH, {"model": "small", "messages": [{"role": "user", "content": "word " * 100}]})
    assert len(serving.seen) == 4


def test_a_timeout_and_no_server_have_no_status(make, serving):
    """Without an answer `status_code` is 0, and the class says what happened."""
    serving.otherwise = lambda _: Reply({"slow": "x" * 50}, seconds_between_bytes=0.02)
    with pytest.raises(errors.RequestTimeoutError) as late:
        make().get("x", timeout=0.1, max_retries=0)
    with pytest.raises(errors.NetworkError) as nobody:
        make(base_url="http://127.0.0.1:1").post_request("x", {}, max_retries=0)
    assert late.value.status_code == nobody.value.status_code == 0


def test_the_client_s_timeout_holds_where_none_is_given(make, serving):
    """`request_timeout` is that of raw calls too."""
    serving.otherwise = lambda _: Reply({"slow": "x" * 50}, seconds_between_bytes=0.02)
    began = time.monotonic()
    with pytest.raises(errors.RequestTimeoutError):
        make(request_timeout=0.1).get("x", max_retries=0)
    assert time.monotonic() - began < 5


def test_a_callable_key_is_asked_again_once_it_is_refused(make, serving):
    """A refused key is replaced once, which is no attempt."""
    keys = iter(["sk-old-0123456789abcdef", "sk-new-0123456789abcdef"])

    def checked(seen: Seen) -> Reply:
        return Reply({"ok": 1}) if "sk-new" in seen.headers["authorization"] else Reply({}, 401)

    serving.otherwise = checked
    client = make(api_key=lambda: next(keys))
    assert client.post_request("x", {}, max_retries=0) == {"ok": 1}
    assert client.get("y", max_retries=0) == {"ok": 1}
    assert [seen.path for seen in serving.seen] == ["/v1/x", "/v1/x", "/v1/y"]
    assert client.history[0]["attempts"] == 1


def test_a_callable_that_had_no_key_is_asked_again_by_the_next_call(make, serving):
    """One call's bad luck with a key is not the next one's."""
    keys = iter(["", "sk-good-0123456789abcdef"])
    client = make(api_key=lambda: next(keys))
    with pytest.raises(errors.ConfigurationError):
        client.get("x")
    assert client.get("x") == {"ok": True}


def test_a_model_s_own_server_and_key_are_its_own(make, serving):
    """`model_defaults` hold for raw calls too, and the client's key does not go to another server."""
    with Serving() as own:
        client = make(
            model_defaults={"m": {"base_url": own.base_url, "api_key": "sk-own"}, "n": {"base_url": own.base_url}}
        )
        client.post_request("x", {"model": "m"})
        client.post_request("x", {"model": "n"})
    assert [seen.headers.get("authorization") for seen in own.seen] == ["Bearer sk-own", None]
    assert not serving.seen


def test_without_a_base_url_there_is_nowhere_to_send(serving):
    """The error says what to pass."""
    with APIClient(progress=False) as client, pytest.raises(errors.ConfigurationError, match="APIClient\\(base_url="):
        client.get("models")


@pytest.mark.parametrize(
    ("endpoint", "payload", "told"),
    [
        ("https://evil.example/x", {}, "a key is sent to no other server"),
        ("x", {"number": float("nan")}, "the payload cannot be sent as JSON"),
        ("x", {"when": object()}, "the payload cannot be sent as JSON"),
        ("x", {"text": "\ud800"}, "the payload cannot be sent as JSON"),
        ("x", [1], "the payload is a list"),
        (7, {}, '"endpoint" is a int'),
    ],
)
def test_what_cannot_be_sent_is_said_before_it_is(make, serving, endpoint, payload, told):
    """A request at fault is refused with its cure, and nothing goes out."""
    client = make()
    with pytest.raises(errors.InvalidInputError, match=told):
        client.post_request(endpoint, payload)
    assert not serving.seen
    assert client.history[0]["error"].startswith("InvalidInputError")


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": "1"}, {"max_retries": -1}, {"max_retries": 0.5}])
def test_options_are_checked(make, serving, options):
    """An option that cannot be used is refused."""
    with pytest.raises(errors.ConfigurationError):
        make().post_request("x", {}, **options)
    assert not serving.seen


def test_a_closed_client_sends_nothing(make, serving):
    """After `close()` a raw call is refused like every other."""
    client = make()
    client.close()
    with pytest.raises(errors.ClientClosedError):
        client.get("models")
    assert (len(client.history), client.tracker.status.num_tasks_started, serving.seen) == (0, 0, [])


def test_money_is_bounded_for_raw_calls_too(make, serving, litellm):
    """Under a `max_cost` a call goes only if its worst case fits; what costs nothing always does."""
    client = make(max_cost=0.000001)
    with pytest.raises(errors.BudgetExceededError):
        client.post_request(CHAT_PATH, {**PAYLOAD, "max_tokens": 1_000})
    with pytest.raises(errors.BudgetExceededError, match="unheard-of may cost is not known"):
        client.post_request("x", {"model": "unheard-of"})
    assert not serving.seen
    assert client.get("models") == {"ok": True}


@pytest.mark.parametrize(
    ("endpoint", "payload"),
    [
        (CHAT_PATH, {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * 3_000}], "max_tokens": 1}),
        ("completions", {"model": "gpt-3.5-turbo-instruct", "prompt": ["x" * 3_000], "max_tokens": 1}),
        ("embeddings", {"model": "text-embedding-3-large", "input": "x" * 3_000}),
    ],
)
def test_the_worst_case_is_a_token_for_each_byte(make, serving, litellm, endpoint, payload):
    """What a call may cost is bounded, and not estimated: a third of it does not pay for it."""
    worst = {"chat/completions": 3_000 * 0.15e-6, "completions": 3_000 * 1.5e-6, "embeddings": 3_000 * 0.13e-6}[
        endpoint
    ]
    with pytest.raises(errors.BudgetExceededError, match="It may cost"):
        make(max_cost=0.9 * worst).post_request(endpoint, payload)
    assert not serving.seen
    assert make(max_cost=1.1 * worst).post_request(endpoint, payload) == {"ok": True}


def test_a_file_is_uploaded_and_read_anew_for_each_attempt(make, serving, tmp_path):
    """Each attempt sends the whole file, streamed, with its purpose."""
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"0123456789" * 50_000)
    client = make()
    serving.replies += [Reply({}, 500), Reply({}, 503), Reply({"id": "file-1", "purpose": "batch"})]
    assert client.upload_file(path, "batch") == {"id": "file-1", "purpose": "batch"}
    assert len(serving.seen) == 3
    for seen in serving.seen:
        assert (seen.path, seen.body.count(b"0123456789")) == ("/v1/files", 50_000)
        assert b'filename="lines.jsonl"' in seen.body
        assert b'name="purpose"\r\n\r\nbatch\r\n' in seen.body
        assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert client.tracker.num_unpriced_calls == 0
    with pytest.raises(errors.InvalidInputError, match="there is no file"):
        client.upload_file(tmp_path / "gone", "batch")


def test_it_talks_to_an_openai_compatible_server():
    """A chat, the list of models and an embedding work as the server documents them."""
    with (
        SimulatedProvider() as provider,
        APIClient(base_url=provider.base_url, api_key=KEY, progress=False) as client,
    ):
        chat = client.post_request(CHAT_PATH, PAYLOAD)
        assert chat["choices"][0]["message"]["content"]
        assert client.tracker.total_completion_tokens == chat["usage"]["completion_tokens"]
        assert client.get("models")["object"] == "list"
        embedded = client.post_request("embeddings", {"model": "text-embedding-3-small", "input": ["a", "b"]})
        assert len(embedded["data"]) == 2
        assert client.tracker.num_api_calls == 3
        assert client.tracker.num_unpriced_calls == 0


def test_the_key_is_shown_nowhere(make, serving, caplog):
    """Not in logs at DEBUG, errors, causes, tracebacks, history or reprs, even where the server repeats it."""
    caplog.set_level(logging.DEBUG)
    client = make()
    serving.otherwise = lambda _: Reply({"error": {"message": f"Bad key {KEY}."}}, 400)
    with pytest.raises(errors.InvalidRequestError) as refused:
        client.post_request("x", {"model": "m"})
    with pytest.raises(errors.NetworkError) as nobody:
        make(base_url="http://127.0.0.1:1").get("x", max_retries=0)
    error = refused.value
    shown = [repr(error), str(error), error.response_body, repr(list(client.history)), repr(client), caplog.text]
    for each in (refused, nobody):
        shown += traceback.format_exception(each.value)
        shown += [repr(vars(link)) for link in (each.value, each.value.__cause__)]
    assert KEY not in "".join(shown)
    assert "***" in error.response_body


def test_an_error_that_is_raised_keeps_no_frames(make, serving):
    """The history keeps an error without the frames that it was raised through, which would keep all they hold."""
    serving.otherwise = lambda _: Reply({}, 400)
    client = make()
    with pytest.raises(errors.InvalidRequestError) as caught:
        client.post_request("x", {})
    [kept] = client.history._snapshot()
    assert kept.error is not caught.value
    assert kept.error.__traceback__ is None
    assert caught.value.index is None


def prepared(request: dict[str, Any]) -> Any:
    return RawPreparer().prepare({"model": "m", "base_url": "http://a/v1", **request})


def test_a_prompt_is_estimated_wherever_it_stands():
    """Messages, prompts, inputs and tokens count, and so does the answer's bound, for all answers together."""
    chat = prepared({"endpoint": "anything", "payload": {**PAYLOAD, "max_tokens": 7, "n": 3}})
    assert (chat.prompt_tokens, chat.max_answer_tokens, chat.longest_answer, chat.operation) == (1, 21, 21, CHAT)
    completion = prepared({"endpoint": "completions", "payload": {"prompt": "x" * 30, "max_completion_tokens": 4}})
    assert (completion.prompt_tokens, completion.max_answer_tokens) == (10, 4)
    embedding = prepared({"endpoint": "/v1/embeddings?x=1", "payload": {"input": [[1, 2, 3], [4, 5]]}})
    assert (embedding.prompt_tokens, embedding.max_answer_tokens) == (5, 0)
    unknown = prepared({"endpoint": "translate", "payload": {"text": "x" * 30}})
    assert (unknown.prompt_tokens, unknown.max_answer_tokens, unknown.operation) == (0, None, RAW)


def test_a_prepared_request_is_what_the_door_takes():
    """Method, address, headers, key, timeout and what is sent are named as the door names them."""
    request = {
        "endpoint": "x", "payload": {"a": 1}, "headers": {"B": "2"}, "extra_headers": {"A": "1"}, "timeout": 3,
        "api_key": KEY, "params": {"q": 1},
    }  # fmt: skip
    params = prepared(request).params
    assert params["url"] == "http://a/v1/x"
    assert {name: params[name] for name in ("method", "json", "headers", "timeout", "api_key", "params")} == {
        "method": "POST", "json": {"a": 1}, "headers": {"A": "1", "B": "2"}, "timeout": 3, "api_key": KEY,
        "params": {"q": 1},
    }  # fmt: skip
