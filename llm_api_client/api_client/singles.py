"""The part of a client that performs one request, and raises what stands in its way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from llm_api_client.admit.limits import Limits
from llm_api_client.errors import ConfigurationError
from llm_api_client.prepare.preparer import Preparer
from llm_api_client.record.history import History
from llm_api_client.records import Result
from llm_api_client.responses import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    EmbeddingResponse,
    ImageResponse,
    ModerationResponse,
    RerankResponse,
    Response,
    ResponsesResponse,
    SpeechResponse,
    TranscriptionResponse,
)
from llm_api_client.run.batch import Batch
from llm_api_client.run.collect import only_result
from llm_api_client.run.defaults import Defaults
from llm_api_client.run.intake import Numbered
from llm_api_client.run.progress import Progress
from llm_api_client.run.streaming import Reader, Streams, TextStream
from llm_api_client.run.submissions import Submissions

R = TypeVar("R", bound=Response)

TEMPERATURE = 0.7
"""What `chat` and `completion` ask for where nobody says."""


class Singles:
    """Single calls, over whatever the client has built."""

    history: History
    _preparer: Preparer
    _defaults: Defaults
    _limits: Limits
    _submissions: Submissions
    _streams: Streams
    _batch: Callable[..., Batch]
    _check_open: Callable[[], None]

    def request(
        self,
        request: Mapping[str, Any],
        *,
        endpoint: str = "chat",
        sanitize: bool = True,
        timeout: float | None = None,
        max_retries: int = 2,
        validate: Any = None,
    ) -> Any:
        """Perform one request as `make_requests_with_retries` would, and return LiteLLM's answer.

        Args:
            request: As for `make_requests`.
            endpoint: As for `make_requests`.
            sanitize: As for `make_requests`.
            timeout: Longest time in seconds for all of it, waiting and retries included.
            max_retries: Further attempts if it fails in a way that may pass.
            validate: As for `make_requests`.

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why; or its answer is not what `validate` asks for.
        """
        options = {"sanitize": sanitize, "timeout": timeout, "validate": validate, "max_retries": max_retries}
        return self._result(request, endpoint=endpoint, **options).response

    def submit(self, request: Mapping[str, Any], *, priority: str | int = "normal") -> "Future[Result]":
        """Put a request into the client's queue, from any thread, and return at once.

        The future gives a `Result`, whose `error` says why there is no answer. `cancel()` works until the request is
        sent. Further attempts are made as by `make_requests_with_retries`.

        Args:
            request: As for `make_requests`; its "endpoint" says what is asked for.
            priority: "high", "normal" or "low", or a whole number, the higher the sooner. One level is worth 60
                seconds of waiting, so that none waits for ever.

        Raises:
            ConfigurationError: `priority` is none.
            ClientClosedError: The client is closed.
        """
        self._check_open()
        return self._submissions.submit(request, priority)

    def queue_status(self) -> dict[str, Any]:
        """How many submitted requests wait, by priority, how many are under way, and what the limits have left.

        The keys are `queue_lengths` (by priority), `total_queue_length`, `in_flight`, `running`, and `rate_limits`.
        """
        return {**self._submissions.status(), "rate_limits": self._rate_limits()}

    def chat(
        self,
        messages: Sequence[Mapping[str, Any] | ChatMessage] | str,
        model: str,
        temperature: float | None = TEMPERATURE,
        max_tokens: int | None = None,
        stream: bool = False,  # noqa: FBT001, FBT002  the order of the reference
        return_generator: bool = False,  # noqa: FBT001, FBT002  likewise
        *,
        max_retries: int = 2,
        **kwargs: Any,
    ) -> Any:
        """Ask a model for the next message of a chat.

        Args:
            messages: Dicts or `ChatMessage`s; or one text, which the user says.
            model: The model, such as "openai/gpt-4o-mini".
            temperature: How much chance there is, from 0 to 2. The default gives way to `model_defaults`, and is left
                out where the model takes none.
            max_tokens: Longest answer in tokens. Left out, the model's own most.
            stream: Whether the provider sends the answer in pieces. They are put together, unless `return_generator`
                is given too.
            return_generator: Whether a `TextStream` is returned at once, which yields the pieces as they come.
            max_retries: Further attempts if it fails in a way that may pass.
            **kwargs: Whatever else LiteLLM's `completion` takes: `tools`, `response_format`, `api_key`, `timeout`, …

        Returns:
            A `ChatResponse`, or a `TextStream`.

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why.
        """
        said = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        request = {"messages": [_as_dict(message) for message in said] if isinstance(said, (list, tuple)) else said}
        return self._text(
            ChatResponse, "chat", model, request, temperature, max_tokens, kwargs,
            stream=stream, return_generator=return_generator, max_retries=max_retries,
        )  # fmt: skip

    def completion(
        self,
        prompt: str,
        model: str,
        temperature: float | None = TEMPERATURE,
        max_tokens: int | None = None,
        stream: bool = False,  # noqa: FBT001, FBT002  the order of the reference
        return_generator: bool = False,  # noqa: FBT001, FBT002  likewise
        *,
        max_retries: int = 2,
        **kwargs: Any,
    ) -> Any:
        """Ask a model to go on from a text. Models that only chat are asked in a chat.

        Args:
            prompt: The text.
            model: As for `chat`.
            temperature: As for `chat`.
            max_tokens: As for `chat`.
            stream: As for `chat`.
            return_generator: As for `chat`.
            max_retries: As for `chat`.
            **kwargs: Whatever else LiteLLM's `text_completion` takes.

        Returns:
            A `CompletionResponse`, or a `TextStream`.

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why.
        """
        return self._text(
            CompletionResponse, "completion", model, {"prompt": prompt}, temperature, max_tokens, kwargs,
            stream=stream, return_generator=return_generator, max_retries=max_retries,
        )  # fmt: skip

    def embeddings(
        self, text: str | Sequence[str], model: str, *, max_retries: int = 2, **kwargs: Any
    ) -> EmbeddingResponse:
        """Turn texts into vectors.

        Args:
            text: A text, or several.
            model: The model, such as "openai/text-embedding-3-small".
            max_retries: Further attempts if it fails in a way that may pass.
            **kwargs: Whatever else LiteLLM's `embedding` takes: `dimensions`, …

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why.
        """
        given = [text] if isinstance(text, str) else text
        return self._one(EmbeddingResponse, "embeddings", {"input": given, "model": model, **kwargs}, max_retries)

    def image(
        self, prompt: str, model: str, size: str | None = "512x512", *, max_retries: int = 2, **kwargs: Any
    ) -> ImageResponse:
        """Make images after a description.

        Args:
            prompt: The description.
            model: The model, such as "openai/dall-e-2".
            size: Width and height in pixels; None leaves it to the model.
            max_retries: Further attempts if it fails in a way that may pass.
            **kwargs: Whatever else LiteLLM's `image_generation` takes: `n`, `quality`, `response_format`, …

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why.
        """
        sized = {} if size is None else {"size": size}
        return self._one(ImageResponse, "image", {"prompt": prompt, "model": model, **sized, **kwargs}, max_retries)

    def moderation(
        self, text: Any, model: str = "omni-moderation-latest", *, max_retries: int = 2, **kwargs: Any
    ) -> ModerationResponse:
        """Ask whether texts are harmful.

        Args:
            text: A text, several, or parts as OpenAI has them.
            model: The model.
            max_retries: Further attempts if it fails in a way that may pass.
            **kwargs: Whatever else LiteLLM's `moderation` takes.

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why.
        """
        return self._one(ModerationResponse, "moderation", {"input": text, "model": model, **kwargs}, max_retries)

    def transcription(self, file: Any, model: str, *, max_retries: int = 2, **kwargs: Any) -> TranscriptionResponse:
        """Write down what is said in a sound.

        Args:
            file: A path, bytes, an open file, or a pair of a name and one of these.
            model: The model, such as "openai/whisper-1".
            max_retries: Further attempts if it fails in a way that may pass.
            **kwargs: Whatever else LiteLLM's `transcription` takes: `language`, `prompt`, `response_format`, …

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why.
        """
        return self._one(TranscriptionResponse, "transcription", {"file": file, "model": model, **kwargs}, max_retries)

    def speech(
        self, text: str, model: str, voice: str = "alloy", *, max_retries: int = 2, **kwargs: Any
    ) -> SpeechResponse:
        """Speak a text.

        Args:
            text: The text.
            model: The model, such as "openai/tts-1".
            voice: Who speaks; each provider has its own.
            max_retries: Further attempts if it fails in a way that may pass.
            **kwargs: Whatever else LiteLLM's `speech` takes: `response_format`, `speed`, `instructions`, …

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why.
        """
        given = {"input": text, "model": model, "voice": voice, **kwargs}
        return self._one(SpeechResponse, "speech", given, max_retries)

    def rerank(
        self, query: str, documents: Sequence[Any], model: str, *, max_retries: int = 2, **kwargs: Any
    ) -> RerankResponse:
        """Order documents by how well they answer a query.

        Args:
            query: The query.
            documents: Texts, or dicts with a "text".
            model: The model, such as "cohere/rerank-v3.5".
            max_retries: Further attempts if it fails in a way that may pass.
            **kwargs: Whatever else LiteLLM's `rerank` takes: `top_n`, …

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why.
        """
        given = {"query": query, "documents": documents, "model": model, **kwargs}
        return self._one(RerankResponse, "rerank", given, max_retries)

    def responses(self, input: Any, model: str, *, max_retries: int = 2, **kwargs: Any) -> ResponsesResponse:  # noqa: A002  its name in OpenAI's API
        """Ask by OpenAI's Responses API. LiteLLM needs the package `mcp` for it.

        Args:
            input: A text, or a list of messages.
            model: The model.
            max_retries: Further attempts if it fails in a way that may pass.
            **kwargs: Whatever else LiteLLM's `responses` takes: `instructions`, `max_output_tokens`, …

        Raises:
            APICallException: The call failed.
            LLMAPIClientError: It was not sent, and why.
        """
        return self._one(ResponsesResponse, "responses", {"input": input, "model": model, **kwargs}, max_retries)

    def _text(
        self,
        kind: type[ChatResponse],
        endpoint: str,
        model: str,
        prompt: Mapping[str, Any],
        temperature: float | None,
        max_tokens: int | None,
        more: Mapping[str, Any],
        *,
        stream: bool,
        return_generator: bool,
        max_retries: int,
    ) -> Any:
        if return_generator and not stream:
            raise ConfigurationError("return_generator=True yields a streamed answer; pass stream=True too.")
        request = {"model": model, **prompt, **more}
        given = {"temperature": temperature, "max_tokens": max_tokens, "stream": stream or None}
        request |= {name: value for name, value in given.items() if value is not None}
        if temperature == TEMPERATURE and not self._takes_default_temperature(request):
            del request["temperature"]
        if not return_generator:
            return self._one(kind, endpoint, request, max_retries)
        self._check_open()

        def make_batch(reader: Reader) -> Batch:
            return self._batch(
                [request], Progress(1, wanted=False),
                keep=self.history.append, endpoint=endpoint, max_retries=max_retries, max_workers=1, reader=reader,
            )  # fmt: skip

        return self._streamed(make_batch, kind)

    def _streamed(self, make_batch: Callable[[Reader], Batch], kind: type[ChatResponse]) -> Any:
        return TextStream(make_batch, kind, self._streams)

    def _takes_default_temperature(self, request: Mapping[str, Any]) -> bool:
        model = request["model"]
        return not isinstance(model, str) or (
            not self._defaults.says(model, "temperature") and self._preparer.takes(request, "temperature")
        )

    def _one(self, kind: type[R], endpoint: str, request: Mapping[str, Any], max_retries: int) -> R:
        return kind.of(self._result(request, endpoint=endpoint, max_retries=max_retries))

    def _result(self, request: Mapping[str, Any], **options: Any) -> Result:
        """The one result of one request.

        Raises:
            LLMAPIClientError: It failed.
        """
        self._check_open()
        progress = Progress(1, wanted=False)
        return only_result(self._batch([request], progress, keep=self.history.append, max_workers=1, **options))

    def _submitted(
        self, numbered: Iterator[Numbered], may_start: Callable[[int], bool], turn_of: Callable[[int], float]
    ) -> Batch:
        """The batch that performs what is submitted."""
        progress, keep = Progress(None, wanted=False), self.history.append
        queue: dict[str, Any] = {"numbered": numbered, "may_start": may_start, "turn_of": turn_of}
        return self._batch((), progress, keep=keep, max_retries=2, whole=False, **queue)

    def _rate_limits(self) -> dict[str, Any]:
        """Of each limit of the client's, what counts now, what may, and both for people."""
        shared = self._limits.of("")
        return {
            name: {"current": now, "limit": most, "display": f"{now:,}/{most:,}"}
            for name, now in shared.used().items()
            for most in [getattr(shared.limit, name)]
        }


def _as_dict(message: Any) -> Any:
    return message.to_dict() if isinstance(message, ChatMessage) else message
