"""Requests from files: bytes to entries, each with its line number."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from llm_api_client.cli.parser import UsageError
from llm_api_client.record.batch_file import Entry, Fault, default_id, kind_of, parse_line, parse_object
from llm_api_client.secrets import is_secret_name, secrets_in

STANDARD = "-"
_BOM = b"\xef\xbb\xbf"
_BLOCK = 2**20


def read_requests(path: str, model: str | None) -> Iterator[Entry | Fault]:
    """Every request of a batch file, as it is read; `model` is for those that name none.

    Raises:
        UsageError: The file cannot be read.
    """
    with _opened(path) as file:
        for line, text in _text_lines(file):
            item = text if isinstance(text, Fault) else parse_line(text, line)
            if model is not None and isinstance(item, Entry) and item.request.get("model") is None:
                item.request["model"] = model
            yield item


def read_prompts(
    path: str, field: str | None, *, model: str, system: str | None, params: Mapping[str, Any]
) -> Iterator[Entry | Fault]:
    """A request for each prompt, as it is read: each line, or that field of each line's JSON object.

    Raises:
        UsageError: The file cannot be read.
    """
    before = [] if system is None else [{"role": "system", "content": system}]
    with _opened(path) as file:
        for line, text in _text_lines(file):
            if isinstance(text, Fault):
                yield text
                continue
            custom_id, prompt = default_id(line), text
            if field is not None:
                try:
                    custom_id, prompt = _field_of(text, field, custom_id)
                except ValueError as wrong:
                    yield Fault(line, custom_id, str(wrong))
                    continue
            messages = [*before, {"role": "user", "content": prompt}]
            yield Entry(line, custom_id, {"model": model, "messages": messages, **params})


def number_of_lines(path: str) -> int | None:
    """Lines of a file, or None where they can be read only once."""
    if path == STANDARD or not Path(path).is_file():
        return None
    with _opened(path) as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))


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


def _text_lines(file: BinaryIO) -> Iterator[tuple[int, str | Fault]]:
    """The lines that are not blank, each with its number from 1."""
    for number, data in enumerate(file, 1):
        line = data.rstrip(b"\r\n")
        try:
            text = (line.removeprefix(_BOM) if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            message = (
                f"not UTF-8 (at byte {error.start + 1}); convert the file, for example with: iconv -f latin1 -t utf-8"
            )
            yield number, Fault(number, default_id(number), message)
        else:
            if text and not text.isspace():
                yield number, text
