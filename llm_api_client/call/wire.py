"""Plain HTTP connections of a client's own: one for each call in flight, kept and used again."""

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any

KEPT_SECONDS = 30.0
"""How long an idle connection is kept; most servers keep theirs for a minute or more."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Raw:
    """An HTTP answer as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class WireError(Exception):
    """No whole answer came.

    Attributes:
        connecting: Whether no connection could be made, so that nothing was sent.
        timed_out: Whether it took too long.
    """

    def __init__(self, message: str, *, connecting: bool, timed_out: bool) -> None:
        super().__init__(message)
        self.connecting = connecting
        self.timed_out = timed_out


class Wire:
    """Connections to any number of servers, as many as there are calls in flight.

    Args:
        context: Makes the TLS context, when it is first needed.
    """

    def __init__(self, context: Callable[[], Any]) -> None:
        self._make_context = context
        self._context: Any = None
        # Each target's idle connections, the one used last at the end, with the time since when it is idle. Appending
        # to a deque and popping from it are one step each, so that threads need no lock.
        self._idle: dict[tuple[str, str, int], deque[tuple[HTTPConnection, float]]] = {}
        self._all: set[HTTPConnection] = set()
        self._closed = False

    def post(
        self, target: Target, headers: Mapping[str, str], body: bytes, timeout: float, on_sent: Callable[[], None]
    ) -> Raw:
        """Send one request, and read its answer whole.

        Args:
            target: Where to.
            headers: All headers but the length.
            body: What is sent.
            timeout: Longest wait for a connection, and for each part of the answer, in seconds.
            on_sent: Called when the connection stands and bytes are about to leave.

        Raises:
            WireError: No whole answer came.
        """
        connection = self._connection(target, timeout)
        kept = False
        try:
            on_sent()
            connection.request("POST", target.path, body, headers)
            answer = connection.getresponse()
            raw = Raw(answer.status, answer.getheaders(), answer.read())
            kept = not answer.will_close and not self._closed
        except (OSError, HTTPException) as failed:
            what = f"{type(failed).__name__}: {failed}"
            raise WireError(what, connecting=False, timed_out=isinstance(failed, TimeoutError)) from failed
        finally:
            if kept:
                self._idle[target.scheme, target.host, target.port].append((connection, time.monotonic()))
            else:
                self._drop(connection)
        return raw

    def close(self) -> None:
        """Close all connections; calls under way fail."""
        self._closed = True
        for connection in list(self._all):
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for its answer
            self._drop(connection)

    def __del__(self) -> None:
        for connection in self._all:
            connection.close()

    def _connection(self, target: Target, timeout: float) -> HTTPConnection:
        idle = self._idle.setdefault((target.scheme, target.host, target.port), deque())
        while True:
            try:
                connection, since = idle.pop()
            except IndexError:
                return self._new(target, timeout)
            if time.monotonic() - since < KEPT_SECONDS and not _has_ended(connection):
                connection.sock.settimeout(timeout)
                return connection
            self._drop(connection)

    def _new(self, target: Target, timeout: float) -> HTTPConnection:
        if target.scheme == "https":
            self._context = self._context or self._make_context()
            connection: HTTPConnection = HTTPSConnection(
                target.host, target.port, timeout=timeout, context=self._context
            )
        else:
            connection = HTTPConnection(target.host, target.port, timeout=timeout)
        self._all.add(connection)
        try:
            connection.connect()
        except (OSError, HTTPException) as failed:
            self._drop(connection)
            what = f"{type(failed).__name__}: {failed}"
            raise WireError(what, connecting=True, timed_out=isinstance(failed, TimeoutError)) from failed
        return connection

    def _drop(self, connection: HTTPConnection) -> None:
        self._all.discard(connection)
        connection.close()


def _has_ended(connection: HTTPConnection) -> bool:
    """Whether the server has closed an idle connection, or says what nobody asked: it can be read from."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
