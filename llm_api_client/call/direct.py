"""The direct lane: what LiteLLM was seen to do for one request is done for the next that is like it, without LiteLLM.

Nothing is known here of any provider. A kind of requests is the same operation, model, server, key and parameters, and
a prompt of the same form. The first requests of a kind go through LiteLLM, and are watched on the wire: what LiteLLM
sends for them is the plan for all others, of which only the prompt, and a few parameters that LiteLLM hands on as they
are, differ.
Answers are made likewise (`likeness`). Whatever was not seen goes through LiteLLM: an answer of a new form, an error, a
connection that fails. So both lanes give the same answers and raise the same exceptions.
"""

import gzip
import hashlib
import json
import marshal
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from llm_api_client.call.likeness import (
    CHATS,
    COMPLETIONS,
    EMBEDDINGS,
    MARSHALLED,
    HeadersOf,
    Likenesses,
    Price,
    Said,
    Shape,
)
from llm_api_client.call.wire import Raw, Target

FRESH_SECONDS = 60.0
"""After this long a plan is looked at again: something that is not watched may have changed."""
MOST_KINDS = 1_000
"""Kinds of requests that are remembered; beyond, all are learned anew."""
LONGEST_PLAN = 100_000
"""Bytes that the requests of a kind may share; of longer ones none is remembered."""

# Parameters that LiteLLM hands on by the same name and value; the plan is checked for it.
_HANDED_ON = ("max_completion_tokens", "max_tokens", "seed", "user")
_OF_ANY_CALL = frozenset(
    {"api_base", "api_key", "base_url", "extra_body", "extra_headers", "model", "organization", "timeout", "user"}
)
_OF_GENERATING = frozenset(
    {
        *_OF_ANY_CALL, *_HANDED_ON, "frequency_penalty", "logit_bias", "logprobs", "n", "presence_penalty", "stop",
        "temperature", "top_p",
    }
)  # fmt: skip
_DROPPED_HEADERS = frozenset({b"accept-encoding", b"content-length"})
# What came to a request says that its plan may be wrong: a key that was replaced, a server that moved.
_DOUBTS = frozenset({301, 302, 303, 307, 308, 401, 403, 404})
_LONGEST_TYPE, _LONGEST_ENDING = 40, 6
_LONGEST_WAIT = 1_000_000.0
_LARGEST_NUMBER = 2**53
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

Form = tuple[Any, ...]


def _form_of_messages(messages: Any) -> Form | None:
    """What a chat's messages are but for their texts and images, or None where they have anything else."""
    if not isinstance(messages, list):
        return None
    forms = tuple(_form(message) for message in messages)
    return None if None in forms else forms


def _form_of_texts(asked: Any) -> Form | None:
    """What kind of texts, or of tokens, a prompt is made of, or None where it is made of anything else."""
    if type(asked) is str:
        return ("text",) if _is_said(asked) else None
    if type(asked) is not list or not asked:
        return None
    kinds = set(map(type, asked))
    if kinds == {str} and all(map(_is_said, asked)):
        # LiteLLM takes a list of one text apart.
        return "texts", len(asked) == 1
    if kinds == {list} and all(set(map(type, part)) == {int} for part in asked):
        return ("lists of tokens",)
    return ("tokens",) if kinds == {int} else None


def _is_said(text: str) -> bool:
    return bool(text) and not text.isspace()


def _form(message: Any) -> Form | None:
    """What a message is but for its texts and images, or None where it has anything else."""
    if type(message) is not dict or len(message) != 2:  # noqa: PLR2004  role and content
        return None
    role, content = message.get("role"), message.get("content")
    if type(role) is not str:
        return None
    if type(content) is str:
        return (role, "") if _is_said(content) else None
    if type(content) is not list or not content:
        return None
    parts = tuple(_form_of_part(part) for part in content)
    return None if None in parts else (role, parts)


def _form_of_part(part: Any) -> Any:
    match part:
        case {"type": "text", "text": str(text)} if len(part) == 2 and _is_said(text):  # noqa: PLR2004
            return "text"
        case {"type": "image_url", "image_url": {"url": str(url)} as image} if len(part) == 2:  # noqa: PLR2004
            return "image", _kind_of_file(url), {name: value for name, value in image.items() if name != "url"}
    return None


