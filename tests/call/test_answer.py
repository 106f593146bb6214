"""Usage and cost, read from the answer itself."""

import pytest

from llm_api_client.call.answer import cost_of, usage_of
from llm_api_client.records import Usage
from llm_api_client.testing import ScriptedAnswer


class Bare:
    """An answer with whatever attributes a test gives it."""

    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)


def price(_model: str, usage: Usage) -> float:
    return usage.total_tokens * 0.5


@pytest.mark.parametrize(
    ("response", "usage"),
    [
        (ScriptedAnswer(prompt_tokens=3, completion_tokens=4), Usage(3, 4)),
        (ScriptedAnswer(prompt_tokens=3, completion_tokens=0), Usage(3, 0)),
        (ScriptedAnswer(prompt_tokens=0, completion_tokens=0), None),
        (Bare(), None),
        (Bare(usage=None), None),
        (Bare(usage=Bare(prompt_tokens=None, completion_tokens=True)), None),
        (Bare(usage=Bare(prompt_tokens=-3, completion_tokens=2)), Usage(0, 2)),
        (None, None),
        ("text", None),
    ],
)
def test_usage_is_what_the_provider_reports(response, usage):
    """Tokens that nobody reported are unknown, not zero."""
    assert usage_of(response) == usage


@pytest.mark.parametrize(
    ("hidden", "usage", "cost"),
    [
        ({"response_cost": 0.25}, Usage(1, 1), 0.25),
        ({"response_cost": 0}, Usage(1, 1), 0.0),
        ({"response_cost": None}, Usage(1, 1), None),
        ({"response_cost": True}, Usage(1, 1), None),
        ({"response_cost": float("nan")}, Usage(1, 1), None),
        ({"response_cost": 0.0}, None, None),
        ({"response_cost": 0.04}, None, 0.04),
        ({}, Usage(1, 1), 1.0),
        ({}, None, None),
        (None, Usage(1, 1), 1.0),
    ],
)
def test_cost_is_litellm_s_own_or_by_its_table(hidden, usage, cost):
    """LiteLLM's figure wins; its 0 for an unknown usage is none; answers of others are priced by the table."""
    assert cost_of(Bare(_hidden_params=hidden), "m", usage, price) == cost
