"""A server on loopback that says whatever a test tells it to, in any provider's shape."""

import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self


@dataclass(frozen=True)
class Reply:
    """What the server answers, and how: "cut" announces more than it sends, "reset" and "hang" send nothing.

    "gather" answers when `together` requests are in flight at once, and with 503 if they never are.
    """

    status: int = 200
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    manner: Literal["send", "cut", "reset", "hang", "gather"] = "send"
    together: int = 0


@dataclass(frozen=True)
class Hit:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


class MisbehavingServer:
    """Answers every POST with `reply`, and remembers what it was sent in `hits`."""

    def __init__(self) -> None:
        self.reply = Reply()
        self.hits: list[Hit] = []
        self.released = threading.Event()
        self._gathered = threading.Condition()
        self._here = 0
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        """Its address, as an OpenAI-compatible client takes it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def gather(self, together: int) -> bool:
        """Wait until so many are here; whether they came."""
        with self._gathered:
            self._here += 1
            self._gathered.notify_all()
            return self._gathered.wait_for(lambda: self._here >= together, timeout=20)

    def _handler(server: "MisbehavingServer") -> type[BaseHTTPRequestHandler]:  # noqa: N805  `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.hits.append(Hit(self.path, headers, json.loads(data or b"{}")))
                reply = server.reply
                if reply.manner == "hang":
                    server.released.wait(10)
                if reply.manner in ("hang", "reset"):
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                    return
                status = reply.status
                if reply.manner == "gather" and not server.gather(reply.together):
                    status = 503
                body = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
                sent = body.encode()
                self.send_response_only(status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(sent) * (2 if reply.manner == "cut" else 1)))
                self.end_headers()
                self.wfile.write(sent)
                if reply.manner == "cut":
                    self.close_connection = True

        return Handler
