"""What all endpoints share: how a request is read, what answers it, and the error where nothing does. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .uploads import Upload

Json = dict[str, Any]

CHARS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 85


class ProviderError(Exception):
    """The provider answers with an error, in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        *,
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body: Json = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True, slots=True)
class Question:
    """One request to be answered.

    Attributes:
        request: The JSON object, or what a form says.
        number: What tells its answer from others; a part of the answer's id.
        created: Seconds since the epoch.
        files: Files of the form, by name.
    """

    request: Json
    number: int | str
    created: int
    files: Mapping[str, Upload]


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, and what it costs.

    Attributes:
        body: The JSON object, or bytes of another kind.
        tokens: Tokens of the prompt and of the answer.
        reserved: Tokens of the prompt and of the longest answer that the request allows.
        content_type: Media type of the body.
    """

    body: Json | bytes
    tokens: int
    reserved: int
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Text:
    """A text within what the request allows, why it ends, its tokens, and the tokens allowed."""

    text: str
    finish: str
    tokens: int
    limit: int


def count_tokens(text: str) -> int:
    """Tokens of a text: one for every four characters begun."""
    return -(-len(text) // CHARS_PER_TOKEN)


def said(request: Json) -> str:
    """What the request says: its last user message, or its prompt, input or query."""
    turns = request.get("messages", request.get("input"))
    if isinstance(turns, list) and ("messages" in request or any(isinstance(t, dict) and "role" in t for t in turns)):
        users = [turn for turn in turns if isinstance(turn, dict) and turn.get("role") == "user"]
        return text_of(users[-1].get("content")) if users else ""
    return text_of(request.get("prompt", request.get("input", request.get("query"))))


def text_of(content: object) -> str:
    """The text in a content, in whatever form it comes."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return text_of(content.get("text"))
    return " ".join(filter(None, map(text_of, content))) if isinstance(content, list) else ""


def tokens_of(content: object) -> int:
    """Tokens of a content, in whatever form it comes."""
    match content:
        case str():
            return count_tokens(content)
        case int():
            return 1  # an input may come as numbers of tokens
        case list():
            return sum(map(tokens_of, content))
        case {"text": str(text)}:
            return count_tokens(text)
        case dict():
            return TOKENS_PER_IMAGE
        case _:
            return 0


def check_model(model: str) -> None:
    """Refuse a model whose name begins with "missing"; every other exists."""
    if model.startswith("missing"):
        msg = f"The model `{model}` does not exist or you do not have access to it."
        raise ProviderError(404, msg, param="model", code="model_not_found")


def required(request: Json, name: str) -> Any:
    """A text or a list that the request must have.

    Raises:
        ProviderError: it has none.
    """
    value = request.get(name)
    if not isinstance(value, (str, list)) or not value:
        raise ProviderError(400, f"Missing required parameter: '{name}'.", param=name)
    return value


def whole(request: Json, name: str, most: int | None = None) -> int | None:
    """A number from 1 to `most` that the request may have.

    Raises:
        ProviderError: it has something else.
    """
    value = request.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (most is not None and value > most):
        within = "at least 1" if most is None else f"from 1 to {most}"
        raise ProviderError(400, f"'{name}' has to be a whole number, {within}.", param=name)
    return value
