"""Connections to any number of servers, as many as there are calls in flight."""

import select
import socket
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import RLock
from typing import Any, NamedTuple

from llm_api_client.call.wire import poller
from llm_api_client.call.wire.answer import Raw, WireError
from llm_api_client.call.wire.poller import Ended, Link, Poller


class Target(NamedTuple):
    """A server."""

    scheme: str
    host: str
    port: int


class Wire:
    """Posts requests. Waiting for their answers takes one thread, however many there are.

    Args:
        context: Makes the TLS context, when it is first needed.
    """

    def __init__(self, context: Callable[[], Any]) -> None:
        self.baton = RLock()
        """Held while answers are dealt with; who begins calls holds it too, so that neither disturbs the other."""
        self._make_context = context
        self._context: Any = None
        self._poller = Poller(self.baton)
        # Appending to a deque and popping from it are one step each, so that threads need no lock.
        self._idle: dict[Target, deque[Link]] = {}

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._poller)

    def __del__(self) -> None:
        self._poller.close(wait=False)

    def begin(
        self,
        target: Target,
        head: bytes,
        body: bytes,
        timeout: float,
        on_sent: Callable[[], None],
        ended: Ended,
        *,
        may_connect: bool = True,
    ) -> bool:
        """Send one request without waiting for its answer; returns whether it was begun.

        Args:
            target: Where to.
            head: The request's first line and its headers, all but the body's length, each with its line end.
            body: What is sent.
            timeout: Longest wait for a connection, and for each part of the answer, in seconds.
            on_sent: Called when the connection stands and bytes are about to leave.
            ended: Called in another thread with the answer, or with why there is no whole one.
            may_connect: Whether to wait for a new connection. Without, only one that is idle is used.

        Raises:
            WireError: No connection could be made.
        """
        link = self._idle_link(target)
        if link is None:
            if not may_connect:
                return False
            link = self._new(target, timeout)
        on_sent()
        self._poller.begin(link, b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body), timeout, ended)
        return True

    def post(self, target: Target, head: bytes, body: bytes, timeout: float, on_sent: Callable[[], None]) -> Raw:
        """Send one request, and wait for its answer; else as `begin`.

        Raises:
            WireError: No whole answer came.
        """
        came: SimpleQueue[Raw | WireError] = SimpleQueue()
        self.begin(target, head, body, timeout, on_sent, came.put)
        answer = came.get()
        if isinstance(answer, WireError):
            raise answer
        return answer

    def close(self) -> None:
        """Close all connections; calls under way fail, and so do later ones."""
        self._poller.close()

    def _idle_link(self, target: Target) -> Link | None:
        idle = self._idle.get(target)
        while idle:
            try:
                link = idle.pop()
            except IndexError:  # Another thread was faster.
                break
            if time.monotonic() - link.idle_since < poller.KEPT_SECONDS and not _has_ended(link.socket):
                return link
            link.is_forgotten = True  # The poller hears of its end too, or has it expire.
        return None

    def _new(self, target: Target, timeout: float) -> Link:
        connection: socket.socket | None = None
        try:
            connection = socket.create_connection((target.host, target.port), timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if target.scheme == "https":
                self._context = self._context or self._make_context()
                connection = self._context.wrap_socket(connection, server_hostname=target.host)
            link = Link(connection, self._idle.setdefault(target, deque()))
            self._poller.add(link)
        except (OSError, ValueError, WireError) as failed:  # ValueError: a host that no certificate can name
            if connection is not None:
                connection.close()
            if isinstance(failed, WireError):
                raise
            raise WireError(str(failed), connecting=True, timed_out=isinstance(failed, TimeoutError)) from failed
        return link


def _has_ended(connection: socket.socket) -> bool:
    """Whether the server has closed an idle connection, or says what nobody asked: it can be read from."""
    try:
        poll = select.poll()  # unlike `select`, for any number of open files
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):  # closed by `close`
        return True
