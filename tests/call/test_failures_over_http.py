"""Real faults over real HTTP through the real `litellm.completion`, judged."""

import json
import socket
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest

from llm_api_client import errors
from llm_api_client.call.failure import MAX_BODY, MAX_MESSAGE, read_failure
from llm_api_client.call.judge import Where, judge_answer, judge_failure
from llm_api_client.records import Kind, Verdict

from .conftest import KEY
from .misbehaving import Reply

ID = {"x-request-id": "req-1"}
HTML = {"content-type": "text/html"}
MODELS = {
    "openai": "openai/gpt-4o-mini",
    "hosted_vllm": "hosted_vllm/some-model",
    "groq": "groq/llama-3.3-70b-versatile",
    "anthropic": "anthropic/claude-3-haiku-20240307",
    "gemini": "gemini/gemini-2.0-flash",
}


def said(message: str, kind: str = "some_error", code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(message: str, kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def google(status: int, message: str, name: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": name, "details": list(details)}}


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13.5s"}
PER_DAY = {"@type": "google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerDayFreeTier"}]}
NOW = {"date": formatdate(1_000_000_000, usegmt=True)}
IN_30_S = formatdate(1_000_000_030, usegmt=True)
CHAT = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}


@dataclass(frozen=True)
class Fault:
    reply: Reply
    kind: Kind
    error: type[errors.APICallException]
    status: int
    retry_after: float | None = None
    told: str = ""
    routes: tuple[str, ...] = field(default=tuple(MODELS))


def refused(
    status: int,
    body: Any,
    kind: Kind,
    error: type[errors.APICallException],
    told: str = "",
    *,
    headers: dict[str, str] | None = None,
    retry_after: float | None = None,
) -> Fault:
    return Fault(Reply(status, body, ID | (headers or {})), kind, error, status, retry_after, told)


def unreadable(body: Any, headers: dict[str, str] | None = None, told: str = "check base_url") -> Fault:
    reply = Reply(200, body, ID | (headers or {}))
    return Fault(reply, Kind.TRANSIENT, errors.MalformedResponseError, 200, told=told)


def limited(headers: dict[str, str], retry_after: float | None) -> Fault:
    return refused(
        429, said("Rate limit reached"), Kind.RATE_LIMITED, errors.RateLimitError, "Lower the client's limits",
        headers=headers, retry_after=retry_after,
    )  # fmt: skip


