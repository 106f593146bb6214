"""The direct lane: what LiteLLM was seen to do for one request is done for the next that is like it, without LiteLLM.

Nothing is known here of any provider. A kind of requests is the same model, server, key and parameters, and messages of
the same form. The first requests of a kind go through LiteLLM, and are watched on the wire: what LiteLLM sends for them
is the plan for all others, of which only the messages, and a few parameters that LiteLLM hands on as they are, differ.
Answers are made likewise (`likeness`). Whatever was not seen goes through LiteLLM: an answer of a new form, an error, a
connection that fails. So both lanes give the same answers and raise the same exceptions.
"""

import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from llm_api_client.call.likeness import HeadersOf, Likenesses, Said
from llm_api_client.call.wire import Raw, Target
from llm_api_client.records import Usage

FRESH_SECONDS = 60.0
"""After this long a plan is looked at again: a key in the environment, or a setting of LiteLLM's, may have changed."""
MOST_KINDS = 1_000
"""Kinds of requests that are remembered; beyond, all are learned anew."""

# Parameters that LiteLLM hands on by the same name and value; the plan is checked for it.
_HANDED_ON = ("max_completion_tokens", "max_tokens", "seed", "user")
_TAKEN = frozenset(
    {
        *_HANDED_ON, "api_base", "api_key", "base_url", "extra_body", "extra_headers", "frequency_penalty",
        "logit_bias", "logprobs", "messages", "model", "n", "organization", "parallel_tool_calls", "presence_penalty",
        "reasoning_effort", "response_format", "service_tier", "stop", "temperature", "timeout", "tool_choice", "tools",
        "top_logprobs", "top_p", "verbosity",
    }
)  # fmt: skip
_DROPPED_HEADERS = frozenset({"accept-encoding", "connection", "content-length", "host"})
_COMPACT = {"ensure_ascii": False, "separators": (",", ":")}

Form = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the direct lane sees it.

    Attributes:
        kind: All of it but the messages' texts and the parameters that are handed on.
        handed_on: Those parameters.
        messages: The messages.
        model: The model, as the request names it.
    """

    kind: str
    handed_on: dict[str, Any]
    messages: list[Any]
    model: str

    @classmethod
    def of(cls, params: Mapping[str, Any], provider: str | None) -> "Request | None":
        """A request, or None where it has something that LiteLLM may do more with than send it."""
        if not params.keys() <= _TAKEN:
            return None
        messages = params["messages"]
        forms = [_form(message) for message in messages] if isinstance(messages, list) else [None]
        if None in forms or not isinstance(params.get("timeout", 1.0), int | float):
            return None
        handed_on = {name: params[name] for name in _HANDED_ON if params.get(name) is not None}
        fixed = {name: value for name, value in params.items() if name != "messages" and name not in handed_on}
        try:
            kind = json.dumps([provider, fixed, sorted(handed_on), forms], sort_keys=True)
        except (TypeError, ValueError, RecursionError):
            return None
        return cls(kind, handed_on, messages, params["model"])


@dataclass(frozen=True, slots=True)
class _Sent:
    """What LiteLLM sent for a kind of requests, but for what differs among them."""

    url: str
    headers: dict[str, str]
    fixed: dict[str, Any]


class Plan:
    """How requests of one kind are sent, and what is made of their answers."""

    def __init__(self, sent: _Sent, likenesses: Likenesses) -> None:
        self.sent = sent
        self.likenesses = likenesses
        self.headers = {**sent.headers, "accept-encoding": "gzip"}
        url = urlsplit(sent.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        path = f"{url.path}?{url.query}" if url.query else url.path
        self.target = Target(url.scheme, url.hostname or "", port, path or "/")
        self._rest = json.dumps(sent.fixed, **_COMPACT)[1:]  # type: ignore[arg-type]
        # A plan is good once two requests have shown it; until then, and from time to time, LiteLLM is watched again.
        self.good_until = 0.0

    def doubt(self) -> None:
        """Something went wrong with it: LiteLLM is watched at the next request."""
        self.good_until = min(self.good_until, 1e-9) if self.good_until else 0.0

    def body(self, request: Request) -> bytes:
        """What is sent for a request."""
        own = json.dumps({"messages": request.messages, **request.handed_on}, **_COMPACT)  # type: ignore[arg-type]
        return f"{own[:-1]},{self._rest}".encode()


class Plans:
    """All that is known of kinds of requests.

    Args:
        price: US dollars for a model's usage.
        headers_of: LiteLLM's names for a provider's headers.
        now: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        price: Callable[[str, Usage], float | None],
        headers_of: HeadersOf,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._price = price
        self._headers_of = headers_of
        self._now = now
        # The lock guards what is learned, and who is about to look again.
        self._lock = Lock()
        self._plans: dict[str, Plan] = {}

    def of(self, request: Request) -> Plan | None:
        """How to send a request; None where LiteLLM is to be watched."""
        plan = self._plans.get(request.kind)
        if plan is None or not plan.good_until:
            return None
        now = self._now()
        if now >= plan.good_until:
            with self._lock:
                if now >= plan.good_until:
                    # One goes through LiteLLM, and the others go on meanwhile.
                    plan.good_until = now + FRESH_SECONDS
                    return None
        return plan

    def learn(self, request: Request, provider: str | None, url: str, headers: Any, body: bytes) -> None:
        """LiteLLM has sent `body` to `url` for a request."""
        sent = _sent(request, url, headers, body)
        with self._lock:
            known = self._plans.get(request.kind)
            if sent is None:
                self._plans.pop(request.kind, None)
            elif known is not None and known.sent == sent:
                known.good_until = self._now() + FRESH_SECONDS
            else:
                if len(self._plans) >= MOST_KINDS:
                    self._plans.clear()
                self._plans[request.kind] = Plan(sent, self._likenesses(provider, request.model))

    def learn_answer(self, request: Request, raw: Raw, response: Any) -> None:
        """LiteLLM has made `response` of an answer."""
        plan = self._plans.get(request.kind)
        said = Said.of(raw.body) if plan is not None and raw.status == 200 else None  # noqa: PLR2004  OK
        if plan is not None and said is not None:
            plan.likenesses.learn(said, merged(raw.headers), response)

    def _likenesses(self, provider: str | None, model: str) -> Likenesses:
        name = model if provider is None or model.startswith(f"{provider}/") else f"{provider}/{model}"
        unit: list[tuple[float, float] | None] = []

        def price(usage: Usage) -> float | None:
            if not unit:
                prompt, answer = self._price(name, Usage(1_000, 0)), self._price(name, Usage(0, 1_000))
                unit.append(None if prompt is None or answer is None else (prompt / 1_000, answer / 1_000))
            if unit[0] is None:
                return None
            return usage.prompt_tokens * unit[0][0] + usage.completion_tokens * unit[0][1]

        return Likenesses(price, self._headers_of)


