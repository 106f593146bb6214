"""How long a limit alone would hold calls up: the limiter itself, at work in a time of its own."""

from llm_api_client.admit.limiter import Go, Limiter, Never, NotBefore, Place
from llm_api_client.admit.rates import Charge, RateLimit
from llm_api_client.clock import SystemClock
from llm_api_client.errors import RequestTooLargeError
from llm_api_client.records import Usage


class _OwnTime(SystemClock):
    """Time that passes only where somebody waits for it."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.time


class Forecast:
    """Admits calls one after the other, each of which ends at once. Not for several threads."""

    def __init__(self, limit: RateLimit) -> None:
        self._clock = _OwnTime()
        self._limiter = Limiter(limit, self._clock)
        self._place = Place(lambda: None)

    @property
    def seconds(self) -> float:
        """When the last call was admitted, in seconds after the first."""
        return self._clock.time

    def admit(self, prompt_tokens: int, answer_tokens: int, *, bounded: bool) -> None:
        """Let time pass until a call may go, and let it end with so many tokens.

        Args:
            prompt_tokens: Tokens of its prompt.
            answer_tokens: Tokens of its answer.
            bounded: Whether the request itself allows for that many; what is only assumed makes none too large.

        Raises:
            RequestTooLargeError: The call alone is larger than the limit.
        """
        expected = answer_tokens
        room = self._limiter.room_for_answer(prompt_tokens)
        if not bounded and room is not None:
            expected = min(expected, max(0, room))
        while True:
            match self._limiter.ask(self._place, Charge(prompt_tokens, expected)):
                case Never(why):
                    raise RequestTooLargeError(
                        f"The request is larger than its limit: {why} (prompt {prompt_tokens:,} tokens, answer up to "
                        f"{expected:,}). Shorten it, lower max_tokens, or raise the limit."
                    )
                case NotBefore(when):
                    self._clock.time = when
                case Go(reservation):
                    reservation.start()
                    reservation.settle(Usage(prompt_tokens, answer_tokens))
                    return
