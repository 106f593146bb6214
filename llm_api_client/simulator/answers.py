"""What the provider says: OpenAI-shaped bodies, the same for the same request, with a usage that adds up. Pure."""

import json
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from hashlib import shake_256
from math import sqrt

from . import audio, responses
from .protocol import (
    CHARS_PER_TOKEN,
    TOKENS_PER_MESSAGE,
    Answer,
    Json,
    ProviderError,
    Question,
    Text,
    check_model,
    count_tokens,
    required,
    said,
    text_of,
    tokens_of,
    whole,
)
from .rerank import rerank
from .uploads import Upload

MAX_CHOICES = 128
MAX_DIMENSIONS = 4096
QUOTED_WORDS = 16
MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "text-embedding-3-small", "text-embedding-3-large")
PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")


class Author:
    """Writes the answers.

    Args:
        answer: The text, or a function from the request to it; None quotes the beginning of the prompt.
        answer_tokens: Length that each text is cut or padded to; None leaves it.
    """

    def __init__(self, answer: str | Callable[[Json], str] | None = None, answer_tokens: int | None = None) -> None:
        self._answer = answer
        self._answer_tokens = answer_tokens
        self._endpoints: dict[str, Callable[[Question], Answer]] = {
            "/chat/completions": self._chat,
            "/completions": self._completion,
            "/responses": lambda question: responses.respond(question, self._cut(question.request)),
            "/embeddings": _embeddings,
            "/moderations": _moderation,
            "/images/generations": _images,
            "/audio/transcriptions": lambda question: audio.transcribe(question, self._text),
            "/audio/translations": lambda question: audio.transcribe(question, self._text, "translate"),
            "/audio/speech": audio.speak,
            **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), rerank),
        }

    def knows(self, path: str) -> bool:
        """Whether there is such an endpoint."""
        return path in self._endpoints

    def write(
        self, path: str, request: Json, number: int | str, created: int, files: Mapping[str, Upload] | None = None
    ) -> Answer:
        """Answer a request; `number` becomes part of the answer's id.

        Raises:
            ProviderError: if it lacks something, or asks for a model that is missing.
        """
        if path not in {"/moderations", "/images/generations"}:
            model = request.get("model")
            if not isinstance(model, str) or not model:
                raise ProviderError(400, "you must provide a model parameter", param="model")
            check_model(model)
        return self._endpoints[path](Question(request, number, created, files or {}))

    def _text(self, request: Json, otherwise: str | None = None) -> str:
        if callable(self._answer):
            text = self._answer(request)
        elif self._answer is not None:
            text = self._answer
        elif otherwise is not None:
            text = otherwise
        else:
            text = "Simulated answer to: " + " ".join(said(request).split(maxsplit=QUOTED_WORDS)[:QUOTED_WORDS])
        if self._answer_tokens is None:
            return text
        length = self._answer_tokens * CHARS_PER_TOKEN
        filler = " and so on"
        return (text + filler * (max(0, length - len(text)) // len(filler) + 1))[:length]

    def _chat(self, question: Question) -> Answer:
        request = question.request
        messages = request.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ProviderError(400, "Missing required parameter: 'messages'.", param="messages")
        for index, message in enumerate(messages):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise ProviderError(400, "A message needs a role.", param=f"messages[{index}]")
        prompt = sum(TOKENS_PER_MESSAGE + tokens_of(message.get("content")) for message in messages)
        if tools := request.get("tools"):
            prompt += count_tokens(json.dumps(tools))
        text = self._cut(request)
        message = {"role": "assistant", "content": text.text, "refusal": None}
        head = {"id": f"chatcmpl-sim-{question.number}", "object": "chat.completion", "created": question.created}
        return _generated(head, request, {"message": message}, prompt, text)

    def _completion(self, question: Question) -> Answer:
        request = question.request
        prompt = tokens_of(required(request, "prompt"))
        text = self._cut(request)
        head = {"id": f"cmpl-sim-{question.number}", "object": "text_completion", "created": question.created}
        return _generated(head, request, {"text": text.text}, prompt, text)

    def _cut(self, request: Json) -> Text:
        names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
        limit = next((whole(request, name) for name in names if request.get(name) is not None), None)
        text = self._text(request)
        tokens = count_tokens(text)
        if limit is None:
            return Text(text, "stop", tokens, tokens)
        if tokens <= limit:
            return Text(text, "stop", tokens, limit)
        return Text(text[: limit * CHARS_PER_TOKEN], "length", limit, limit)


def _embeddings(question: Question) -> Answer:
    request = question.request
    given = required(request, "input")
    # One input may be a text or its tokens, so a list of numbers is one input and not many.
    inputs = given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
    size = 3072 if "large" in request["model"] else 1536
    size = whole(request, "dimensions", MAX_DIMENSIONS) or size
    as_base64 = request.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector) if as_base64 else vector.tolist()}
        for index, vector in enumerate(_vector(json.dumps(item), size) for item in inputs)
    ]
    tokens = tokens_of(given)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Answer({"object": "list", "data": data, "model": request["model"], "usage": usage}, tokens, tokens)


def _moderation(question: Question) -> Answer:
    request = question.request
    given = required(request, "input")
    results = []
    for item in given if isinstance(given, list) else [given]:
        flagged = "flag me" in text_of(item).lower()
        scores = {"harassment": 0.01, "violence": 0.99 if flagged else 0.01}
        categories = {"harassment": False, "violence": flagged}
        results.append({"flagged": flagged, "categories": categories, "category_scores": scores})
    model = request.get("model") or "omni-moderation-latest"
    tokens = tokens_of(given)
    return Answer({"id": f"modr-sim-{question.number}", "model": model, "results": results}, tokens, tokens)


def _images(question: Question) -> Answer:
    request = question.request
    tokens = tokens_of(required(request, "prompt"))
    # The address is relative here: only the server knows the host that it was reached by.
    image = (
        {"b64_json": b64encode(PNG).decode()}
        if request.get("response_format") == "b64_json"
        else {"url": "/simulator/image.png"}
    )
    n = whole(request, "n", MAX_CHOICES) or 1
    return Answer({"created": question.created, "data": [dict(image) for _ in range(n)]}, tokens, tokens)


def _generated(head: Json, request: Json, content: Json, prompt: int, text: Text) -> Answer:
    n = whole(request, "n", MAX_CHOICES) or 1
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


def model_body(model: str) -> Json:
    """One model, as the list of models has it."""
    return {"id": model, "object": "model", "created": 0, "owned_by": "simulated"}


def events(body: Json, *, include_usage: bool) -> Iterator[bytes]:
    """An answer as the server-sent events of a stream; none where it cannot be streamed.

    A chat's are a few words each, then the end, then the usage.
    """
    if body.get("object") == "response":
        yield from responses.events(body)
    if "choices" not in body:
        return
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


def _vector(text: str, size: int) -> "array[float]":
    raw = array("h", shake_256(text.encode()).digest(2 * size))
    norm = sqrt(sum(value * value for value in raw)) or 1.0
    return array("f", [value / norm for value in raw])


def _encoded(vector: "array[float]") -> str:
    return b64encode(vector.tobytes()).decode()
