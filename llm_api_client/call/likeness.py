"""What LiteLLM makes of one answer, carried over to the next that is like it.

Two answers are alike where they differ in nothing but their id, time, texts, numbers of tokens, and the values of their
headers. What LiteLLM made of the first is a template for all: once a second answer has shown that the template gives
what LiteLLM gives, LiteLLM need not be asked any more. An answer that is like none goes through LiteLLM.
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from llm_api_client.call.wire import Raw, merged
from llm_api_client.records import Usage

MOST_TEMPLATES = 20
"""Kinds of answers that are remembered of one kind of requests."""
LONGEST_KIND = 10_000
"""Characters that answers may have in common; longer ones are like no other."""
LONG_PROMPT = 100_000
"""Tokens of a prompt from which on providers may charge more for each."""

_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_VOLATILE = ("_response_ms", "callback_duration_ms", "litellm_call_id", "litellm_overhead_time_ms")

HeadersOf = Callable[[Mapping[str, str]], Mapping[str, str]]
"""LiteLLM's names for a provider's headers."""


@dataclass(slots=True)
class Said:
    """The parts of an answer by which it may differ from others of its kind; the kind is a hash of the rest."""

    kind: bytes
    id: str
    created: int
    contents: list[str]
    tokens: list[int]
    headers: dict[str, str]

    @classmethod
    def of(cls, raw: Raw) -> "Said | None":
        """An answer's parts, or None where it has a form that LiteLLM may read more into."""
        headers = merged(raw.headers)
        try:
            data = json.loads(raw.body)
            identity, created = _only(str, data.pop("id")), _only(int, data.pop("created"))
            contents = [_text(choice["message"].pop("content")) for choice in data["choices"]]
            usage = data["usage"]
            tokens = [_only(int, usage.pop(name)) for name in _TOKENS]
            rest = json.dumps([data, [name for name, _ in raw.headers], headers.get("content-type")])
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            return None
        if not identity or not contents or len(rest) > LONGEST_KIND or not "".join(headers.values()).isascii():
            return None
        prompt, answer, total = tokens
        if min(tokens) < 0 or total != prompt + answer or prompt >= LONG_PROMPT or any(map(_says, usage.values())):
            return None
        return cls(
            hashlib.blake2b(rest.encode(), digest_size=16).digest(), identity, created, contents, tokens, headers
        )


@dataclass(slots=True)
class _Template:
    # A response without texts. Each answer is a copy of its own: nothing that a caller gets is shared.
    pickled: bytes = field(repr=False)
    proven: bool = False
    wrong: bool = False


@dataclass(slots=True)
class Likenesses:
    """All that is known of answers to one kind of requests.

    Attributes:
        price: US dollars for a usage by the price list, or None where it has none.
        headers_of: LiteLLM's names for a provider's headers.
    """

    price: Callable[[Usage], float | None]
    headers_of: HeadersOf
    # The lock guards what is learned. LiteLLM is asked again from time to time; if it says something else by then,
    # prices included, nothing that was learned holds.
    _lock: Lock = field(default_factory=Lock)
    _templates: dict[bytes, _Template] = field(default_factory=dict)
    _per_token: tuple[float, float] | None = None

    def answer(self, said: Said, milliseconds: float, call_id: str) -> Any:
        """LiteLLM's object for an answer, made without LiteLLM; None for a kind that is not proven."""
        template = self._templates.get(said.kind)
        if template is None or not template.proven:
            return None
        return self._filled(template, said, milliseconds, call_id)

    def learn(self, said: Said, response: Any) -> None:
        """LiteLLM has made `response` of this answer."""
        with self._lock:
            template = self._templates.get(said.kind)
            if template is not None and template.wrong:
                return
            if template is not None:
                if _looks(self._filled(template, said, 0.0, "")) == _looks(response):
                    template.proven = True
                    return
                if not template.proven:
                    template.wrong = True
                    return
                self._templates, self._per_token = {}, None
            self._add(said.kind, _Template(_without_texts(response)))

    def _add(self, kind: bytes, template: _Template) -> None:
        if len(self._templates) >= MOST_TEMPLATES:
            proven = {kind: template for kind, template in self._templates.items() if template.proven}
            self._templates = proven if len(proven) < MOST_TEMPLATES else {}
        self._templates[kind] = template

    def _filled(self, template: _Template, said: Said, milliseconds: float, call_id: str) -> Any:
        response = pickle.loads(template.pickled)  # noqa: S301  pickled by this process
        response.id, response.created = said.id, said.created
        for choice, content in zip(response.choices, said.contents, strict=True):
            choice.message.content = content
        for name, number in zip(_TOKENS, said.tokens, strict=True):
            setattr(response.usage, name, number)
        hidden = response._hidden_params  # noqa: SLF001  LiteLLM's place for it
        hidden["additional_headers"] = self.headers_of(said.headers)
        if "headers" in hidden:
            hidden["headers"] = type(hidden["headers"])(said.headers)
        if getattr(response, "_response_headers", None) is not None:
            response._response_headers = dict(said.headers)  # noqa: SLF001
        if hidden.get("response_cost") is not None:
            hidden["response_cost"] = self._cost(said.tokens[0], said.tokens[1])
        for name, value in zip(_VOLATILE, (milliseconds, 0.0, call_id, None), strict=True):
            if name in hidden:
                hidden[name] = value
        response._response_ms = milliseconds  # noqa: SLF001
        return response

    def _cost(self, prompt: int, answer: int) -> float | None:
        each = self._per_token  # Another thread may forget it meanwhile.
        if each is None:
            prices = self.price(Usage(1_000, 0)), self.price(Usage(0, 1_000))
            if prices[0] is None or prices[1] is None:
                return None
            each = self._per_token = prices[0] / 1_000, prices[1] / 1_000
        return prompt * each[0] + answer * each[1]


def _looks(response: Any) -> tuple[Any, ...]:
    """All of a response that matters to a caller."""
    hidden = {name: value for name, value in response._hidden_params.items() if name not in _VOLATILE}  # noqa: SLF001
    cost = hidden.pop("response_cost", None)
    return (
        type(response),
        response.model_dump(),
        response.model_dump(exclude_unset=True),
        hidden,
        None if cost is None else round(cost, 15),
        getattr(response, "_response_headers", None),
    )


def _without_texts(response: Any) -> bytes:
    response = pickle.loads(pickle.dumps(response, protocol=5))  # noqa: S301  LiteLLM's own is the caller's
    for choice in response.choices:
        choice.message.content = ""
    return pickle.dumps(response, protocol=5)


def _only(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _text(content: Any) -> str:
    # LiteLLM takes thoughts out of a text that begins with a tag, and fills in for one that is empty.
    if type(content) is not str or content.lstrip()[:1] in ("<", ""):
        raise ValueError
    return content


def _says(more: Any) -> bool:
    """Whether a part of the usage says anything: if so, tokens may be counted or priced in another way."""
    return any(more.values()) if isinstance(more, dict) else bool(more)
