"""The contract between the lanes: the same request, with LiteLLM and without it, has the same answer or the same error.

Each case is asked over real HTTP, once with `transport="litellm"` and three times with "auto" after its lane was
warmed. Whatever a caller can see is equal, each call is one request on the wire, and it is known which way the third
went.
"""

import gzip
import json
import math
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from llm_api_client.call.answer import usage_of
from llm_api_client.call.failure import read_failure
from llm_api_client.call.judge import Where, judge_failure
from llm_api_client.call.sender import Sender

from .conftest import KEY
from .raw import RawServer, Said

ROUTES = ["openai", "hosted_vllm", "mistral", "deepseek", "openrouter", "together_ai", "xai", "fireworks_ai"]
"""Routes that a call can take without LiteLLM, with a model of each that LiteLLM has a price for, where it has any."""
MODELS = {
    "openai": "openai/gpt-4o-mini",
    "hosted_vllm": "hosted_vllm/some-model",
    "mistral": "mistral/mistral-small-latest",
    "deepseek": "deepseek/deepseek-chat",
    "openrouter": "openrouter/openai/gpt-4o-mini",
    "together_ai": "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "xai": "xai/grok-3-mini",
    "fireworks_ai": "fireworks_ai/accounts/fireworks/models/llama-v3p1-8b-instruct",
    "perplexity": "perplexity/sonar",
    "custom_openai": "custom_openai/some-model",
}
_VOLATILE = {"_response_ms", "callback_duration_ms", "litellm_call_id", "litellm_overhead_time_ms"}


NOW = 1_700_000_500.0


def http(body: Any, status: int = 200, then: Any = "keep", **headers: str) -> Said:
    """An answer; names of headers with _ for -."""
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    named = {"content-type": "application/json", "x-request-id": "req-1"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(data)}", *(f"{k}: {v}" for k, v in named.items())]
    return Said("\r\n".join([*lines, "", ""]).encode() + data, then)


def answer(content: Any = "Hello", number: int = 1, **more: Any) -> dict[str, Any]:
    """A chat's answer; `message`, `choice` and `usage` add to those parts, None leaves the usage out."""
    usage: dict[str, Any] | None = more.pop("usage", {})
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    choice = {"index": 0, "finish_reason": "stop", "message": message, **more.pop("choice", {})}
    tokens = {"prompt_tokens": 10 + number, "completion_tokens": number, "total_tokens": 10 + 2 * number}
    body = {"id": f"chat-{number}", "object": "chat.completion", "created": 1_700_000_000 + number, "model": "said"}
    return body | {"choices": [choice]} | ({} if usage is None else {"usage": tokens | usage}) | more


