"""HTTP/1.1's answers, read from bytes as they come. No I/O: whoever has the bytes sends them in.

Nothing here knows what was asked, nor what an answer means. Whatever is not an answer by the rules is a `WireError`.
"""

import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")
Reading = Generator[None, bytes, T]
"""Something that is read in pieces: yields where it needs more."""

MAX_HEAD = 100_000
"""Bytes of an answer's head; more is no answer."""

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_END_OF_LINE = re.compile(rb"\r?\n")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: ([^\x00]*))?", re.ASCII)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE_OF_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)
_LENGTH = re.compile(r"[0-9]{1,18}")
_WITHOUT_BODY = frozenset({204, 304})
# In the words of LiteLLM's HTTP library, so that an error says the same whichever way a call went.
_NO_ANSWER = "Server disconnected without sending a response."
_CUT = "peer closed connection without sending complete message body "


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
        closed: Whether all connections were closed on this side.
    """

    def __init__(
        self, message: str, *, connecting: bool = False, timed_out: bool = False, closed: bool = False
    ) -> None:
        super().__init__(message)
        self.connecting = connecting
        self.timed_out = timed_out
        self.closed = closed


def answer() -> Reading[tuple[Raw, bool]]:
    """Read one answer: yields where it needs more bytes, and is sent them, b"" for their end.

    Returns the answer, and whether its connection may be used again.

    Raises:
        WireError: What came is no whole answer.
    """
    incoming = _Incoming()
    while True:
        minor, status, reason, headers = yield from _head(incoming)
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
        body = yield from _chunks(incoming)
    elif length is not None:
        length, *others = set(length.split(", "))
        if others or not _LENGTH.fullmatch(length):
            raise WireError("The answer's length is not one number.")
        incoming.if_cut = f"{_CUT}(received {{}} bytes, expected {{}})"
        body = yield from incoming.take(int(length))
    else:
        body, ends = (yield from incoming.rest()), True
    wish = named.get("connection", "").lower()
    keeps = "close" not in wish and (minor == "1" or "keep-alive" in wish)
    return Raw(status, headers, body, reason), keeps and not ends and incoming.is_used_up


def _head(incoming: "_Incoming") -> Reading[tuple[str, int, bytes, list[tuple[str, str]]]]:
    head = yield from incoming.until(_END_OF_HEAD, MAX_HEAD)
    first, *lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    status = _status(first)
    headers: list[tuple[str, str]] = []
    for line in lines:
        if headers and line.startswith((" ", "\t")):  # a line goes on
            headers[-1] = headers[-1][0], f"{headers[-1][1]} {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise WireError("The answer's headers are malformed.")
        headers.append((_name(name), value.strip(" \t")))
    return *status, headers


# A server begins all its answers with the same few lines.
@lru_cache(maxsize=256)
def _status(line: str) -> tuple[str, int, bytes]:
    said = _STATUS_LINE.fullmatch(line)
    if said is None:
        raise WireError("What came is not HTTP.")
    return said[1], int(said[2]), (said[3] or "").encode("latin-1")


@lru_cache(maxsize=256)
def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise WireError("The answer's headers are malformed.")
    return name.lower()


def merged(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by their names, the values of a repeated one joined, as LiteLLM sees them."""
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _chunks(incoming: "_Incoming") -> Reading[bytes]:
    body = bytearray()
    incoming.if_cut = f"{_CUT}(incomplete chunked read)"
    while True:
        size = _SIZE_OF_CHUNK.fullmatch((yield from incoming.until(_END_OF_LINE, MAX_HEAD)))
        if size is None:
            raise WireError("The answer's chunks are malformed.")
        count = int(size[1], 16)
        if not count:
            break
        body += yield from incoming.take(count)
        if (yield from incoming.until(_END_OF_LINE, 0)):
            raise WireError("The answer's chunks are malformed.")
    while (yield from incoming.until(_END_OF_LINE, MAX_HEAD)):
        pass  # Trailers say nothing that LiteLLM would look at.
    return bytes(body)


class _Incoming:
    """What comes over a connection, in the pieces that a reader asks for."""

    def __init__(self) -> None:
        self._here = b""
        self.if_cut = _NO_ANSWER
        """What is said if no more comes."""

    @property
    def is_used_up(self) -> bool:
        """Whether nothing came beyond what was asked for."""
        return not self._here

    def until(self, end: re.Pattern[bytes], limit: int) -> Reading[bytes]:
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
            piece = yield
            if not piece:
                raise WireError(self.if_cut)
            self._here += piece

    def take(self, count: int) -> Reading[bytes]:
        """The next `count` bytes."""
        if len(self._here) < count:
            here = bytearray(self._here)
            while len(here) < count:
                piece = yield
                if not piece:
                    raise WireError(self.if_cut.format(len(here), count))
                here += piece
            self._here = bytes(here)
        taken, self._here = self._here[:count], self._here[count:]
        return taken

    def rest(self) -> Reading[bytes]:
        """All until the server closes the connection."""
        here = bytearray(self._here)
        while piece := (yield):
            here += piece
        self._here = b""
        return bytes(here)
