"""Whether a request can be sent at all. Pure; each fault is named together with its cure."""

from collections.abc import Iterable, Mapping
from math import isfinite, isnan
from typing import Any

from llm_api_client.errors import InvalidInputError
from llm_api_client.operations import CHAT, Operation, operation_of

MAX_DEPTH = 100
"""Deepest nesting of a request; no reader of JSON is asked for more."""

PAST_THE_LIMITS = ("fallbacks", "context_window_fallback_dict", "model_list")
"""Parameters of LiteLLM's that answer a failure with further calls of its own."""

_LONGEST_PATH = 200
_SHAPE = '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}'
_SHAPE_OF_MESSAGE = '{"role": "user", "content": "Hello"}'


class _FaultError(Exception):
    """A fault in nested data; the path to it is put together on the way out, so that sound data cost nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path = ""

    def under(self, step: str) -> "_FaultError":
        self.path = (step + self.path)[:_LONGEST_PATH]
        return self

    def as_error(self) -> InvalidInputError:
        return InvalidInputError(f"{self.path} {self}")


def check_requests(requests: object) -> Iterable[Any]:
    """The argument of a batch, if it is one; the requests themselves are not looked at.

    Raises:
        InvalidInputError: It is a single request, a string, or nothing that can be iterated.
    """
    if isinstance(requests, Mapping):
        raise InvalidInputError("requests is a single dict; pass a list of request dicts: [request]")
    if isinstance(requests, (str, bytes, bytearray)) or not isinstance(requests, Iterable):
        raise InvalidInputError(f"requests is {_kind(requests)}; pass a list of request dicts, each like {_SHAPE}")
    return requests


def check_request(request: object, otherwise: Operation = CHAT) -> None:
    """Refuse a request that no provider could take. Nothing is changed, and no content is quoted.

    Args:
        request: What the caller wants to be sent.
        otherwise: What is asked for where the request does not say.

    Raises:
        InvalidInputError: What is wrong, where, and how to put it right.
    """
    if not isinstance(request, Mapping):
        raise InvalidInputError(f"the request is {_kind(request)}; it must be a dict like {_SHAPE}")
    _check_model(request)
    operation = operation_of(request, otherwise)
    if operation.is_chat:
        _check_messages(request)
    else:
        _check_needs(request, operation)
    for name in PAST_THE_LIMITS:
        if request.get(name):
            raise InvalidInputError(
                f'"{name}" makes LiteLLM send calls that no limit has admitted; leave it out, '
                "and send what failed again with another model"
            )
    seen: dict[int, bool] = {}
    for name, value in request.items():
        if not isinstance(name, str):
            raise InvalidInputError(f"the parameter name {name!r} is {_kind(name)}; parameter names are strings")
        if name != "messages":
            try:
                _walk(value, seen)
            except _FaultError as fault:
                raise fault.under(name).as_error() from None


def _check_model(request: Mapping[Any, Any]) -> None:
    model = request.get("model")
    if model is None:
        raise InvalidInputError(f'the request has no "model"; name one, as in {_SHAPE}')
    if not isinstance(model, str):
        raise InvalidInputError(f'"model" is {_kind(model)}; give its name as a string, as in {_SHAPE}')
    if not model or model.isspace():
        raise InvalidInputError(f'"model" is empty; name one, as in {_SHAPE}')


def _check_needs(request: Mapping[Any, Any], operation: Operation) -> None:
    for name in operation.needs:
        value = request.get(name)
        if value is None:
            raise InvalidInputError(f'the request has no "{name}", which {operation.name} needs')
        if isinstance(value, (str, bytes, list, tuple)) and not value:
            raise InvalidInputError(f'"{name}" is empty; {operation.name} needs it')


def _check_messages(request: Mapping[Any, Any]) -> None:
    messages = request.get("messages")
    if messages is None:
        raise InvalidInputError(f'the request has no "messages"; give a list of them, as in {_SHAPE}')
    if not isinstance(messages, (list, tuple)):
        raise InvalidInputError(f'"messages" is {_kind(messages)}; give a list, as in [{_SHAPE_OF_MESSAGE}]')
    if not messages:
        raise InvalidInputError(f'"messages" is empty; give at least one, as in [{_SHAPE_OF_MESSAGE}]')
    seen: dict[int, bool] = {}
    for index, message in enumerate(messages):
        try:
            _check_message(message, seen)
        except _FaultError as fault:
            raise fault.under(f"messages[{index}]").as_error() from None


def _check_message(message: object, seen: dict[int, bool]) -> None:
    if not isinstance(message, Mapping):
        cure = "pass its .model_dump()" if hasattr(message, "model_dump") else f"give a dict like {_SHAPE_OF_MESSAGE}"
        raise _FaultError(f"is {_kind(message)}; {cure}")
    role = message.get("role")
    if not isinstance(role, str):
        fault = 'has no "role"' if role is None else f'has as "role" {_kind(role)}'
        raise _FaultError(f'{fault}; give "user", "assistant", "system", "developer" or "tool"')
    content = message.get("content")
    if content is None:
        if "content" not in message and not message.get("tool_calls") and not message.get("function_call"):
            raise _FaultError(f'has no "content"; give it some, as in {_SHAPE_OF_MESSAGE}')
    elif isinstance(content, list):
        for index, part in enumerate(content):
            if not isinstance(part, Mapping):
                raise _FaultError(
                    f'is {_kind(part)}; parts of a content are dicts like {{"type": "text", "text": "Hello"}}'
                ).under(f".content[{index}]")
    elif not isinstance(content, str):
        raise _FaultError(f'has as "content" {_kind(content)}; give a string, None, or a list of part dicts')
    _walk(message, seen, names=True)


def _walk(value: object, seen: dict[int, bool], depth: int = 0, *, names: bool = False) -> None:
    """Find numbers and strings that JSON cannot carry. Objects that are not plain data are none of its business.

    Args:
        value: Plain data, or anything else.
        seen: Containers met before, by identity: True while within it, so that a circle is found at its first turn
            and data that share parts are walked once.
        depth: Containers around this value.
        names: Whether the keys of dicts must be strings. Elsewhere numbers are usual: `logit_bias={50256: -100}`.
    """
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value)
    elif isinstance(value, int):
        return
    elif isinstance(value, float):
        if not isfinite(value):
            raise _FaultError(f"is {'NaN' if isnan(value) else 'infinite'}; leave it out, or give a finite number")
    elif isinstance(value, (Mapping, list, tuple)):
        within = seen.get(id(value))
        if within or depth >= MAX_DEPTH:
            raise _FaultError(
                "contains itself" if within else f"is nested more than {MAX_DEPTH} deep" + "; give plain data"
            )
        if within is None:
            seen[id(value)] = True
            _walk_into(value, seen, depth + 1, names=names)
            seen[id(value)] = False


def _walk_into(
    value: Mapping[Any, Any] | list[Any] | tuple[Any, ...], seen: dict[int, bool], depth: int, *, names: bool
) -> None:
    keyed = isinstance(value, Mapping)
    for step, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        if keyed and names and not isinstance(step, str):
            raise _FaultError(f"has a key {_kind(step)}; keys are strings")
        try:
            _walk(item, seen, depth, names=names)
        except _FaultError as fault:
            raise fault.under(f".{step}" if isinstance(step, str) else f"[{step!r}]") from None


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _FaultError(
            f"has half a character (a lone surrogate) at position {error.start}, which cannot be sent; "
            'clean it with text.encode("utf-8", "replace").decode()'
        ) from None


def _kind(value: object) -> str:
    """What a value is, in words, without showing it."""
    return "None" if value is None else f"of type {type(value).__name__}"
