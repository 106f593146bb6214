"""The structure of messages: what instructs, what must stay together, what is newest, and where the text is. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_api_client.prepare.model import Message

Unit = tuple[int, ...]
"""Positions of messages that stay or go together, ascending."""

_INSTRUCTING = frozenset({"system", "developer"})
_MEDIA = frozenset(
    {
        "image",
        "image_url",
        "input_image",
        "input_audio",
        "audio",
        "audio_url",
        "video",
        "video_url",
        "file",
        "input_file",
    }
)


def instructions(messages: Sequence[Message]) -> Unit:
    """Positions of the system and developer messages."""
    return tuple(i for i, message in enumerate(messages) if message.get("role") in _INSTRUCTING)


def units(messages: Sequence[Message]) -> list[Unit]:
    """The history without its instructions, oldest first, as units that make sense only whole.

    An assistant's calls and the answers to them are one unit, for a provider refuses the one without the other. Every
    other message is a unit of its own.
    """
    found: list[list[int]] = []
    # The unit that made a call, by the call's id or, in the older form, by the function's name. Some providers begin
    # their ids anew with each message, so that an answer belongs to the latest call of its id.
    caller: dict[tuple[str, Any], list[int]] = {}
    for index, message in enumerate(messages):
        role = message.get("role")
        if role in _INSTRUCTING:
            continue
        unit = caller.get(("call", message.get("tool_call_id"))) if role == "tool" else None
        unit = caller.get(("function", message.get("name"))) if role == "function" else unit
        if unit is None:
            unit = []
            found.append(unit)
        unit.append(index)
        for key in _calls(message):
            caller[key] = unit
    return [tuple(unit) for unit in found]


def newest_turn(messages: Sequence[Message], history: Sequence[Unit]) -> int:
    """Where in `history` the newest turn begins: at the last user message, or without any at the last unit."""
    asked = max((i for i, message in enumerate(messages) if message.get("role") == "user"), default=None)
    if asked is None:
        return max(len(history) - 1, 0)
    return next(k for k, unit in enumerate(history) if unit[-1] >= asked)


def _calls(message: Message) -> list[tuple[str, Any]]:
    calls = message.get("tool_calls")
    keys = [("call", call.get("id")) for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    call = message.get("function_call")
    return [*keys, ("function", call.get("name"))] if isinstance(call, Mapping) else keys


def is_text(part: object) -> bool:
    """Whether a part of a content is text."""
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def is_media(part: object) -> bool:
    """Whether a part of a content is an image, a sound, a film or a file."""
    return isinstance(part, Mapping) and part.get("type") in _MEDIA


def texts(message: Message) -> list[str]:
    """The texts of a message's content, in order: one for a string, one for each text part, none for None."""
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content if is_text(part)] if isinstance(content, list) else []


def with_texts(message: Message, new: Sequence[str]) -> dict[str, Any]:
    """A copy of the message with these in place of its `texts`. Parts that end up empty are left out."""
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": new[0]}
    if not isinstance(content, list):
        return dict(message)
    fresh = iter(new)
    parts = [{**part, "text": next(fresh)} if is_text(part) else part for part in content]
    return {**message, "content": [part for part in parts if not is_text(part) or part["text"]]}


def media(message: object) -> int:
    """How many parts of the message are media."""
    content = message.get("content") if isinstance(message, Mapping) else None
    return sum(map(is_media, content)) if isinstance(content, list) else 0


def without_media(message: Message) -> Message:
    """The message without its media parts; itself where it has none."""
    if not media(message):
        return message
    return {**message, "content": [part for part in message["content"] if not is_media(part)]}
