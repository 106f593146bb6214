"""How many tokens a prompt has: counted where that is cheap, estimated otherwise, and never waited for."""

import logging
from collections.abc import Callable, Sequence
from math import ceil
from threading import Lock
from typing import Any

from llm_api_client.prepare.messages import media, without_media
from llm_api_client.prepare.model import Message, ModelDoor
from llm_api_client.prepare.tokens import MEDIA_TOKENS, estimate_tokens, sample, text_of

COUNTED_PER_SECOND = 1_000_000
"""Characters that a slow tokenizer counts in a second, on a slow machine."""

MOST_COUNTED = 1_000_000
"""Characters up to which a prompt is counted in full. Of a longer one a sample is counted and scaled up."""

SAMPLE_PIECES = 50
SAMPLE_LENGTH = 1_000

REPORTS_TO_TRUST = 20
"""Reports of a provider after which the estimates for its model may stand in for counts."""

_MEMORY = 0.95
"""How much of what was learned of a model is left after one more report."""
_RATIO_FLOOR, _RATIO_CEILING = 0.2, 5.0


class TokenCounter:
    """Counts and estimates, and learns from what providers report how far the estimates are off."""

    def __init__(self, door: ModelDoor, logger: logging.Logger) -> None:
        self._door = door
        self._logger = logger
        # Guards `_seen`: reported and estimated tokens by model, summed with fading memory, and the number of reports.
        # Sums rather than a mean of ratios, for in a short prompt what a provider adds to every message outweighs the
        # text.
        self._lock = Lock()
        self._seen: dict[str, tuple[float, float, int]] = {}

    def count(self, model: str, messages: Sequence[Message], tools: Any = None, timeout: float = 10.0) -> int:
        """Tokens of a prompt. Never raises, and takes less than `timeout` seconds.

        Media count as a constant: to measure them would need a download.
        """
        try:
            text = text_of(messages, tools)
            if len(text) > min(MOST_COUNTED, timeout * COUNTED_PER_SECOND):
                return self._extrapolated(model, text, messages, tools, timeout)
            return self._counted(model, messages, tools)
        except Exception as error:  # noqa: BLE001  a door may raise anything, and an estimate is always there
            self._logger.debug("tokens of %r are estimated: %s", model, type(error).__name__)
            return self.estimate(model, messages, tools)

    def of_one_message(self, model: str) -> Callable[[Message], int]:
        """What counts a message alone, without what every prompt has in common. Never raises."""
        common = self.overhead(model)
        if common is None:
            # Estimates round down, each message's by itself: without this their sum could fall below the whole's.
            rounding = 1 + ceil(self._ratio(model))
            return lambda message: self.count(model, [message]) + rounding
        return lambda message: max(self.count(model, [message]) - common, 0)

    def overhead(self, model: str, tools: Any = None) -> int | None:
        """Tokens of a prompt beside its messages, or None where nothing can be counted."""
        try:
            return self._counted(model, [], tools)
        except Exception:  # noqa: BLE001  as in `count`
            return None

    def estimate(self, model: str, messages: Sequence[object], tools: Any = None) -> int:
        """Tokens of a prompt from its length, corrected by what was reported for the model before."""
        return round(estimate_tokens(messages, tools) * self._ratio(model))

    def has_learned(self, model: str) -> bool:
        """Whether the estimates for a model are corrected by enough reports to stand in for counts.

        Providers themselves charge their limits by characters (OpenAI, "Rate limits": an estimate "based on the
        character count"); what an estimate is off by is settled when the answer comes.
        """
        _, _, reports = self._seen.get(model, (0.0, 0.0, 0))
        return reports >= REPORTS_TO_TRUST

    def learn(self, model: str, messages: Sequence[object], tools: Any, reported: int) -> None:
        """Correct the estimates to come by what the provider counted for this prompt."""
        estimate = estimate_tokens(messages, tools)
        if estimate <= 0 or reported <= 0:
            return
        with self._lock:
            reported_before, estimated_before, reports = self._seen.get(model, (0.0, 0.0, 0))
            self._seen[model] = (
                _MEMORY * reported_before + reported,
                _MEMORY * estimated_before + estimate,
                reports + 1,
            )

    def _ratio(self, model: str) -> float:
        seen = self._seen.get(model)
        return min(max(seen[0] / seen[1], _RATIO_FLOOR), _RATIO_CEILING) if seen else 1.0

    def _counted(self, model: str, messages: Sequence[Message], tools: Any) -> int:
        parts = sum(map(media, messages))
        bare = [without_media(message) for message in messages] if parts else messages
        return self._door.count_tokens(model, bare, tools or None) + parts * MEDIA_TOKENS

    def _extrapolated(self, model: str, text: str, messages: Sequence[Message], tools: Any, timeout: float) -> int:
        pieces = min(SAMPLE_PIECES, int(timeout * COUNTED_PER_SECOND) // SAMPLE_LENGTH)
        if pieces <= 0:
            return self.estimate(model, messages, tools)
        part = sample(text, pieces, SAMPLE_LENGTH)
        tokens = self._door.count_tokens(model, [{"role": "user", "content": part}])
        return round(tokens * len(text) / len(part)) + sum(map(media, messages)) * MEDIA_TOKENS
