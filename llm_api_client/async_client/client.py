"""The client whose methods are awaited."""

import asyncio
import os
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from functools import partial, wraps
from operator import length_hint
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from llm_api_client.api_client import APIClient
from llm_api_client.api_tracker import APIUsageTracker
from llm_api_client.async_client.engine import Asked, Engine
from llm_api_client.async_client.errand import Handler
from llm_api_client.async_client.results import AsyncResults, Source
from llm_api_client.prepare.check import check_requests
from llm_api_client.record.history import History
from llm_api_client.records import Result
from llm_api_client.run.collect import raised

P = ParamSpec("P")
R = TypeVar("R")

_Method = Callable[Concatenate[Any, P], R]
_Awaited = Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]


def _apart(method: _Method[P, R]) -> _Awaited[P, R]:
    """A method of the client that runs in a thread of its own."""

    @wraps(method)
    async def call(self: "AsyncAPIClient", /, *args: P.args, **options: P.kwargs) -> R:
        return await self._engine.errand(partial(method, self._engine, *args, **options)).outcome()

    return call


def _at_once(method: _Method[P, R]) -> _Awaited[P, R]:
    """A method of the client that only looks something up."""

    @wraps(method)
    async def call(self: "AsyncAPIClient", /, *args: P.args, **options: P.kwargs) -> R:
        return method(self._engine, *args, **options)

    return call


def _single(method: _Method[P, R]) -> _Awaited[P, R]:
    """A method of the client that performs one request: it is made up here, and performed by the queue."""

    @wraps(method)
    async def call(self: "AsyncAPIClient", /, *args: P.args, **options: P.kwargs) -> R:
        self._engine.check_open()
        made: Any = method(self._engine, *args, **options)
        if isinstance(made, Asked):
            made = await self._performed(made)
        answer: R = made  # Otherwise it is a stream, which has begun.
        return answer

    return call


def _many(method: _Method[P, R]) -> _Awaited[P, R]:
    """A method of the client that performs a list of requests."""

    @wraps(method)
    async def call(self: "AsyncAPIClient", /, *args: P.args, **options: P.kwargs) -> R:
        on_result: Any = options.get("on_result")
        on_stop = None
        if on_result is not None:
            options["on_result"] = handler = Handler(on_result)
            on_stop = handler.stop
        return await self._engine.errand(partial(method, self._engine, *args, **options), on_stop).outcome()

    return call


async def _answered(future: "Future[Result]") -> Result:
    """The result of a request in the queue.

    Raises:
        LLMAPIClientError: It failed.
    """
    result = await asyncio.wrap_future(future)
    if result.error is not None:
        raise raised(result.error) from result.error.__cause__
    return result


