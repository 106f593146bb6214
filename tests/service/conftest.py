"""A server on loopback that answers by script, and a clock that jumps."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from llm_api_client.service import BaseService, Endpoint, Schema
from llm_api_client.testing import FakeClock


@dataclass(frozen=True)
class Hit:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """What its body says."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Answers each request with the next of `script`, and when that is over with `reply`, which may be a function."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.script: list[Reply] = []
        self.reply: Reply | Callable[[Hit], Reply] = Reply()
        self.hits: list[Hit] = []
        self.lock = threading.Lock()

    def answer(self, hit: Hit) -> Reply:
        """What comes of a request."""
        with self.lock:
            self.hits.append(hit)
            reply = self.script.pop(0) if self.script else self.reply
        return reply if isinstance(reply, Reply) else reply(hit)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    server: Server

    def handle_error(self, *_: object) -> None:
        """A client that did not wait is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # Head and body leave together: apart, the second would wait for the client's acknowledgement.
    server: _Listener

    def log_message(self, *_: object) -> None:
        pass

    def handle_one(self) -> None:
        """Answer whatever is asked."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = (
            self._chunked()
            if "transfer-encoding" in headers
            else self.rfile.read(int(headers.get("content-length", 0)))
        )
        reply = self.server.server.answer(Hit(self.command, self.path, headers, body))
        sent = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
        self.send_response_only(reply.status)
        for name, value in {
            "content-type": "application/json",
            **reply.headers,
            "content-length": str(len(sent)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = handle_one  # noqa: N815  the names that `http.server` calls

    def _chunked(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole


@pytest.fixture(scope="module")
def _listener() -> Iterator[_Listener]:
    listener = _Listener(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield listener
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.fixture
def server(_listener: _Listener) -> Server:
    _listener.server = Server(f"http://127.0.0.1:{_listener.server_address[1]}/v1")
    return _listener.server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


KEY = "translator-key-0123456789"


class Translator(BaseService):
    """A provider that LiteLLM does not know."""

    endpoints = (
        Endpoint("translate", schema=Schema(("text", "target"), ("formal",)), config={"target": "de"}),
        Endpoint("slow", max_requests=2),
        Endpoint("counted", max_tokens=1_000),
        Endpoint("languages", method="GET"),
    )
    key_variable = "TRANSLATOR_API_KEY"


@pytest.fixture
def make(server, clock):
    """Make a service on the scripted server, under the clock that jumps; close it in the end."""
    made = []

    def make(cls=Translator, api_key=KEY, **options):
        service = cls(api_key, **{"base_url": server.base_url, "clock": clock, **options})
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()


def translate(hit):
    """What the server does with a text."""
    return Reply({"translation": f"{hit.json['text']} in {hit.json['target']}"})
