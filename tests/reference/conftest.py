"""What a reader of the reference documents has: a key in the environment, and a provider behind it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from llm_api_client import APIClient, RetryPolicy, SimulatedProvider
from llm_api_client.testing import FakeClock, ScriptedAnswer, ScriptedCalls

KEY = "sk-made-up-0123456789abcdefghij"
MODEL = "gpt-4o-mini"


def ask(text: str = "Hello!", **params: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **params}


@pytest.fixture(scope="session")
def _running() -> Iterator[SimulatedProvider]:
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture
def provider(_running: SimulatedProvider, monkeypatch: pytest.MonkeyPatch, litellm: Any) -> SimulatedProvider:
    """A provider without limits, that has seen nothing; LiteLLM finds it and its key in the environment."""
    _running.reset()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", _running.base_url)
    return _running


@pytest.fixture
def make(provider: SimulatedProvider) -> Iterator[Callable[..., APIClient]]:
    """Makes clients, with any option; retries wait for nothing."""
    made = []

    def make(*args: Any, **options: Any) -> APIClient:
        made.append(APIClient(*args, **{"progress": False, "retry": RetryPolicy(initial_delay=0), **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make: Callable[..., APIClient]) -> APIClient:
    return make()


class Scripted:
    """Clients that are answered by a script under a clock that jumps."""

    def __init__(self, make: Callable[..., APIClient]) -> None:
        self.clock = FakeClock()
        self.calls = ScriptedCalls(clock=self.clock)
        self._make = make

    def client(self, *args: Any, latency: float = 0, script: Any = (), **options: Any) -> APIClient:
        """One with any option, whose calls come to what the script says, after so many seconds."""
        self.calls = ScriptedCalls(script, latency=latency, clock=self.clock)
        return self._make(*args, api_call=self.calls, clock=self.clock, **options)

    @property
    def times(self) -> list[float]:
        """When each call was made."""
        return [call.at for call in self.calls.calls]


@pytest.fixture
def scripted(make: Callable[..., APIClient]) -> Scripted:
    return Scripted(make)


class Crowd:
    """An `api_call` that notes how many calls are under way at once; each waits until `size` have come together."""

    def __init__(self, size: int) -> None:
        self.peak = 0
        self._now = 0
        self._lock = threading.Lock()
        self._together = threading.Barrier(size)

    def __call__(self, **_: Any) -> ScriptedAnswer:
        """Answer, in company."""
        with self._lock:
            self._now += 1
            self.peak = max(self.peak, self._now)
        self._together.wait(5)
        with self._lock:
            self._now -= 1
        return ScriptedAnswer()


@pytest.fixture
def anthropic() -> Iterator[str]:
    """The address of a server that answers every request in the way of Anthropic's API."""
    said = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-3-haiku",
        "content": [{"type": "text", "text": "there was a client."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 5},
    }

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(said).encode()
            self.send_response_only(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
