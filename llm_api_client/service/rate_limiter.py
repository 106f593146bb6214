"""Rate limiters to be used by themselves: by any code that sends requests, whatever it sends them with."""

import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from llm_api_client.admit.limiter import Decision, Go, Limiter, Never, NotBefore, Place
from llm_api_client.admit.rates import Charge, RateLimit
from llm_api_client.clock import Clock, SystemClock
from llm_api_client.errors import AdmissionTimeoutError, InvalidInputError, RequestTooLargeError
from llm_api_client.records import Usage
from llm_api_client.service.checks import check_seconds, check_whole


class Reservation:
    """What one admitted request holds of the limits: `settle` it when its answer is here.

    Until then it counts, however old it is; one that is dropped unsettled is settled at what was reserved.

    Attributes:
        tokens: The tokens that were reserved.

    Args:
        tokens: The tokens that were reserved.
        settle: Called once, with the tokens that were used, or None where that is unknown. It may be called from the
            garbage collector.
    """

    __slots__ = ("__weakref__", "_dropped", "tokens")

    def __init__(self, tokens: int, settle: Callable[[int | None], None]) -> None:
        self.tokens = tokens
        self._dropped = weakref.finalize(self, settle, None)
        self._dropped.atexit = False

    def settle(self, tokens: int | None = None) -> None:
        """The request has ended, having used so many tokens; None where that is unknown. Later calls change nothing."""
        if tokens is not None:
            _check_tokens(tokens)
        held = self._dropped.detach()
        if held is not None:
            _, settle, _, _ = held
            settle(tokens)

    def __repr__(self) -> str:
        return f"<Reservation tokens={self.tokens}{' settled' * (not self._dropped.alive)}>"


class RateLimiter(ABC):
    """Lets requests go so that no `interval` carries more than so many requests and tokens; None switches either off.

    Both are decided at once: a request is charged for both or for none. Those that wait go in the order in which they
    came. What is free is a matter of the clock alone: nothing runs in the background, and nothing needs to be stopped.

    Attributes:
        max_requests: Requests in any `interval`, or None.
        max_tokens: Tokens in any `interval`, or None.
        interval: Seconds.

    Raises:
        ConfigurationError: A limit is not a positive whole number, or the interval not a positive number.
    """

    def __init__(self, max_requests: int | None, max_tokens: int | None, interval: float = 60.0) -> None:
        for name, limit in (("max_requests", max_requests), ("max_tokens", max_tokens)):
            if limit is not None:
                check_whole(name, limit)
        check_seconds("interval", interval)
        self.max_requests = max_requests
        self.max_tokens = max_tokens
        self.interval = float(interval)

    @abstractmethod
    def acquire(self, tokens: int = 0, timeout: float | None = None) -> Reservation:
        """Wait, in the calling thread, until a request of so many tokens may go.

        Args:
            tokens: What the request is expected to use, prompt and answer together.
            timeout: Longest wait in seconds; None waits as long as it takes.

        Raises:
            AdmissionTimeoutError: It may not go in time. Said at once where that is known beforehand.
            RequestTooLargeError: It alone is larger than the limit: waiting cannot help.
        """

    @abstractmethod
    def try_acquire(self, tokens: int = 0) -> Reservation | None:
        """Let a request of so many tokens go now, or return None. Never overtakes those that wait.

        Raises:
            RequestTooLargeError: As for `acquire`.
        """

    @property
    @abstractmethod
    def available_request_capacity(self) -> int | None:
        """Requests that the limit has left now, or None where there is no limit."""

    @property
    @abstractmethod
    def available_token_capacity(self) -> int | None:
        """Tokens that the limit has left now, or None where there is no limit."""

    def request_permission(self, required_tokens: int = 0) -> bool:
        """Whether a request of so many tokens may go now; if so, it is charged in full.

        Raises:
            RequestTooLargeError: As for `acquire`.
        """
        reservation = self.try_acquire(required_tokens)
        if reservation is None:
            return False
        reservation.settle()
        return True

    def settle(self, reservation: Reservation, tokens: int | None = None) -> None:
        """The request has ended: `reservation.settle(tokens)`."""
        reservation.settle(tokens)

    @contextmanager
    def limit(self, tokens: int = 0, timeout: float | None = None) -> Iterator[Reservation]:
        """Hold a reservation for the length of a `with` block, which may settle it; if it does not, all of it counts.

        Raises:
            AdmissionTimeoutError: As for `acquire`.
            RequestTooLargeError: As for `acquire`.
        """
        reservation = self.acquire(tokens, timeout)
        try:
            yield reservation
        finally:
            reservation.settle()

    def status(self) -> dict[str, Any]:
        """What counts now: of requests and of tokens `current`, `limit` and both in one text, and the `interval`."""
        return {
            "requests": _status(self.max_requests, self.available_request_capacity),
            "tokens": _status(self.max_tokens, self.available_token_capacity),
            "interval": self.interval,
        }


