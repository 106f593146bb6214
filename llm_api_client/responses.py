"""What single calls take and give: messages in, typed answers out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from llm_api_client.errors import MalformedResponseError
from llm_api_client.records import Result, Usage, content_of, request_id_of


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a chat.

    Attributes:
        role: "user", "assistant", "system", "developer" or "tool".
        content: Its text, or a list of parts, as OpenAI has them; None for a message that only calls tools.
        name: Name of who speaks.
        tool_calls: Calls of tools, as an assistant's answer has them.
        tool_call_id: The call that a tool's message answers.
    """

    role: str
    content: str | Sequence[Mapping[str, Any]] | None = None
    name: str | None = None
    tool_calls: Sequence[Any] | None = None
    tool_call_id: str | None = None

    @classmethod
    def of(cls, message: Any) -> Self:
        """The message of an answer, such as `response.raw_response.choices[0].message`, to go on from."""
        given: dict[str, Any] = {each.name: _get(message, each.name) for each in fields(cls)}
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """The message as requests have it: what is None is left out, but for a content beside calls of tools."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        message = {name: value for name, value in given.items() if value is not None or name == "content"}
        if self.tool_calls is not None:
            message["tool_calls"] = [_plain(call) for call in self.tool_calls]
        if isinstance(self.content, (list, tuple)):
            message["content"] = [dict(part) for part in self.content]
        return message


@dataclass(frozen=True, slots=True)
class CallUsage(Usage):
    """What one call used.

    Attributes:
        cost: US dollars, or None where the price is unknown.
        latency: Seconds from sending to the end, or None if it was not measured.
        timestamp: Seconds since the epoch when it ended.
    """

    cost: float | None = None
    latency: float | None = None
    timestamp: float | None = None

    @property
    def tokens_prompt(self) -> int:
        """As `prompt_tokens`."""
        return self.prompt_tokens

    @property
    def tokens_completion(self) -> int:
        """As `completion_tokens`."""
        return self.completion_tokens

    @property
    def tokens_total(self) -> int:
        """As `total_tokens`."""
        return self.total_tokens


@dataclass(frozen=True, slots=True)
class Response:
    """An answer to a single call. Failures are raised, so that there is one only where there was success.

    Attributes:
        data: What was asked for; each kind of answer says what that is.
        model: The model that was asked.
        provider: LiteLLM's name of the provider, or None if it knows none.
        usage: Tokens, cost and time.
        raw_response: LiteLLM's own object, with all that the provider said.
        request_id: The provider's id of the request, for its support desk; None where it gave none.
        cost: US dollars over all attempts, or None where a price is unknown.
        message: A line for people on what came.
        success: True.
    """

    data: Any
    model: str
    provider: str | None
    usage: CallUsage
    raw_response: Any = field(repr=False)
    request_id: str | None
    cost: float | None
    message: str
    success: bool = True
    what: ClassVar[str] = "an answer"

    @classmethod
    def of(cls, result: Result) -> Self:
        """The answer that a result has.

        Raises:
            MalformedResponseError: It has another form than the endpoint's.
        """
        response = result.response
        used = result.usage or Usage(0, 0)
        try:
            known = {
                "data": cls.data_of(response),
                "model": result.model or "",
                "provider": result.provider,
                "usage": CallUsage(
                    used.prompt_tokens, used.completion_tokens, result.cost, result.latency, result.created_at
                ),
                "raw_response": response,
                "request_id": request_id_of(response),
                "cost": result.cost,
                "message": f"{result.model} answered with {cls.what}.",
            }
            return cls(**known, **cls.more_of(response))
        except (AttributeError, IndexError, KeyError, TypeError) as odd:
            message = f"{result.model} answered with something else than {cls.what}: {type(response).__name__}."
            raise MalformedResponseError(
                message, status_code=200, model=result.model, provider=result.provider
            ) from odd

    @staticmethod
    def data_of(response: Any) -> Any:
        """What was asked for, out of LiteLLM's object."""
        return response

    @staticmethod
    def more_of(_response: Any) -> dict[str, Any]:
        """What this kind of answer has besides."""
        return {}


@dataclass(frozen=True, slots=True)
class ChatResponse(Response):
    """An answer of a chat. `data` is its text, "" where it has none, as beside calls of tools.

    Attributes:
        finish_reason: Why it ends there: "stop", "length", "tool_calls", "content_filter".
    """

    finish_reason: str | None = None
    what: ClassVar[str] = "a text"

    @staticmethod
    def data_of(response: Any) -> Any:
        """The text of the first choice."""
        return content_of(response) or ""

    @staticmethod
    def more_of(response: Any) -> dict[str, Any]:
        """Why the first choice ends."""
        return {"finish_reason": response.choices[0].finish_reason}


