"""What a prompt comes to in tokens where no tokenizer is asked: an estimate, a bound, and a sample. Pure.

Nothing here raises, whatever a message contains.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from llm_api_client.prepare.messages import is_media, media

CHARACTERS_PER_TOKEN = 3
"""Low for English (4 to 5), high for Chinese or Japanese (about 1): a middle that seldom underrates."""

MEDIA_TOKENS = 765
"""Tokens of one image, sound, film or file: an image of 1024 by 1024 pixels in high detail for OpenAI's 4o models."""

MESSAGE_OVERHEAD = 8
"""The most tokens that a message, a name or a tool costs beyond its text, in any format of OpenAI's."""

_MAX_DEPTH = 64


def estimate_tokens(messages: Iterable[object], tools: object = None) -> int:
    """Tokens of a prompt, from its characters alone.

    Args:
        messages: Messages, of whatever shape.
        tools: The tools of the request, which are part of the prompt.
    """
    characters = parts = 0
    for message in messages or ():
        if _is_plain(message):
            characters += len(message["content"])
            continue
        characters += sum(map(len, _strings(message, keys=False)))
        parts += media(message)
    if tools:
        characters += sum(map(len, _strings(tools, keys=True)))
    return characters // CHARACTERS_PER_TOKEN + parts * MEDIA_TOKENS


def most_tokens(messages: Iterable[object], tools: object = None) -> int:
    """A bound that no tokenizer of bytes exceeds: a token is at least one byte of UTF-8."""
    bound = MESSAGE_OVERHEAD
    for message in messages:
        if _is_plain(message):
            bound += MESSAGE_OVERHEAD + _PLAIN_LENGTH + sum(map(_utf8_length, message.values()))
            continue
        bound += MESSAGE_OVERHEAD + sum(map(_utf8_length, _strings(message, keys=True)))
        bound += media(message) * MEDIA_TOKENS
    if tools:
        bound += sum(MESSAGE_OVERHEAD + _utf8_length(text) for text in _strings(tools, keys=True))
    return bound


_PLAIN_LENGTH = len("role" + "content")


def _is_plain(message: Any) -> TypeGuard[dict[str, str]]:
    """Whether a message is what nearly all are, a role and a text: nothing is to be searched for in it."""
    return (
        type(message) is dict
        and len(message) == 2  # noqa: PLR2004  role and content
        and type(message.get("content")) is str
        and type(message.get("role")) is str
    )


def sample(text: str, pieces: int, length: int) -> str:
    """`pieces` evenly spaced pieces of `length` characters each; the text itself where it is not longer."""
    if len(text) <= pieces * length:
        return text
    last = len(text) - length
    starts = (last * i // max(pieces - 1, 1) for i in range(pieces))
    return "".join(text[start : start + length] for start in starts)


def text_of(messages: Iterable[object], tools: object = None) -> str:
    """All the text of a prompt in one string, for sampling."""
    strings = [text for message in messages for text in _strings(message, keys=False)]
    return "\n".join([*strings, *_strings(tools, keys=True)])


_STRUCTURE = frozenset({"role", "type", "id", "tool_call_id"})


def _strings(value: object, *, keys: bool, above: tuple[int, ...] = ()) -> Iterator[str]:
    """Every string in plain data, media left out.

    Args:
        value: Anything; what is not plain data has no strings.
        keys: Whether the keys of dicts and what is only structure count too.
        above: Identities of the containers around, against circles.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        if id(value) in above or len(above) >= _MAX_DEPTH:
            return
        above = (*above, id(value))
        if not isinstance(value, Mapping):
            for item in value:
                yield from _strings(item, keys=keys, above=above)
        elif not is_media(value):
            for key, item in value.items():
                if keys:
                    yield from _strings(key, keys=keys, above=above)
                if keys or key not in _STRUCTURE:
                    yield from _strings(item, keys=keys, above=above)


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