P, T, Q, R = Kind.PERMANENT, Kind.TRANSIENT, Kind.QUOTA_SPENT, Kind.RATE_LIMITED
FAULTS = {
    "401": refused(401, said("Incorrect key"), Kind.KEY_REFUSED, errors.AuthenticationError, "_API_KEY"),
    "403": refused(403, said("not here"), P, errors.AuthenticationError, "permissions"),
    "404": refused(404, said("no such model"), P, errors.NotFoundError, "Check the model's name"),
    "400": refused(400, said("bad"), P, errors.InvalidRequestError, "change it"),
    "400 that quotes a 429": refused(400, said("in 'rate limit 429 quota'"), P, errors.InvalidRequestError),
    "402": refused(402, said("pay"), Q, errors.QuotaExceededError, "billing"),
    "408": refused(408, said("slow"), T, errors.ServerError, "another attempt"),
    "409": refused(409, said("conflict"), T, errors.ServerError),
    "413": refused(413, said("large"), P, errors.InvalidRequestError),
    "422": refused(422, said("odd"), P, errors.InvalidRequestError),
    "425": refused(425, said("early"), T, errors.ServerError),
    "429": limited({}, None),
    "429 seconds": limited({"retry-after": "7"}, 7.0),
    "429 milliseconds": limited({"retry-after": "7", "retry-after-ms": "350"}, 0.35),
    "429 date": limited({**NOW, "retry-after": IN_30_S}, 30.0),
    "429 past date": limited({"date": IN_30_S, "retry-after": NOW["date"]}, 0.0),
    "429 nonsense": limited({"retry-after": "soon"}, None),
    "429 negative": limited({"retry-after": "-5"}, None),
    "429 infinite": limited({"retry-after": "inf"}, None),
    "429 quota": refused(429, said("Quota", code="insufficient_quota"), Q, errors.QuotaExceededError, "billing"),
    "429 quota in words": refused(429, said("You exceeded your current quota, please"), Q, errors.QuotaExceededError),
    "429 too large": refused(429, said("Request too large for m"), P, errors.InvalidRequestError, "max_tokens"),
    "429 Google": refused(
        429, google(429, "You exceeded your current quota", "RESOURCE_EXHAUSTED", RETRY_INFO), R, errors.RateLimitError,
        retry_after=13.5,
    ),
    "429 Google's day": refused(
        429, google(429, "Quota", "RESOURCE_EXHAUSTED", RETRY_INFO, PER_DAY), Q, errors.QuotaExceededError,
        retry_after=13.5,
    ),
    "429 Google's list": refused(
        429, [google(429, "Wait", "X", RETRY_INFO)], R, errors.RateLimitError, retry_after=13.5
    ),
    "429 Anthropic": refused(429, anthropic("slow down", "rate_limit_error"), R, errors.RateLimitError),
    "400 no credit": refused(400, anthropic("Your credit balance is too low to", "x"), Q, errors.QuotaExceededError),
    "500": refused(500, said("boom"), T, errors.ServerError, "boom"),
    "502 page": refused(502, "<html>bad gateway</html>", T, errors.ServerError, "bad gateway", headers=HTML),
    "503": refused(503, said("over"), T, errors.ServerError, headers={"retry-after": "2"}, retry_after=2.0),
    "504": refused(504, said("late"), T, errors.ServerError),
    "529": refused(529, anthropic("Overloaded", "overloaded_error"), T, errors.ServerError, "Overloaded"),
    "context": refused(
        400, said("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
        P, errors.ContextWindowExceededError, "Shorten the messages",
    ),
    "content": refused(
        400, said("rejected by our safety system", code="content_policy_violation"), P, errors.ContentRefusedError,
        "Change the prompt",
    ),
    "long error": refused(500, said("x" * 9_000), T, errors.ServerError),
    "page on 200": unreadable("<html>hello</html>", HTML, "<html>hello</html>"),
    "cut JSON": unreadable('{"id": "x", "choices": [{"ind', told='"ind'),
    "{}": unreadable({}),
    "null": unreadable("null"),
    "empty": unreadable("", told="it is empty"),
    "list": unreadable("[]"),
    "string": unreadable('"hello"'),
    "no choices": Fault(
        Reply(200, CHAT), T, errors.MalformedResponseError, 200, told="without any choices", routes=("openai",)
    ),
    "error in a 200": Fault(
        Reply(200, said("upstream overloaded", code=502), ID), T, errors.ServerError, 502, told="upstream overloaded"
    ),
    "429 in a 200": Fault(Reply(200, said("slow down", code="429"), ID), R, errors.RateLimitError, 429),
    "reset": Fault(Reply(manner="reset"), T, errors.NetworkError, 0, told="that the server runs"),
    "cut connection": Fault(Reply(200, '{"id', manner="cut"), T, errors.NetworkError, 0, told="closed connection"),
    "hang": Fault(Reply(manner="hang"), T, errors.RequestTimeoutError, 0, told="Raise request_timeout"),
}  # fmt: skip


def ask(sender: Any, route: str, base: str | None, **more: Any) -> Verdict:
    """What a call comes to, as the engine would judge it."""
    if base is not None and route in {"anthropic", "gemini"}:
        base = base.removesuffix("/v1")
    params = {"model": MODELS[route], "messages": [{"role": "user", "content": "Hi"}], "api_key": KEY, "timeout": 10.0}
    params |= {"api_base": base} | more
    params = {name: value for name, value in params.items() if value is not None}
    where = Where(MODELS[route], route, base)
    try:
        return judge_answer(sender(params, route), where)
    except Exception as raised:  # noqa: BLE001  as the engine does
        verdict = judge_failure(read_failure(raised, time.time()), where, [KEY])
        raised.__traceback__ = None
        return verdict


@pytest.mark.parametrize(
    ("route", "fault"),
    [pytest.param(route, fault, id=f"{route}-{name}") for name, fault in FAULTS.items() for route in fault.routes],
)
def test_each_fault_of_each_provider_is_judged_for_what_it_is(shared_sender, server, route, fault):
    """A fault has one kind, class, true status, wait, id and bounded body on every route, and is asked for once."""
    server.reply = fault.reply
    timeout = 0.15 if fault.reply.manner == "hang" else 10.0
    verdict = ask(shared_sender, route, server.base_url, timeout=timeout)
    error = verdict.error
    assert (verdict.kind, type(error), error.status_code) == (fault.kind, fault.error, fault.status), error.message
    assert verdict.retry_after == error.retry_after == fault.retry_after
    assert len(server.hits) == 1
    assert (error.provider, error.model) == (route, MODELS[route])
    assert route in error.message
    assert MODELS[route] in error.message
    assert fault.told in error.message
    assert len(error.message) < MAX_MESSAGE + 400
    if fault.reply.manner == "send" and fault.reply.headers:
        assert error.request_id == "req-1"
        assert (error.response_body or "") == server_text(fault.reply)[:MAX_BODY]
    assert KEY not in str(error)


def server_text(reply: Reply) -> str:
    return reply.body if isinstance(reply.body, str) else json.dumps(reply.body)


@pytest.mark.parametrize("route", ["openai", "hosted_vllm"])
def test_an_answer_without_usage_is_an_answer(sender, server, route):
    """An answer that reports no tokens is kept."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}
    server.reply = Reply(200, {**CHAT, "choices": [choice]})
    assert ask(sender, route, server.base_url) == Verdict(Kind.ANSWERED)


@pytest.mark.parametrize("route", sorted(MODELS))
def test_a_port_where_nobody_listens_is_a_network_error(sender, route):
    """A refused connection has the status 0 and says to check the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        verdict = ask(sender, route, base)
    assert (verdict.kind, type(verdict.error)) == (Kind.TRANSIENT, errors.NetworkError)
    assert verdict.error.status_code == 0
    assert "Connection refused" in verdict.error.message
    assert "Check base_url" in verdict.error.message


@pytest.mark.parametrize("route", ["openai", "hosted_vllm", "anthropic"])
def test_a_host_that_does_not_exist_is_a_network_error(sender, route, monkeypatch):
    """An unknown host name has the status 0 and names the fault."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    verdict = ask(sender, route, "http://no-such-host.invalid/v1")
    assert (verdict.kind, type(verdict.error), verdict.error.status_code) == (T, errors.NetworkError, 0)
    assert "Name or service not known" in verdict.error.message


@pytest.mark.parametrize("route", ["openai", "anthropic", "gemini"])
def test_a_missing_key_is_named_before_anything_is_sent(sender, server, route, monkeypatch):
    """Without a key nothing goes out, the status is 0, and the message names the variable to set."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    verdict = ask(sender, route, server.base_url, api_key=None)
    assert (verdict.kind, type(verdict.error)) == (Kind.KEY_REFUSED, errors.AuthenticationError)
    assert verdict.error.status_code == 0
    assert f"{route.upper()}_API_KEY" in verdict.error.message
    assert server.hits == []


def test_a_model_without_provider_is_told_how_to_name_one(sender, capfd):
    """An unknown provider is a permanent refusal with status 0 that shows how to write the model."""
    params = {"model": "some-model", "messages": [{"role": "user", "content": "Hi"}], "api_key": KEY}
    with pytest.raises(Exception, match="LLM Provider NOT provided") as caught:
        sender(params, None)
    verdict = judge_failure(read_failure(caught.value, 0.0), Where("some-model"))
    assert (verdict.kind, type(verdict.error)) == (Kind.PERMANENT, errors.InvalidRequestError)
    assert verdict.error.status_code == 0
    assert "'openai/some-model'" in verdict.error.message
    assert capfd.readouterr().out == ""


def test_a_parameter_that_litellm_itself_refuses_has_no_status(litellm, sender, server):
    """What LiteLLM refuses before sending is permanent, and no server's status is made up for it."""
    params = {"model": "openai/o3-mini", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5}
    with pytest.raises(litellm.UnsupportedParamsError) as caught:
        sender({**params, "api_key": KEY, "api_base": server.base_url}, "openai")
    verdict = judge_failure(read_failure(caught.value, 0.0), Where("openai/o3-mini", "openai"))
    assert (verdict.kind, type(verdict.error)) == (Kind.PERMANENT, errors.InvalidRequestError)
    assert verdict.error.status_code == 0
    assert "temperature" in verdict.error.message
    assert server.hits == []


def test_routes_without_connections_of_their_own_are_judged_by_the_chain(litellm, sender, server):
    """Where LiteLLM's own connections must do, its chain of exceptions tells as much."""
    server.reply = Reply(429, said("Rate limit reached"), ID | {"retry-after": "7"})
    params = {"model": "perplexity/sonar", "messages": [{"role": "user", "content": "Hi"}], "api_key": KEY}
    with pytest.raises(litellm.RateLimitError) as caught:
        sender({**params, "api_base": server.base_url, "num_retries": 3, "max_retries": 3}, "perplexity")
    verdict = judge_failure(read_failure(caught.value, 0.0), Where("perplexity/sonar", "perplexity"))
    assert (verdict.kind, verdict.retry_after, verdict.error.request_id) == (R, 7.0, "req-1")
    assert len(server.hits) == 1
