"""Time: what it is, and every wait for it, behind one object that a test can replace."""

import time
from queue import SimpleQueue
from typing import Protocol, TypeVar

T = TypeVar("T")


LONGEST_WAIT = 1.0
"""Seconds that a thread waits at a time. A signal that comes just before a wait does not end it, and so Ctrl-C is seen
only after it."""


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
            queue.Empty: `timeout` passed first, or as much of it as is waited for at a time.
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
        """Take the next item of `inbox`, or raise `queue.Empty` after `timeout` seconds or `LONGEST_WAIT`."""
        return inbox.get(timeout=LONGEST_WAIT if timeout is None else min(max(timeout, 0.0), LONGEST_WAIT))
