"""Where the prompt of a request is, whatever it asks for. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llm_api_client.operations import CHAT, Operation
from llm_api_client.prepare.model import Message


def prompt_of(params: Mapping[str, Any], operation: Operation = CHAT) -> Sequence[Message]:
    """A chat's messages; of what is no chat, all texts together as one message, to count and to estimate by."""
    if operation.is_chat:
        messages = params.get("messages")
        return messages if isinstance(messages, (list, tuple)) else []
    items = list(_items(params, operation))
    texts = [text for item in items for text in _text_of(item)]
    whole = [item for item in items if isinstance(item, Mapping) and "role" in item]
    return [*whole, {"role": "user", "content": "\n".join(texts)}] if texts else whole


def token_ids(params: Mapping[str, Any], operation: Operation) -> int:
    """Tokens of a prompt that is given in tokens instead of texts."""
    if operation.is_chat:
        return 0
    return sum(_ids_in(item) for item in _items(params, operation))


def with_texts_cut(params: Mapping[str, Any], operation: Operation, cut: Callable[[str], str]) -> dict[str, Any]:
    """Those of the prompt's parameters that change when `cut` is applied to each text."""
    found: dict[str, Any] = {}
    for name in operation.prompt:
        value = params.get(name)
        if isinstance(value, (list, tuple)):
            new: Any = [cut(item) if isinstance(item, str) else item for item in value]
            if any(mine is not theirs for mine, theirs in zip(new, value, strict=True)):
                found[name] = new
        elif isinstance(value, str) and (new := cut(value)) is not value:
            found[name] = new
    return found


def _items(params: Mapping[str, Any], operation: Operation) -> Iterator[Any]:
    for name in operation.prompt:
        value = params.get(name)
        if isinstance(value, (list, tuple)):
            yield from value
        elif value is not None:
            yield value


def _text_of(item: Any) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    elif isinstance(item, Mapping) and "role" not in item and isinstance(item.get("text"), str):
        yield item["text"]


def _ids_in(item: Any) -> int:
    if isinstance(item, (list, tuple)):
        return sum(map(_ids_in, item))
    return 1 if isinstance(item, int) and not isinstance(item, bool) else 0
