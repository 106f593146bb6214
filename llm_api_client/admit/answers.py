"""How long an answer to expect, from the answers that came before."""

from collections import deque
from threading import Lock

from llm_api_client.admit.limiter import Limiter
from llm_api_client.admit.rates import Charge
from llm_api_client.records import Prepared

ASSUMED = 512
"""Tokens expected of an answer while nothing is known and the request sets no bound."""
ENOUGH = 100
"""Answers to have seen before they are trusted. The first to come back are the short ones."""
REMEMBERED = 512
"""Answers that are remembered for each model."""
QUANTILE = 0.95
"""Reserving the mean would overshoot: refunds of short answers come early, debits of long ones late."""
REVIEW_EVERY = 32
"""Answers between two looks at the quantile."""


class AnswerLengths:
    """Expected tokens of an answer, for each model."""

    def __init__(self) -> None:
        # The lock guards both dicts.
        self._lock = Lock()
        self._seen: dict[str, deque[int]] = {}
        self._expected: dict[str, tuple[int, int]] = {}

    def expect(self, model: str, most: int | None) -> int:
        """Tokens to reserve for an answer that the request bounds to `most` tokens, or does not bound."""
        with self._lock:
            known = self._expected.get(model)
        if known is None:
            return ASSUMED if most is None else most
        return known[0] if most is None else min(known[0], most)

    def charge_of(self, prepared: Prepared, limiter: Limiter) -> Charge:
        """What a request is expected to use of a limiter's limits."""
        if not limiter.counts_tokens:
            return Charge()
        answer = self.expect(prepared.model, prepared.max_answer_tokens)
        room = limiter.room_for_answer(prepared.prompt_tokens)
        if prepared.max_answer_tokens is None and room is not None:
            # Only a guess: it must not make a request too large that would fit without it.
            answer = min(answer, max(0, room))
        return Charge(prepared.prompt_tokens, answer)

    def learn(self, model: str, tokens: int) -> None:
        """An answer had so many tokens."""
        with self._lock:
            seen = self._seen.setdefault(model, deque(maxlen=REMEMBERED))
            seen.append(tokens)
            _, reviewed = self._expected.get(model, (0, 0))
            if len(seen) < ENOUGH:
                return
            if reviewed % REVIEW_EVERY:
                self._expected[model] = (self._expected[model][0], reviewed + 1)
            else:
                self._expected[model] = (sorted(seen)[int(QUANTILE * (len(seen) - 1))], reviewed + 1)
