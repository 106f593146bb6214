from collections.abc import Callable
from typing import Any

import pytest

from llm_api_client import APIClient
from llm_api_client.testing import FakeClock, ScriptedCalls


def questions(number: int, **params: Any) -> list[dict[str, Any]]:
    """So many requests, each with a prompt of its own."""
    return [
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"question {i}"}], **params}
        for i in range(number)
    ]


def echo(params: Any) -> str:
    """An answer that names its question."""
    return f"answer to {params['messages'][-1]['content']}"


def contents(answers: list[Any]) -> list[str | None]:
    return [answer and answer.choices[0].message.content for answer in answers]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_client(clock: FakeClock) -> Callable[..., tuple[APIClient, ScriptedCalls]]:
    """A client under the fake clock, and its scripted calls: `script`, `latency`, and any option of the client."""

    def make(script: Any = (), *, latency: Any = 0.1, rpm: int | None = None, tpm: int | None = None, **options: Any):
        calls = ScriptedCalls(script, latency=latency, clock=clock)
        return APIClient(rpm, tpm, api_call=calls, clock=clock, **options), calls

    return make
