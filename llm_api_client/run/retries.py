"""Requests that wait to be tried again."""

import heapq
from collections.abc import Iterator
from itertools import count
from math import inf

from llm_api_client.call.retry import RetryBudget
from llm_api_client.run.journey import Journey


class Retries:
    """One batch's requests that failed in a way that may pass, by when they are due; used by its thread only."""

    def __init__(self) -> None:
        self.budget = RetryBudget()
        self._waiting: list[tuple[float, int, Journey]] = []
        self._order = count()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, due: float, journey: Journey) -> None:
        """Try it again at `due`."""
        heapq.heappush(self._waiting, (due, next(self._order), journey))

    def due(self, now: float) -> Iterator[Journey]:
        """Take those whose time has come, as many as the budget allows."""
        while self._waiting and self._waiting[0][0] <= now and self.budget.ready_at(now) <= now:
            self.budget.take(now)
            yield heapq.heappop(self._waiting)[2]

    def next_at(self, now: float) -> float:
        """When the next is due; infinite where none waits."""
        return max(self._waiting[0][0], self.budget.ready_at(now)) if self._waiting else inf

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()
