"""What keeps a window's worth from going at once: an even pace, and how far it is slowed. Pure: time is an argument."""

from dataclasses import dataclass
from math import inf

SLOWDOWN = 0.8
"""Factor on the pace for each episode of 429s."""
RECOVERY = 0.02
"""What the pace regains, as a part of the full one, for every `RECOVERY_SECONDS` without a 429."""
RECOVERY_SECONDS = 10.0
FLOOR = 0.05
"""The pace is never slowed below this part of the full one."""


class Pace:
    """The generic cell rate algorithm by virtual scheduling (ITU-T I.371): `rate` units a second, `burst` at once.

    `_due` is when all units spent so far are earned back. A request larger than the burst goes when nothing is owed.
    """

    __slots__ = ("_due", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._due = -inf

    def go_at(self, amount: int) -> float:
        """The earliest time at which `amount` may go; it may be past."""
        return self._due - (self.burst - min(amount, self.burst)) / self.rate

    def spend(self, amount: float, now: float, factor: float) -> None:
        """Owe `amount` more from now on, earned back at `factor` of the rate."""
        self._due = max(self._due, now) + amount / (self.rate * factor)

    def refund(self, amount: float, factor: float) -> None:
        """Owe `amount` less, which was spent at `factor` of the rate; a negative one more."""
        self._due -= amount / (self.rate * factor)


@dataclass(frozen=True, slots=True)
class Throttle:
    """How far the pace is slowed after 429s: fast down once per episode, slowly up again, never above the full pace.

    Attributes:
        factor: Part of the full pace at the time `since`.
        since: When the last 429 was seen.
        cut: When the pace was last slowed; a 429 of a call that was sent until then says nothing new.
    """

    factor: float = 1.0
    since: float = -inf
    cut: float = -inf

    def at(self, now: float) -> float:
        """Part of the full pace that is allowed now."""
        if self.factor >= 1.0:
            return 1.0
        clean_spells = max(0.0, now - self.since) // RECOVERY_SECONDS
        return min(1.0, self.factor + RECOVERY * clean_spells)

    def after_refusal(self, now: float, sent_at: float) -> "Throttle":
        """The throttle after a 429 to a call that was sent at `sent_at`."""
        factor = self.at(now)
        if sent_at <= self.cut:
            return Throttle(factor, now, self.cut)
        return Throttle(max(FLOOR, factor * SLOWDOWN), now, now)
