"""An answer that is read while it is written."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from types import TracebackType
from typing import Any, Self

from llm_api_client.errors import ClientClosedError
from llm_api_client.records import Result
from llm_api_client.responses import CallUsage, ChatResponse
from llm_api_client.run.batch import GRACE_SECONDS, Batch
from llm_api_client.run.collect import raised
from llm_api_client.run.given_up import by_stop


class Reader:
    """What a stream, its thread, and the thread of its call share: pieces on their way, and whether anybody reads.

    Of the reader who leaves and the call that begins or fails at that moment, each first says so and then looks at the
    other: at least one of them sees it, so that no lock is needed.
    """

    def __init__(self) -> None:
        self.pieces: SimpleQueue[str | Result] = SimpleQueue()
        self.has_some = False
        self._has_left = False
        self._is_under_way = False

    def __call__(self, piece: Any) -> bool:
        """Hand a piece of the answer over; returns whether more is wanted."""
        text = text_of(piece)
        if text and not self._has_left:
            self.has_some = True
            self.pieces.put(text)
        return not self._has_left

    def leave(self) -> bool:
        """Want no more; returns whether a call is under way, which will see it."""
        self._has_left = True
        return self._is_under_way

    def may_start(self, _: int) -> bool:
        """Whether a call is still wanted, which begins then."""
        self._is_under_way = True
        return not self._has_left

    def has_spoken(self) -> bool:
        """Whether a call that has failed is not to be made again: a part of its answer is read, or nobody reads."""
        self._is_under_way = False
        return self.has_some or self._has_left


class TextStream(Iterator[str]):
    """The pieces of an answer's text as they come. When they have come, `response` has the whole.

    A stream that is left early, with `close`, `with` or by forgetting it, is not sent if it was not yet, and otherwise
    ends the call at its next piece; what it used until then is counted.

    Args:
        make_batch: A batch of the one request, which hands pieces to a reader.
        kind: The kind of the answer.
        streams: All that are under way.
    """

    def __init__(self, make_batch: Callable[[Reader], Batch], kind: type[ChatResponse], streams: "Streams") -> None:
        self._kind = kind
        self._reader = Reader()
        self._result: Result | None = None
        self._response: ChatResponse | None = None
        self._is_read = False
        self._batch = make_batch(self._reader)
        self._thread = streams.start(self._batch, self._reader)

    def __next__(self) -> str:
        if self._is_read:
            raise StopIteration
        try:
            piece = self._reader.pieces.get()
        except BaseException:  # Ctrl-C
            self._leave()
            raise
        if isinstance(piece, str):
            return piece
        self._end(piece)
        if piece.error is not None:
            raise raised(piece.error) from piece.error.__cause__
        if not self._reader.has_some and piece.content:
            # It came whole: from a checkpoint, or from what does not stream.
            return piece.content
        raise StopIteration

    @property
    def response(self) -> ChatResponse | None:
        """The whole answer, or as much of it as was read; None while it is coming, or where it failed."""
        if self._response is None and self._result is not None and self._result.error is None:
            self._response = self._kind.of(self._result)
        return self._response

    @property
    def usage(self) -> CallUsage | None:
        """What it used; None while it is coming."""
        return None if self.response is None else self.response.usage

    @property
    def cost(self) -> float | None:
        """US dollars; None while it is coming, or where the price is unknown."""
        return None if self.response is None else self.response.cost

    def close(self) -> None:
        """Read no further. Waits up to five seconds for the call to end, so that it is counted."""
        self._leave()
        self._thread.join(GRACE_SECONDS)
        while self._result is None and not self._reader.pieces.empty():
            piece = self._reader.pieces.get()
            if isinstance(piece, Result):
                self._end(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_batch"):  # or there was never one to leave
            self._leave()

    def _end(self, result: Result) -> None:
        self._result = result
        self._is_read = True

    def _leave(self) -> None:
        self._is_read = True
        if not self._reader.leave():
            # It waits for a limit or for its next attempt, or it is over.
            self._batch.interrupt(GeneratorExit())


class Streams:
    """A client's streams under way: a thread for each, which does not know the stream, so that it can be forgotten."""

    def __init__(self) -> None:
        # The lock guards both.
        self._lock = Lock()
        self._threads: dict[Batch, Thread] = {}
        self._closed = False

    def start(self, batch: Batch, reader: Reader) -> Thread:
        """Run a batch for its reader."""
        thread = Thread(target=self._run, args=(batch, reader), name="llm-api-client-stream", daemon=True)
        with self._lock:
            self._threads[batch] = thread
            closed = self._closed
        if closed:
            batch.interrupt(_closed())
        thread.start()
        return thread

    def close(self) -> None:
        """End all; their readers get an error."""
        with self._lock:
            self._closed = True
            running = dict(self._threads)
        for batch in running:
            batch.interrupt(_closed())
        for thread in running.values():
            if thread is not current_thread():
                thread.join(GRACE_SECONDS)

    def _run(self, batch: Batch, reader: Reader) -> None:
        try:
            for result in batch.results():
                reader.pieces.put(result)
        except BaseException as stop:  # noqa: BLE001  the reader is told, whatever it was
            for result in batch.give_up(by_stop(None if isinstance(stop, GeneratorExit) else stop)):
                reader.pieces.put(result)
        finally:
            batch.close()
            with self._lock:
                del self._threads[batch]


def _closed() -> ClientClosedError:
    return ClientClosedError("The client was closed.")


def text_of(piece: Any) -> str:
    """The text of a piece of a chat's answer, or a completion's; "" where it has none."""
    try:
        choice = piece.choices[0]
        text = choice.delta.content if hasattr(choice, "delta") else choice.text
    except (AttributeError, IndexError, TypeError):
        return ""
    return text if isinstance(text, str) else ""