def chat(route: str, base: str, prompt: str = "Hi", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    asked = {"model": MODELS[route], "messages": messages, "api_key": KEY, "api_base": base, "timeout": 5.0}
    return asked | more


def seen(sender: Sender, params: dict[str, Any], route: str) -> tuple[Any, ...]:
    """All that a caller, and the engine, can see of a call."""
    try:
        with mock.patch("time.time", return_value=NOW):  # which LiteLLM takes for an answer without a date
            response = sender(params, route)
    except Exception as raised:  # noqa: BLE001  as the engine does
        verdict = judge_failure(read_failure(raised, 0.0), Where(params["model"], route), [KEY])
        raised.__traceback__ = None
        facts = {name: getattr(raised, name, None) for name in ("status_code", "llm_provider", "model")}
        message = re.sub(r"0x[0-9a-f]+|Traceback.*", "", getattr(raised, "message", str(raised)), flags=re.DOTALL)
        error = verdict.error
        return (
            type(raised), facts, message, verdict.kind, type(error), str(error), error.status_code, verdict.retry_after,
            error.request_id, error.response_body, KEY in repr(raised),
        )  # fmt: skip
    if getattr(response, "id", "").startswith("chatcmpl-"):  # made up by LiteLLM
        response.id = ""
    names = dict(response._hidden_params)
    hidden = {name: value for name, value in names.items() if name not in _VOLATILE}
    cost = hidden.pop("response_cost")
    return (
        type(response), response.model_dump(), response.model_dump(exclude_unset=True), usage_of(response),
        repr(response), hidden, cost if cost is None else pytest.approx(cost, rel=1e-12),
        getattr(response, "_response_headers", None), set(names),
    )  # fmt: skip


@dataclass
class Lanes:
    """Both lanes, and how often the one that can do without LiteLLM has asked it."""

    slow: Sender
    fast: Sender
    asked: list[None]

    def compare(
        self, server: RawServer, route: str, said: Said, *, sent: int = 1, first: Said | None = None, **more: Any
    ) -> bool:
        """Hold the lanes to the same; whether the last call went without LiteLLM."""
        for number in (1, 2, 3):
            server.said = first or http(answer(number=number))
            self.fast(chat(route, server.base_url, f"Warm {number}", **more), route)
        server.said = said
        expected, hits = self._one(self.slow, server, route, more)
        assert hits == sent
        for _ in range(3):
            before = len(self.asked)
            ours, hits = self._one(self.fast, server, route, more)
            assert ours == expected
            assert hits == sent
        return len(self.asked) == before

    def _one(self, sender: Sender, server: RawServer, route: str, more: dict[str, Any]) -> tuple[tuple[Any, ...], int]:
        before = len(server.requests)
        outcome = seen(sender, chat(route, server.base_url, "Ask", **more), route)
        return outcome, len(server.requests) - before


@pytest.fixture
def lanes(litellm: ModuleType) -> Iterator[Lanes]:
    asked: list[None] = []

    def counted(**params: Any) -> Any:
        asked.append(None)
        return litellm.completion(**params)

    slow, fast = Sender(litellm.completion, is_litellm=True, transport="litellm"), Sender(counted, is_litellm=True)
    yield Lanes(slow, fast, asked)
    slow.close()
    fast.close()


@pytest.fixture(scope="module")
def raw_server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
NO_DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 0},
}
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
PLAIN = json.dumps(answer()).encode()
ERROR = {"error": {"message": "as it is", "type": "some", "param": None, "code": None}}

DIRECT = {
    "ok": http(answer("Other words", 7)),
    "unicode": http(answer("Grüße, 日本語 😀 \u2028 \x00")),
    "half a character": http(json.dumps(answer("x\ud800y"))),
    "an object": http(answer('{"name": "look", "arguments": {}}')),
    "no refusal": http(answer(message={"refusal": None, "annotations": [], "tool_calls": None})),
    "refusal": http(answer("No.", message={"refusal": "No."})),
    "no logprobs": http(answer(choice={"logprobs": None})),
    "unknown fields": http(answer(odd={"a": [1]}, choice={"odder": 1}, message={"oddest": None})),
    "fingerprint": http(answer(system_fingerprint="fp_1", service_tier="default")),
    "content filter": http(answer("I", choice={"finish_reason": "content_filter"})),
    "cut off": http(answer("I", choice={"finish_reason": "length"})),
    "empty details": http(answer(usage=NO_DETAILS)),
    "two choices": http(answer() | {"choices": [answer("A")["choices"][0], answer("B")["choices"][0] | {"index": 1}]}),
    "gzip": http(gzip.compress(PLAIN), content_encoding="gzip"),
    "chunks": Said(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(PLAIN), PLAIN)),
    "closed": http(PLAIN, connection="close", then="close"),
    "until the end": Said(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + PLAIN, "close"),
    "rate limits": http(PLAIN, x_ratelimit_limit_requests="9", x_ratelimit_reset_tokens="1s", request_id="r"),
    "limits of ours": http(PLAIN, x_litellm_model_id="x", llm_provider_x="y"),
    "two cookies": Said(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(PLAIN), PLAIN)
    ),
    "thoughts apart": http(answer("Hello", message={"reasoning_content": "well"})),
    "text": http(PLAIN, content_type="text/plain"),
    "very large": http(answer("x" * 2_000_000)),
}
"""Answers that need no LiteLLM, once two such were seen."""


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("case", DIRECT)
def test_answers_that_are_like_others_are_the_same_without_litellm(lanes, raw_server, route, case):
    """What LiteLLM would make of an answer is made of it, to the last field, header and digit of its cost."""
    # Of repeated headers this route of LiteLLM's keeps each apart.
    assert lanes.compare(raw_server, route, DIRECT[case]) == ((route, case) != ("mistral", "two cookies"))


