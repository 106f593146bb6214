"""Results in the order of their requests."""

from collections.abc import Iterator

from llm_api_client.records import Result


class InOrder:
    """Hands each result on once all before it have been handed on, from index 0."""

    def __init__(self) -> None:
        self._held: dict[int, Result] = {}
        self.next = 0
        """Index of the first result that is missing."""

    def __len__(self) -> int:
        return len(self._held)

    def put(self, result: Result) -> Iterator[Result]:
        """Take a result; yields those whose turn it is now."""
        self._held[result.index] = result
        while (ready := self._held.pop(self.next, None)) is not None:
            self.next += 1
            yield ready
