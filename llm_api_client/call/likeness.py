"""What LiteLLM makes of one answer, carried over to the next that is like it.

Two answers are alike where they differ in nothing but their id, time, texts and numbers of tokens. What LiteLLM made of
the first is a template for all: once a second answer has shown that the template gives what LiteLLM gives, LiteLLM need
not be asked any more. An answer that is like none goes through LiteLLM.
"""

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from llm_api_client.records import Usage

MOST_TEMPLATES = 200
"""Kinds of answers that are remembered of one kind of requests."""
LONG_PROMPT = 100_000
"""Tokens of a prompt from which on providers may charge more for each."""

_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_VOLATILE = frozenset({"_response_ms", "callback_duration_ms", "litellm_call_id", "litellm_overhead_time_ms"})

HeadersOf = Callable[[Mapping[str, str]], Mapping[str, str]]
"""LiteLLM's names for a provider's headers. It names some of them twice over, by some of its routes."""


@dataclass(slots=True)
class Said:
    """The parts of an answer by which it may differ from others of its kind, and the rest of it, which is its kind."""

    kind: str
    id: str
    created: int
    contents: list[str]
    tokens: list[int]

    @classmethod
    def of(cls, body: bytes) -> "Said | None":
        """An answer's parts, or None where it has a form that LiteLLM may read more into."""
        try:
            data = json.loads(body)
            said = cls(
                "",
                _only(str, data.pop("id")),
                _only(int, data.pop("created")),
                [_text(choice["message"].pop("content")) for choice in data["choices"]],
                [_only(int, data["usage"].pop(name)) for name in _TOKENS],
            )
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            return None
        if not said.contents or said.tokens[0] >= LONG_PROMPT:
            return None
        said.kind = json.dumps(data)
        return said


@dataclass(slots=True)
class _Template:
    pickled: bytes
    names: int = 1
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
    # The lock guards what is learned; a template that is proven does not change any more.
    _lock: Lock = field(default_factory=Lock)
    _templates: dict[str, _Template] = field(default_factory=dict)

    def answer(self, said: Said, headers: Mapping[str, str], milliseconds: float, call_id: str) -> Any:
        """LiteLLM's object for an answer, made without LiteLLM; None for a kind that is not proven."""
        template = self._templates.get(said.kind)
        if template is None or not template.proven:
            return None
        return self._filled(template, said, headers, milliseconds, call_id)

    def learn(self, said: Said, headers: Mapping[str, str], response: Any) -> None:
        """LiteLLM has made `response` of this answer."""
        with self._lock:
            template = self._templates.get(said.kind)
            if template is None:
                if len(self._templates) < MOST_TEMPLATES:
                    self._templates[said.kind] = _Template(pickle.dumps(response, protocol=5))
            elif not template.proven and not template.wrong:
                for template.names in (1, 2):
                    ours = self._filled(template, said, headers, 0.0, "")
                    template.proven = _looks(ours) == _looks(response)
                    if template.proven:
                        return
                template.wrong = True

    def _filled(
        self, template: _Template, said: Said, headers: Mapping[str, str], milliseconds: float, call_id: str
    ) -> Any:
        response = pickle.loads(template.pickled)  # noqa: S301  pickled by this process
        response.id, response.created = said.id, said.created
        for choice, content in zip(response.choices, said.contents, strict=True):
            choice.message.content = content
        for name, number in zip(_TOKENS, said.tokens, strict=True):
            setattr(response.usage, name, number)
        hidden = response._hidden_params  # noqa: SLF001  LiteLLM's place for it
        named = self.headers_of(headers)
        hidden["additional_headers"] = named if template.names == 1 else self.headers_of(named)
        hidden["litellm_call_id"] = call_id
        hidden["_response_ms"] = response._response_ms = milliseconds  # noqa: SLF001
        hidden["litellm_overhead_time_ms"] = None
        if hidden.get("response_cost") is not None:
            hidden["response_cost"] = self.price(Usage(said.tokens[0], said.tokens[1]))
        if getattr(response, "_response_headers", None) is not None:
            response._response_headers = dict(headers)  # noqa: SLF001
        return response


def _looks(response: Any) -> tuple[Any, ...]:
    """All of a response that matters to a caller."""
    hidden = {name: value for name, value in response._hidden_params.items() if name not in _VOLATILE}  # noqa: SLF001
    cost = hidden.pop("response_cost", None)
    return (
        type(response),
        response.model_dump(),
        hidden,
        None if cost is None else round(cost, 15),
        getattr(response, "_response_headers", None),
    )


def _only(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _text(content: Any) -> str:
    # LiteLLM takes thoughts out of a text that begins with a tag, and fills in for one that is empty.
    if type(content) is not str or not content or content.lstrip()[:1] in ("<", ""):
        raise ValueError
    return content
