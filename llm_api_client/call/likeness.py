"""What LiteLLM makes of one answer, carried over to the next that is like it.

Two answers are alike where they differ in nothing but their id, time, texts or vectors, numbers of tokens, and the
values of their headers. What LiteLLM made of the first is a template for all: once a second answer has shown that the
template gives what LiteLLM gives, LiteLLM need not be asked any more. An answer that is like none goes through LiteLLM.
"""

import json
import marshal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from llm_api_client.call.mould import Make, mould
from llm_api_client.call.wire import Raw, merged

MOST_TEMPLATES = 20
"""Kinds of answers that are remembered of one kind of requests."""
LONGEST_KIND = 10_000
"""Bytes that answers may have in common; longer ones are like no other."""
LONG_PROMPT = 100_000
"""Tokens of a prompt from which on providers may charge more for each."""
MARSHALLED = 2
"""The last of the versions of `marshal` by which equal data are equal bytes, whoever else refers to them."""

_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_SAMPLE = 1_000
"""Tokens of which a price is asked, to know that of one."""
_LARGEST_NUMBER = 2**53
_VOLATILE = ("_response_ms", "callback_duration_ms", "litellm_call_id", "litellm_overhead_time_ms")

HeadersOf = Callable[[Mapping[str, str]], Mapping[str, str]]
"""A provider's headers by the names that LiteLLM gives them, whatever their values are."""
Price = Callable[[Any], float | None]
"""US dollars for a response of LiteLLM's, by what it says itself; None where there is no price."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the answers of one operation hold what they say.

    Attributes:
        take: Takes the texts, or vectors, out of an answer's JSON; raises where LiteLLM may read more into it.
        put: Puts as many into what LiteLLM has made of an answer.
        nothing: As many as `put` takes, and saying nothing.
        is_named: Whether what LiteLLM makes of it has the answer's id and time.
    """

    take: Callable[[dict[str, Any]], list[Any]]
    put: Callable[[Any, Sequence[Any]], None]
    nothing: Callable[[Any], Sequence[Any]]
    is_named: bool = True


def _take_messages(data: dict[str, Any]) -> list[Any]:
    return [_text(choice["message"].pop("content")) for choice in data["choices"]]


def _put_messages(response: Any, texts: Sequence[Any]) -> None:
    for choice, text in zip(response.choices, texts, strict=True):
        choice.message.content = text


def _take_texts(data: dict[str, Any]) -> list[Any]:
    return [_only(str, choice.pop("text")) for choice in data["choices"]]


def _put_texts(response: Any, texts: Sequence[Any]) -> None:
    for choice, text in zip(response.choices, texts, strict=True):
        choice.text = text


def _take_vectors(data: dict[str, Any]) -> list[Any]:
    items = data["data"]
    taken = [(_only(int, item.pop("index")), item.pop("embedding")) for item in items]
    types = {type(vector) for _, vector in taken}
    # One that holds whole numbers LiteLLM may make another of.
    if types == {list} and all(vector for _, vector in taken):
        types |= {kind for _, vector in taken for kind in set(map(type, vector))}
    if types not in ({str}, {list, float}) or any(item != {"object": "embedding"} for item in items):
        raise ValueError
    data["data"] = len(types)
    # LiteLLM's object has neither, whether the provider says them or not.
    data.pop("id", None)
    data.pop("created", None)
    data["usage"].setdefault("completion_tokens", 0)
    return taken


def _put_vectors(response: Any, vectors: Sequence[Any]) -> None:
    form = response.data[0]
    response.data = [{**form, "index": index, "embedding": vector} for index, vector in vectors]


CHATS = Shape(_take_messages, _put_messages, lambda response: [""] * len(response.choices))
COMPLETIONS = Shape(_take_texts, _put_texts, lambda response: [""] * len(response.choices))
EMBEDDINGS = Shape(_take_vectors, _put_vectors, lambda _: [(0, None)], is_named=False)


