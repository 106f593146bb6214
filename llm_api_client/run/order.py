"""Results in the order of their requests."""

from collections.abc import Iterator

from llm_api_client.records import Result

AHEAD = 10_000
"""Results that wait at most for one before them that takes longer."""
AHEAD_OF_EACH_WORKER = 4
"""With many workers, more: or one slow answer would keep them from work."""


class InOrder:
    """Hands each result on once all before it have been handed on, from index 0."""

    def __init__(self) -> None:
        self._held: dict[int, Result] = {}
        self.next = 0
        """Index of the first result that is missing."""

    def has_room(self, others: int, workers: int) -> bool:
        """Whether the result of one more request may have to wait, beside `others` that have not come yet."""
        return len(self._held) + others < max(AHEAD, AHEAD_OF_EACH_WORKER * workers)

    def put(self, result: Result) -> Iterator[Result]:
        """Take a result; yields those whose turn it is now."""
        self._held[result.index] = result
        while (ready := self._held.pop(self.next, None)) is not None:
            self.next += 1
            yield ready
