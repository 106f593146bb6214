"""Requests from prompts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm_api_client.errors import InvalidInputError
from llm_api_client.prepare.check import check_request
from llm_api_client.prepare.messages import instructions

_SOUND = ({"role": "user", "content": "Hello"},)


def chat_requests(
    prompts: Iterable[str | Sequence[Mapping[str, Any]]],
    model: str,
    *,
    system: str | None = None,
    **params: Any,
) -> list[dict[str, Any]]:
    """One request for each prompt, in order.

    The requests share no dict or list with one another or with what was given: each can be changed by itself.

    Args:
        prompts: Texts, which become user messages, or lists of messages, which are taken as they are.
        model: The model of every request.
        system: System message before each prompt, unless its own messages have one. Default None: none is added.
        **params: Further parameters of every request, such as `temperature=0`.

    Raises:
        InvalidInputError: What is wrong and how to put it right; `index` is the position of a prompt at fault.
    """
    if system is not None and not isinstance(system, str):
        raise InvalidInputError(f"system is of type {type(system).__name__}; give its text as a string")
    if "messages" in params:
        raise InvalidInputError("messages is no parameter here; each prompt may itself be a list of messages")
    check_request({**params, "model": model, "messages": _SOUND, "system": system})
    return [_request(index, prompt, model, system, params) for index, prompt in enumerate(_checked(prompts))]


def _checked(prompts: Any) -> Iterable[Any]:
    if isinstance(prompts, (str, bytes, bytearray)) or not isinstance(prompts, Iterable):
        raise InvalidInputError(f"prompts is of type {type(prompts).__name__}; give a list of prompts: [prompt]")
    if isinstance(prompts, Mapping):
        raise InvalidInputError("prompts is a dict; give a list of prompts, such as list(prompts.values())")
    return prompts


def _request(index: int, prompt: Any, model: str, system: str | None, params: Mapping[str, Any]) -> dict[str, Any]:
    try:
        messages = _messages(prompt)
        check_request({"model": model, "messages": messages})
    except InvalidInputError as error:
        error.index = index
        raise
    if system is not None and not instructions(messages):
        messages = [{"role": "system", "content": system}, *messages]
    return {"model": model, "messages": _own(list(messages)), **_own(params)}


def _messages(prompt: Any) -> Sequence[Any]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, (list, tuple)):
        return prompt
    if isinstance(prompt, Mapping):
        raise InvalidInputError("the prompt is a dict; give its text, or put one conversation's messages into a list")
    kind = "None" if prompt is None else f"of type {type(prompt).__name__}"
    raise InvalidInputError(f"the prompt is {kind}; give a string, or a list of messages")


def _own(value: Any) -> Any:
    """A copy of plain data down to its leaves; objects such as clients and classes stay themselves."""
    if isinstance(value, Mapping):
        return {name: _own(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_own(item) for item in value]
    return tuple(map(_own, value)) if type(value) is tuple else value
