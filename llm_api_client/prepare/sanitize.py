"""Which of a request's parameters the model takes. Pure: what is known of the model is an argument."""

import re
from collections.abc import Mapping
from typing import Any

from llm_api_client.records import ModelFacts

MODEL_PARAMS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
"""Parameters of OpenAI's chat that LiteLLM maps for each model. Only these are ever dropped: what is not here is a
parameter of the call (`api_key`, `timeout`) or the provider's own, and nobody but the provider can judge it."""

# A name ends, or goes on with words that OpenAI uses: "o1js" and "o3-finetuned-llama" are others' models.
_O_SERIES = re.compile(r"o\d(?:-(?:mini|preview|pro|high|medium|low|deep|research|latest|\d+))*")
_GPT_5 = re.compile(r"gpt-5(?:-(?:mini|nano|\d+))*")

_BOUNDS = ("max_completion_tokens", "max_tokens")

Dropped = tuple[tuple[str, str], ...]
"""Names of the parameters that were dropped, each with the reason."""


def sanitize(request: Mapping[str, Any], facts: ModelFacts) -> tuple[dict[str, Any], Dropped]:
    """The request without what its model does not take, and what was dropped. The request itself is not changed.

    A model that is not known, or whose parameters are not, is given everything. Names in the request's own
    `allowed_openai_params` stay.
    """
    kept = dict(request)
    if not facts.known or facts.supported_params is None:
        return kept, ()
    taken = facts.supported_params.union(request.get("allowed_openai_params") or ())
    renamed = _one_answer_bound(kept, taken)
    dropped = dict.fromkeys(MODEL_PARAMS.intersection(kept).difference(taken), "the model does not take it") | renamed
    if "temperature" in kept and not _may_set_temperature(facts.model, kept["temperature"]):
        dropped["temperature"] = "a reasoning model sets its own"
    for name in dropped:
        kept.pop(name, None)
    return kept, tuple(sorted(dropped.items()))


def _one_answer_bound(params: dict[str, Any], taken: frozenset[str]) -> dict[str, str]:
    """Leave one of the two bounds on the answer's length, under a name that the model takes.

    A bound is money: it is sent under the other name rather than dropped. Where both are given, the newer one,
    `max_completion_tokens`, says what is meant.
    """
    given = [name for name in _BOUNDS if params.get(name) is not None]
    name = next((name for name in (*given, *_BOUNDS) if name in taken), None)
    if not given or name is None:
        return {}
    params[name] = params[given[0]]
    return {other: f"{name} stands for it" for other in _BOUNDS if other in params and other != name}


def _may_set_temperature(model: str, temperature: Any) -> bool:
    name = _family_name(model)
    return not _O_SERIES.fullmatch(name) and (temperature in (None, 1) or not _GPT_5.fullmatch(name))


def _family_name(model: str) -> str:
    """`o3-mini` of `openrouter/openai/o3-mini:free`, of `azure/o3-mini`, and of `ft:o3-mini:my-org::id`."""
    return model.rpartition("/")[2].removeprefix("ft:").partition(":")[0].lower()