class AsyncAPIClient:
    """`APIClient` for programs that run on `asyncio`: every method is awaited, and does what it does there.

    Single calls wait in one queue, so that thousands may be awaited together without a thread each. Batches run in one
    thread each, and whatever looks into LiteLLM's tables in one of its own, so that the loop goes on meanwhile.
    Cancelling a call takes it out of the queue; one that was sent goes on, and its answer is in `history`. Cancelling a
    batch starts nothing further.

    A client belongs to no loop: it may be used in several, one after another.

    Args:
        *rates: `base_url` and `api_key`, as in `AsyncAPIClient("https://api.groq.com", "key")`; or, where the first is
            no text, the first four options of `APIClient`.
        **options: Options of `APIClient` by their names.

    Raises:
        ConfigurationError: An option cannot be used as it is.
        CheckpointError: The checkpoint cannot be used.
    """

    def __init__(self, *rates: Any, **options: Any) -> None:
        if rates and isinstance(rates[0], str):
            named = dict(zip(("base_url", "api_key"), rates, strict=False))
            twice = [name for name in named if name in options]
            if twice or len(rates) > len(named):
                said = f"{twice[0]} is given twice" if twice else f"{len(rates)} values are given without their names"
                raise TypeError(f"{said}; after a base URL and a key, give options by their names.")
            rates, options = (), {**named, **options}
        self._engine = Engine(*rates, **options)

    @classmethod
    def from_config(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """A client whose options are in a file, as for `APIClient.from_config`."""
        from llm_api_client.api_client.config import options_from  # noqa: PLC0415  for those who have a file

        return cls(**{**options_from(path, without=overrides), **overrides})

    async def _performed(self, asked: Asked[Any]) -> Any:
        return asked.kind.of(await _answered(self._engine.queued(asked.request, **asked.options)))

    @property
    def tracker(self) -> APIUsageTracker:
        """What this client's calls cost, used and took."""
        return self._engine.tracker

    @property
    def history(self) -> History:
        """What was asked and what came of it, one entry for each request."""
        return self._engine.history

    @property
    def failures(self) -> list[Result]:
        """The last batch's failed results, with their errors."""
        return self._engine.failures

    @property
    def details(self) -> dict[str, Any]:
        """The client's limits and workers, and all that its tracker counts."""
        return self._engine.details

    make_requests = _many(APIClient.make_requests)
    """`APIClient.make_requests`. `on_result` is called in the loop, and may be a coroutine function."""
    make_requests_with_retries = _many(APIClient.make_requests_with_retries)
    """`APIClient.make_requests_with_retries`. `on_result` as for `make_requests`."""

    def iter_requests(
        self,
        requests: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        *,
        ordered: bool = False,
        max_retries: int = 2,
        max_workers: int | None = None,
        endpoint: str = "chat",
        sanitize: bool = True,
        timeout: float | None = None,
        validate: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        max_cost: float | None = None,
    ) -> AsyncResults:
        """`APIClient.iter_requests`, for `async for`.

        Requests may come from an asynchronous iterable, which is read in the loop. Any other is read in the thread of
        the batch, and may take its time. Nothing begins before the first result is asked for.
        """
        self._engine.check_open()
        options = {
            "ordered": ordered, "max_retries": max_retries, "max_workers": max_workers, "endpoint": endpoint,
            "sanitize": sanitize, "timeout": timeout, "validate": validate, "checkpoint": checkpoint,
            "max_cost": max_cost,
        }  # fmt: skip
        stream = self._engine.stream
        if isinstance(requests, AsyncIterable):
            source = Source(requests)
            return AsyncResults(self._engine.errand, partial(stream, (), None, numbered=source, **options), source)
        total = length_hint(check_requests(requests)) or None
        return AsyncResults(self._engine.errand, partial(stream, requests, total, **options))

    async def request(
        self,
        request: Mapping[str, Any],
        *,
        endpoint: str = "chat",
        sanitize: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109  the engine keeps to it
        max_retries: int = 2,
        validate: Any = None,
    ) -> Any:
        """`APIClient.request`. With a `timeout` it takes a thread, and waits in no queue."""
        options = {"endpoint": endpoint, "sanitize": sanitize, "max_retries": max_retries, "validate": validate}
        if timeout is None:
            return (await _answered(self._engine.queued(request, **options))).response
        one = partial(self._engine.only, request, timeout=timeout, **options)
        return (await self._engine.errand(one).outcome()).response

    def submit(self, request: Mapping[str, Any], *, priority: str | int = "normal") -> "asyncio.Future[Result]":
        """`APIClient.submit`, whose future belongs to the loop: it can be awaited, now or later."""
        return asyncio.wrap_future(self._engine.submit(request, priority=priority))

    queue_status = _at_once(Engine.queue_status)
    """`APIClient.queue_status`, single calls that are awaited included."""

    # Ignored: a type checker fears that "self" may be among the **kwargs.
    chat = _single(APIClient.chat)  # type: ignore[arg-type]
    """`APIClient.chat`. With `stream=True, return_generator=True` it gives an `AsyncTextStream`."""
    completion = _single(APIClient.completion)  # type: ignore[arg-type]
    """`APIClient.completion`. Streams as of `chat`."""
    embeddings = _single(APIClient.embeddings)  # type: ignore[arg-type]
    """`APIClient.embeddings`."""
    image = _single(APIClient.image)  # type: ignore[arg-type]
    """`APIClient.image`."""
    moderation = _single(APIClient.moderation)  # type: ignore[arg-type]
    """`APIClient.moderation`."""
    transcription = _single(APIClient.transcription)  # type: ignore[arg-type]
    """`APIClient.transcription`."""
    speech = _single(APIClient.speech)  # type: ignore[arg-type]
    """`APIClient.speech`."""
    rerank = _single(APIClient.rerank)  # type: ignore[arg-type]
    """`APIClient.rerank`."""
    responses = _single(APIClient.responses)  # type: ignore[arg-type]
    """`APIClient.responses`."""

    post_request = _apart(APIClient.post_request)
    """`APIClient.post_request`."""
    get = _apart(APIClient.get)
    """`APIClient.get`."""
    upload_file = _apart(APIClient.upload_file)
    """`APIClient.upload_file`."""

    get_usage = _at_once(APIClient.get_usage)
    """`APIClient.get_usage`."""
    get_user_info = _apart(APIClient.get_user_info)
    """`APIClient.get_user_info`."""

    submit_batch = _apart(APIClient.submit_batch)
    """`APIClient.submit_batch`. The job's own methods block: call them by `asyncio.to_thread`."""
    batch = _apart(APIClient.batch)
    """`APIClient.batch`. The job as of `submit_batch`."""
    fine_tune = _apart(APIClient.fine_tune)
    """`APIClient.fine_tune`. The job as of `submit_batch`."""
    fine_tuning_job = _apart(APIClient.fine_tuning_job)
    """`APIClient.fine_tuning_job`. The job as of `submit_batch`."""

    estimate = _apart(APIClient.estimate)
    """`APIClient.estimate`."""
    providers = _apart(APIClient.providers)
    """`APIClient.providers`."""
    models = _apart(APIClient.models)
    """`APIClient.models`."""
    model_info = _apart(APIClient.model_info)
    """`APIClient.model_info`."""
    sanitize_completion_request = _apart(APIClient.sanitize_completion_request)
    """`APIClient.sanitize_completion_request`."""
    remove_unsupported_params = _apart(APIClient.remove_unsupported_params)
    """`APIClient.remove_unsupported_params`."""
    truncate_to_max_context_tokens = _apart(APIClient.truncate_to_max_context_tokens)
    """`APIClient.truncate_to_max_context_tokens`."""
    get_max_context_tokens = _apart(APIClient.get_max_context_tokens)
    """`APIClient.get_max_context_tokens`."""
    count_messages_tokens = _apart(APIClient.count_messages_tokens)
    """`APIClient.count_messages_tokens`."""

    async def close(self) -> None:
        """Close the client. What is under way in it ends with an error; calling twice is harmless.

        Where there is a checkpoint, calls that are still under way have five seconds more.
        """
        errand = self._engine.errand(self._engine.shut)
        await errand.outcome()
        errand.join()  # It has told so, and ends at once.

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self._engine).replace("<APIClient", "<AsyncAPIClient", 1)
