"""What a client can say without sending anything."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm_api_client.admit.limits import Limits
from llm_api_client.api_client.options import check_positive
from llm_api_client.call import litellm_door
from llm_api_client.catalog import Catalog, ModelInfo
from llm_api_client.prepare.preparer import Preparer
from llm_api_client.run.defaults import Defaults
from llm_api_client.run.estimate import Estimate, estimate


class Offline:
    """The part of a client that prepares requests, counts and estimates. Nothing here is sent."""

    _preparer: Preparer
    _limits: Limits
    _catalog: Catalog
    _defaults: Defaults

    def estimate(
        self, requests: Iterable[Mapping[str, Any]], *, sanitize: bool = True, answer_tokens: int | None = None
    ) -> Estimate:
        """What requests would cost and take. Nothing is sent, and no limit is used up.

        Args:
            requests: As for `make_requests`; read once, one by one.
            sanitize: As for `make_requests`.
            answer_tokens: Longest answer to assume where a request sets no bound, in tokens. Left out, 500. Of a model
                whose answers are shorter, its own most.

        Raises:
            InvalidInputError: `requests` is not a list of requests. A single bad request is counted as refused.
            ConfigurationError: `answer_tokens` is not a whole number above 0.
        """
        check_positive("answer_tokens", answer_tokens, whole=True)
        return estimate(
            requests,
            preparer=self._preparer,
            door=litellm_door.Facts(),
            price=litellm_door.price,
            limits=self._limits,
            complete=self._defaults.complete,
            sanitize=sanitize,
            answer_tokens=answer_tokens,
        )

    def providers(self) -> list[str]:
        """LiteLLM's names of all providers that have models in its table, sorted."""
        return self._catalog.providers()

    def models(self, provider: str | None = None, *, mode: str | None = None) -> list[str]:
        """Models as requests name them, sorted.

        Args:
            provider: LiteLLM's name of a provider. Left out, models of all.
            mode: What they are for: "chat", "embedding", "image_generation", … Left out, all.

        Raises:
            InvalidInputError: There is no such provider or mode; the message names those that are like it.
        """
        return self._catalog.models(provider, mode=mode)

    def model_info(self, provider: str, model: str | None = None) -> ModelInfo:
        """What LiteLLM's table says of one model: `model_info("openai", "gpt-4o")`, or only `model_info("gpt-4o")`.

        Raises:
            InvalidInputError: There is no such model; the message names those that are like it.
        """
        return self._catalog.model_info(provider) if model is None else self._catalog.model_info(provider, model)

    def sanitize_completion_request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as it would be sent: unsupported parameters dropped, messages truncated to the context window."""
        return self._preparer.sanitize_completion_request(request)

    def remove_unsupported_params(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request without the OpenAI parameters that its model does not take."""
        return self._preparer.remove_unsupported_params(request)

    def truncate_to_max_context_tokens(
        self, messages: Sequence[Mapping[str, Any]], model: str
    ) -> list[Mapping[str, Any]]:
        """The messages cut to what `model` takes, the oldest turns given up first."""
        return self._preparer.truncate_to_max_context_tokens(messages, model)

    def get_max_context_tokens(self, model: str) -> int:
        """Largest prompt of `model` in tokens.

        `MAX_INPUT_TOKENS_OVERRIDE` in the environment wins over LiteLLM; where LiteLLM knows nothing,
        `MAX_CONTEXT_TOKENS_FALLBACK` holds (100,000).
        """
        return self._preparer.get_max_context_tokens(model)

    def count_messages_tokens(self, messages: Sequence[Mapping[str, Any]], *, model: str, timeout: float = 10) -> int:
        """Tokens of a prompt. Never raises and never waits for the network: at worst a third of the characters."""
        return self._preparer.count_messages_tokens(messages, model=model, timeout=timeout)