@dataclass(slots=True)
class Said:
    """The parts of an answer by which it may differ from others of its kind; the kind is the rest.

    Attributes:
        kind: The rest, as bytes.
        shape: Where its texts or vectors belong.
        id: The provider's name for it; empty where LiteLLM's object has none.
        created: When it was made, in seconds since 1970; likewise 0.
        contents: Its texts, or its vectors, each with its place.
        tokens: Those of the prompt, of the answer, and of both.
        told: What else its usage tells, such as how many tokens were cached, or spent on thoughts; None where that
            is nothing.
        headers: Its headers, by their names.
    """

    kind: bytes
    shape: Shape
    id: str
    created: int
    contents: list[Any]
    tokens: list[int]
    told: dict[str, Any] | None
    headers: dict[str, str]

    @classmethod
    def of(cls, raw: Raw, shape: Shape = CHATS) -> "Said | None":
        """An answer's parts, or None where it has a form that LiteLLM may read more into."""
        headers = merged(raw.headers)
        try:
            data = json.loads(raw.body)
            contents = shape.take(data)
            identity, created = "", 0
            if shape.is_named:
                identity, created = _only(str, data.pop("id")), _only(int, data.pop("created"))
            usage = data["usage"]
            tokens = [_only(int, usage.pop(name)) for name in _TOKENS]
            told = None
            if any(map(_says, usage.values())):
                told, data["usage"] = usage, _whether(usage)
            is_long = tokens[0] >= LONG_PROMPT
            names = [name for name, _ in raw.headers]
            kind = marshal.dumps((data, is_long, names, headers.get("content-type")), MARSHALLED)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            return None
        if not contents or len(kind) > LONGEST_KIND or not "".join(headers.values()).isascii():
            return None
        prompt, answer, total = tokens
        if min(tokens) < 0 or total != prompt + answer or (shape.is_named and not identity):
            return None
        return cls(kind, shape, identity, created, contents, tokens, told, headers)

    @property
    def is_plain(self) -> bool:
        """Whether its price follows from its tokens, each of a kind at the same price."""
        return self.told is None and self.tokens[0] < LONG_PROMPT

    @property
    def usage(self) -> dict[str, Any]:
        """All of what it tells of tokens."""
        return {**dict(zip(_TOKENS, self.tokens, strict=True)), **(self.told or {})}


@dataclass(slots=True)
class _Template:
    """What LiteLLM made of an answer.

    Attributes:
        make: Makes a response without texts. Each is a copy of its own: nothing that a caller gets is shared.
        makes_usage: Whether LiteLLM makes the response's usage of the answer's, and of nothing else.
        headers: LiteLLM's names for the answer's headers, and the provider's own for each.
        proven: Whether a second answer has shown that the template gives what LiteLLM gives.
        wrong: Whether it is known that it does not.
        per_token: US dollars for a token of the prompt, and for one of the answer, once they were asked for.
    """

    make: Make = field(repr=False)
    makes_usage: bool
    headers: Mapping[str, str]
    proven: bool = False
    wrong: bool = False
    per_token: tuple[float, float] | None = None


@dataclass(slots=True)
class Likenesses:
    """All that is known of answers to one kind of requests.

    Attributes:
        price: US dollars for a response by the price list, or None where it has none.
        headers_of: A provider's headers by LiteLLM's names.
    """

    price: Price
    headers_of: HeadersOf
    # The lock guards what is learned. LiteLLM is asked again from time to time; if it says something else by then,
    # prices included, nothing that was learned holds.
    _lock: Lock = field(default_factory=Lock)
    _templates: dict[bytes, _Template] = field(default_factory=dict)

    def answer(self, said: Said, milliseconds: float, call_id: str) -> Any:
        """LiteLLM's object for an answer, made without LiteLLM; None for a kind that is not proven."""
        template = self._templates.get(said.kind)
        if template is None or not template.proven:
            return None
        return self._filled(template, said, milliseconds, call_id)

    def knows(self, said: Said) -> bool:
        """Whether answers of this kind are made without LiteLLM."""
        template = self._templates.get(said.kind)
        return template is not None and template.proven

    def learn(self, said: Said, response: Any) -> None:
        """LiteLLM has made `response` of this answer."""
        with self._lock:
            template = self._templates.get(said.kind)
            if template is not None and template.wrong:
                return
            if template is not None:
                filled = self._filled(template, said, 0.0, "")
                if filled is not None and _looks(filled) == _looks(response):
                    template.proven = True
                    return
                if not template.proven:
                    template.wrong = True
                    return
                self._templates = {}
            makes_usage = _makes_usage(said, response.usage)
            wrong = not makes_usage and not _repeats(said, response.usage)
            named = self.headers_of({name: name for name in said.headers})
            self._add(said.kind, _Template(_without_texts(response, said.shape), makes_usage, named, wrong=wrong))

    def _add(self, kind: bytes, template: _Template) -> None:
        if len(self._templates) >= MOST_TEMPLATES:
            proven = {kind: template for kind, template in self._templates.items() if template.proven}
            self._templates = proven if len(proven) < MOST_TEMPLATES else {}
        self._templates[kind] = template

    def _filled(self, template: _Template, said: Said, milliseconds: float, call_id: str) -> Any:
        """LiteLLM's object for an answer, made of a template; None where LiteLLM had a price, and none is found now."""
        response = template.make()
        if said.shape.is_named:
            response.id, response.created = said.id, said.created
        said.shape.put(response, said.contents)
        if template.makes_usage:
            response.usage = type(response.usage)(**said.usage)
        else:
            _tell(response.usage, said.tokens, said.told)
        hidden = response._hidden_params  # noqa: SLF001  LiteLLM's place for it
        _head(response, hidden, said.headers, template.headers)
        if hidden.get("response_cost") is not None:
            hidden["response_cost"] = cost = self._cost(template, said, response)
            if cost is None:
                return None
        for name, value in zip(_VOLATILE, (milliseconds, 0.0, call_id, None), strict=True):
            if name in hidden:
                hidden[name] = value
        if getattr(response, "_response_ms", None) is not None:
            response._response_ms = milliseconds  # noqa: SLF001
        return response

    def _cost(self, template: _Template, said: Said, response: Any) -> float | None:
        if not said.is_plain:
            return self.price(response)
        each = template.per_token
        if each is None:
            prices = [self._sampled(template, prompt, _SAMPLE - prompt) for prompt in (_SAMPLE, 0)]
            if prices[0] is None or prices[1] is None:
                return None
            each = template.per_token = prices[0] / _SAMPLE, prices[1] / _SAMPLE
        return said.tokens[0] * each[0] + said.tokens[1] * each[1]

    def _sampled(self, template: _Template, prompt: int, answer: int) -> float | None:
        response = template.make()
        _tell(response.usage, (prompt, answer, prompt + answer), None)
        return self.price(response)


