"""LiteLLM itself, a sender for each test, and servers to send to."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from llm_api_client.call.sender import Sender
from llm_api_client.call.wire import Wire
from llm_api_client.simulator import SimulatedProvider

from .misbehaving import MisbehavingServer
from .raw import wired

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


@pytest.fixture
def wire() -> Iterator[Wire]:
    with wired() as wire:
        yield wire


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run([*command.split(), *more], cwd=folder, check=True, capture_output=True)
    whole = folder / "both.pem"
    whole.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return whole
