"""Time: what it is, and every wait for it, behind one object that a test can replace."""

import time
from queue import SimpleQueue
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """All that this library knows of time."""

    def now(self) -> float:
        """Seconds on a clock that never goes back; its zero means nothing."""

    def wall(self) -> float:
        """Seconds since the epoch, for people; never used in a decision."""

    def wait(self, inbox: SimpleQueue[T], timeout: float | None, *, running: int = 0) -> T:
        """Take the next item of `inbox`, waiting at most `timeout` seconds (None: for ever).

        `running` is how many calls are under way that will each put something in: a replaced clock moves only
        when nothing that runs could still come first.

        Raises:
            queue.Empty: `timeout` passed first.
        """


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since some moment, unmoved by changes of the time of day."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, inbox: SimpleQueue[T], timeout: float | None, *, running: int = 0) -> T:  # noqa: ARG002  for replaced clocks
        """Take the next item of `inbox`, or raise `queue.Empty` after `timeout` seconds."""
        # A lock's longest wait is about 292 years on 64-bit POSIX and 49 days elsewhere; a day is plenty, and the
        # waiter asks again.
        return inbox.get(timeout=None if timeout is None else min(max(timeout, 0.0), 86_400.0))
