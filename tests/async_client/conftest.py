"""Calls that wait until they are let go, and what else the tests of the asynchronous client share."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llm_api_client import SimulatedProvider
from llm_api_client.async_client import AsyncAPIClient
from llm_api_client.testing import ScriptedAnswer

KEY = "sk-made-up-0123456789abcdefghij"
MODEL = "gpt-4o-mini"


def question(number: int = 0) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": f"question {number}"}]}


def questions(number: int) -> list[dict[str, Any]]:
    return [question(each) for each in range(number)]


_others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _threads_of_tests_before() -> None:
    """Threads that outlive another test for a moment, as idle ones do, are not this one's."""
    _others.clear()
    _others.update(threading.enumerate())


def threads_of_the_client() -> list[str]:
    """Names of this test's threads that belong to a client."""
    mine = set(threading.enumerate()) - _others
    return [thread.name for thread in mine if thread.name.startswith("llm-api-client")]


async def until(true: Callable[[], Any]) -> None:
    """Wait, with the loop free, until something is so."""
    give_up_at = time.monotonic() + 10
    while not true():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.002)


class Gate:
    """An `api_call` whose calls wait at a gate; each answer names its question."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.asked: list[str] = []

    def __call__(self, **params: Any) -> ScriptedAnswer:
        """Wait, and answer."""
        content = params["messages"][-1]["content"]
        self.asked.append(content)
        assert self.opened.wait(20)
        return ScriptedAnswer(f"answer to {content}")


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def make() -> Callable[..., AsyncAPIClient]:
    """A client without limits, with any option; `api_call` is given by name."""

    def client(**options: Any) -> AsyncAPIClient:
        return AsyncAPIClient(**{"max_requests_per_minute": None, "max_tokens_per_minute": None, **options})

    return client


@pytest.fixture(scope="module")
def _served() -> Iterator[SimulatedProvider]:
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture
def provider(_served: SimulatedProvider) -> SimulatedProvider:
    """A simulated provider without limits."""
    _served.reset()
    return _served


@pytest.fixture
def client_of(provider: SimulatedProvider, litellm: Any, make: Any) -> Callable[..., AsyncAPIClient]:
    """A client of that provider, with any option."""
    return lambda **options: make(base_url=provider.base_url, api_key=KEY, **options)
