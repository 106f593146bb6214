"""Which limiter admits which model."""

from collections.abc import Mapping

from llm_api_client.admit.limiter import Limiter
from llm_api_client.admit.rates import RateLimit
from llm_api_client.clock import Clock


class Limits:
    """One limiter that all models share, and one for each model that has limits of its own instead."""

    def __init__(self, shared: RateLimit, by_model: Mapping[str, RateLimit], clock: Clock) -> None:
        self._shared = Limiter(shared, clock)
        self._by_model = {model: Limiter(limit, clock) for model, limit in by_model.items()}

    @property
    def several(self) -> bool:
        """Whether a request may be able to go while one before it, of another model, has to wait."""
        return bool(self._by_model)

    def of(self, model: str) -> Limiter:
        """The limiter that admits calls of `model`."""
        return self._by_model.get(model, self._shared)

    def close(self) -> None:
        """Let nobody wait any longer."""
        for limiter in (self._shared, *self._by_model.values()):
            limiter.close()
