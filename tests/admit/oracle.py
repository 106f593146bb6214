"""What admission should decide, worked out anew each time from a plain list of everything that ever happened."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from math import floor, inf
from typing import Any

EXACT = 1e-7
"""Seconds that the two ways to compute may differ by."""

COUNTED: dict[str, tuple[float, Callable[[int, int], int]]] = {
    "requests_per_minute": (60, lambda prompt, answer: 1),
    "tokens_per_minute": (60, lambda prompt, answer: prompt + answer),
    "input_tokens_per_minute": (60, lambda prompt, answer: prompt),
    "output_tokens_per_minute": (60, lambda prompt, answer: answer),
    "requests_per_day": (86_400, lambda prompt, answer: 1),
    "tokens_per_day": (86_400, lambda prompt, answer: prompt + answer),
}


@dataclass
class Entry:
    """One admitted request; `tokens` are those of prompt and answer."""

    granted: float
    factor: float
    tokens: tuple[int, int]
    number: int
    sent: float | None = None
    ended: float | None = None
    ended_number: int = 0
    final: tuple[int, int] | None = None
    cancelled: bool = False

    def charged(self) -> tuple[int, int]:
        """What it counts for."""
        return self.tokens if self.final is None else self.final


@dataclass
class Oracle:
    """Knows nothing but the events."""

    limits: dict[str, int]
    entries: list[Entry] = field(default_factory=list)
    refusals: list[tuple[float, float, float]] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    asked: dict[int, tuple[int, int]] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: count(1))

    def grant(self, tokens: tuple[int, int], now: float) -> Entry:
        """A request was let go."""
        entry = Entry(now, self.factor(now), tokens, next(self.numbers))
        self.entries.append(entry)
        return entry

    def start(self, entry: Entry, now: float) -> None:
        """It was sent, unless it was before."""
        if entry.sent is None and not entry.cancelled:
            entry.sent = now

    def settle(self, entry: Entry, usage: tuple[int, int] | None, now: float) -> None:
        """It ended, unless it had before."""
        if entry.sent is None or entry.ended is not None:
            return
        entry.ended, entry.ended_number = now, next(self.numbers)
        entry.final = entry.tokens
        if usage is not None:
            entry.final = (max(entry.tokens[0], usage[0]), usage[1])

    def cancel(self, entry: Entry, now: float) -> None:
        """It will not be sent, unless it was."""
        if entry.sent is None and not entry.cancelled:
            entry.cancelled, entry.ended, entry.ended_number = True, now, next(self.numbers)

    def too_large(self, tokens: tuple[int, int]) -> bool:
        """Whether it is larger than a limit by itself."""
        return any(COUNTED[name][1](*tokens) > limit for name, limit in self.limits.items())

    def used(self, name: str, at: float) -> int:
        """What counts at a time that is not past."""
        span, amount = COUNTED[name]
        return sum(
            amount(*entry.charged())
            for entry in self.entries
            if not entry.cancelled and not (entry.ended is not None and entry.sent + span + 0.25 <= at)
        )

    def leaving(self, now: float) -> list[float]:
        """When something will leave a window."""
        spans = {COUNTED[name][0] + 0.25 for name in self.limits}
        ended = [entry.sent for entry in self.entries if entry.ended is not None and not entry.cancelled]
        return sorted({at + span for at in ended for span in spans if at + span > now})

    def earliest(self, tokens: tuple[int, int], now: float) -> float:
        """When a request that is first in line can go."""
        pause = max((until for _, _, until in self.refusals), default=now)
        moments = [self._window_opens(name, tokens, now) for name in self.limits]
        moments += [self._pace_allows(name, tokens) for name in self.limits if COUNTED[name][0] == 60]
        return max([now, pause, *moments])

    def _window_opens(self, name: str, tokens: tuple[int, int], now: float) -> float:
        needed = COUNTED[name][1](*tokens)
        for moment in [now, *self.leaving(now)]:
            if self.used(name, moment) + needed <= self.limits[name]:
                return moment
        return inf

    def _pace_allows(self, name: str, tokens: tuple[int, int]) -> float:
        limit, amount = self.limits[name], COUNTED[name][1]
        rate, burst = 0.979 * limit / 60, max(limit / 60, min(limit, 3))
        events = []
        for entry in self.entries:
            reserved = amount(*entry.tokens)
            events.append((entry.number, entry.granted, reserved, entry.factor))
            if entry.ended is not None:
                kept = 0 if entry.cancelled else amount(*entry.final)
                events.append((entry.ended_number, None, kept - reserved, entry.factor))
        all_earned_back = -inf
        for _, granted, owed, factor in sorted(events, key=lambda event: event[0]):
            if granted is not None:
                all_earned_back = max(all_earned_back, granted)
            all_earned_back += owed / (rate * factor)
        needed = amount(*tokens)
        return all_earned_back - max(0, burst - needed) / rate

    def factor(self, now: float) -> float:
        """Part of the full pace, after all the 429s."""
        factor, last, cut = 1.0, -inf, -inf
        for at, sent, _ in self.refusals:
            factor, last = _regained(factor, at - last), at
            if sent > cut:
                factor, cut = max(0.05, factor * 0.8), at
        return _regained(factor, now - last)


def _regained(factor: float, clean: float) -> float:
    return factor if factor >= 1 else min(1.0, factor + 0.02 * floor(clean / 10))
