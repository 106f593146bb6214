"""A batch's results, one after another, in a coroutine."""

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator
from itertools import count
from queue import SimpleQueue
from typing import Any

from llm_api_client.async_client.errand import Errand, current_errand
from llm_api_client.errors import ClientClosedError
from llm_api_client.records import Result
from llm_api_client.run.intake import NONE_NOW, Numbered

Reply = asyncio.Future[tuple[Result | None, BaseException | None]]


class AsyncResults(AsyncIterator[Result]):
    """The results of `iter_requests`. Nothing begins before the first is asked for, and nothing more between two.

    Leaving the loop, or forgetting this, gives up what was not sent; `aclose` waits for that.

    Args:
        errand: Begins a call in a thread, which something can stop.
        stream: The results, for one thread.
        source: The input, where it is read in the loop.
    """

    def __init__(
        self,
        errand: Callable[..., Errand[None]],
        stream: Callable[[], Generator[Result]],
        source: "Source | None" = None,
    ) -> None:
        self._begin: Callable[[], Errand[None]] | None = None
        self._source = source
        self._wanted: SimpleQueue[Reply | None] = SimpleQueue()
        self._errand: Errand[None] | None = None
        self._reply: Reply | None = None
        self._is_asked = False
        self._is_over = False
        wanted = self._wanted

        # These know nothing of this object, so that it can be forgotten while they run.
        def begin() -> Errand[None]:
            return errand(lambda: _serve(stream, wanted, source), lambda _: wanted.put(None))

        self._begin = begin

    async def __anext__(self) -> Result:
        if self._is_asked:
            raise RuntimeError("The next result is already being waited for; ask for one after another.")
        if self._is_over:
            raise StopAsyncIteration
        if self._errand is None and self._begin is not None:
            self._errand, self._begin = self._begin(), None
        if self._errand is None:
            raise StopAsyncIteration
        if self._reply is None:  # One that was asked for by somebody who was cancelled is not lost.
            self._reply = asyncio.get_running_loop().create_future()
            self._wanted.put(self._reply)
        self._is_asked = True
        try:
            either: list[asyncio.Future[Any]] = [self._reply, self._errand.ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._is_asked = False
        reply, self._reply = self._reply, None
        if not reply.done():
            self._is_over = True
            raise ClientClosedError("The client was closed while its results were read.")
        result, error = reply.result()
        if result is not None:
            return result
        was_left, self._is_over = self._is_over, True
        try:
            raise StopAsyncIteration if error is None or was_left else error
        finally:
            del error  # its frames know it

    async def aclose(self) -> None:
        """Give up what was not sent, and wait until that is done. Calling twice is harmless."""
        self._leave()
        if self._errand is not None:
            await asyncio.wait([self._errand.ended])

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> None:
        self._is_over, self._begin = True, None
        if self._errand is not None:
            self._errand.stop(asyncio.CancelledError())


class Source:
    """Numbered requests of an asynchronous iterable, for a batch's thread; they are read in the loop, one at a time.

    Args:
        requests: Where they come from.
    """

    def __init__(self, requests: AsyncIterable[Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._requests = requests
        self._iterator: AsyncIterator[Any] | None = None
        self._numbers = count()
        # Put by the loop and taken by the thread: what was read, or why nothing more is.
        self._read: deque[tuple[Any, BaseException | None]] = deque()
        self._is_awaited = False
        self._task: asyncio.Task[None] | None = None
        self._errand: Errand[Any] | None = None

    def __iter__(self) -> "Source":
        return self

    def __next__(self) -> Numbered:
        if not self._read:
            self._ask()
            return NONE_NOW
        request, error = self._read.popleft()
        self._is_awaited = False
        if error is None:
            return next(self._numbers), request
        if isinstance(error, StopAsyncIteration):
            raise StopIteration
        raise error

    def close(self) -> None:
        """Read no more. From any thread."""
        errand, self._errand = self._errand, None
        if errand is not None:
            errand.tell(self._cancel)

    def _ask(self) -> None:
        if self._is_awaited:
            return
        errand = current_errand()
        if errand is not None:
            self._is_awaited, self._errand = True, errand
            if not errand.tell(self._begin, errand):
                raise RuntimeError("The event loop was closed while its requests were read.")

    def _begin(self, errand: Errand[Any]) -> None:
        self._task = self._loop.create_task(self._next(errand), context=self._context)

    async def _next(self, errand: Errand[Any]) -> None:
        try:
            if self._iterator is None:
                self._iterator = aiter(self._requests)
            self._read.append((await anext(self._iterator), None))
        except BaseException as raised:  # noqa: BLE001  it is raised in the batch, and from there to whoever reads it
            self._read.append((None, raised))
        errand.wake()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._iterator = None


def _serve(stream: Callable[[], Generator[Result]], wanted: SimpleQueue[Reply | None], source: Source | None) -> None:
    """Give one result for each that is wanted, and end where None is."""
    errand = current_errand()
    results: Generator[Result] | None = None
    try:
        while (reply := wanted.get()) is not None:
            result, error = None, None
            try:
                results = results or stream()
                result = next(results, None)
            except BaseException as raised:  # noqa: BLE001  it is raised where the result is awaited
                error = raised
            if errand is not None:
                errand.tell(_settle, reply, result, error)
            if result is None:
                return
    finally:
        if results is not None:
            results.close()
        if source is not None:
            source.close()


def _settle(reply: Reply, result: Result | None, error: BaseException | None) -> None:
    if not reply.done():
        reply.set_result((result, error))
