"""Threads for calls in flight, and for nothing else."""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import Any

IDLE_SECONDS = 2.0
"""A thread without a call ends after this long."""


class Workers:
    """Threads, made when a call needs one and none is idle: never more than calls in flight.

    They are daemons, unlike those of `concurrent.futures`, which the interpreter waits for at its exit: a call that
    hangs after its batch was given up must not keep the process.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]] | None] = SimpleQueue()
        # One permit for each thread that waits for a call which nobody has been promised yet.
        self._idle = Semaphore(0)
        self._made = 0

    def submit(self, call: Callable[[], Any], reply: SimpleQueue[Any]) -> None:
        """Run `call`, which must not raise, in a thread, and put what it returns into `reply`. For one thread's use."""
        if not self._idle.acquire(blocking=False):
            self._made += 1
            Thread(target=self._work, name=f"{self._name}-{self._made}", daemon=True).start()
        self._calls.put((call, reply))

    def close(self) -> None:
        """Let idle threads end now, and busy ones after their call."""
        for _ in range(self._made):
            self._calls.put(None)

    def _work(self) -> None:
        while True:
            try:
                task = self._calls.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._idle.acquire(blocking=False):
                    return
                continue  # A call was promised to this thread between the two lines above.
            if task is None:
                return
            call, reply = task
            outcome = call()
            # First idle, then the reply: whoever reads the reply finds this thread free.
            self._idle.release()
            reply.put(outcome)
