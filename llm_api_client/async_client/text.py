"""An answer that a coroutine reads while it is written."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from llm_api_client.async_client.errand import Errand
from llm_api_client.records import Result
from llm_api_client.responses import CallUsage, ChatResponse
from llm_api_client.run.batch import GRACE_SECONDS
from llm_api_client.run.streaming import Reader


class _Pieces:
    """What a `Reader` puts its pieces into: a queue of a loop, which other threads may put into."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()

    def put(self, piece: str | None) -> None:
        """Hand a piece over, or None after the last. From any thread."""
        with suppress(RuntimeError):  # The loop was closed, and nobody reads.
            self._loop.call_soon_threadsafe(self.queue.put_nowait, piece)


class LoopReader(Reader):
    """A reader in a loop.

    Args:
        loop: Where pieces are read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.pieces: Any = _Pieces(loop)


class AsyncTextStream(AsyncIterator[str]):
    """The pieces of an answer's text as they come. When they have come, `response` has the whole.

    A stream that is left early, with `aclose`, `async with` or by forgetting it, is not sent if it was not yet, and
    otherwise ends the call at its next piece; what it used until then is counted.

    Args:
        reader: Takes the pieces.
        errand: Performs the call.
        kind: The kind of the answer.
    """

    def __init__(self, reader: LoopReader, errand: Errand[Result], kind: type[ChatResponse]) -> None:
        self._reader = reader
        self._pieces: asyncio.Queue[str | None] = reader.pieces.queue
        self._errand = errand
        self._kind = kind
        self._is_read = False
        pieces = self._pieces
        # Whatever the call's threads have put is in the queue before this is.
        errand.ended.add_done_callback(lambda _: pieces.put_nowait(None))

    async def __anext__(self) -> str:
        if self._is_read:
            raise StopAsyncIteration
        piece = await self._pieces.get()
        if piece is not None:
            return piece
        if self._is_read:  # It was left meanwhile.
            raise StopAsyncIteration
        self._is_read = True
        result = await self._errand.outcome()
        if not self._reader.has_some and result.content:
            # It came whole: from a checkpoint, or from what does not stream.
            return result.content
        raise StopAsyncIteration

    @property
    def response(self) -> ChatResponse | None:
        """The whole answer, or as much of it as was read; None while it is coming, or where it failed."""
        result = self._errand.ended.result()[0] if self._errand.ended.done() else None
        return None if result is None else self._kind.of(result)

    @property
    def usage(self) -> CallUsage | None:
        """What it used; None while it is coming."""
        return None if self.response is None else self.response.usage

    @property
    def cost(self) -> float | None:
        """US dollars; None while it is coming, or where the price is unknown."""
        return None if self.response is None else self.response.cost

    async def aclose(self) -> None:
        """Read no further. Waits up to five seconds for the call to end, so that it is counted."""
        self._leave()
        await asyncio.wait([self._errand.ended], timeout=GRACE_SECONDS)
        self._errand.stop(asyncio.CancelledError())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> None:
        self._is_read = True
        if not self._reader.leave():
            # It waits for a limit or for its next attempt, or it is over.
            self._errand.stop(asyncio.CancelledError())
