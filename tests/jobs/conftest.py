"""A provider with batches and fine-tuning, and clients of it."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llm_api_client import APIClient
from llm_api_client.simulator import SimulatedProvider
from llm_api_client.testing import FakeClock

KEY = "sk-a-key-that-nobody-may-see-0123456789"
MODEL = "openai/gpt-4o-mini"


@pytest.fixture(scope="module")
def running_provider() -> Iterator[SimulatedProvider]:
    """One provider for all tests of a file: starting one takes longer than asking it."""
    with SimulatedProvider(api_keys={KEY}, seed=7) as provider:
        yield provider


@pytest.fixture
def provider(running_provider: SimulatedProvider, monkeypatch: pytest.MonkeyPatch, litellm) -> SimulatedProvider:
    """The provider, having seen nothing; no key of the machine's is ever used."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    running_provider.reset()
    return running_provider


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def new_client(provider: SimulatedProvider, clock: FakeClock) -> Iterator[Callable[..., APIClient]]:
    """Makes clients of the provider, that wait by the fake clock."""
    made: list[APIClient] = []

    def make(**options: Any) -> APIClient:
        made.append(APIClient(**{"api_key": KEY, "base_url": provider.base_url, "clock": clock, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(new_client: Callable[..., APIClient]) -> APIClient:
    return new_client()


def ask(prompt: str = "Hello", model: str = MODEL, **more: Any) -> dict[str, Any]:
    """A request."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def asked(number: int) -> list[dict[str, Any]]:
    """So many requests, each with a prompt of its own."""
    return [ask(f"question {i}") for i in range(number)]


def echoes(number: int) -> list[str]:
    """What the provider answers to them."""
    return [f"Simulated answer to: question {i}" for i in range(number)]


def paths(provider: SimulatedProvider, method: str = "POST") -> list[str]:
    """Where the provider was asked, in order."""
    return [seen.path for seen in provider.requests if seen.method == method]


def uploaded(job: Any) -> list[list[dict[str, Any]]]:
    """The lines of each file of a job, as the provider has them."""
    job.status()
    files = [part.account.content(part.said["input_file_id"], "looking") for part in job._parts if part.batch]
    return [[json.loads(line) for line in content.splitlines()] for content in files]
