"""Results on their way to the caller: as they end, or in the order of their requests.

An interrupt loses none, and hands none out twice: CPython looks for signals after calls, at jumps back and where a
function or generator goes on, and none of these is between two steps here that belong together.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol, Self

from llm_api_client.records import Result

AHEAD = 10_000
"""Results that wait at most for one before them that takes longer."""
AHEAD_OF_EACH_WORKER = 4
"""With many workers, more: or one slow answer would keep them from work."""


class Outbox(Protocol):
    """Takes results with `+=`, and gives out those whose turn it is when it is iterated over."""

    @property
    def has_some(self) -> bool:
        """Whether it is the turn of any."""

    def has_room(self, others: int, workers: int) -> bool:
        """Whether one more request may be taken up, beside `others` that have not ended yet."""

    def __iadd__(self, results: Sequence[Result]) -> Self:
        """Take results."""

    def __iter__(self) -> Iterator[Result]:
        """Those whose turn it is."""


class AsTheyEnd:
    """Hands results on as they come."""

    def __init__(self) -> None:
        self._held: deque[Result] = deque()

    @property
    def has_some(self) -> bool:
        """Whether there are any."""
        return bool(self._held)

    def has_room(self, others: int, workers: int) -> bool:  # noqa: ARG002  for those that keep an order
        """Always: none of its results waits for another."""
        return True

    def __iadd__(self, results: Sequence[Result]) -> Self:
        self._held += results
        return self

    def __iter__(self) -> Iterator[Result]:
        while self._held:
            result = self._held[0]
            del self._held[0]
            yield result


class InOrder:
    """Hands each result on once all before it have been handed on, from index 0."""

    def __init__(self) -> None:
        self._held: dict[int, Result] = {}
        self.next = 0
        """Index of the first result that is missing."""

    @property
    def has_some(self) -> bool:
        """Whether the next in order is there."""
        return self.next in self._held

    def has_room(self, others: int, workers: int) -> bool:
        """Whether fewer than `AHEAD` would wait; with many workers, more."""
        return len(self._held) + others < max(AHEAD, AHEAD_OF_EACH_WORKER * workers)

    def __iadd__(self, results: Sequence[Result]) -> Self:
        self._held |= {result.index: result for result in results}
        return self

    def __iter__(self) -> Iterator[Result]:
        while self.next in self._held:
            result = self._held[self.next]
            del self._held[self.next]
            self.next += 1
            yield result