class SimpleRateLimiter(RateLimiter):
    """A limiter within one process, for any number of threads: the one that clients have.

    Its law is a sliding window: no `interval`, wherever it begins, carries more than the limit, plus a quarter of a
    second in which the ways to a server may differ.

    Args:
        max_requests: Requests in any `interval`; None for no limit.
        max_tokens: Tokens in any `interval`; None for no limit.
        interval: Seconds.
        paced: Whether requests are spread over the interval, with a small burst, as a client spreads them. Without, a
            whole interval's worth may go at once. Intervals of more than a minute are never paced.
        clock: Time itself, for tests.

    Raises:
        ConfigurationError: As for `RateLimiter`.
    """

    def __init__(
        self,
        max_requests: int | None,
        max_tokens: int | None = None,
        interval: float = 60.0,
        *,
        paced: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(max_requests, max_tokens, interval)
        self._clock = clock or SystemClock()
        limit = RateLimit(requests_per_minute=max_requests, tokens_per_minute=max_tokens)
        self.admission = Limiter(limit, self._clock, minute=self.interval, paced=paced)
        """What decides."""

    def acquire(self, tokens: int = 0, timeout: float | None = None) -> Reservation:
        """Wait until a request of so many tokens may go; see `RateLimiter.acquire`."""
        began = self._clock.now()
        until = math.inf if timeout is None else began + timeout
        woken: SimpleQueue[None] = SimpleQueue()
        place = Place(lambda: woken.put(None))
        try:
            while True:
                decision = self._ask(place, tokens)
                if isinstance(decision, Go):
                    return self._reserved(decision, tokens)
                now = self._clock.now()
                if now >= until or until < decision.when < math.inf:
                    known = f" for another {decision.when - now:,.1f} s" if decision.when < math.inf else ""
                    why = f"{decision.why}{known}"
                    raise AdmissionTimeoutError(
                        f"Not admitted within timeout={timeout:g} ({why}). Raise the timeout or the limit."
                    )
                self._wait(woken, min(decision.when, until) - now)
        finally:
            self.admission.leave(place)

    def try_acquire(self, tokens: int = 0) -> Reservation | None:
        """Let a request of so many tokens go now, or return None; see `RateLimiter.try_acquire`."""
        place = Place(lambda: None)
        decision = self._ask(place, tokens)
        if isinstance(decision, Go):
            return self._reserved(decision, tokens)
        self.admission.leave(place)
        return None

    def close(self) -> None:
        """Let nobody wait any longer: acquiring raises `ClientClosedError` from now on."""
        self.admission.close()

    @property
    def available_request_capacity(self) -> int | None:
        """Requests that the limit has left now, or None where there is no limit."""
        return self._left(self.max_requests, "requests_per_minute")

    @property
    def available_token_capacity(self) -> int | None:
        """Tokens that the limit has left now, or None where there is no limit."""
        return self._left(self.max_tokens, "tokens_per_minute")

    def __repr__(self) -> str:
        requests, tokens = (f"{limit:,}" if limit else "no limit" for limit in (self.max_requests, self.max_tokens))
        return f"<SimpleRateLimiter requests={requests} tokens={tokens} interval={self.interval:g} s>"

    def _ask(self, place: Place, tokens: int) -> Go | NotBefore:
        _check_tokens(tokens)
        # All as tokens of the answer, which alone can come back.
        decision: Decision = self.admission.ask(place, Charge(answer_tokens=tokens))
        if isinstance(decision, Never):
            raise RequestTooLargeError(
                f"The request is larger than its limit: {decision.why}. Shorten it, or raise it."
            )
        return decision

    def _reserved(self, go: Go, tokens: int) -> Reservation:
        held = go.reservation
        held.start()

        def settle(used: int | None) -> None:
            held.settle(None if used is None else Usage(0, used))

        return Reservation(tokens, settle)

    def _wait(self, woken: SimpleQueue[None], seconds: float) -> None:
        try:
            self._clock.wait(woken, None if seconds == math.inf else seconds)
        except Empty:
            return

    def _left(self, limit: int | None, field: str) -> int | None:
        return None if limit is None else max(0, limit - self.admission.used()[field])


def _status(limit: int | None, left: int | None) -> dict[str, Any]:
    if limit is None or left is None:
        return {"current": None, "limit": None, "display": "no limit"}
    return {"current": limit - left, "limit": limit, "display": f"{limit - left}/{limit}"}


def _check_tokens(tokens: Any) -> None:
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        raise InvalidInputError(f"tokens must be a whole number of 0 or more; it is {tokens!r}")
