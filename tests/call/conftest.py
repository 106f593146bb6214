"""LiteLLM itself, a sender for each test, and servers to send to."""

from collections.abc import Iterator
from types import ModuleType

import pytest

from llm_api_client.call.sender import Sender
from llm_api_client.simulator import SimulatedProvider

from .misbehaving import MisbehavingServer

KEY = "sk-made-up-0123456789abcdefghij"


@pytest.fixture
def sender(litellm: ModuleType) -> Iterator[Sender]:
    sender = Sender(litellm.completion, is_litellm=True)
    yield sender
    sender.close()


@pytest.fixture(scope="module")
def shared_sender(litellm: ModuleType) -> Iterator[Sender]:
    """One for tests that only look at what is raised: making connections ready takes longer than they do."""
    sender = Sender(litellm.completion, is_litellm=True)
    yield sender
    sender.close()


@pytest.fixture(scope="module")
def misbehaving() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as server:
        yield server


@pytest.fixture
def server(misbehaving: MisbehavingServer) -> MisbehavingServer:
    misbehaving.hits.clear()
    return misbehaving


@pytest.fixture
def provider() -> Iterator[SimulatedProvider]:
    with SimulatedProvider() as provider:
        yield provider
