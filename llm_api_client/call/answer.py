"""What an answer used and cost, read from the answer itself."""

from collections.abc import Callable
from typing import Any

from llm_api_client.records import Usage


def usage_of(response: Any) -> Usage | None:
    """Tokens that the provider reports, or None if it reports none. LiteLLM fills zeros in where none came."""
    usage = getattr(response, "usage", None)
    prompt = _whole(getattr(usage, "prompt_tokens", None))
    completion = _whole(getattr(usage, "completion_tokens", None))
    return Usage(prompt, completion) if prompt or completion else None


def cost_of(response: Any, model: str, usage: Usage | None, price: Callable[[str, Usage], float | None]) -> float | None:
    """US dollars for the answer, or None where the price or the usage is unknown.

    LiteLLM puts its own figure into the answers that it makes; `price` is asked only for those that others made.
    """
    if usage is None:
        return None
    hidden = getattr(response, "_hidden_params", None)
    hidden = hidden if isinstance(hidden, dict) else {}
    cost = hidden["response_cost"] if "response_cost" in hidden else price(model, usage)
    return float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
