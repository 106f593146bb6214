"""HTTP/1.1 as far as a client needs it that posts and reads answers whole: one connection for each call in flight.

Nothing here knows what is sent, nor what an answer means. Whatever is not an answer by the rules is a `WireError`.
"""

import contextlib
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

KEPT_SECONDS = 30.0
"""How long an idle connection is kept; most servers keep theirs for a minute or more."""
MAX_HEAD = 100_000
"""Bytes of an answer's head; more is no answer."""

_PIECE = 65_536
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_END_OF_LINE = re.compile(rb"\r?\n")
_LINE = re.compile(r"\r?\n")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: ([^\x00]*))?", re.ASCII)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE_OF_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)
_LENGTH = re.compile(r"[0-9]{1,18}")
_WITHOUT_BODY = frozenset({204, 304})
# In the words of LiteLLM's HTTP library, so that an error says the same whichever way a call went.
_NO_ANSWER = "Server disconnected without sending a response."
_CUT = "peer closed connection without sending complete message body "


class Target(NamedTuple):
    """A server."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Raw:
    """An HTTP answer as it came; headers by their names in lower case, their values as Latin-1."""

    status: int
    headers: list[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    reason: bytes = b""


class WireError(Exception):
    """No whole answer came.

    Attributes:
        connecting: Whether no connection could be made, so that nothing was sent.
        timed_out: Whether it took too long.
    """

    def __init__(self, message: str, *, connecting: bool = False, timed_out: bool = False) -> None:
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
        self._idle: dict[Target, deque[tuple[socket.socket, float]]] = {}
        self._all: set[socket.socket] = set()
        self._closed = False

    def post(self, target: Target, head: bytes, body: bytes, timeout: float, on_sent: Callable[[], None]) -> Raw:
        """Send one request, and read its answer whole.

        Args:
            target: Where to.
            head: The request's first line and its headers, all but the body's length, each with its line end.
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
            with contextlib.suppress(ConnectionError):  # A server may answer, and close, before it has read all.
                connection.sendall(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
            raw, kept = _answer(connection)
        except OSError as failed:
            raise WireError(str(failed), timed_out=isinstance(failed, TimeoutError)) from failed
        finally:
            if kept:
                self._keep(target, connection)
            else:
                self._drop(connection)
        return raw

    def close(self) -> None:
        """Close all connections; calls under way fail, and so do later ones."""
        self._closed = True
        for connection in list(self._all):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for its answer
            self._drop(connection)

    def __del__(self) -> None:
        for connection in self._all:
            connection.close()

    def _connection(self, target: Target, timeout: float) -> socket.socket:
        idle = self._idle.setdefault(target, deque())
        while True:
            try:
                connection, since = idle.pop()
            except IndexError:
                return self._new(target, timeout)
            if time.monotonic() - since < KEPT_SECONDS and not _has_ended(connection):
                connection.settimeout(timeout)
                return connection
            self._drop(connection)

    def _new(self, target: Target, timeout: float) -> socket.socket:
        connection: socket.socket | None = None
        try:
            connection = socket.create_connection((target.host, target.port), timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if target.scheme == "https":
                self._context = self._context or self._make_context()
                connection = self._context.wrap_socket(connection, server_hostname=target.host)
            self._all.add(connection)
            if self._closed:
                raise ConnectionAbortedError("The client was closed.")
        except (OSError, ValueError) as failed:  # ValueError: a host that no certificate can name
            if connection is not None:
                self._drop(connection)
            raise WireError(str(failed), connecting=True, timed_out=isinstance(failed, TimeoutError)) from failed
        return connection

    def _keep(self, target: Target, connection: socket.socket) -> None:
        now = time.monotonic()
        idle = self._idle[target]
        idle.append((connection, now))
        # The longest idle ones go when nobody has asked for them: others may have been enough for a while.
        with contextlib.suppress(IndexError):
            if now - idle[0][1] >= KEPT_SECONDS:
                self._drop(idle.popleft()[0])
        if self._closed:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._all.discard(connection)
        connection.close()


def _has_ended(connection: socket.socket) -> bool:
    """Whether the server has closed an idle connection, or says what nobody asked: it can be read from."""
    try:
        poll = select.poll()  # unlike `select`, for any number of open files
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):  # closed by `close`
        return True


def _answer(connection: socket.socket) -> tuple[Raw, bool]:
    """The answer to what was sent, and whether the connection may be used again."""
    incoming = _Incoming(connection)
    while True:
        minor, status, reason, headers = _head(incoming)
        if status >= 200:  # noqa: PLR2004  what comes before is about the request, and not its answer
            break
        if status == 101:  # noqa: PLR2004
            raise WireError("The server changed the protocol, which nobody asked for.")
    named = merged(headers)
    coding, length = named.get("transfer-encoding"), named.get("content-length")
    ends = False
    if status in _WITHOUT_BODY:
        body = b""
    elif coding is not None:
        if coding.lower() != "chunked":
            raise WireError("The answer's transfer encoding is unknown.")
        body = _chunks(incoming)
    elif length is not None:
        length, *others = set(length.split(", "))
        if others or not _LENGTH.fullmatch(length):
            raise WireError("The answer's length is not one number.")
        incoming.if_cut = f"{_CUT}(received {{}} bytes, expected {{}})"
        body = incoming.take(int(length))
    else:
        body, ends = incoming.rest(), True
    wish = named.get("connection", "").lower()
    keeps = "close" not in wish and (minor == "1" or "keep-alive" in wish)
    return Raw(status, headers, body, reason), keeps and not ends and incoming.is_used_up


def _head(incoming: "_Incoming") -> tuple[str, int, bytes, list[tuple[str, str]]]:
    first, *lines = _LINE.split(incoming.until(_END_OF_HEAD, MAX_HEAD).decode("latin-1"))
    said = _STATUS_LINE.fullmatch(first)
    if said is None:
        raise WireError("What came is not HTTP.")
    headers: list[tuple[str, str]] = []
    for line in lines:
        if headers and line.startswith((" ", "\t")):  # a line goes on
            headers[-1] = headers[-1][0], f"{headers[-1][1]} {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise WireError("The answer's headers are malformed.")
        headers.append((name.lower(), value.strip(" \t")))
    return said[1], int(said[2]), (said[3] or "").encode("latin-1"), headers


def merged(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by their names, the values of a repeated one joined, as LiteLLM sees them."""
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _chunks(incoming: "_Incoming") -> bytes:
    body = bytearray()
    incoming.if_cut = f"{_CUT}(incomplete chunked read)"
    while True:
        size = _SIZE_OF_CHUNK.fullmatch(incoming.until(_END_OF_LINE, MAX_HEAD))
        if size is None:
            raise WireError("The answer's chunks are malformed.")
        count = int(size[1], 16)
        if not count:
            break
        body += incoming.take(count)
        if incoming.until(_END_OF_LINE, 0):
            raise WireError("The answer's chunks are malformed.")
    while incoming.until(_END_OF_LINE, MAX_HEAD):
        pass  # Trailers say nothing that LiteLLM would look at.
    return bytes(body)


class _Incoming:
    """What comes over a connection, in the pieces that a reader asks for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._here = b""
        self.if_cut = _NO_ANSWER
        """What is said if no more comes."""

    @property
    def is_used_up(self) -> bool:
        """Whether nothing came beyond what was asked for."""
        return not self._here

    def until(self, end: re.Pattern[bytes], limit: int) -> bytes:
        """All before the next `end`, which is taken too; at most `limit` bytes."""
        searched = 0
        while True:
            found = end.search(self._here, searched)
            if found is not None and found.start() <= limit:
                before, self._here = self._here[: found.start()], self._here[found.end() :]
                return before
            if found is not None or len(self._here) > limit + 2:
                raise WireError("The answer's head is too long, or it has none.")
            searched = max(0, len(self._here) - 3)
            self._here += self._piece()

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if len(self._here) < count:
            here = bytearray(self._here)
            while len(here) < count:
                piece = self._connection.recv(_PIECE)
                if not piece:
                    raise WireError(self.if_cut.format(len(here), count))
                here += piece
            self._here = bytes(here)
        taken, self._here = self._here[:count], self._here[count:]
        return taken

    def rest(self) -> bytes:
        """All until the server closes the connection."""
        here = bytearray(self._here)
        while piece := self._connection.recv(_PIECE):
            here += piece
        self._here = b""
        return bytes(here)

    def _piece(self) -> bytes:
        piece = self._connection.recv(_PIECE)
        if not piece:
            raise WireError(self.if_cut)
        return piece
