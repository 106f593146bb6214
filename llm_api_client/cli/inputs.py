"""Requests from files: bytes to entries, each with its line number."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from llm_api_client.cli.parser import UsageError
from llm_api_client.record.batch_file import Entry, Fault, default_id, kind_of, parse_lines, parse_object
from llm_api_client.secrets import is_secret_name, secrets_in

STANDARD = "-"
_BOM = b"\xef\xbb\xbf"


def read_requests(path: str, model: str | None) -> list[Entry | Fault]:
    """Every request of a batch file; `model` is for those that name none.

    Raises:
        UsageError: The file cannot be read.
    """
    with _opened(path) as file:
        items = list(parse_lines(_text_lines(file, path)))
    for item in items:
        if model is not None and isinstance(item, Entry) and item.request.get("model") is None:
            item.request["model"] = model
    return items


def read_prompts(
    path: str, field: str | None, *, model: str, system: str | None, params: Mapping[str, Any]
) -> list[Entry | Fault]:
    """A request for each prompt: each line, or that field of each line's JSON object.

    Raises:
        UsageError: The file cannot be read.
    """
    before = [] if system is None else [{"role": "system", "content": system}]
    items: list[Entry | Fault] = []
    with _opened(path) as file:
        for line, text in enumerate(_text_lines(file, path), 1):
            if not text or text.isspace():
                continue
            custom_id, prompt = default_id(line), text
            if field is not None:
                try:
                    custom_id, prompt = _field_of(text, field, custom_id)
                except ValueError as wrong:
                    items.append(Fault(line, custom_id, str(wrong)))
                    continue
            messages = [*before, {"role": "user", "content": prompt}]
            items.append(Entry(line, custom_id, {"model": model, "messages": messages, **params}))
    return items


def parse_params(texts: Sequence[str]) -> dict[str, Any]:
    """`temperature=0.2` as a request's parameter: JSON where it is any, else text.

    Raises:
        UsageError: It is no parameter, or one that does not belong on a command line.
    """
    params: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            message = f"--param takes NAME=VALUE, such as temperature=0.2; this one has no name: {name[:20]!r}"
            raise UsageError(message)
        if name in {"model", "messages"}:
            message = f"--param {name}=…: the prompts make the messages, and --model names the model"
            raise UsageError(message)
        try:
            params[name] = json.loads(value)
        except (ValueError, RecursionError):
            params[name] = value
        if is_secret_name(name) or secrets_in(params[name]):
            message = (
                f"--param {name}=…: a command line shows to others; put the key into an environment variable and "
                "name that with --api-key-env"
            )
            raise UsageError(message)
    return params


def _field_of(text: str, field: str, custom_id: str) -> tuple[str, str]:
    data = parse_object(text)
    if field not in data:
        message = f"there is no field {field!r}"
        raise ValueError(message)
    prompt = data[field]
    if not isinstance(prompt, str):
        message = f"the field {field!r} is {kind_of(prompt)}; prompts are strings"
        raise ValueError(message)  # noqa: TRY004  a fault of the text
    given = data.get("custom_id")
    return given if isinstance(given, str) else custom_id, prompt


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        if path == STANDARD:
            yield sys.stdin.buffer
        else:
            with open(path, "rb") as file:  # noqa: PTH123  its errors name the path as it was given
                yield file
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise UsageError(message) from error


def _text_lines(file: BinaryIO, path: str) -> Iterator[str]:
    for number, data in enumerate(file, 1):
        line = data.rstrip(b"\r\n")
        try:
            yield (line.removeprefix(_BOM) if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            message = (
                f"{path}, line {number}: not UTF-8 (at byte {error.start + 1}); convert the file, for example with: "
                "iconv -f latin1 -t utf-8"
            )
            raise UsageError(message) from None
