"""A server on loopback that answers any method by a script, and remembers the bytes that it was sent."""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """What is answered; a body that is no bytes goes out as JSON. Of `missing` bytes more it is said that they come."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds_between_bytes: float = 0.0
    missing: int = 0


@dataclass(frozen=True)
class Seen:
    """What a server was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Serving:
    """Answers by `replies`, one after another, and when they are used up by `otherwise`."""

    def __init__(self, *replies: Reply, otherwise: Callable[[Seen], Reply] = lambda _: Reply({"ok": True})) -> None:
        self.replies = deque(replies)
        self.otherwise = otherwise
        self.seen: list[Seen] = []
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def address(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        """Its address, as an OpenAI-compatible client takes it."""
        return f"{self.address}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(server: "Serving") -> type[BaseHTTPRequestHandler]:  # noqa: N805  `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, self.rfile.read(length))
                server.seen.append(seen)
                reply = server.replies.popleft() if server.replies else server.otherwise(seen)
                body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response_only(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body) + reply.missing))
                self.end_headers()
                try:
                    for start in range(0, len(body), 1 if reply.seconds_between_bytes else 1_000_000):
                        if reply.seconds_between_bytes and server.stopped.wait(reply.seconds_between_bytes):
                            break
                        self.wfile.write(body[start : start + (1 if reply.seconds_between_bytes else 1_000_000)])
                    if reply.missing:
                        server.stopped.wait(20)
                        self.close_connection = True
                except OSError:  # the client has had enough
                    self.close_connection = True

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  as the standard library calls them

        return Handler
