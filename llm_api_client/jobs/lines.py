"""Lines of the files that go to a provider and come back: a request each, an answer each. Pure.

A line's custom_id begins with the request's position in the job, so that answers find their places wherever they are
read; a name of the caller's own follows it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm_api_client.record import as_json


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it was uploaded.

    Attributes:
        index: Position in the job.
        name: The caller's own name of it, or None.
        body: What was sent.
    """

    index: int
    name: str | None
    body: Any


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a request.

    Attributes:
        index: Position in the job.
        name: The caller's own name of it, or None.
        status: HTTP status, 0 where the request was not performed.
        body: The provider's answer.
        code: The reason why the request was not performed.
        message: The same in words.
        request_id: The provider's id of the request.
    """

    index: int
    name: str | None
    status: int = 0
    body: Any = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None


def line_of(index: int, name: str | None, url: str, body: Mapping[str, Any]) -> bytes:
    """A request as a line of a batch's file, with the line end.

    Raises:
        TypeError: There is something in it that JSON does not have.
        ValueError: Likewise NaN.
    """
    custom_id = str(index) if name is None else f"{index}:{name}"
    return as_json.text({"custom_id": custom_id, "method": "POST", "url": url, "body": body}).encode() + b"\n"


def read_asked(content: bytes) -> Iterator[Asked]:
    """The requests of a file as it was uploaded."""
    for data, index, name in _lines(content):
        yield Asked(index, name, data.get("body"))


def read_came(content: bytes) -> Iterator[Came]:
    """The answers and failures of a file as it came back; what cannot be read is left out."""
    for data, index, name in _lines(content):
        response, error = data.get("response"), data.get("error")
        if isinstance(response, dict):
            status, request_id = response.get("status_code"), response.get("request_id")
            yield Came(
                index, name, status if isinstance(status, int) else 0, response.get("body"),
                request_id=request_id if isinstance(request_id, str) else None,
            )  # fmt: skip
        elif isinstance(error, dict):
            yield Came(index, name, code=_text(error.get("code")), message=_text(error.get("message")))


def _lines(content: bytes) -> Iterator[tuple[dict[str, Any], int, str | None]]:
    # Only these are line ends: JSON's texts may hold others.
    for line in content.split(b"\n"):
        try:
            data = json.loads(line)
            number, colon, name = data["custom_id"].partition(":")
            index = int(number)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            continue  # A blank line, or none of ours.
        yield data, index, name if colon else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
