"""HTTP/1.1 as far as a simulated provider needs it: requests from pieces of bytes, answers to bytes. No I/O here."""

import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Literal

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
MAX_UPLOAD = 256 * 1024 * 1024
"""The most for a path that ends in `/files`."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_REQUEST_LINE = re.compile(r"([A-Z]+) (/[^ ]*|\*|https?://[^ ]+) HTTP/1\.([01])")
_WITHOUT_BODY = {204, 304}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; header names are in lower case, and the query is what stands behind the path's question mark."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool
    query: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, and the manner in which it is given.

    Attributes:
        status: HTTP status.
        body: Body, sent with its length.
        events: Body in pieces, each sent as a chunk; instead of `body`.
        content_type: Media type of the body.
        headers: Further headers.
        delay: Seconds to wait before it is sent.
        manner: "send" it whole, "cut" it half way, "reset" the connection or "hang" instead.
    """

    status: int
    body: bytes = b""
    events: tuple[bytes, ...] = ()
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    manner: Literal["send", "cut", "reset", "hang"] = "send"


class MalformedRequestError(Exception):
    """The bytes are no request that can be answered; the connection cannot be used further."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def encode(reply: Reply, *, close: bool) -> tuple[bytes, bytes]:
    """The head and the body of an answer, as bytes."""
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}"]
    body = reply.body
    if reply.status in _WITHOUT_BODY:
        body = b""
    elif reply.events:
        body = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in (*reply.events, b""))
        lines += [f"content-type: {reply.content_type}", "transfer-encoding: chunked"]
    else:
        lines += [f"content-type: {reply.content_type}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if close:
        lines.append("connection: close")
    return "\r\n".join((*lines, "\r\n")).encode("latin-1"), body


class RequestParser:
    """Gathers bytes, in whatever pieces they come, into requests.

    `feed` it what has arrived, then take requests with `next` until it has none. What was looked at once is not
    looked at again, so a large body in many small pieces costs no more than in one.
    """

    __slots__ = ("_body", "_buffer", "_head", "_missing", "_most", "_searched", "_wants_continue")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._head: HttpRequest | None = None
        # Bytes still missing of the body, or of the present chunk with its line end; None before a chunk's size.
        self._missing: int | None = 0
        self._body: bytearray | None = None  # gathered chunks; None where the length was given
        self._most = MAX_BODY
        self._wants_continue = False

    @property
    def pending(self) -> int:
        """Bytes that wait to become a request."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._buffer += data

    def wants_continue(self) -> bool:
        """Whether the client waits to be told to send its body; true once per request."""
        wants, self._wants_continue = self._wants_continue, False
        return wants

    def next(self) -> HttpRequest | None:
        """The next whole request, or None until more has arrived.

        Raises:
            MalformedRequestError: if there will never be one.
        """
        if self._head is None:
            self._read_head()
        if self._head is None:
            return None
        body = self._take_body() if self._body is None else self._take_chunks(self._body)
        if body is None:
            return None
        head, self._head, self._body, self._wants_continue = self._head, None, None, False
        return replace(head, body=body)

    def _read_head(self) -> None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # some clients end a body with a line end too many
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", self._searched)
        if max(end, len(buffer) if end < 0 else 0) > MAX_HEAD:
            raise MalformedRequestError(431, f"The headers are longer than {MAX_HEAD} bytes.")
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            return
        self._searched = 0
        first, *lines = buffer[:end].decode("latin-1").split("\r\n")
        del buffer[: end + 4]
        match = _REQUEST_LINE.fullmatch(first)
        if match is None:
            raise MalformedRequestError(400, "This is not an HTTP/1.1 request.")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise MalformedRequestError(400, "A header is malformed.")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        path, _, query = match[2].partition("?")
        self._most = MAX_UPLOAD if path.endswith("/files") else MAX_BODY
        self._expect_body(headers)
        self._wants_continue = headers.get("expect", "").lower() == "100-continue"
        self._head = HttpRequest(match[1], path, headers, b"", _keeps_alive(headers, match[3]), query)

    def _expect_body(self, headers: dict[str, str]) -> None:
        coding, length = headers.get("transfer-encoding"), headers.get("content-length", "0")
        if coding is not None:
            if coding.lower() != "chunked" or "content-length" in headers:
                raise MalformedRequestError(400, "The length of the body is ambiguous.")
            self._body, self._missing = bytearray(), None
        elif not (length.isascii() and length.isdigit()):
            raise MalformedRequestError(400, "The content-length is no number.")
        elif len(length) > len(str(self._most)) or int(length) > self._most:
            raise MalformedRequestError(413, f"The body is longer than {self._most} bytes.")
        else:
            self._missing = int(length)

    def _take_body(self) -> bytes | None:
        missing = self._missing or 0
        if len(self._buffer) < missing:
            return None
        body = bytes(self._buffer[:missing])
        del self._buffer[:missing]
        return body

    def _take_chunks(self, body: bytearray) -> bytes | None:
        buffer = self._buffer
        while True:
            if self._missing is None:
                end = buffer.find(b"\r\n")
                if end < 0 and len(buffer) <= MAX_HEAD:
                    return None
                size = buffer[: max(end, 0)].partition(b";")[0].strip()
                if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
                    raise MalformedRequestError(400, "A chunk has no size.")
                if len(body) + int(size, 16) > self._most:
                    raise MalformedRequestError(413, f"The body is longer than {self._most} bytes.")
                if int(size, 16) == 0:
                    return self._take_trailers(body)
                del buffer[: end + 2]
                self._missing = int(size, 16) + 2
            if len(buffer) < self._missing:
                return None
            body += buffer[: self._missing - 2]
            del buffer[: self._missing]
            self._missing = None

    def _take_trailers(self, body: bytearray) -> bytes | None:
        # The last chunk stays in the buffer until its trailers are here, so that waiting needs no state of its own.
        line_end = self._buffer.find(b"\r\n")
        end = self._buffer.find(b"\r\n\r\n", line_end)
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise MalformedRequestError(431, f"The trailers are longer than {MAX_HEAD} bytes.")
            return None
        del self._buffer[: end + 4]
        return bytes(body)


def _keeps_alive(headers: dict[str, str], minor: str) -> bool:
    wish = headers.get("connection", "").lower()
    return "close" not in wish if minor == "1" else "keep-alive" in wish
