"""Batch files in OpenAI's format, one JSON object a line: text to request, result to text. Pure.

Lines come in two kinds, freely mixed: a plain request (`{"model": …, "messages": …}`, with a `custom_id` or without),
and a line of OpenAI's Batch API (`{"custom_id": …, "method": "POST", "url": …, "body": {…}}`).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from llm_api_client.errors import APICallException, InvalidInputError, LLMAPIClientError
from llm_api_client.operations import CHAT, OPERATIONS, operation_of
from llm_api_client.record import as_json
from llm_api_client.records import Result, request_id_of

URLS = {operation.path: operation for operation in OPERATIONS}
"""Endpoints that a line may name."""

_ENVELOPE = ("body", "url", "method")


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of a batch file.

    Attributes:
        line: Number of its line, from 1.
        custom_id: As given, or `request-<line>`.
        request: Parameters of the call.
    """

    line: int
    custom_id: str
    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is no request.

    Attributes:
        line: Number of the line, from 1.
        custom_id: As given, as far as it could be read, or `request-<line>`.
        message: What is wrong and how to put it right; quotes no content.
    """

    line: int
    custom_id: str
    message: str


def default_id(line: int) -> str:
    """The custom_id of a line that gives none."""
    return f"request-{line}"


def parse_lines(lines: Iterable[str]) -> Iterator[Entry | Fault]:
    """The requests of a file's lines, in order; blank lines are counted and left out."""
    for number, text in enumerate(lines, 1):
        if text and not text.isspace():
            yield parse_line(text, number)


def parse_line(text: str, line: int) -> Entry | Fault:
    """One line that is not blank."""
    custom_id = default_id(line)
    try:
        data = parse_object(text)
        given = data.pop("custom_id", None)
        custom_id = given if isinstance(given, str) else custom_id
        return Entry(line, custom_id, _request_of(data, given))
    except ValueError as wrong:
        return Fault(line, custom_id, str(wrong))


def parse_object(text: str) -> dict[str, Any]:
    """A line's JSON object.

    Raises:
        ValueError: It holds none; the message says why, and quotes no content.
    """
    try:
        data = json.loads(text.removeprefix("\ufeff"), parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as wrong:
        message = f"not JSON: {wrong.msg} at column {wrong.colno}"
        raise ValueError(message) from None
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(data, dict):
        message = f"the JSON is {kind_of(data)}; give an object: {{…}}"
        raise ValueError(message)  # noqa: TRY004  a fault of the text
    return data


def repeated_ids(items: Iterable[Entry | Fault]) -> Iterator[tuple[int, int]]:
    """Lines whose custom_id an earlier line has, each with that line."""
    first: dict[str, int] = {}
    for item in items:
        earlier = first.setdefault(item.custom_id, item.line)
        if earlier != item.line:
            yield item.line, earlier


def request_line(entry: Entry) -> str:
    """An entry as a line of OpenAI's Batch API, without the line end.

    Raises:
        ValueError: The request is not plain data, or holds NaN.
    """
    body = {name: value for name, value in entry.request.items() if name != "endpoint"}
    url = operation_of(entry.request).path
    line = {"custom_id": entry.custom_id, "method": "POST", "url": url, "body": body}
    try:
        return as_json.text(line)
    except TypeError as wrong:
        message = f"line {entry.line}: {wrong}"
        raise ValueError(message) from None


def result_line(entry: Entry, result: Result) -> str:
    """What became of an entry, as a line of the output, without the line end.

    A failure has its reason in `error`, this library's class as its code. Where the provider answered with an HTTP
    error, that answer stands in `response`, as OpenAI has it.
    """
    if result.error is None:
        body = as_json.dumped(result.response)
        response = {"status_code": 200, "request_id": request_id_of(result.response), "body": body}
        return _output(entry, response, None)
    return _output(entry, _http_error(result), _error(result.error))


def failure_line(item: Entry | Fault, error: LLMAPIClientError) -> str:
    """A line of the output for what was never sent, without the line end."""
    return _output(item, None, _error(error))


def fault_line(fault: Fault) -> str:
    """A faulty line's line of the output, without the line end."""
    return failure_line(fault, InvalidInputError(f"line {fault.line}: {fault.message}"))


def _request_of(data: dict[str, Any], custom_id: Any) -> dict[str, Any]:
    """The request of a line: the line itself, or its body."""
    if custom_id is not None and not isinstance(custom_id, str):
        message = f"custom_id is {kind_of(custom_id)}; give a string"
        raise ValueError(message)
    if not any(name in data for name in _ENVELOPE):
        return data
    method, url, body = data.get("method", "POST"), data.get("url", CHAT.path), data.get("body")
    operation = URLS.get(url) if isinstance(url, str) else None
    if operation is None:
        message = f'this "url" is not supported; there are {", ".join(URLS)}'
        raise ValueError(message)
    if not isinstance(method, str) or method.upper() != "POST":
        raise ValueError('this "method" is not supported; give "POST"')
    if not isinstance(body, dict):
        found = kind_of(body) if "body" in data else "missing"
        message = f'the "body" is {found}; give an object: {{"model": …, "messages": […]}}'
        raise ValueError(message)  # noqa: TRY004  a fault of the text
    if "messages" in data or "model" in data:
        raise ValueError('"model" or "messages" stand beside the "body"; put them into it')
    return body if operation is CHAT else {**body, "endpoint": operation.name}


def _output(item: Entry | Fault, response: Any, error: Any) -> str:
    line = {"id": f"batch_req_{item.line}", "custom_id": item.custom_id, "response": response, "error": error}
    return as_json.text_at_any_rate(line)


def _http_error(result: Result) -> Any:
    """The provider's own answer to a request that failed, or None where there was none."""
    error = result.error
    if not isinstance(error, APICallException) or error.status_code < 400:  # noqa: PLR2004  HTTP errors begin there
        return None
    if not result.attempts or isinstance(error.__cause__, LLMAPIClientError):
        return None  # The status is another request's, whose refusal spared this one the call.
    return {"status_code": error.status_code, "request_id": error.request_id, "body": _error_body(error)}


def _error_body(error: APICallException) -> dict[str, Any]:
    try:
        body = json.loads(error.response_body or "")
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return body
    return {"error": {"message": error.message, "type": type(error).__name__, "param": None, "code": None}}


def _error(error: LLMAPIClientError) -> dict[str, str]:
    return {"code": type(error).__name__, "message": error.message}


def _no_constant(name: str) -> Any:
    message = f"{name} is not JSON; leave it out, or give a number"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number is too large")
    return number


def kind_of(value: Any) -> str:
    """What a JSON value is, in words, without showing it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
