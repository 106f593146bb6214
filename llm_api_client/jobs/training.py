"""Files of examples for fine-tuning: read line by line, and every fault named before anything is uploaded."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_api_client.errors import InvalidInputError
from llm_api_client.record.batch_file import kind_of, parse_object

LEAST_EXAMPLES = 10
"""Examples that a provider asks for at least."""

MOST_SHOWN = 20
"""Faults that are named one by one."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_SHAPE = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """A file that can be trained on.

    Attributes:
        path: Where it is.
        examples: Examples that it has.
        bytes: How large it is.
    """

    path: str
    examples: int
    bytes: int


def check_training_file(path: str | os.PathLike[str], *, least: int = LEAST_EXAMPLES) -> TrainingFile:
    """Check a file of chats, a JSON object a line; the file is read once, and no more than a line of it is kept.

    Args:
        path: The file.
        least: Examples that it must have. Default 10; a file for validation may have fewer.

    Raises:
        InvalidInputError: The file cannot be read, or what is wrong with which of its lines: all that is wrong, of
            which the first 20 are named. No content is quoted.
    """
    name = os.fspath(path)
    examples = size = wrong = 0
    shown: list[str] = []
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                size += len(line)
                faults = list(_faults(line))
                examples += not faults
                wrong += len(faults)
                shown += [f"line {number}: {fault}" for fault in faults[: MOST_SHOWN - len(shown)]]
    except OSError as error:
        message = f"cannot read {name}: {error.strerror or error}"
        raise InvalidInputError(message) from error
    if wrong:
        more = f"\nand {wrong - len(shown)} more" if wrong > len(shown) else ""
        found = "\n".join(shown)
        message = f"{name} cannot be trained on; each line is a chat like {_SHAPE}\n{found}{more}"
        raise InvalidInputError(message)
    if examples < least:
        message = f"{name} has {examples} examples, and training takes at least {least}; add some"
        raise InvalidInputError(message)
    return TrainingFile(name, examples, size)


def _faults(line: bytes) -> Iterator[str]:
    """What is wrong with a line."""
    try:
        text = line.rstrip(b"\r\n").decode()
        if not text.strip():
            yield "blank; remove it"
            return
        data = parse_object(text)
    except UnicodeDecodeError as error:
        yield f"not UTF-8 (at byte {error.start + 1}); convert the file"
        return
    except ValueError as error:
        yield str(error)
        return
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        found = "missing" if "messages" not in data else "empty" if messages == [] else kind_of(messages)
        yield f'"messages" is {found}; give a list of messages'
        return
    for index, message in enumerate(messages):
        fault = _fault_of(message)
        if fault is not None:
            yield f"messages[{index}] {fault}"
    if not any(isinstance(message, Mapping) and message.get("role") == "assistant" for message in messages):
        yield "no message is the assistant's; there is nothing to learn from it"


def _fault_of(message: Any) -> str | None:
    if not isinstance(message, Mapping):
        return f"is {kind_of(message)}; give an object"
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        return f"has {'no role' if role is None else 'a role that is not known'}; give one of {', '.join(ROLES)}"
    if content is None and not message.get("tool_calls") and not message.get("function_call"):
        return 'has no "content"; give it some'
    if content is not None and not isinstance(content, str | list):
        return f'has as "content" {kind_of(content)}; give a string, or a list of parts'
    if content in ("", []) and role == "assistant":
        return 'has an empty "content"; give it some'
    if message.get("weight") not in (None, 0, 1):
        return 'has a "weight" that is neither 0 nor 1'
    return None
