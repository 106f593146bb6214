"""Answers whose usage tells more than three numbers: what was cached, what was spent on thoughts, and what it costs."""

import json
from typing import Any

import pytest

from llm_api_client.call.likeness import LONG_PROMPT

from .raw import RawServer
from .test_direct_contract import MODELS, ROUTES, Lanes, answer, chat, http, raw_server, seen
from .test_direct_contract import lanes as both_lanes

__all__ = ["both_lanes", "raw_server"]

PRICED = {
    **{route: [MODELS[route]] for route in ROUTES},
    "openai": ["openai/gpt-4o-mini", "openai/o3-mini", "openai/gpt-5", "gpt-4.1"],
    "xai": ["xai/grok-3-mini", "xai/grok-4"],
    "deepseek": ["deepseek/deepseek-chat", "deepseek/deepseek-reasoner"],
    "mistral": ["mistral/mistral-small-latest"],
}
"""Models with prices of their own for cached tokens among them."""
NONE_SPENT = {"audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}


def usage(number: int, prompt: int = 2_000, **told: Any) -> dict[str, Any]:
    prompt, spent = prompt + number, 500 + number
    return {"prompt_tokens": prompt, "completion_tokens": spent, "total_tokens": prompt + spent, **told}


USAGES = {
    "cached": lambda n: usage(n, prompt_tokens_details={"cached_tokens": 1_024 + n, "audio_tokens": 0}),
    "cached alone": lambda n: usage(n, prompt_tokens_details={"cached_tokens": 1_024 + n}),
    "as many cached each time": lambda n: usage(n, prompt_tokens_details={"cached_tokens": 1_024, "audio_tokens": 0}),
    "all cached": lambda n: usage(n, prompt_tokens_details={"cached_tokens": 2_000 + n, "audio_tokens": 0}),
    "reasoned": lambda n: usage(n, completion_tokens_details={"reasoning_tokens": 64 * n, **NONE_SPENT}),
    "reasoned alone": lambda n: usage(n, completion_tokens_details={"reasoning_tokens": 64 * n}),
    "both": lambda n: usage(
        n,
        prompt_tokens_details={"cached_tokens": 128 * n, "audio_tokens": 0},
        completion_tokens_details={"reasoning_tokens": 64 * n, **NONE_SPENT},
    ),
    "predicted": lambda n: usage(n, completion_tokens_details={"accepted_prediction_tokens": n, "reasoning_tokens": 0}),
    "heard": lambda n: usage(n, prompt_tokens_details={"audio_tokens": 10 * n, "cached_tokens": 0}),
    "hits and misses": lambda n: usage(
        n,
        prompt_tokens_details={"cached_tokens": 100 + n},
        prompt_cache_hit_tokens=100 + n,
        prompt_cache_miss_tokens=1_900,
    ),
    "an estimate": lambda n: usage(n, estimated_cost=1e-6 * n),
    "a cost": lambda n: usage(n, cost=1e-6 * n, cost_details={"upstream_inference_cost": 0}),
    "long": lambda n: usage(n, LONG_PROMPT + 150_000),
    "long and cached": lambda n: usage(n, LONG_PROMPT, prompt_tokens_details={"cached_tokens": 4_096 * n}),
}


def both(lanes: Lanes, server: RawServer, params: dict[str, Any], route: str, body: dict[str, Any]) -> bool:
    """Hold the lanes to the same answer; whether the one went without LiteLLM."""
    server.said = http(body)
    before = len(lanes.asked)
    ours = seen(lanes.fast, params, route)
    direct = len(lanes.asked) == before
    assert ours == seen(lanes.slow, params, route)
    return direct


@pytest.mark.parametrize(("route", "model"), [(route, model) for route in PRICED for model in PRICED[route]])
@pytest.mark.parametrize("case", USAGES)
def test_what_a_usage_tells_is_told_and_priced_as_litellm_does(both_lanes, raw_server, route, model, case):
    """Whatever numbers a usage has, in each answer they, and the cost, are those that LiteLLM gives."""
    params = chat(route, raw_server.base_url, model=model)
    went = [
        both(both_lanes, raw_server, params, route, answer("Hello") | {"usage": USAGES[case](number)})
        for number in range(1, 7)
    ]
    assert went[:2] == [False, False]
    if case in {"cached", "reasoned", "both", "long", "as many cached each time"} and route != "xai":
        assert went[2:] == [True] * 4


def test_other_numbers_than_before_are_another_kind(both_lanes, raw_server):
    """An answer that has cached tokens is not like one that has none, and neither is a template for the other."""
    params = chat("openai", raw_server.base_url)
    cached = {"prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0}}
    none = {"prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0}}
    went = [
        both(both_lanes, raw_server, params, "openai", answer("Hello", number, usage=told))
        for number, told in enumerate([cached, cached, none, cached, none, none, cached], 20)
    ]
    assert went == [False, False, False, True, False, True, True]


def test_a_number_that_litellm_derives_is_never_frozen(both_lanes, raw_server, litellm, monkeypatch):
    """Where LiteLLM makes a number of others, no template repeats it, however often the answers are the same."""
    whole = litellm.utils.convert_to_model_response_object
    from litellm.llms.openai import openai

    def derived(*args: Any, **options: Any) -> Any:
        response = whole(*args, **options)
        response.usage.prompt_tokens_details.text_tokens = 2_000 - response.usage.prompt_tokens_details.cached_tokens
        return response

    monkeypatch.setattr(openai, "convert_to_model_response_object", derived)
    params = chat("openai", raw_server.base_url)
    for cached in (8, 8, 8, 9, 10):
        told = {"prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0}}
        assert not both(both_lanes, raw_server, params, "openai", answer("Hello", 20, usage=told))


def test_a_price_that_fails_leaves_the_answer_to_litellm(both_lanes, raw_server, litellm, monkeypatch):
    """An answer whose price cannot be asked is LiteLLM's to make, and nothing is sent twice for it."""
    params = chat("openai", raw_server.base_url)
    raw_server.said = http(answer("Hello", 20, usage=USAGES["cached"](1)))
    costs = [both_lanes.fast(params, "openai")._hidden_params["response_cost"] for _ in range(4)]
    sent = len(raw_server.requests)
    assert json.loads(raw_server.requests[-1].partition(b"\r\n\r\n")[2])["messages"] == params["messages"]
    assert len(set(costs)) == 1

    def fail(**_: Any) -> None:
        raise ValueError

    monkeypatch.setattr(litellm, "completion_cost", fail)
    asked = len(both_lanes.asked)
    assert both_lanes.fast(params, "openai")._hidden_params["response_cost"] == costs[0]
    assert (len(raw_server.requests), len(both_lanes.asked)) == (sent + 1, asked + 1)
