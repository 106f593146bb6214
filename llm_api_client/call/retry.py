"""When to try again. Pure: attempts, hints and random numbers are arguments."""

import math
from dataclasses import dataclass

from llm_api_client.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait before a failed request is tried again.

    The wait is drawn evenly from 0 to `initial_delay * multiplier ** (attempt - 1)` seconds, at most `max_delay`
    ("full jitter", Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), and is never shorter
    than the provider's Retry-After.

    Attributes:
        initial_delay: Longest wait after the first failure, in seconds. Default 1.
        multiplier: Growth of the longest wait for each further failure. Default 2.
        max_delay: Longest wait in seconds, Retry-After aside. Default 60.

    Raises:
        ConfigurationError: A value is negative, not finite, or a multiplier below 1.
    """

    initial_delay: float = 1.0
    multiplier: float = 2.0
    max_delay: float = 60.0

    def __post_init__(self) -> None:
        for name, least in (("initial_delay", 0.0), ("multiplier", 1.0), ("max_delay", 0.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
                message = f"RetryPolicy.{name} must be a finite number of at least {least:g}; it is {value!r}."
                raise ConfigurationError(message)

    def delay(self, attempt: int, retry_after: float | None, chance: float) -> float:
        """Seconds to wait after the `attempt`-th failure (from 1); `chance` is a random number from 0 to 1."""
        drawn = chance * self._longest(attempt)
        # Those told the same moment must not all come back at it.
        return drawn if retry_after is None else retry_after + min(drawn, 1.0)

    def pause(self, refusals: int, retry_after: float | None, chance: float) -> float:
        """Seconds for which a limit lets nothing go after the `refusals`-th 429 in a row to one request (from 1)."""
        if retry_after is None:
            return self._longest(refusals) * (1 + chance) / 2
        # A hint that was followed and refused again was too short: "0" would otherwise be asked again without end.
        least = 0.0 if refusals <= 1 else min(self._longest(refusals), 1.0) * (1 + chance) / 2
        return max(retry_after, least)

    def _longest(self, attempt: int) -> float:
        try:
            grown = float(self.multiplier) ** (attempt - 1)
        except OverflowError:
            return self.max_delay if self.initial_delay else 0.0
        return min(self.max_delay, self.initial_delay * grown)


class RetryBudget:
    """What a run may spend on retries, so that a sick provider is asked more slowly; no request fails for it.

    A retry takes one token. Retries that are answered give two back, so that the pace doubles as soon as the provider
    is well; other answers give a tenth (the ratio of gRPC's retry throttling, proposal A6), and so does a tenth of a
    second. While most retries fail, they are thus sent about once a second.
    """

    __slots__ = ("_at", "_tokens")

    CAPACITY = 100.0
    PER_SECOND = 1.0
    PER_ANSWER = 0.1
    PER_ANSWERED_RETRY = 2.0

    def __init__(self) -> None:
        self._tokens = self.CAPACITY
        self._at = -math.inf

    def ready_at(self, now: float) -> float:
        """When the next retry may be sent; at once if that is `now`."""
        self._refill(now)
        return now if self._tokens >= 1.0 else now + (1.0 - self._tokens) / self.PER_SECOND

    def take(self, now: float) -> None:
        """A retry is sent."""
        self._refill(now)
        self._tokens -= 1.0

    def answered(self, *, retry: bool) -> None:
        """A call was answered; `retry` says whether it was one."""
        self._tokens = min(self.CAPACITY, self._tokens + (self.PER_ANSWERED_RETRY if retry else self.PER_ANSWER))

    def _refill(self, now: float) -> None:
        if now > self._at > -math.inf:
            self._tokens = min(self.CAPACITY, self._tokens + (now - self._at) * self.PER_SECOND)
        self._at = max(self._at, now)
