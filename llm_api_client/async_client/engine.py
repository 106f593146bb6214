"""The client behind the asynchronous one: what it is asked for, and who may stop it from another thread."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from llm_api_client.api_client import APIClient
from llm_api_client.api_client.options import check_positive
from llm_api_client.async_client.errand import Errand, current_errand
from llm_api_client.async_client.text import AsyncTextStream, LoopReader
from llm_api_client.errors import ClientClosedError
from llm_api_client.records import Result
from llm_api_client.responses import ChatResponse, Response
from llm_api_client.run.batch import GRACE_SECONDS, Batch
from llm_api_client.run.collect import only_result
from llm_api_client.run.intake import Numbered
from llm_api_client.run.progress import Progress
from llm_api_client.run.streaming import Reader
from llm_api_client.run.submissions import Submissions

T = TypeVar("T")
R = TypeVar("R", bound=Response)


@dataclass(frozen=True, slots=True)
class Asked(Generic[R]):
    """A single call that is made up and not yet performed.

    Attributes:
        kind: The kind of the answer.
        request: What is sent.
        options: How it is performed, as for `Engine.queue`.
    """

    kind: type[R]
    request: Mapping[str, Any] = field(repr=False)
    options: Mapping[str, Any]


class Engine(APIClient):
    """An `APIClient` whose single calls are asked for and left to others, and whose batches other threads can stop."""

    def __init__(self, *rates: Any, **options: Any) -> None:
        super().__init__(*rates, **options)
        # The lock guards both. A queue is kept by its own thread and by those who wait in it, so that it is there as
        # long as there is something in it.
        self._guard = Lock()
        self._errands: set[Errand[Any]] = set()
        self._queues: WeakValueDictionary[tuple[Any, ...], Submissions] = WeakValueDictionary()

    def errand(self, call: Callable[[], T], on_stop: Callable[[BaseException], None] | None = None) -> Errand[T]:
        """A blocking call of this client in a thread, begun."""
        errand = Errand(call, on_stop=on_stop, on_end=self._ends)
        with self._guard:
            self._errands.add(errand)
        errand.start()
        return errand

    def check_open(self) -> None:
        """Refuse to go on with a client that is closed.

        Raises:
            ClientClosedError: It is.
        """
        self._check_open()

    def queued(
        self,
        request: Mapping[str, Any],
        *,
        endpoint: str = "chat",
        sanitize: bool = True,
        max_retries: int = 2,
        validate: Any = None,
    ) -> "Future[Result]":
        """Put a request into the queue of those that are performed alike.

        Raises:
            ClientClosedError: The client is closed.
            ConfigurationError: An option cannot be used.
        """
        self._check_open()
        check_positive("max_retries", max_retries, whole=True, zero=True)
        options = {"endpoint": endpoint, "sanitize": sanitize, "max_retries": max_retries, "validate": validate}
        # A queue keeps what it validates by, whose id is therefore no other's while it is there.
        alike = repr(endpoint), bool(sanitize), max_retries, id(validate)
        with self._guard:
            queue = self._queues.get(alike)
            if queue is None:
                make_batch = partial(self._queue_s_batch, options)
                make_batch(
                    iter(()), bool, float
                ).close()  # An option that cannot be used is said here, and to this caller.
                queue = self._queues[alike] = Submissions(make_batch, self._clock)
        return queue.submit(request, "normal")

    def only(self, request: Mapping[str, Any], **options: Any) -> Result:
        """Perform one request in this thread.

        Raises:
            LLMAPIClientError: It failed.
        """
        self._check_open()
        progress = Progress(1, wanted=False)
        batch = self._batch([request], progress, keep=self.history.append, max_workers=1, **options)
        return only_result(self._begun(batch))

    def stream(self, requests: Iterable[Any], total: int | None, **options: Any) -> Generator[Result]:
        """The results of requests as they end, for this thread.

        Raises:
            LLMAPIClientError: As of `iter_requests`.
        """
        self._check_open()
        return self._stream(requests, total, **options)

    def queue_status(self) -> dict[str, Any]:
        """As of every client; requests that are awaited one by one are in it too."""
        status = super().queue_status()
        with self._guard:
            queues = list(self._queues.values())
        for other in (queue.status() for queue in queues):
            for name, length in other["queue_lengths"].items():
                status["queue_lengths"][name] = status["queue_lengths"].get(name, 0) + length
            for name in ("total_queue_length", "in_flight"):
                status[name] += other[name]
            status["running"] |= other["running"]
        return status

    def shut(self) -> None:
        """Close the client, and end whatever runs in it; waits up to five seconds for that."""
        with self._guard:
            errands = self._errands - {current_errand()}
            queues = [self._submissions, *self._queues.values()]
        self._limits.close()
        for errand in errands:
            errand.stop(ClientClosedError("The client was closed."))
        for queue in queues:
            queue.close()
        self.close()
        for errand in errands:
            errand.join(GRACE_SECONDS)

    def _queue_s_batch(
        self,
        options: Mapping[str, Any],
        numbered: Iterator[Numbered],
        may_start: Callable[[int], bool],
        turn_of: Callable[[int], float],
    ) -> Batch:
        progress, keep = Progress(None, wanted=False), self.history.append
        queue: dict[str, Any] = {"numbered": numbered, "may_start": may_start, "turn_of": turn_of}
        return self._batch((), progress, keep=keep, whole=False, **queue, **options)

    def _begun(self, batch: Batch) -> Batch:
        errand = current_errand()
        if errand is not None:
            errand.begins(batch)
        return batch

    def _ends(self, errand: Errand[Any]) -> None:
        with self._guard:
            self._errands.discard(errand)

    def _one(self, kind: type[R], endpoint: str, request: Mapping[str, Any], max_retries: int) -> Any:
        return Asked(kind, request, {"endpoint": endpoint, "max_retries": max_retries})

    def _streamed(self, make_batch: Callable[[Reader], Batch], kind: type[ChatResponse]) -> Any:
        reader = LoopReader(asyncio.get_running_loop())
        return AsyncTextStream(reader, self.errand(lambda: only_result(self._begun(make_batch(reader)))), kind)