def _kind_of_file(url: str) -> tuple[str, str]:
    """How an address begins and ends, by which a file may be taken for one of another kind."""
    scheme, _, rest = url.partition(":")
    if scheme == "data":
        return scheme, rest[:_LONGEST_TYPE].partition(",")[0]
    ending = rest[-_LONGEST_ENDING:].rpartition(".")[2]
    return scheme[:_LONGEST_TYPE], ending if ending.isalnum() else ""


@dataclass(frozen=True, slots=True)
class Way:
    """What there is to know of an operation.

    Attributes:
        prompt: The parameter that differs from request to request.
        taken: Parameters that LiteLLM does no more with than send them.
        form: What a prompt is but for its texts, or None where LiteLLM may do more with it than send it.
        shape: Where its answers hold what they say.
    """

    prompt: str
    taken: frozenset[str]
    form: Callable[[Any], Form | None]
    shape: Shape


WAYS = {
    "completion": Way(
        "messages",
        # Without tools: LiteLLM may read a call of one out of a text.
        _OF_GENERATING
        | {"messages", "reasoning_effort", "response_format", "service_tier", "top_logprobs", "verbosity"},
        _form_of_messages,
        CHATS,
    ),
    "text_completion": Way(
        "prompt", _OF_GENERATING | {"best_of", "echo", "prompt", "suffix"}, _form_of_texts, COMPLETIONS
    ),
    "embedding": Way("input", _OF_ANY_CALL | {"dimensions", "encoding_format", "input"}, _form_of_texts, EMBEDDINGS),
}
"""By LiteLLM's names for what performs an operation."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the direct lane sees it.

    Attributes:
        kind: Hash of all of it but the prompt's texts and the parameters that are handed on.
        handed_on: Those parameters.
        prompt: The prompt: messages, texts or tokens.
        model: The model, as the request names it.
        asks: The parameter that the prompt is.
        shape: Where answers to it hold what they say.
    """

    kind: bytes
    handed_on: dict[str, Any] = field(repr=False)
    prompt: Any = field(repr=False)
    model: str
    asks: str
    shape: Shape = field(repr=False)

    @classmethod
    def of(
        cls, params: Mapping[str, Any], provider: str | None, times_changed: int = 0, function: str = "completion"
    ) -> "Request | None":
        """A request, or None where it has something that LiteLLM may do more with than send it.

        `times_changed` tells requests apart that were made before and after a change of LiteLLM's settings. `function`
        is the one of LiteLLM's that performs it.
        """
        way = WAYS.get(function)
        model, timeout, more = params.get("model"), params.get("timeout", 1.0), params.get("extra_body") or {}
        if way is None or not params.keys() <= way.taken or type(model) is not str:
            return None
        prompt = params.get(way.prompt)
        form = way.form(prompt)
        if form is None or not isinstance(timeout, int | float) or not 0 < timeout < _LONGEST_WAIT:
            return None
        handed_on = {name: params[name] for name in _HANDED_ON if _is_plain(params.get(name))}
        # What `extra_body` says again has the last word on the wire.
        if type(more) is not dict or way.prompt in more or not handed_on.keys().isdisjoint(more):
            return None
        fixed = sorted(item for item in params.items() if item[0] != way.prompt and item[0] not in handed_on)
        try:
            kind = marshal.dumps((times_changed, function, provider, fixed, list(handed_on), form), MARSHALLED)
        except ValueError:  # something that is no plain data
            return None
        hashed = hashlib.blake2b(kind, digest_size=16).digest()
        return cls(hashed, handed_on, prompt, model, way.prompt, way.shape)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What LiteLLM sent for a kind of requests.

    Attributes:
        target: The server.
        head: The head; a key is in it.
        rest: The body, but for what differs among them.
        listed: Whether a prompt is sent as a list of which it is the only one.
    """

    target: Target
    head: bytes = field(repr=False)
    rest: str = field(repr=False)
    listed: bool


class Plan:
    """How requests of one kind are sent, and what is made of their answers."""

    def __init__(self, kind: bytes, sent: _Sent, by: Any, likenesses: Likenesses) -> None:
        self.kind = kind
        self.sent = sent
        self.by = by
        """The client that LiteLLM has sent by."""
        self.likenesses = likenesses
        # A plan is good once two requests have shown it, and for so long.
        self.good_until = 0.0

    def body(self, request: Request) -> bytes | None:
        """What is sent for a request; None where JSON cannot say it."""
        try:
            prompt = [request.prompt] if self.sent.listed else request.prompt
            own = _COMPACT.encode({request.asks: prompt, **request.handed_on})
            return f"{own[:-1]},{self.sent.rest}".encode()
        except ValueError:  # half of a character
            return None


class Plans:
    """All that is known of kinds of requests.

    Args:
        price: US dollars for a response of LiteLLM's.
        headers_of: A provider's headers by LiteLLM's names.
        now: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        price: Price,
        headers_of: HeadersOf,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._price = price
        self._headers_of = headers_of
        self._now = now
        # The lock guards what is learned, who is about to look again, and the surroundings and how often they changed.
        self._lock = Lock()
        self._plans: dict[bytes, Plan] = {}
        self._seen: tuple[int, object] = (0, None)

    def request(
        self, params: Mapping[str, Any], provider: str | None, function: str = "completion", around: object = None
    ) -> Request | None:
        """As `Request.of`; `around` is what else LiteLLM goes by. When that is another object, all is learned anew."""
        if around is not self._seen[1]:
            with self._lock:
                self._seen = self._seen[0] + 1, around
                self._plans.clear()
        return Request.of(params, provider, self._seen[0], function)

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

    def learn(self, request: Request, by: Any, url: str, headers: Any, body: bytes) -> bool:
        """LiteLLM sends `body` to `url` for a request, under `headers` (pairs of bytes), and by the client `by`.

        Returns whether it is known by now how such requests are sent.
        """
        sent = _sent(request, url, headers, body)
        with self._lock:
            known = self._plans.get(request.kind)
            if sent is None:
                self._plans.pop(request.kind, None)
                return False
            if known is not None and known.sent == sent:
                known.by = by
                known.good_until = self._now() + FRESH_SECONDS
                return True
            if len(self._plans) >= MOST_KINDS:
                self._plans.clear()
            self._plans[request.kind] = Plan(request.kind, sent, by, Likenesses(self._price, self._headers_of))
            return False

    def learn_answer(self, request: Request, raw: Raw, response: Any) -> None:
        """LiteLLM has made `response` of an answer, whose body is without its encoding."""
        plan = self._plans.get(request.kind)
        if plan is None or raw.status != 200:  # noqa: PLR2004  OK
            return
        said = Said.of(raw, request.shape)
        if said is not None:
            plan.likenesses.learn(said, response)

    def forget(self, request: Request) -> None:
        """LiteLLM does more for such a request than send it."""
        with self._lock:
            self._plans.pop(request.kind, None)

    def doubt(self, request: Request, status: int) -> None:
        """A request that went without LiteLLM was answered with `status`."""
        if status in _DOUBTS:
            self.forget(request)