BY_LITELLM = {
    "no usage": http(answer(usage=None)),
    "empty": http(answer("")),
    "null": http(answer(None)),
    "spaces": http(answer(" \n")),
    "thought": http(answer("<think>well</think>Hello")),
    "tool calls": http(answer(None, message={"tool_calls": [TOOL_CALL]}, choice={"finish_reason": "tool_calls"})),
    "sum is wrong": http(answer(usage={"total_tokens": 99})),
    "negative": http(answer(usage={"prompt_tokens": -1, "total_tokens": 0})),
    "no id": http(answer() | {"id": None}),
    "late": http(answer() | {"created": 1.5}),
    "content in parts": http(answer([{"type": "text", "text": "Hello"}])),
    "no choices": http(answer() | {"choices": []}),
    "an error": http(ERROR),
    "an error beside": http(answer(error={"message": "overloaded", "code": 502})),
    "page": http("<html>hello</html>", content_type="text/html"),
    "no JSON": http('{"id": "x", "choices": [{"ind'),
    "a list": http("[]"),
    "nothing": http(""),
    "deep": http("[" * 20_000),
    "accents in a header": http(PLAIN, x_name="José"),
    "201": http(PLAIN, 201),
    "400": http(ERROR, 400),
    "400 context": http({"error": {"message": "too long", "code": "context_length_exceeded"}}, 400),
    "401": http(ERROR, 401),
    "403": http(ERROR, 403),
    "404": http(ERROR, 404),
    "422": http(ERROR, 422),
    "429": http(ERROR, 429, retry_after="7"),
    "429 soon": http(ERROR, 429, retry_after_ms="350"),
    "429 quota": http({"error": {"message": "Quota", "code": "insufficient_quota"}}, 429),
    "500": http(ERROR, 500),
    "502 page": http("<html>bad gateway</html>", 502, content_type="text/html"),
    "503": http(ERROR, 503, retry_after="2"),
    "500 gzip": http(gzip.compress(json.dumps(ERROR).encode()), 500, content_encoding="gzip"),
    "broken gzip": http(b"\x1f\x8bnot gzip", content_encoding="gzip"),
    "500 accents": http(ERROR, 500, x_name="José"),
    "cut": Said(http(PLAIN).data[:-5], "close"),
    "cut chunks": Said(CHUNKED + b"ff\r\nxx", "close"),
    "reset": Said(b"", "reset"),
    "closed without": Said(b"", "close"),
}


@pytest.mark.parametrize("route", ["openai", "hosted_vllm", "mistral", "xai"])
@pytest.mark.parametrize("case", BY_LITELLM)
def test_all_else_is_what_litellm_makes_of_it_without_a_second_request(lanes, raw_server, route, case):
    """An answer in which LiteLLM reads more, an error or none is given to LiteLLM, which raises as it would have."""
    assert not lanes.compare(raw_server, route, BY_LITELLM[case])


@pytest.mark.parametrize(
    "route", ["deepseek", "openrouter", "together_ai", "fireworks_ai", "perplexity", "custom_openai"]
)
@pytest.mark.parametrize("case", ["429", "cut", "page", "tool calls"])
def test_every_route_raises_as_litellm_does(lanes, raw_server, route, case):
    """Other routes, those that no call can take without LiteLLM among them, keep the contract too."""
    assert not lanes.compare(raw_server, route, BY_LITELLM[case])


@pytest.mark.parametrize("route", ["perplexity", "custom_openai"])
def test_routes_without_connections_of_their_own_go_by_litellm(lanes, raw_server, route):
    """Where LiteLLM's own connections must do, no call goes without it."""
    assert not lanes.compare(raw_server, route, DIRECT["ok"])


def test_an_answer_that_does_not_come_in_time_is_litellm_s_timeout(lanes, raw_server):
    """A server that hangs ends as it does with LiteLLM, after one request."""
    assert not lanes.compare(raw_server, "openai", Said(b"", "hang"), timeout=0.1)


