"""The provider's limits: never more than so many requests and tokens in any window. Pure: the time is an argument."""

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Literal

Axis = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not admitted.

    Attributes:
        axis: The limit that stands in the way; of two, the one that does so for longer.
        limit: That limit, in units per window.
        used: Units of it that are in the window.
        requested: Units of it that the request needs.
        wait: Seconds until the request would fit if nothing else came; infinite if it never can.
    """

    axis: Axis
    limit: int
    used: int
    requested: int
    wait: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of each limit, None where there is none, and the seconds until both are whole again."""

    requests: int | None
    tokens: int | None
    reset: float


class Ledger:
    """A strict sliding window of `window` seconds over requests and tokens; a limit of None admits everything.

    A request admitted at `a` counts at every `t` with `a <= t < a + window`. A refused one counts nothing. Calls come
    in the order of time: `now` never goes back.
    """

    __slots__ = (
        "_sizes",
        "_stamps",
        "max_requests",
        "max_tokens",
        "tokens",
        "window",
        "worst_requests",
        "worst_tokens",
    )

    def __init__(self, max_requests: int | None, max_tokens: int | None, window: float) -> None:
        self.max_requests = max_requests
        self.max_tokens = max_tokens
        self.window = window
        self.tokens = 0
        self.worst_requests = 0
        self.worst_tokens = 0
        # When each request in the window was admitted and what it was charged; `tokens` is the sum of the sizes.
        # Two queues of plain numbers take a third of the memory of one of pairs.
        self._stamps: deque[float] = deque()
        self._sizes: deque[int] = deque()

    def admit(self, tokens: int, now: float) -> Refusal | None:
        """Charge one request of `tokens`, or say why not and charge nothing."""
        self.expire(now)
        if refusal := self._refusal(tokens, now):
            return refusal
        self._stamps.append(now)
        self._sizes.append(tokens)
        self.tokens += tokens
        # The fullest window ends at an admission, so looking at each admission finds the exact maximum.
        self.worst_requests = max(self.worst_requests, len(self._stamps))
        self.worst_tokens = max(self.worst_tokens, self.tokens)
        return None

    def expire(self, now: float) -> None:
        """Let go of what has left the window."""
        stamps = self._stamps
        while stamps and stamps[0] + self.window <= now:
            stamps.popleft()
            self.tokens -= self._sizes.popleft()

    def standing(self, now: float) -> Standing:
        """What is left at `now`."""
        self.expire(now)
        return Standing(
            None if self.max_requests is None else self.max_requests - len(self._stamps),
            None if self.max_tokens is None else self.max_tokens - self.tokens,
            self._stamps[-1] + self.window - now if self._stamps else 0.0,
        )

    def clear(self) -> None:
        """Forget everything, the maxima too."""
        self._stamps.clear()
        self._sizes.clear()
        self.tokens = self.worst_requests = self.worst_tokens = 0

    def _refusal(self, tokens: int, now: float) -> Refusal | None:
        found = None
        if self.max_requests is not None and len(self._stamps) >= self.max_requests:
            wait = self._stamps[len(self._stamps) - self.max_requests] + self.window - now
            found = Refusal("requests", self.max_requests, len(self._stamps), 1, wait)
        if self.max_tokens is not None and self.tokens + tokens > self.max_tokens:
            wait = self._wait_for(self.tokens + tokens - self.max_tokens, now)
            if found is None or wait > found.wait:
                found = Refusal("tokens", self.max_tokens, self.tokens, tokens, wait)
        return found

    def _wait_for(self, excess: int, now: float) -> float:
        for stamp, size in zip(self._stamps, self._sizes, strict=True):
            excess -= size
            if excess <= 0:
                return stamp + self.window - now
        return inf