def plain(raw: Raw) -> Raw | None:
    """An answer without its content encoding; None where it cannot be read."""
    encoding = merged(raw.headers).get("content-encoding", "identity").lower()
    try:
        match encoding:
            case "identity":
                return raw
            case "gzip":
                return Raw(raw.status, raw.headers, gzip.decompress(raw.body))
    except (OSError, EOFError, zlib.error):
        pass
    return None


def merged(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by their names in lower case, the values of a repeated one joined, as LiteLLM sees them."""
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def _sent(request: Request, url: str, headers: Any, body: bytes) -> _Sent | None:
    """What LiteLLM sent, or None where it did more with the request than send it."""
    parts = urlsplit(url)
    proxies = getproxies()
    if (proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.netloc):
        return None
    try:
        fixed = json.loads(body)
        handed_on = {name: fixed.pop(name) for name in request.handed_on}
        messages = fixed.pop("messages")
    except (AttributeError, KeyError, ValueError):
        return None
    if messages != request.messages or handed_on != request.handed_on or not fixed:
        return None
    kept = {name: value for name, value in headers.items() if name.lower() not in _DROPPED_HEADERS}
    return _Sent(url, kept, fixed)


def _form(message: Any) -> Form | None:
    """What a message is but for its texts and images, or None where it has anything else."""
    if type(message) is not dict or len(message) != 2:  # noqa: PLR2004  role and content
        return None
    role, content = message.get("role"), message.get("content")
    if type(content) is str and content:
        return role, ""
    if type(content) is not list or not content:
        return None
    parts = tuple(_form_of_part(part) for part in content)
    return None if None in parts else (role, parts)


def _form_of_part(part: Any) -> Any:
    match part:
        case {"type": "text", "text": str(text)} if len(part) == 2 and text:  # noqa: PLR2004  nothing else
            return "text"
        case {"type": "image_url", "image_url": {"url": str()} as image} if len(part) == 2:  # noqa: PLR2004
            return "image", image.get("detail"), sorted(image)
    return None
