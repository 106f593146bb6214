"""A server that writes what it is told, byte by byte, and what posts to it."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from llm_api_client.call.wire import Raw, Target, Wire

HEAD = b"POST /v1 HTTP/1.1\r\nhost: test\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


@dataclass(frozen=True)
class Said:
    """Bytes that a server writes, and what it does then."""

    data: bytes = OK
    then: Literal["keep", "close", "reset", "hang"] = "keep"


class RawServer:
    """A server on loopback that reads whole requests and writes whatever bytes `said` gives for them.

    `greeting` is written to each connection before anything is asked.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.said: Said | Callable[[bytes], Said] = Said()
        self.greeting = b""
        self.requests: list[bytes] = []
        self.connections: list[socket.socket] = []
        self._tls = tls
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def base_url(self) -> str:
        """Its address, as an OpenAI-compatible client takes it."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def target(self) -> Target:
        """The same, as a `Wire` takes it."""
        return Target("https" if self._tls else "http", "127.0.0.1", self.port)

    def close_connections(self) -> None:
        """As a server does with those that were idle for too long."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.connections.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        self.close_connections()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                # The plain socket is left without its file: the wrapped one takes it over.
                self.connections.remove(connection)
                connection = self._tls.wrap_socket(connection, server_side=True)
                self.connections.append(connection)
            connection.sendall(self.greeting)
            while request := _request(connection):
                self.requests.append(request)
                said = self.said if isinstance(self.said, Said) else self.said(request)
                connection.sendall(said.data)
                if said.then == "hang":
                    self._over.wait(10)
                if said.then == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if said.then != "keep":
                    break
        connection.close()


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@contextmanager
def wired(context: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> Iterator[Wire]:
    wire = Wire(context)
    yield wire
    wire.close()


def post(wire: Wire, server: RawServer, body: bytes = b"{}", timeout: float = 5.0) -> Raw:
    return wire.post(server.target, HEAD, body, timeout, lambda: None)


def until(what: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
