"""Threads for calls in flight, and for nothing else."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

from llm_api_client.records import UNDER_WAY

K = TypeVar("K")

MOST_READY = 8
"""Calls that wait, admitted, for a thread while all are busy. Without them each thread that ends a call would wait for
the batch's, which under load costs more than all else that is done for a call."""

IDLE_SECONDS = 2.0
"""A thread without a call ends after this long."""


def drained(inbox: SimpleQueue[Any]) -> Iterator[Any]:
    """Take out what is in there, without waiting for more."""
    with suppress(Empty):
        while True:
            yield inbox.get_nowait()


def reply(key: K, call: Callable[[], Any], inbox: SimpleQueue[Any]) -> None:
    """Run `call`, and then put `key` into `inbox`; what returns `UNDER_WAY` somebody else replies to."""
    if call() is not UNDER_WAY:
        inbox.put(key)


class Workers(Generic[K]):
    """At most `ceiling` threads, made when a call waits for one.

    They are daemons, unlike those of `concurrent.futures`, which the interpreter waits for at its exit: a call that
    hangs after its batch was given up must not keep the process.
    """

    def __init__(self, ceiling: int, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[K, Callable[[], Any], SimpleQueue[Any], bool] | None] = SimpleQueue()
        # The lock guards the numbers: threads at most and now, those of them that are idle, and calls not yet begun.
        self._lock = Lock()
        self._ceiling = ceiling
        self._threads = 0
        self._idle = 0
        self._waiting = 0
        self._closed = False

    def submit(self, key: K, call: Callable[[], Any], inbox: SimpleQueue[Any], *, was_sent: bool = False) -> None:
        """Have a thread `reply`: run `call`, which must not raise, and then put `key` into `inbox`.

        One that `was_sent` is not taken back: its answer has come.

        Raises:
            RuntimeError: The system has not one thread to give. Where it gives some, those do all the work.
        """
        with self._lock:
            self._waiting += 1
            wanted = self._waiting > self._idle and self._threads < self._ceiling
            self._threads += wanted
        if wanted:
            try:
                Thread(target=self._work, name=self._name, daemon=True).start()
            except RuntimeError:
                with self._lock:
                    self._threads -= 1
                    self._ceiling = self._threads
                    if not self._threads:
                        self._waiting -= 1
                        raise
        self._calls.put((key, call, inbox, was_sent))

    def try_submit(self, key: K, call: Callable[[], Any], inbox: SimpleQueue[Any], *, was_sent: bool = False) -> bool:
        """As `submit`, also after `close`; returns whether there is a thread for it."""
        try:
            if self._closed:
                Thread(target=reply, args=(key, call, inbox), name=self._name, daemon=True).start()
            else:
                self.submit(key, call, inbox, was_sent=was_sent)
        except RuntimeError:
            return False
        return True

    def withdraw(self) -> list[K]:
        """Take back the calls that were not sent; returns their keys."""
        unsent: list[K] = []
        for _ in range(self._calls.qsize()):
            try:
                task = self._calls.get_nowait()
            except Empty:
                break
            if task is None or task[-1]:  # the end, or was sent
                self._calls.put(task)
                continue
            with self._lock:
                self._waiting -= 1
            unsent.append(task[0])
        return unsent

    def close(self) -> None:
        """Let idle threads end now, and busy ones after their call."""
        self._closed = True
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        with self._lock:
            self._idle += 1
        while True:
            try:
                task = self._calls.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._waiting:
                        continue  # It was promised to this thread, and is about to be put in.
                    self._idle -= 1
                    self._threads -= 1
                return
            if task is None:
                return
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
            key, call, inbox, _ = task
            outcome = call()
            # First idle, then the reply: whoever reads the reply finds this thread free.
            with self._lock:
                self._idle += 1
            if outcome is not UNDER_WAY:
                inbox.put(key)
