"""What can be asked of a provider: the values of a request's `endpoint`, and what each means on the road.

All that the stations must know of an operation stands in one row here; none of them asks for one by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from llm_api_client.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a provider can be asked for.

    Attributes:
        name: By which requests name it.
        function: LiteLLM's function that does it.
        path: Where OpenAI's API serves it; batch files name it by that.
        needs: Parameters that a request must have besides its model.
        prompt: Parameters whose texts are the prompt.
        generates: Whether the answer is made of tokens, which limits count and a price list prices.
        priced_by_tokens: Whether a call's price follows from its tokens.
        lists_params: Whether LiteLLM says which parameters its models take.
        drops_params: Whether LiteLLM itself leaves out, if told to, what a model does not take.
        names_provider: Whether LiteLLM sends on the provider's name that stands before the model's.
        keeps: Which end of a text is kept that is longer than its model takes; None where texts are sent as they are.
    """

    name: str
    function: str
    path: str
    needs: tuple[str, ...]
    prompt: tuple[str, ...]
    generates: bool = False
    priced_by_tokens: bool = False
    lists_params: bool = False
    drops_params: bool = False
    names_provider: bool = False
    keeps: str | None = None

    @property
    def is_chat(self) -> bool:
        """Whether its prompt is a list of messages."""
        return self.prompt == ("messages",)


CHAT = Operation(
    "chat", "completion", "/v1/chat/completions", ("messages",), ("messages",),
    generates=True, priced_by_tokens=True, lists_params=True,
)  # fmt: skip
OPERATIONS = (
    CHAT,
    Operation(
        "completion", "text_completion", "/v1/completions", ("prompt",), ("prompt",),
        generates=True, priced_by_tokens=True, lists_params=True, keeps="end",
    ),
    Operation(
        "embeddings", "embedding", "/v1/embeddings", ("input",), ("input",),
        priced_by_tokens=True, drops_params=True, keeps="beginning",
    ),
    Operation(
        "responses", "responses", "/v1/responses", ("input",), ("instructions", "input"),
        generates=True, priced_by_tokens=True,
    ),
    Operation(
        "moderation", "moderation", "/v1/moderations", ("input",), ("input",),
        priced_by_tokens=True, names_provider=True,
    ),
    Operation("image", "image_generation", "/v1/images/generations", ("prompt",), ("prompt",), drops_params=True),
    Operation("speech", "speech", "/v1/audio/speech", ("input", "voice"), ("input",), drops_params=True),
    Operation("transcription", "transcription", "/v1/audio/transcriptions", ("file",), (), drops_params=True),
    Operation("rerank", "rerank", "/v1/rerank", ("query", "documents"), ("query", "documents")),
)  # fmt: skip

_BY_NAME = {name: each for each in OPERATIONS for name in (each.name, each.path, each.path.removeprefix("/v1/"))}


def operation_named(name: object) -> Operation:
    """The operation that a request names by `endpoint`: "embeddings", or the path "/v1/embeddings".

    Raises:
        InvalidInputError: There is none of that name.
    """
    found = _BY_NAME.get(name) if isinstance(name, str) else None
    if found is None:
        shown = repr(name) if isinstance(name, str) else f"of type {type(name).__name__}"
        known = ", ".join(each.name for each in OPERATIONS)
        near = get_close_matches(name, _BY_NAME, 1) if isinstance(name, str) else []
        meant = f", of which it is like {near[0]!r}" if near else ""
        raise InvalidInputError(f'"endpoint" is {shown}; there are {known}{meant}')
    return found


def operation_of(request: Mapping[str, Any], otherwise: Operation = CHAT) -> Operation:
    """What a request asks for, by its own `endpoint`.

    Raises:
        InvalidInputError: It names none that there is.
    """
    named = request.get("endpoint")
    return otherwise if named is None else operation_named(named)
