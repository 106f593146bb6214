"""Answers that come after their batch was left."""

import time
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from llm_api_client.errors import CheckpointError
from llm_api_client.records import Kind, Verdict
from llm_api_client.run.journey import Journey
from llm_api_client.run.keeping import Keeps


class LateCalls:
    """A client's calls under way whose batches were left. What they bring goes into the checkpoint: it is paid for."""

    def __init__(self) -> None:
        # The lock guards the threads, each of which waits for the calls of one batch.
        self._lock = Lock()
        self._threads: set[Thread] = set()

    def take(self, kept: Keeps, inbox: SimpleQueue[Any], in_flight: set[Journey]) -> None:
        """Wait for these calls, in a thread that does not keep the process, and close the checkpoint after them."""
        thread = Thread(target=self._receive, args=(kept, inbox, in_flight), name="llm-api-client-late", daemon=True)
        with self._lock:
            self._threads = {running for running in self._threads if running.is_alive()} | {thread}
        thread.start()

    def wait(self, seconds: float) -> None:
        """Wait so long for all of them."""
        until = time.monotonic() + seconds
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _receive(self, kept: Keeps, inbox: SimpleQueue[Any], in_flight: set[Journey]) -> None:
        try:
            while in_flight:
                journey = inbox.get()
                if journey not in in_flight:
                    continue
                in_flight.discard(journey)
                verdict = journey.outcome
                if journey.key is not None and isinstance(verdict, Verdict) and verdict.kind is Kind.ANSWERED:
                    kept.write([], [(journey.key, journey.result())])
        except CheckpointError:
            return  # The claim stays, which says that the call may have been paid for.
        finally:
            with suppress(CheckpointError, OSError):  # All that came is written; nobody is there to be told.
                kept.close()
