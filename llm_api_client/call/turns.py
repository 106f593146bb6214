"""Who goes first, where nobody knows yet how it is done: a few of each kind, for whom the others wait."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

FIRST = 2
"""How many of a kind go first at a time: the second shows whether what was learned of the first holds."""

MOST_KINDS = 1_000
"""Kinds that are remembered of which nobody goes first at present."""


@dataclass(slots=True)
class _Kind:
    """One kind that is not known yet.

    Attributes:
        first: How many are going first now.
        ended: How many have done so, and nothing could be learned of them.
        waiting: What is to be called once it is known, or cannot be.
    """

    first: int = 0
    ended: int = 0
    waiting: list[Callable[[], None]] = field(default_factory=list)


class Turns:
    """The turns of all kinds; in any thread."""

    def __init__(self) -> None:
        # The lock guards the kinds. Nobody is called under it.
        self._lock = Lock()
        self._kinds: dict[bytes, _Kind] = {}

    def goes_first(self, kind: bytes, goes_on: Callable[[], None]) -> bool:
        """Whether one of a kind goes first; `ends` must follow.

        If not, `goes_on` will be called, in another thread: once the kind is known, or all who went first have ended.
        Where nothing was learned of those who went first, none waits any more.
        """
        with self._lock:
            if len(self._kinds) >= MOST_KINDS and kind not in self._kinds:
                self._kinds = {known: turn for known, turn in self._kinds.items() if turn.first}
            turn = self._kinds.setdefault(kind, _Kind())
            if turn.first >= FIRST > turn.ended:
                turn.waiting.append(goes_on)
                return False
            turn.first += 1
            return True

    def ends(self, kind: bytes, *, is_known: bool) -> None:
        """One that went first has ended."""
        waiting: list[Callable[[], None]] = []
        with self._lock:
            turn = self._kinds.get(kind)
            if turn is not None:  # None: it was known in the meantime.
                turn.first -= 1
                turn.ended += 1
                if is_known or turn.first <= 0:
                    waiting, turn.waiting = turn.waiting, []
        if is_known:
            self.known(kind)
        for goes_on in waiting:
            goes_on()

    def known(self, kind: bytes) -> None:
        """What there is to know of a kind is known."""
        with self._lock:
            turn = self._kinds.pop(kind, None)
        for goes_on in turn.waiting if turn is not None else ():
            goes_on()