@dataclass(frozen=True, slots=True)
class CompletionResponse(ChatResponse):
    """A text that goes on from a prompt. `data` is that text."""


@dataclass(frozen=True, slots=True)
class EmbeddingResponse(Response):
    """Embeddings. `data` is a list with one vector for each text, in the order of the texts.

    Attributes:
        dimensions: Numbers in each vector; of base64, which is left as it came, None.
    """

    dimensions: int | None = None
    what: ClassVar[str] = "embeddings"

    @staticmethod
    def data_of(response: Any) -> Any:
        """The vectors, by their index."""
        return [_has(item, "embedding") for item in sorted(response.data, key=lambda item: _get(item, "index") or 0)]

    @staticmethod
    def more_of(response: Any) -> dict[str, Any]:
        """How long the vectors are."""
        vector = _has(response.data[0], "embedding")
        return {"dimensions": len(vector) if isinstance(vector, (list, tuple)) else None}


@dataclass(frozen=True, slots=True)
class ImageResponse(Response):
    """Images. `data` is a list of their URLs, or of the images in base64."""

    what: ClassVar[str] = "images"

    @staticmethod
    def data_of(response: Any) -> Any:
        """Each image's URL, or the image."""
        return [_get(item, "url") or _has(item, "b64_json") for item in response.data]


@dataclass(frozen=True, slots=True)
class ModerationResponse(Response):
    """What is wrong with texts. `data` is a list with one dict for each: `flagged`, `categories`, `category_scores`.

    Attributes:
        flagged: Whether any of the texts was.
    """

    flagged: bool = False
    what: ClassVar[str] = "judgements"

    @staticmethod
    def data_of(response: Any) -> Any:
        """Each text's judgement."""
        return [_plain(item) for item in response.results]

    @staticmethod
    def more_of(response: Any) -> dict[str, Any]:
        """Whether there was anything."""
        flags = [_has(item, "flagged") for item in response.results]
        return {"flagged": any(flags)}


@dataclass(frozen=True, slots=True)
class TranscriptionResponse(Response):
    """What was said in a sound. `data` is the text."""

    what: ClassVar[str] = "a transcription"

    @staticmethod
    def data_of(response: Any) -> Any:
        """The text."""
        return response.text


@dataclass(frozen=True, slots=True)
class SpeechResponse(Response):
    """A text, spoken. `data` is the sound's bytes."""

    what: ClassVar[str] = "a sound"

    @staticmethod
    def data_of(response: Any) -> Any:
        """The bytes."""
        return response.content

    def save(self, path: Any) -> None:
        """Write the sound to a file."""
        with open(path, "wb") as file:  # noqa: PTH123  a path of any kind
            file.write(self.data)


@dataclass(frozen=True, slots=True)
class RerankResponse(Response):
    """Documents by how well they answer a query. `data` is a list of (index, score), the best first."""

    what: ClassVar[str] = "a ranking"

    @staticmethod
    def data_of(response: Any) -> Any:
        """Each document's index and score."""
        return [(_has(item, "index"), _has(item, "relevance_score")) for item in response.results]


@dataclass(frozen=True, slots=True)
class ResponsesResponse(Response):
    """An answer of OpenAI's Responses API. `data` is its text.

    Attributes:
        status: "completed", "incomplete", …
        response_id: By which the next call goes on from it, as `previous_response_id`.
    """

    status: str | None = None
    response_id: str | None = None
    what: ClassVar[str] = "a text"

    @staticmethod
    def data_of(response: Any) -> Any:
        """All text of its output."""
        return response.output_text

    @staticmethod
    def more_of(response: Any) -> dict[str, Any]:
        """How it ended, and its id."""
        return {"status": response.status, "response_id": response.id}


def _get(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def _has(item: Any, name: str) -> Any:
    """As `_get`, of what must be there.

    Raises:
        KeyError: It is not.
    """
    value = _get(item, name)
    if value is None:
        raise KeyError(name)
    return value


def _plain(item: Any) -> Any:
    if isinstance(item, Mapping):
        return dict(item)
    dump = getattr(item, "model_dump", None)
    return dump() if callable(dump) else item