@pytest.mark.parametrize("error", [TimeoutError("timed out"), ConnectionRefusedError(111, "Connection refused")])
@pytest.mark.parametrize("route", ["openai", "hosted_vllm"])
def test_a_connection_that_cannot_be_made_is_litellm_s_error(lanes, raw_server, monkeypatch, route, error):
    """A failure to connect is judged alike in both lanes, and nothing is sent."""
    create = socket.create_connection

    def connect(address: tuple[str, int], *rest: Any, **options: Any) -> socket.socket:
        if failing:
            raise error
        return create(address, *rest, **options)

    failing = False
    monkeypatch.setattr(socket, "create_connection", connect)
    last = http(answer(), connection="close", then="close")
    raw_server.said = last
    for sender in (lanes.fast, lanes.fast, lanes.fast, lanes.slow):
        sender(chat(route, raw_server.base_url), route)
    failing, asked, hits = True, len(lanes.asked), len(raw_server.requests)
    outcomes = [seen(sender, chat(route, raw_server.base_url), route) for sender in (lanes.slow, lanes.fast)]
    assert outcomes[0] == outcomes[1]
    assert len(raw_server.requests) == hits
    assert len(lanes.asked) == asked + 1


def test_a_redirect_is_followed_by_litellm_and_worked_on_once(lanes, raw_server):
    """Where a redirect leads the answer comes once; the server that redirected, and did nothing, is asked anew."""
    with RawServer() as target:
        target.said = http(answer("Moved"))
        moved = http("", 307, location=f"{target.base_url}/chat/completions")
        raw_server.said = http(answer())
        for _ in range(3):
            lanes.fast(chat("openai", raw_server.base_url), "openai")
        raw_server.said = moved
        for worked, sender in enumerate((lanes.slow, *[lanes.fast] * 5), 1):
            asked = len(lanes.asked)
            answered = sender(chat("openai", raw_server.base_url), "openai")
            assert answered.choices[0].message.content == "Moved"
            assert len(target.requests) == worked
            assert len(lanes.asked) == asked + (sender is lanes.fast)


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
PARAMETERS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.5, "top_p": 0.9, "stop": ["a", "b"], "n": 2, "frequency_penalty": 0.1},
    "seed": {"seed": 7, "max_tokens": 5, "user": "me"},
    "no seed": {"seed": 0, "max_tokens": 1},
    "large seed": {"seed": 2**80},
    "negative seed": {"seed": -1},
    "JSON": {"response_format": {"type": "json_object"}},
    "schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    },
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "headers": {"extra_headers": {"x-mine": "Yes", "X-Two": "2"}},
    "body": {"extra_body": {"top_k": 3, "guided": {"a": [1, None]}}},
    "organization": {"organization": "org-mine"},
    "bias": {"logit_bias": {"50256": -100}},
    "system": {"messages": [{"role": "system", "content": "Be"}, {"role": "user", "content": "Hi"}]},
    "turns": {"messages": [{"role": role, "content": role} for role in ("user", "assistant", "user", "user")]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": text} for text in "AB"]}]},
    "picture": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "A"}, PICTURE]}
        ]
    },
}  # fmt: skip


def body_and_head(request: bytes) -> tuple[Any, dict[str, str]]:
    """What a server reads of a request, but for the length and the encodings that the client takes."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert headers.pop("content-length") == str(len(body))
    assert "gzip" in headers.pop("accept-encoding")
    return [first, json.loads(body)], headers


@pytest.mark.parametrize("route", ["openai", "hosted_vllm", "openrouter", "together_ai"])
@pytest.mark.parametrize("case", PARAMETERS)
def test_what_is_sent_is_what_litellm_sends(lanes, raw_server, route, case):
    """With each parameter the lane sends the same line, headers and body as LiteLLM, and gives the same answer."""
    direct = lanes.compare(raw_server, route, http(answer()), **PARAMETERS[case])
    slow, *fast = (body_and_head(request) for request in raw_server.requests[-4:])
    assert fast == [slow] * 3
    if route == "openai":
        assert direct


def test_parameters_that_vary_from_call_to_call_keep_the_lane(lanes, raw_server):
    """Seed, user, and the answer's bound may differ in each request of a kind, and each gets its own."""
    raw_server.said = http(answer())
    for number in range(1, 8):
        lanes.fast(
            chat("openai", raw_server.base_url, f"{number}", seed=number, max_tokens=number, user=f"u{number}"),
            "openai",
        )
    assert len(lanes.asked) == 2
    sent = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in raw_server.requests[-7:]]
    assert [(body["seed"], body["max_tokens"], body["user"], body["messages"][0]["content"]) for body in sent] == [
        (number, number, f"u{number}", f"{number}") for number in range(1, 8)
    ]


