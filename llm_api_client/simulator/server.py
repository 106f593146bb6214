"""The service behind a socket: one `asyncio.Protocol` per connection, no task and no thread per request."""

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial

from .books import Visit
from .service import Service
from .wire import CONTINUE, HttpRequest, MalformedRequestError, Reply, RequestParser, encode

MAX_READ_AHEAD = 64 * 1024
SECONDS_TO_HANG_UP = 5.0
BACKLOG = 4096


class Connection(asyncio.Protocol):
    """Answers the requests of one connection, one after another, in the order in which they came."""

    def __init__(self, service: Service, open_connections: "set[Connection]", loop: asyncio.AbstractEventLoop) -> None:
        self._service = service
        self._open = open_connections
        self._loop = loop
        self._parser = RequestParser()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._visit: Visit | None = None
        self._busy = False  # a request is on its way, in work, or its answer is delayed
        self._choked = False  # the client does not read what it asked for
        self._finished = False  # nothing that comes is of interest any more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  narrows the type; TCP has no other
        self._transport = transport
        self._open.add(self)
        self._service.books.connected()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why it ended changes nothing
        """Closed, by whomever: what was in work ends unanswered."""
        self._open.discard(self)
        self._transport = None
        self._finished = True
        self._leave(None)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._finished:
            return
        self._parser.feed(data)
        if not self._busy:
            self._advance()
        elif self._parser.pending > MAX_READ_AHEAD and self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Stop answering until the client has read."""
        self._choked = True

    def resume_writing(self) -> None:
        """Go on."""
        self._choked = False
        self._advance()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _advance(self) -> None:
        while not (self._busy or self._choked or self._finished) and self._transport is not None:
            try:
                request = self._parser.next()
            except MalformedRequestError as error:
                self._give_up(error)
                return
            if request is None:
                if self._parser.wants_continue():
                    self._transport.write(CONTINUE)
                self._transport.resume_reading()
                return
            self._busy = True
            self._after(self._service.travel_time(request), partial(self._arrive, request))

    def _after(self, delay: float, step: Callable[[], None]) -> None:
        if delay <= 0:
            step()  # within the loop of `_advance`, so that pipelined requests do not pile up on the stack
        else:
            self._timer = self._loop.call_later(delay, self._resume, step)

    def _resume(self, step: Callable[[], None]) -> None:
        step()
        self._advance()

    def _arrive(self, request: HttpRequest) -> None:
        reply, self._visit = self._service.reply(request, self._loop.time(), time.time())
        if reply.manner != "hang":
            self._after(reply.delay, partial(self._send, reply, close=not request.keep_alive))

    def _send(self, reply: Reply, *, close: bool) -> None:
        transport = self._transport
        if transport is None:
            return
        if reply.manner == "reset":
            raw: socket.socket = transport.get_extra_info("socket")
            raw.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            )
            transport.abort()
            return
        head, body = encode(reply, close=close)
        if reply.manner == "cut":
            transport.write(head + body[: len(body) // 2])
            transport.close()
            return
        # The end is noted first: a client that has its answer finds it counted.
        self._leave(reply.status)
        transport.write(head + body)
        self._busy = False
        if close:
            self._finished = True
            transport.close()

    def _leave(self, status: int | None) -> None:
        if self._visit is not None:
            self._service.books.leave(self._visit, status)
            self._visit = None

    def _give_up(self, error: MalformedRequestError) -> None:
        # A client in the middle of a large body reads the answer only after it; closing at once would reset it.
        reply, self._visit = self._service.malformed(error, self._loop.time())
        self._finished = True
        head, body = encode(reply, close=True)
        self._leave(reply.status)
        if self._transport is not None:
            self._transport.write(head + body)
            self._timer = self._loop.call_later(SECONDS_TO_HANG_UP, self.abort)


async def serve(service: Service, host: str, port: int, stop: asyncio.Event, ready: Callable[[int], None]) -> None:
    """Serve until `stop` is set; `ready` is told the port once connections are accepted."""
    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()
    server = await loop.create_server(lambda: Connection(service, connections, loop), host, port, backlog=BACKLOG)
    try:
        ready(server.sockets[0].getsockname()[1])
        await stop.wait()
    finally:
        server.close()
        while connections:
            for connection in tuple(connections):
                connection.abort()
            await asyncio.sleep(0)
        await server.wait_closed()