def _looks(response: Any) -> tuple[Any, ...]:
    """All of a response that matters to a caller."""
    hidden = response._hidden_params  # noqa: SLF001
    hidden = {name: value for name, value in dict(hidden).items() if name not in _VOLATILE}
    cost = hidden.pop("response_cost", None)
    return (
        type(response),
        response.model_dump(warnings=False),
        response.model_dump(exclude_unset=True, warnings=False),
        _counts(response.usage),
        hidden,
        None if cost is None else round(cost, 15),
        getattr(response, "_response_headers", None),
        getattr(response, "_response_ms", None) is None,
    )


def _counts(usage: Any) -> tuple[Any, ...]:
    """All of a response's usage, with what LiteLLM hides in it and prices by."""
    return usage.model_dump(), usage.model_dump(exclude_unset=True), usage.__pydantic_private__


def _makes_usage(said: Said, usage: Any) -> bool:
    """Whether LiteLLM's `usage` is what its class makes of all that an answer tells; else numbers are put into it."""
    if said.told is None:
        return False
    try:
        return _counts(type(usage)(**said.usage)) == _counts(usage)
    except (TypeError, ValueError):
        return False


def _repeats(said: Said, usage: Any) -> bool:
    """Whether every number in LiteLLM's `usage` is one that the answer has in the same place, so that none is derived.

    That cannot be left to a second answer: of many requests that begin alike the same number of tokens is cached.
    """
    if said.told is None:
        return True
    found = _numbers(usage.model_dump()) | _numbers(usage.__pydantic_private__ or {})
    return found <= _numbers(said.usage)


def _numbers(told: Mapping[str, Any], *where: str) -> set[tuple[Any, ...]]:
    """All that is not nothing in a usage, each with its place."""
    found: set[tuple[Any, ...]] = set()
    for name, more in told.items():
        if isinstance(more, Mapping):
            found |= _numbers(more, *where, name)
        elif more:
            found.add((*where, name, more))
    return found


def _tell(usage: Any, tokens: Sequence[int], told: Mapping[str, Any] | None) -> None:
    """Put numbers of tokens into a response's usage, as far as it has places for them."""
    for name, number in zip(_TOKENS, tokens, strict=True):
        setattr(usage, name, number)
    for name, more in (told or {}).items():
        if isinstance(more, dict):
            part = getattr(usage, name, None)
            for inner, number in more.items():
                if number and getattr(part, inner, None) is not None:
                    setattr(part, inner, number)
        elif more and getattr(usage, name, None) is not None:
            setattr(usage, name, more)


def _head(response: Any, hidden: Any, headers: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Put an answer's headers where LiteLLM has those of the template; some of its routes lose them."""
    if hidden.get("additional_headers"):
        hidden["additional_headers"] = {name: headers[own] for name, own in names.items()}
    if "headers" in hidden:
        hidden["headers"] = type(hidden["headers"])(headers)
    if getattr(response, "_response_headers", None) is not None:
        response._response_headers = dict(headers)  # noqa: SLF001


def _without_texts(response: Any, shape: Shape) -> Make:
    response = mould(response)()  # LiteLLM's own is the caller's
    shape.put(response, shape.nothing(response))
    return mould(response)


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


def _whether(told: dict[str, Any]) -> dict[str, Any]:
    """What a usage tells, but for its numbers: of two answers that are alike both have cached tokens, or neither.

    Raises:
        TypeError: It tells something that is not a number.
    """
    return {name: _whether_any(more) for name, more in told.items()}


def _whether_any(more: Any) -> Any:
    if isinstance(more, dict):
        return _whether(more)
    if not more:
        return more
    if type(more) not in (int, float) or not 0 < more < _LARGEST_NUMBER:
        raise TypeError
    return "some"
