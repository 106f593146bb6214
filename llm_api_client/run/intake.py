"""Where a batch's requests come from: read one by one, and as late as possible."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

Numbered = tuple[int, Any]

LOOK_AHEAD = 1_000
"""Requests taken from the input ahead of their turn, to find one whose own limit lets it go while others wait."""

NONE_NOW: Numbered = (-1, None)
"""What an input gives while it has none, and may have some later."""


class Intake:
    """One batch's input of numbered requests; used by its thread only.

    Attributes:
        is_exhausted: Whether there are no more.
        has_none_now: Whether there is none at present, so that somebody will wake the batch.
        failure: What the input raised, which is its end too.
        taken: The request that was read last, until a journey has it: an interrupt may come between any two steps.
    """

    def __init__(self, numbered: Iterator[Numbered]) -> None:
        self._numbered = numbered
        self.is_exhausted = False
        self.has_none_now = False
        self.failure: Exception | None = None
        self.taken: Numbered | None = None

    def take(self) -> Numbered | None:
        """The next request, or None where there is none at present, or no more."""
        try:
            self.taken = next(self._numbered, None)
        except Exception as raised:  # noqa: BLE001  the caller's own, raised once all before it has ended
            self.failure = raised
        if self.taken is None:
            self.is_exhausted = True
        elif self.taken is NONE_NOW:
            self.taken, self.has_none_now = None, True
        return self.taken

    def rest(self) -> Iterator[Numbered]:
        """All that no journey has, read to the end."""
        yield from chain([self.taken] if self.taken else [], self._numbered)

    def close(self) -> None:
        """Read no more."""
        self.taken = None
        self.is_exhausted = True
