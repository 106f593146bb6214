"""Keys that a provider has refused: no further request that carries one is sent."""

from llm_api_client.errors import AuthenticationError
from llm_api_client.records import Kind, Verdict
from llm_api_client.run.journey import Journey


class RefusedKeys:
    """What one batch has learned of keys."""

    def __init__(self) -> None:
        self._refusals: dict[tuple[object, ...], AuthenticationError] = {}

    def learn(self, journey: Journey, verdict: Verdict) -> None:
        """A call has failed; its key may be why."""
        if verdict.kind is Kind.KEY_REFUSED and isinstance(verdict.error, AuthenticationError):
            self._refusals.setdefault(journey.credentials, verdict.error)

    def check(self, journey: Journey) -> None:
        """Refuse a request whose key was refused.

        Raises:
            AuthenticationError: It was.
        """
        refusal = self._refusals.get(journey.credentials)
        if refusal is not None:
            raise AuthenticationError(
                f"Not sent, because its key was refused before ({refusal})",
                status_code=refusal.status_code,
                provider=refusal.provider,
                model=refusal.model,
            ) from refusal
