"""Requests that come one by one, from any thread: a queue by priority, and the batch that empties it."""

import atexit
import concurrent.futures.thread  # noqa: F401  for the order of the ends, see `_when_program_ends`
import heapq
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from threading import Lock, Thread, current_thread
from typing import Any
from weakref import WeakMethod

from llm_api_client.clock import Clock
from llm_api_client.errors import ClientClosedError, ConfigurationError
from llm_api_client.records import Result
from llm_api_client.run.batch import GRACE_SECONDS, Batch
from llm_api_client.run.given_up import by_stop
from llm_api_client.run.intake import NONE_NOW, Numbered
from llm_api_client.secrets import masked

PRIORITIES = {"high": 1, "normal": 0, "low": -1}
"""Priorities by name; others are whole numbers, the higher the sooner."""

SECONDS_PER_LEVEL = 60.0
"""What one level of priority is worth: a request goes before one of the level above that came so much later, so that
none waits for ever."""


@dataclass(order=True, slots=True)
class _Submission:
    """One request of the queue. `is_live` is None until it is known whether its future was cancelled before."""

    turn: tuple[float, int]
    index: int = field(compare=False)
    request: Any = field(compare=False)
    priority: str = field(compare=False)
    future: "Future[Result]" = field(compare=False)
    is_live: bool | None = field(default=None, compare=False)

    @property
    def waits(self) -> bool:
        """Whether it may still be cancelled, and was not."""
        return self.is_live is None and not self.future.cancelled()


MakeBatch = Callable[[Iterator[Numbered], Callable[[int], bool], Callable[[int], float]], Batch]


class Submissions:
    """Performs what is submitted in one batch, which runs in a thread while there is something to do.

    Args:
        make_batch: A batch of what an iterator of numbered requests gives, whose calls are sent only if a function of
            the number says so, and stand in line by what another gives. What stops it leaves the rest of the iterator
            alone.
        clock: Tells the time.
    """

    def __init__(self, make_batch: MakeBatch, clock: Clock) -> None:
        self._make_batch = make_batch
        self._clock = clock
        # The lock guards all below, and whether a submission is live. `_open` has what the batch has taken and not
        # ended; `_thread` is there while something waits or is open.
        self._lock = Lock()
        self._waiting: list[_Submission] = []
        self._open: dict[int, _Submission] = {}
        self._numbers = count()
        self._batch: Batch | None = None
        self._thread: Thread | None = None
        self._closed = False

    def submit(self, request: Any, priority: str | int) -> "Future[Result]":
        """Put a request into the queue.

        Raises:
            ConfigurationError: `priority` is none.
            ClientClosedError: The client is closed.
        """
        level = _level(priority)
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise ClientClosedError("The client is closed; make a new APIClient.")
            number = next(self._numbers)
            if not number:
                _when_program_ends(self._finish)
            turn = (self._clock.now() - level * SECONDS_PER_LEVEL, number)
            heapq.heappush(self._waiting, _Submission(turn, number, request, str(priority), future))
            batch, starts = self._batch, self._thread is None
            if starts:
                self._thread = Thread(target=self._run, name="llm-api-client-submissions", daemon=False)
                self._thread.start()
        if batch is not None:
            batch.wake()
        return future

    def status(self) -> dict[str, Any]:
        """How many wait, by priority, and how many are under way."""
        with self._lock:
            lengths = Counter(dict.fromkeys(PRIORITIES, 0))
            lengths.update(one.priority for one in (*self._waiting, *self._open.values()) if one.waits)
            return {
                "queue_lengths": dict(lengths),
                "total_queue_length": lengths.total(),
                "in_flight": sum(one.is_live is True for one in self._open.values()),
                "running": self._thread is not None,
            }

    def close(self) -> None:
        """Take no more, and end what has not ended; waits until all futures have their end."""
        with self._lock:
            self._closed = True
            batch, thread = self._batch, self._thread
        if batch is not None:
            batch.interrupt(ClientClosedError("The client was closed."))
        # A future's callback may close the client, and is itself in that thread.
        if thread is not None and thread is not current_thread():
            thread.join(GRACE_SECONDS)

    def _finish(self) -> None:
        """Wait until all that was submitted has its end."""
        while (thread := self._thread) is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            stop = self._run_batch()
            with self._lock:
                self._batch = None
                if stop is None and self._waiting:
                    continue  # It came after the batch had seen that there was no more.
                left = [*self._open.values(), *self._waiting]
                self._open.clear()
                self._waiting.clear()
                self._thread = None
            error = by_stop(stop)
            for one in left:
                said = error("Not sent before {}.", False)
                model = one.request.get("model") if isinstance(one.request, dict) else None
                self._give(one, Result(one.index, masked(one.request), error=said, model=model))
            return

    def _run_batch(self) -> BaseException | None:
        """Run a batch to its end; returns what has stopped it."""
        try:
            batch = self._make_batch(self._requests(), self._may_start, self._turn_of)
        except Exception as raised:  # noqa: BLE001  every future has its end, whatever happens
            return raised
        with self._lock:
            self._batch = batch
            closed = self._closed
        try:
            if closed:
                batch.interrupt(ClientClosedError("The client was closed."))
            self._end(batch.results())
        except BaseException as raised:  # noqa: BLE001  likewise
            self._end(batch.give_up(by_stop(raised)))
            return raised
        finally:
            batch.close()
        return None

    def _requests(self) -> Iterator[Numbered]:
        """What waits, each in its turn; `NONE_NOW` while nothing does and something is open."""
        while True:
            with self._lock:
                one = heapq.heappop(self._waiting) if self._waiting else None
                if one is not None:
                    self._open[one.index] = one
                elif not self._open:
                    return
            if one is None:
                yield NONE_NOW
            elif one.future.cancelled():
                self._may_start(one.index)
                with self._lock:
                    del self._open[one.index]
            else:
                yield one.index, one.request

    def _may_start(self, index: int) -> bool:
        """Whether it was not cancelled, and from now on cannot be."""
        with self._lock:
            one = self._open.get(index)
            return one is not None and _is_live(one)

    def _turn_of(self, index: int) -> float:
        with self._lock:
            return self._open[index].turn[0]

    def _end(self, results: Iterable[Result]) -> None:
        for result in results:
            with self._lock:
                one = self._open.pop(result.index)
            self._give(one, result)

    def _give(self, one: _Submission, result: Result) -> None:
        with self._lock:
            is_live = _is_live(one)
        if is_live:
            if result.error is not None:
                result.error.index = None
            one.future.set_result(result)


def _is_live(one: _Submission) -> bool:
    """Whether its future was not cancelled; from now on it cannot be. Called under the lock."""
    if one.is_live is None:
        one.is_live = one.future.set_running_or_notify_cancel()
    return one.is_live


def _when_program_ends(finish: Callable[[], None]) -> None:
    """Have `finish`, a method, called when the main thread has ended, while calls can still be made.

    LiteLLM hands every answer to an executor of the standard library's too, and these are closed before the program
    waits for its threads. What they themselves are closed by runs in the reverse order of its registration.
    """
    method = WeakMethod(finish)

    def call() -> None:
        found = method()
        if found is not None:
            found()

    with suppress(RuntimeError):  # The end has begun.
        getattr(threading, "_register_atexit", atexit.register)(call)


def _level(priority: str | int) -> int:
    if isinstance(priority, int) and not isinstance(priority, bool):
        return priority
    level = PRIORITIES.get(priority) if isinstance(priority, str) else None
    if level is None:
        raise ConfigurationError(f'priority is {priority!r}; give "high", "normal", "low", or a whole number.')
    return level
