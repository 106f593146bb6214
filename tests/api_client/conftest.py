"""Clients of a provider, simulated or made up, for the tests of single calls."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any, Self

import pytest

from llm_api_client import APIClient, RetryPolicy
from llm_api_client.simulator import SimulatedProvider

KEY = "sk-made-up-0123456789abcdefghij"
AT_ONCE = RetryPolicy(initial_delay=0)


@pytest.fixture(scope="session")
def running_provider() -> Iterator[SimulatedProvider]:
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: SimulatedProvider) -> SimulatedProvider:
    """One without limits, having seen nothing."""
    running_provider.reset()
    return running_provider


@pytest.fixture
def make_client(provider: SimulatedProvider, litellm: Any) -> Iterator[Callable[..., APIClient]]:
    """Makes clients of the provider, with any option; retries wait for nothing."""
    made = []

    def make(**options: Any) -> APIClient:
        given = {"base_url": provider.base_url, "api_key": KEY, "progress": False, "retry": AT_ONCE}
        made.append(APIClient(**{**given, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., APIClient]) -> APIClient:
    return make_client()


class Dripping:
    """A server that streams an answer piece by piece, each when `say` is called, and tells when nobody listens."""

    def __init__(self) -> None:
        self.asked = SimpleQueue[dict[str, Any]]()
        self.hung_up = threading.Event()
        self._pieces = SimpleQueue[str | None]()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def say(self, *pieces: str | None) -> None:
        """Send these pieces; None ends the answer."""
        for piece in pieces:
            self._pieces.put(piece)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.put(None)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(server: "Dripping") -> type[BaseHTTPRequestHandler]:  # noqa: N805  `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                server.asked.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response_only(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                try:
                    while (piece := server._pieces.get()) is not None:
                        self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": piece}}]})
                    self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
                    self._event({"choices": [], "usage": usage})
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    server.hung_up.set()

            def _event(self, data: dict[str, Any]) -> None:
                head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
                self.wfile.write(f"data: {json.dumps(head | data)}\n\n".encode())

        return Handler


@pytest.fixture
def dripping() -> Iterator[Dripping]:
    with Dripping() as server:
        yield server
