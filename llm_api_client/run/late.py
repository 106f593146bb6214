"""Answers that come after their batch was left."""

from queue import SimpleQueue
from typing import Any

from llm_api_client.errors import CheckpointError
from llm_api_client.records import Kind, Verdict
from llm_api_client.run.journey import Journey
from llm_api_client.run.keeping import Keeps
from llm_api_client.run.lane import Lane


class Late:
    """Takes the answers that come after their batch was left, for the checkpoint: they are paid for."""

    def __init__(self, kept: Keeps, inbox: SimpleQueue[Any], in_flight: set[Journey]) -> None:
        self._kept = kept
        self._inbox = inbox
        self._in_flight = in_flight

    def receive(self) -> None:
        """Wait for every call that is under way, and keep what it brings."""
        try:
            while self._in_flight:
                message = self._inbox.get()
                if isinstance(message, Lane):
                    continue
                journey, verdict = message
                self._in_flight.discard(journey)
                if journey.key is not None and isinstance(verdict, Verdict) and verdict.kind is Kind.ANSWERED:
                    self._kept.write([], [(journey.key, journey.late_result())])
        except CheckpointError:
            return  # The claim stays, which says that the call may have been paid for.
        finally:
            self._kept.close()
