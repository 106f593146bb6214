"""Fixtures of the simulated provider's own tests."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from llm_api_client.simulator import SimulatedProvider

Start = Callable[..., tuple[SimulatedProvider, httpx.Client]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts providers, each with a client that has a key; everything is closed in the end."""
    opened: list[tuple[SimulatedProvider, httpx.Client]] = []

    def _start(**options: Any) -> tuple[SimulatedProvider, httpx.Client]:
        provider = SimulatedProvider(**options).start()
        headers = {"authorization": "Bearer sk-test"}
        client = httpx.Client(base_url=provider.base_url, headers=headers, timeout=5, trust_env=False)
        opened.append((provider, client))
        return provider, client

    yield _start
    for provider, client in opened:
        client.close()
        provider.stop()


def chat(prompt: str = "How are you?", **more: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **more}


def eventually(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)