def test_a_parameter_that_is_said_twice_is_sent_as_litellm_sends_it(lanes, raw_server):
    """What `extra_body` says of a parameter has the last word in each call, whatever the calls before it said."""
    raw_server.said = http(answer())
    for bound in (5, 5, 5, 7):
        lanes.fast(chat("openai", raw_server.base_url, max_tokens=bound, extra_body={"max_tokens": 5}), "openai")
        assert json.loads(raw_server.requests[-1].partition(b"\r\n\r\n")[2])["max_tokens"] == 5


def test_a_parameter_that_litellm_renames_is_renamed(lanes, raw_server, monkeypatch):
    """What a model takes by another name is LiteLLM's affair: such requests go through it."""
    monkeypatch.setitem(MODELS, "openai", "openai/o3-mini")
    assert not lanes.compare(raw_server, "openai", http(answer()), max_tokens=50)
    assert json.loads(raw_server.requests[-1].partition(b"\r\n\r\n")[2])["max_completion_tokens"] == 50


ODD: dict[str, dict[str, Any]] = {
    "half a character": {"messages": [{"role": "user", "content": "x\ud800y"}]},
    "no number": {"temperature": math.nan},
    "no number as seed": {"seed": math.nan},
    "endless": {"temperature": math.inf},
    "bytes": {"user": b"me"},
    "a number beyond text": {"seed": 10**5_000},
    "a set": {"stop": {"a"}},
    "yes as seed": {"seed": True},
    "no message": {"messages": []},
    "no text": {"messages": [{"role": "user", "content": ""}]},
    "no content": {"messages": [{"role": "user", "content": None}]},
    "no role": {"messages": [{"content": "Hi"}]},
    "a name": {"messages": [{"role": "user", "content": "Hi", "name": "me"}]},
    "odd role": {"messages": [{"role": ["user"], "content": "Hi"}]},
    "said twice": {"max_tokens": 5, "extra_body": {"max_tokens": 9}},
    "messages twice": {"extra_body": {"messages": []}},
    "no timeout": {"timeout": None},
    "tools": {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]},
    "stranger": {"made_up": 1},
}


@pytest.mark.parametrize("route", ["openai", "hosted_vllm"])
@pytest.mark.parametrize("case", ODD)
def test_odd_requests_are_what_they_are_with_litellm(lanes, raw_server, route, case):
    """Whatever JSON cannot say, or LiteLLM may look at twice, does with a warm lane what it does without one."""
    raw_server.said = http(answer())
    for prompt in ("A", "B", "C"):
        lanes.fast(chat(route, raw_server.base_url, prompt), route)
        lanes.fast(chat(route, raw_server.base_url, prompt, seed=1), route)
        lanes.fast(chat(route, raw_server.base_url, prompt, max_tokens=1), route)
    outcomes = []
    for sender in (lanes.slow, lanes.fast):
        before, asked = len(raw_server.requests), len(lanes.asked)
        outcome = seen(sender, chat(route, raw_server.base_url, **ODD[case]), route)
        outcomes.append((outcome, [body_and_head(request) for request in raw_server.requests[before:]]))
    assert outcomes[0] == outcomes[1]
    assert len(lanes.asked) == asked + 1


def test_no_caller_gets_what_another_changes(lanes, raw_server):
    """Answers of the direct lane share nothing: a caller may change all of its own."""
    raw_server.said = http(answer(odd={"a": [1]}))
    first, second, *_ = (lanes.fast(chat("openai", raw_server.base_url), "openai") for _ in range(5))
    third = lanes.fast(chat("openai", raw_server.base_url), "openai")
    whole = third.model_dump()
    for changed in (first, second, third):
        changed.odd["a"].append(2)
        changed.choices[0].message.content = "changed"
        changed.choices.clear()
        changed.usage.prompt_tokens = 0
        changed._hidden_params.clear()
    fourth = lanes.fast(chat("openai", raw_server.base_url), "openai")
    assert fourth.model_dump() == whole
    assert fourth._hidden_params["custom_llm_provider"] == "openai"
