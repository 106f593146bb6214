"""What the provider says: OpenAI-shaped bodies, the same for the same request, with a usage that adds up. Pure."""

import json
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import shake_256
from math import sqrt
from typing import Any

Json = dict[str, Any]

CHARS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 85
MAX_CHOICES = 128
MAX_DIMENSIONS = 4096
QUOTED_WORDS = 16
MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "text-embedding-3-small", "text-embedding-3-large")
PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")


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
class Answer:
    """A body, and what it costs.

    Attributes:
        body: The JSON object.
        tokens: Tokens of the prompt and of the answer.
        reserved: Tokens of the prompt and of the longest answer that the request allows.
    """

    body: Json
    tokens: int
    reserved: int


def count_tokens(text: str) -> int:
    """Tokens of a text: one for every four characters begun."""
    return -(-len(text) // CHARS_PER_TOKEN)


def said(request: Json) -> str:
    """What the request says: its last user message, or its prompt, or its input."""
    messages = request.get("messages")
    if isinstance(messages, list):
        turns = [turn for turn in messages if isinstance(turn, dict) and turn.get("role") == "user"]
        return _text_of(turns[-1].get("content")) if turns else ""
    return _text_of(request.get("prompt", request.get("input")))


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return _text_of(content.get("text"))
    return " ".join(filter(None, map(_text_of, content))) if isinstance(content, list) else ""


def _tokens_of(content: object) -> int:
    match content:
        case str():
            return count_tokens(content)
        case int():
            return 1  # an input may come as numbers of tokens
        case list():
            return sum(map(_tokens_of, content))
        case {"text": str(text)}:
            return count_tokens(text)
        case dict():
            return TOKENS_PER_IMAGE
        case _:
            return 0


@dataclass(frozen=True, slots=True)
class _Text:
    """A text within what the request allows, why it ends, its tokens, and the tokens allowed."""

    text: str
    finish: str
    tokens: int
    limit: int


class Author:
    """Writes the answers.

    Args:
        answer: The text, or a function from the request to it; None quotes the beginning of the prompt.
        answer_tokens: Length that each text is cut or padded to; None leaves it.
    """

    def __init__(self, answer: str | Callable[[Json], str] | None = None, answer_tokens: int | None = None) -> None:
        self._answer = answer
        self._answer_tokens = answer_tokens
        self._endpoints: dict[str, Callable[[Json, int, int], Answer]] = {
            "/chat/completions": self._chat,
            "/completions": self._completion,
            "/embeddings": self._embeddings,
            "/moderations": self._moderation,
            "/images/generations": self._images,
        }

    def knows(self, path: str) -> bool:
        """Whether there is such an endpoint."""
        return path in self._endpoints

    def write(self, path: str, request: Json, number: int, created: int) -> Answer:
        """Answer a request; `number` becomes part of the answer's id.

        Raises:
            ProviderError: if it lacks something, or asks for a model that is missing.
        """
        if path not in {"/moderations", "/images/generations"}:
            model = request.get("model")
            if not isinstance(model, str) or not model:
                raise ProviderError(400, "you must provide a model parameter", param="model")
            check_model(model)
        return self._endpoints[path](request, number, created)

    def _text(self, request: Json) -> str:
        if callable(self._answer):
            text = self._answer(request)
        elif self._answer is not None:
            text = self._answer
        else:
            text = "Simulated answer to: " + " ".join(said(request).split(maxsplit=QUOTED_WORDS)[:QUOTED_WORDS])
        if self._answer_tokens is None:
            return text
        length = self._answer_tokens * CHARS_PER_TOKEN
        filler = " and so on"
        return (text + filler * (max(0, length - len(text)) // len(filler) + 1))[:length]

    def _chat(self, request: Json, number: int, created: int) -> Answer:
        messages = request.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ProviderError(400, "Missing required parameter: 'messages'.", param="messages")
        for index, message in enumerate(messages):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise ProviderError(400, "A message needs a role.", param=f"messages[{index}]")
        prompt = sum(TOKENS_PER_MESSAGE + _tokens_of(message.get("content")) for message in messages)
        if tools := request.get("tools"):
            prompt += count_tokens(json.dumps(tools))
        text = self._cut(request)
        message = {"role": "assistant", "content": text.text, "refusal": None}
        head = {"id": f"chatcmpl-sim-{number}", "object": "chat.completion", "created": created}
        return _generated(head, request, {"message": message}, prompt, text)

    def _completion(self, request: Json, number: int, created: int) -> Answer:
        prompt = _tokens_of(_required(request, "prompt"))
        text = self._cut(request)
        head = {"id": f"cmpl-sim-{number}", "object": "text_completion", "created": created}
        return _generated(head, request, {"text": text.text}, prompt, text)

    def _cut(self, request: Json) -> _Text:
        name = "max_completion_tokens" if request.get("max_completion_tokens") is not None else "max_tokens"
        limit = _whole(request, name, None)
        text = self._text(request)
        tokens = count_tokens(text)
        if limit is None:
            return _Text(text, "stop", tokens, tokens)
        if tokens <= limit:
            return _Text(text, "stop", tokens, limit)
        return _Text(text[: limit * CHARS_PER_TOKEN], "length", limit, limit)

    def _embeddings(self, request: Json, _number: int, _created: int) -> Answer:
        given = _required(request, "input")
        # One input may be a text or its tokens, so a list of numbers is one input and not many.
        inputs = given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
        size = 3072 if "large" in request["model"] else 1536
        size = _whole(request, "dimensions", MAX_DIMENSIONS) or size
        as_base64 = request.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(vector) if as_base64 else vector.tolist()}
            for index, vector in enumerate(_vector(json.dumps(item), size) for item in inputs)
        ]
        tokens = _tokens_of(given)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return Answer({"object": "list", "data": data, "model": request["model"], "usage": usage}, tokens, tokens)

    def _moderation(self, request: Json, number: int, _created: int) -> Answer:
        given = _required(request, "input")
        results = []
        for item in given if isinstance(given, list) else [given]:
            flagged = "flag me" in _text_of(item).lower()
            scores = {"harassment": 0.01, "violence": 0.99 if flagged else 0.01}
            categories = {"harassment": False, "violence": flagged}
            results.append({"flagged": flagged, "categories": categories, "category_scores": scores})
        model = request.get("model") or "omni-moderation-latest"
        tokens = _tokens_of(given)
        return Answer({"id": f"modr-sim-{number}", "model": model, "results": results}, tokens, tokens)

    def _images(self, request: Json, _number: int, created: int) -> Answer:
        tokens = _tokens_of(_required(request, "prompt"))
        # The address is relative here: only the server knows the host that it was reached by.
        image = (
            {"b64_json": b64encode(PNG).decode()}
            if request.get("response_format") == "b64_json"
            else {"url": "/simulator/image.png"}
        )
        n = _whole(request, "n", MAX_CHOICES) or 1
        return Answer({"created": created, "data": [dict(image) for _ in range(n)]}, tokens, tokens)


def _generated(head: Json, request: Json, content: Json, prompt: int, text: _Text) -> Answer:
    n = _whole(request, "n", MAX_CHOICES) or 1
    choice = {**content, "logprobs": None, "finish_reason": text.finish}
    body = {
        **head,
        "model": request["model"],
        "choices": [{"index": index, **choice} for index in range(n)],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": n * text.tokens,
            "total_tokens": prompt + n * text.tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "system_fingerprint": "fp_simulated",
    }
    return Answer(body, prompt + n * text.tokens, prompt + n * text.limit)


def check_model(model: str) -> None:
    """Refuse a model whose name begins with "missing"; every other exists."""
    if model.startswith("missing"):
        msg = f"The model `{model}` does not exist or you do not have access to it."
        raise ProviderError(404, msg, param="model", code="model_not_found")


def model_body(model: str) -> Json:
    """One model, as the list of models has it."""
    return {"id": model, "object": "model", "created": 0, "owned_by": "simulated"}


def events(body: Json, *, include_usage: bool) -> Iterator[bytes]:
    """An answer as the server-sent events of a stream: a few words each, then the end, then the usage."""
    chat = body["object"] == "chat.completion"
    frame = {key: value for key, value in body.items() if key not in {"choices", "usage"}}
    if chat:
        frame["object"] = "chat.completion.chunk"

    def event(choices: list[Json], **more: object) -> bytes:
        return f"data: {json.dumps({**frame, 'choices': choices, **more})}\n\n".encode()

    for choice in body["choices"]:
        index, text = choice["index"], choice["message"]["content"] if chat else choice["text"]
        text = text or ""
        pieces = [text[i : i + 16] for i in range(0, len(text), 16)]
        deltas = [{"content": piece} for piece in pieces] if chat else pieces
        if chat:
            deltas = [{"role": "assistant", "content": ""}, *deltas]
        key, nothing = ("delta", {}) if chat else ("text", "")
        for delta in deltas:
            yield event([{"index": index, key: delta, "logprobs": None, "finish_reason": None}])
        yield event([{"index": index, key: nothing, "logprobs": None, "finish_reason": choice["finish_reason"]}])
    if include_usage and "usage" in body:
        yield event([], usage=body["usage"])
    yield b"data: [DONE]\n\n"


def _required(request: Json, name: str) -> object:
    value = request.get(name)
    if not isinstance(value, (str, list)) or not value:
        raise ProviderError(400, f"Missing required parameter: '{name}'.", param=name)
    return value


def _whole(request: Json, name: str, most: int | None) -> int | None:
    value = request.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (most is not None and value > most):
        within = "at least 1" if most is None else f"from 1 to {most}"
        raise ProviderError(400, f"'{name}' has to be a whole number, {within}.", param=name)
    return value


def _vector(text: str, size: int) -> "array[float]":
    raw = array("h", shake_256(text.encode()).digest(2 * size))
    norm = sqrt(sum(value * value for value in raw)) or 1.0
    return array("f", [value / norm for value in raw])


def _encoded(vector: "array[float]") -> str:
    return b64encode(vector.tobytes()).decode()
