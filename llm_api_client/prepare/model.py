"""What this station must be told about models; whoever knows them implements it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from llm_api_client.records import ModelFacts

Message = Mapping[str, Any]


class ModelDoor(Protocol):
    """The one way to what is known of models. Every method is safe to call from many threads."""

    def facts(self, model: str, params: Mapping[str, Any]) -> ModelFacts:
        """What is known of `model`, asked with these parameters (`custom_llm_provider` and `api_base` matter).

        Never raises: of an unknown model, `known` is False.
        """

    def count_tokens(self, model: str, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> int:
        """Tokens of a prompt by the model's own tokenizer, 0 messages included. Never asks the network.

        Raises:
            Exception: Any, where it cannot be counted on this machine; the caller estimates instead.
        """

    def max_input_tokens(self, model: str) -> int | None:
        """Largest prompt of the model in tokens, or None if that is not known. Never raises."""
