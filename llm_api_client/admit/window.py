"""The hard law of admission: never more than so much in any so many seconds. Pure: the time is an argument."""

from bisect import insort
from collections import deque
from math import inf


class SlidingWindow:
    """What was charged and still counts, of at most `limit` units in any `span` seconds.

    A charge counts from the moment it is held. It begins to age when its call is sent, and it leaves only when it is
    both old enough and settled: a call in flight may reach the provider at any moment until its answer is here.
    """

    __slots__ = ("_leaving", "limit", "span", "used")

    def __init__(self, limit: int, span: float) -> None:
        self.limit = limit
        self.span = span
        self.used = 0
        # (when it leaves, amount) of settled charges, soonest first; `used` is their sum and that of all held ones.
        # Calls end nearly in the order in which they were sent, so that sorting one in moves only a few others.
        self._leaving: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        return len(self._leaving)

    def hold(self, amount: int) -> None:
        """Charge `amount`; a negative one gives back."""
        self.used += amount

    def leave_at(self, when: float, amount: int) -> None:
        """Let `amount`, held before, leave the window at `when`."""
        insort(self._leaving, (when, amount))

    def expire(self, now: float) -> None:
        """Let go of what has left by now."""
        leaving = self._leaving
        while leaving and leaving[0][0] <= now:
            _, amount = leaving.popleft()
            self.used -= amount

    def fits_at(self, amount: int, now: float) -> float:
        """The earliest time at which `amount` fits, as is known now; infinite if calls in flight must end first."""
        self.expire(now)
        excess = self.used + amount - self.limit
        if excess <= 0:
            return now
        for when, leaves in self._leaving:
            excess -= leaves
            if excess <= 0:
                return when
        return inf
