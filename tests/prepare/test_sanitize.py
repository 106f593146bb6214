"""What the model does not take is dropped; all else stays."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.prepare.sanitize import MODEL_PARAMS, sanitize
from llm_api_client.records import ModelFacts

CALL = {
    "api_key": "k",
    "api_base": "http://a",
    "base_url": "http://b",
    "api_version": "1",
    "timeout": 3,
    "metadata": {},
    "mock_response": "hi",
    "extra_headers": {},
    "extra_body": {},
    "custom_llm_provider": "openai",
    "num_retries": 0,
    "stream": True,
    "top_k": 5,
    "safe_prompt": True,
}


def facts(*params: str, model: str = "gpt-4o-mini") -> ModelFacts:
    return ModelFacts(model, known=True, supported_params=frozenset(params))


def request(**params: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]} | params


def test_unsupported_parameters_are_dropped_and_named() -> None:
    """An OpenAI parameter that the model does not take goes, and its name is told, never its value."""
    kept, dropped = sanitize(request(temperature=0.5, logit_bias={"1": 2}, seed=1), facts("temperature"))
    assert kept == request(temperature=0.5)
    assert [name for name, _ in dropped] == ["logit_bias", "seed"]


def test_parameters_of_the_call_and_the_providers_own_stay() -> None:
    """What is not a parameter of OpenAI's models is none of this library's business, and stays."""
    assert sanitize(request(**CALL), facts()) == (request(**CALL), ())


@pytest.mark.parametrize(
    "unknown", [ModelFacts("m"), ModelFacts("m", known=True), ModelFacts("m", supported_params=frozenset())]
)
def test_an_unknown_model_is_given_everything(unknown: ModelFacts) -> None:
    """Where nothing is known of the model's parameters, nothing is dropped."""
    given_all = request(**dict.fromkeys(MODEL_PARAMS, 1))
    assert sanitize(given_all, unknown) == (given_all, ())


def test_allowed_parameters_stay() -> None:
    """A parameter that the request itself allows is not dropped."""
    asked = request(seed=1, allowed_openai_params=["seed"])
    assert sanitize(asked, facts()) == (asked, ())


@pytest.mark.parametrize(
    "model",
    [
        "o1",
        "o3-mini",
        "o4-mini-2025-04-16",
        "openai/o3",
        "azure/o1-preview",
        "openrouter/openai/o3-mini-high",
        "O3",
        "ft:o4-mini-2025-04-16:org::id",
        "openai/ft:o4-mini:org",
        "openrouter/openai/o3-mini:free",
        "o3-deep-research",
    ],
)
@pytest.mark.parametrize("temperature", [0, 1, 0.7])
def test_reasoning_models_lose_temperature(model: str, temperature: float) -> None:
    """The o-series sets its own temperature, whatever its list says and whatever stands before its name."""
    kept, dropped = sanitize(request(temperature=temperature), facts("temperature", model=model))
    assert "temperature" not in kept
    assert [name for name, _ in dropped] == ["temperature"]


@pytest.mark.parametrize(
    "model",
    [
        "olmo",
        "olmo-2",
        "openai/oss-20b",
        "gpt-oss-120b",
        "o1js",
        "o1js-like",
        "x/o3-finetuned-llama",
        "gpt-4o",
        "o",
        "oo1",
        "gpt-5.1",
        "gpt-5.2",
        "gpt-5-chat",
        "gpt-5-chat-latest",
        "openai/gpt-5.1-mini",
        "gpt-50",
        "o3/llama",
    ],
)
def test_names_that_only_look_like_it_keep_temperature(model: str) -> None:
    """Other models keep their temperature, however near their name comes."""
    assert sanitize(request(temperature=0.7), facts("temperature", model=model)) == (request(temperature=0.7), ())


@pytest.mark.parametrize(
    "model", ["gpt-5", "gpt-5-mini", "openai/gpt-5-nano", "gpt-5-2025-08-07", "gpt-5-mini-2025-08-07"]
)
def test_gpt_5_takes_only_its_own_temperature(model: str) -> None:
    """The first gpt-5 models keep a temperature of 1 and lose every other."""
    of_model = facts("temperature", model=model)
    assert "temperature" not in sanitize(request(temperature=0.2), of_model)[0]
    assert sanitize(request(temperature=1), of_model)[0]["temperature"] == 1


@pytest.mark.parametrize(
    ("given_bounds", "taken", "sent"),
    [
        (
            {"max_tokens": 1, "max_completion_tokens": 2},
            ("max_tokens", "max_completion_tokens"),
            {"max_completion_tokens": 2},
        ),
        ({"max_tokens": 1, "max_completion_tokens": 2}, ("max_tokens",), {"max_tokens": 2}),
        ({"max_tokens": 1, "max_completion_tokens": None}, ("max_tokens", "max_completion_tokens"), {"max_tokens": 1}),
        ({"max_completion_tokens": 2}, ("max_tokens",), {"max_tokens": 2}),
        ({"max_tokens": 1}, ("max_completion_tokens",), {"max_completion_tokens": 1}),
        ({"max_tokens": 1}, ("max_tokens", "max_completion_tokens"), {"max_tokens": 1}),
        ({"max_tokens": 1, "max_completion_tokens": 2}, (), {}),
    ],
)
def test_one_bound_on_the_answer_is_sent(
    given_bounds: dict[str, Any], taken: tuple[str, ...], sent: dict[str, int]
) -> None:
    """One bound is sent, under a name that the model takes; a bound is money and is not lost where there is a way."""
    assert sanitize(request(**given_bounds), facts(*taken))[0] == request(**sent)


@given(
    st.dictionaries(st.sampled_from(sorted(MODEL_PARAMS | set(CALL))), st.none() | st.integers(0, 3)),
    st.frozensets(st.sampled_from(sorted(MODEL_PARAMS))),
    st.sampled_from(["gpt-4o", "o3-mini", "gpt-5", "claude"]),
    st.booleans(),
)
def test_sanitizing_changes_no_input_and_settles_at_once(
    params: dict[str, Any],
    taken: frozenset[str],
    model: str,
    known: bool,  # noqa: FBT001  hypothesis passes it
) -> None:
    """The request is not changed, model and messages stay, and sanitizing what was sanitized does nothing."""
    asked = request(**params)
    before = deepcopy(asked)
    of_model = ModelFacts(model, known=known, supported_params=taken)
    kept, dropped = sanitize(asked, of_model)
    assert asked == before
    assert sanitize(kept, of_model) == (kept, ())
    assert kept["messages"] is asked["messages"]
    assert set(asked) - set(kept) <= {name for name, _ in dropped}
    assert not known or {name for name in kept if name in MODEL_PARAMS} <= taken
