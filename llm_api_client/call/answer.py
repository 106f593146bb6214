"""What an answer used and cost, read from the answer itself."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from llm_api_client.records import Usage

_LIMIT_HEADERS = {
    "requests_per_minute": "x-ratelimit-limit-requests",
    "tokens_per_minute": "x-ratelimit-limit-tokens",
}


def usage_of(response: Any) -> Usage | None:
    """Tokens that the provider reports, or None if it reports none. LiteLLM fills zeros in where none came."""
    usage = _part(response, "usage")
    prompt = _whole(_part(usage, "prompt_tokens")) or _whole(_part(usage, "input_tokens"))
    completion = _whole(_part(usage, "completion_tokens")) or _whole(_part(usage, "output_tokens"))
    return Usage(prompt, completion) if prompt or completion else None


def cost_of(
    response: Any, model: str, usage: Usage | None, price: Callable[[str, Usage], float | None]
) -> float | None:
    """US dollars for the answer, or None where the price or the usage is unknown.

    LiteLLM puts its own figure into the answers that it makes; `price` is asked only for those that others made.
    """
    hidden = getattr(response, "_hidden_params", None)
    if isinstance(hidden, dict) and "response_cost" in hidden:
        cost = hidden["response_cost"]
        # Images and rerankings are priced without tokens; 0 without tokens is LiteLLM's figure for an unknown usage.
        if usage is None and not cost:
            return None
    else:
        cost = None if usage is None else price(model, usage)
    return float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) and math.isfinite(cost) else None


def limits_of(response: Any) -> dict[str, int]:
    """Limits that the provider names in its headers, by the fields of `RateLimit`.

    OpenAI and Azure name their limits per minute. Groq names its requests per day, which are more than its requests per
    minute: as a bound they are too high, and harm nobody.
    """
    hidden = getattr(response, "_hidden_params", None)
    headers = hidden.get("additional_headers") if isinstance(hidden, dict) else None
    if not isinstance(headers, dict):
        return {}
    limits = {}
    for field, header in _LIMIT_HEADERS.items():
        value = str(headers.get(header) or "")
        if value.isdecimal() and int(value) > 0:
            limits[field] = int(value)
    return limits


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
