"""How many tokens a payload comes to, whatever its endpoint."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from llm_api_client.admit.answers import ASSUMED
from llm_api_client.call import litellm_door
from llm_api_client.errors import InvalidInputError
from llm_api_client.operations import Operation, operation_named
from llm_api_client.prepare.counter import TokenCounter
from llm_api_client.prepare.messages import is_media
from llm_api_client.prepare.prompt import prompt_of, token_ids
from llm_api_client.prepare.tokens import MEDIA_TOKENS, text_of
from llm_api_client.service.utilities import endpoint_from_url

logger = logging.getLogger(__name__)

_DEEPEST = 64


def count_payload_tokens(payload: Mapping[str, Any], endpoint: str) -> dict[str, int]:
    """Tokens of a payload and of its answer, before it is sent. Never asks the network.

    The prompt is counted as the model's tokenizer counts it, where that is on this machine, and otherwise estimated.
    It is the messages and tools of a chat, the `prompt` of a completion, the `input` of embeddings, and of any other
    payload every text in it. An image, a sound or a file counts as a constant.

    Args:
        payload: What would be sent.
        endpoint: Where to: a path such as "chat/completions", or a whole address.

    Returns:
        `prompt_tokens`; `completion_tokens`, which are those that the payload allows, 512 for each answer where a chat
        or a completion sets no bound, and 0 where nothing is generated; and `total_tokens`.
    """
    operation = _operation(endpoint)
    model = payload.get("model")
    counter = TokenCounter(litellm_door.Facts(), logger)
    prompt = _prompt_tokens(counter, model if isinstance(model, str) else "", payload, operation)
    completion = _answer_tokens(payload, operation)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _operation(endpoint: str) -> Operation | None:
    try:
        return operation_named(endpoint_from_url(endpoint) or endpoint.strip("/"))
    except InvalidInputError:
        return None


def _prompt_tokens(counter: TokenCounter, model: str, payload: Mapping[str, Any], operation: Operation | None) -> int:
    if operation is not None and operation.is_chat:
        return counter.count(model, prompt_of(payload), payload.get("tools"))
    said = payload if operation is None else {name: payload.get(name) for name in operation.prompt}
    text = text_of([{name: value for name, value in said.items() if name != "model"}])
    tokens = MEDIA_TOKENS * sum(1 for _ in _media_in(said)) + (
        0 if operation is None else token_ids(payload, operation)
    )
    if not text:
        return tokens
    # What is no message has none of a message's own tokens.
    empty = counter.count(model, [{"role": "user", "content": ""}])
    return tokens + max(0, counter.count(model, [{"role": "user", "content": text}]) - empty)


def _answer_tokens(payload: Mapping[str, Any], operation: Operation | None) -> int:
    if operation is not None and not operation.generates:
        return 0
    assumed = 0 if operation is None else ASSUMED
    bounds = (payload.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    answers = _whole(payload.get("n")) or 1
    return answers * next((bound for bound in map(_whole, bounds) if bound), assumed)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _media_in(value: Any, depth: int = 0) -> Iterator[Any]:
    if is_media(value):
        yield value
    elif depth < _DEEPEST and isinstance(value, Mapping):
        for item in value.values():
            yield from _media_in(item, depth + 1)
    elif depth < _DEEPEST and isinstance(value, list | tuple):
        for item in value:
            yield from _media_in(item, depth + 1)