def plain(raw: Raw) -> Raw | None:
    """An answer without its content encoding; None where it cannot be read."""
    encodings = [value.lower() for name, value in raw.headers if name == "content-encoding"]
    if not encodings or encodings == ["identity"]:
        return raw
    try:
        return Raw(raw.status, raw.headers, gzip.decompress(raw.body)) if encodings == ["gzip"] else None
    except (OSError, EOFError, zlib.error):
        return None


def _sent(request: Request, url: str, headers: Any, body: bytes) -> _Sent | None:
    """What LiteLLM sent, or None where it did more with the request than send it."""
    parts = urlsplit(url)
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  slow to import, and needed with LiteLLM only

    proxies = getproxies()
    if (proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.netloc):
        return None
    try:
        fixed = json.loads(body)
        handed_on = {name: fixed.pop(name) for name in request.handed_on}
        prompt = fixed.pop(request.asks)
        rest = _COMPACT.encode(fixed)[1:]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None
    listed = type(request.prompt) is str and prompt == [request.prompt]
    if not listed and prompt != request.prompt:
        return None
    if handed_on != request.handed_on or not fixed or len(rest) > LONGEST_PLAN:
        return None
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    kept = [(name, value) for name, value in headers if name.lower() not in _DROPPED_HEADERS]
    lines = [b"POST %b HTTP/1.1" % path.encode(), *(b"%b: %b" % each for each in kept), b"accept-encoding: gzip", b""]
    target = Target(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    return _Sent(target, b"\r\n".join(lines), rest, listed)


def _is_plain(value: Any) -> bool:
    """Whether a value is one of those that LiteLLM hands on as it does any other of its type."""
    return bool(value) if type(value) is str else type(value) is int and 0 < value < _LARGEST_NUMBER
