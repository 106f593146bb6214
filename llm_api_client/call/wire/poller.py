"""One thread that waits for all answers. Whoever sends a request leaves it here, and is told when its answer comes."""

import contextlib
import logging
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import inf
from threading import Lock, Thread, current_thread
from typing import Any

from llm_api_client.call.wire.answer import Raw, Reading, WireError, answer

logger = logging.getLogger(__name__)

KEPT_SECONDS = 30.0
"""How long an idle connection is kept; most servers keep theirs for a minute or more."""

Ended = Callable[[Raw | WireError], None]
"""Is told what came of a call, in the poller's thread; it must not raise, and must not wait."""

_PIECE = 65_536
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_CLOSED = "The client was closed."


class Link:
    """One connection to a server, and the call that is under way on it.

    Attributes:
        socket: The connection, which never blocks.
        idle: Where it waits for its next call, the one used last at the end.
        idle_since: When its last call ended.
        call: What is under way, or None.
        is_forgotten: Whether nobody will use it again.
        lock: Held while bytes are sent or taken: a TLS connection cannot do both at once.
    """

    __slots__ = ("call", "idle", "idle_since", "is_forgotten", "lock", "socket")

    def __init__(self, connection: socket.socket, idle: "deque[Link]") -> None:
        connection.setblocking(False)
        self.socket = connection
        self.idle = idle
        self.idle_since = inf
        self.call: Call | None = None
        self.is_forgotten = False
        self.lock = Lock()


class Call:
    """One request under way: what of it is still to be sent, and its answer as far as it has come.

    Attributes:
        link: The connection that is its own.
        rest: What is still to be sent.
        timeout: Longest wait for each part of the answer, in seconds.
        deadline: When that wait is over.
        ended: Is told what came of it.
        reading: The answer, as far as it was read.
    """

    __slots__ = ("deadline", "ended", "link", "reading", "rest", "timeout")

    def __init__(self, link: Link, data: bytes, timeout: float, ended: Ended) -> None:
        self.link = link
        self.rest = memoryview(data)
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout
        self.ended = ended
        self.reading: Reading[tuple[Raw, bool]] = answer()
        next(self.reading)

    def send(self) -> bool:
        """Send what can be sent now; returns whether that was all."""
        with self.link.lock:
            try:
                while self.rest:
                    self.rest = self.rest[self.link.socket.send(self.rest) :]
            except _NOT_YET:
                return False
            except ConnectionError:
                # A server may answer, and close, before it has read all. If it has not answered, reading finds out.
                self.rest = self.rest[:0]
        return True

    def receive(self) -> tuple[Raw, bool] | None:
        """Take what has come; returns the answer, and whether its connection may be used again, once it is whole.

        Raises:
            WireError: It will never be whole.
            OSError: Likewise.
        """
        while True:
            with self.link.lock:
                try:
                    piece = self.link.socket.recv(_PIECE)
                except _NOT_YET:
                    return None
                # What TLS has decrypted, no selector knows of.
                more = isinstance(self.link.socket, ssl.SSLSocket) and self.link.socket.pending() > 0
            self.deadline = time.monotonic() + self.timeout
            try:
                self.reading.send(piece)
            except StopIteration as whole:
                raw, keeps = whole.value
                return raw, keeps and not more and not self.rest
            if not more:
                return None


class Poller:
    """Waits for the answers of any number of calls, in a thread that is there while there are connections.

    Args:
        baton: Held while answers are dealt with. Threads that hold it by turns do not fight for the interpreter at each
            byte that one of them sends: to lose it and get it back costs more than all else that is done for a call.
    """

    def __init__(self, baton: AbstractContextManager[Any]) -> None:
        self._baton = baton
        # The lock guards the links, the thread, and that nothing begins after the end.
        self._lock = Lock()
        self._links: set[Link] = set()
        self._thread: Thread | None = None
        self._is_closed = False
        self._waker: socket.socket | None = None
        # Links that are new, or have more to send: others put in, the thread takes out.
        self._changed: deque[Link] = deque()
        # When the thread looks for what has taken too long. It is infinite while the thread looks: whoever begins a
        # call, and finds the call's end before this, wakes the thread to look again.
        self._looks_at = inf
        # The thread's own.
        self._selector: selectors.BaseSelector
        self._woken: socket.socket

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._links)

    def __del__(self) -> None:
        # The thread, while there is one, keeps this alive.
        for link in self._links:
            link.socket.close()

    def add(self, link: Link) -> None:
        """Wait for a new connection too.

        Raises:
            WireError: The poller is closed.
        """
        with self._lock:
            if self._is_closed:
                raise WireError(_CLOSED, connecting=True, closed=True)
            self._links.add(link)
            self._changed.append(link)
            if self._thread is None:
                self._waker, self._woken = socket.socketpair()
                self._waker.setblocking(False)
                self._woken.setblocking(False)
                self._selector = selectors.DefaultSelector()
                self._selector.register(self._woken, selectors.EVENT_READ)
                self._thread = Thread(target=self._run, name="llm-api-client-poller", daemon=True)
                self._thread.start()
        self._wake()

    def begin(self, link: Link, data: bytes, timeout: float, ended: Ended) -> None:
        """Send a request over a connection that is the caller's alone; `ended` is told what comes of it."""
        call = Call(link, data, timeout, ended)
        with self._lock:
            is_open = link in self._links
            link.call = call if is_open else None
        if not is_open:  # Everything was closed since the connection was chosen.
            ended(WireError(_CLOSED, closed=True))
            return
        try:
            is_sent = call.send()
        except OSError:
            is_sent = False  # The thread will find out too.
        if not is_sent:
            self._changed.append(link)
        if not is_sent or call.deadline < self._looks_at:
            self._wake()

    def close(self, *, wait: bool = True) -> None:
        """Close all connections. Calls under way end with an error, and the thread ends."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
        self._wake()
        if wait and thread is not None and thread is not current_thread():
            thread.join()

    def _wake(self) -> None:
        waker = self._waker
        with contextlib.suppress(OSError):  # So many wake-ups are under way that one more says nothing; or none is.
            if waker is not None:
                waker.send(b"\0")

    def _run(self) -> None:
        while self._goes_on():
            now = time.monotonic()
            timeout = None if self._looks_at == inf else max(0.0, self._looks_at - now)
            ready = self._selector.select(0.0 if self._changed else timeout)
            with self._baton:
                for key, events in ready:
                    if key.data is not None:
                        self._serve(key.data, events)
                    else:
                        with contextlib.suppress(*_NOT_YET):
                            self._woken.recv(_PIECE)
                        self._looks_at = -inf
            while self._changed:
                self._wait_for(self._changed.popleft())
            if time.monotonic() >= self._looks_at:
                self._look()

    def _goes_on(self) -> bool:
        """Whether there is anything to wait for. If not, nothing of the thread is left."""
        with self._lock:
            if self._links and not self._is_closed:
                return True
            links, self._links = self._links, set()
            self._thread = None
            self._selector.close()
            for end in (self._woken, self._waker):
                if end is not None:
                    end.close()
            self._waker = None
            self._changed.clear()
        for link in links:
            link.socket.close()
            self._end(link, WireError(_CLOSED, closed=True))
        return False

    def _wait_for(self, link: Link) -> None:
        if link not in self._links:
            return  # It was dropped meanwhile.
        wanted = selectors.EVENT_READ
        if link.call is not None and link.call.rest:
            wanted |= selectors.EVENT_WRITE
        try:
            self._selector.modify(link.socket, wanted, link)
        except KeyError:
            self._selector.register(link.socket, wanted, link)

    def _serve(self, link: Link, events: int) -> None:
        call = link.call
        if call is None:
            self._listen_to_idle(link)
            return
        try:
            if events & selectors.EVENT_WRITE and call.send():
                self._wait_for(link)
            whole = call.receive()
        except WireError as failed:
            self._fail(link, failed)
        except OSError as failed:
            self._fail(link, WireError(str(failed)))
        else:
            if whole is not None:
                raw, keeps = whole
                if not keeps:
                    self._drop(link)
                self._end(link, raw)

    def _listen_to_idle(self, link: Link) -> None:
        """An idle connection can be read from: its server has closed it, or says what nobody asked."""
        try:
            link.idle.remove(link)
        except ValueError:
            if not link.is_forgotten:
                return  # It is about to be used, and what comes of that will tell.
        try:
            link.socket.recv(1)
        except _NOT_YET:
            link.idle.append(link)  # TLS has something to say that is no answer.
        except OSError:
            self._drop(link)
        else:
            self._drop(link)

    def _look(self) -> None:
        """End calls that take too long, and close connections that were idle for too long."""
        self._looks_at = inf
        now, soonest = time.monotonic(), inf
        for link in list(self._links):
            call = link.call
            due = link.idle_since + KEPT_SECONDS if call is None else call.deadline
            if due > now:
                soonest = min(soonest, due)
            elif call is not None:
                self._fail(link, WireError("timed out", timed_out=True))
            else:
                with contextlib.suppress(ValueError):  # or else it is in use by now
                    link.idle.remove(link)
                    self._drop(link)
        self._looks_at = soonest

    def _fail(self, link: Link, failed: WireError) -> None:
        self._drop(link)
        self._end(link, failed)

    def _drop(self, link: Link) -> None:
        with self._lock:
            self._links.discard(link)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(link.socket)
        link.socket.close()

    def _end(self, link: Link, came: Raw | WireError) -> None:
        call, link.call = link.call, None
        if link in self._links:
            link.idle_since = time.monotonic()
            self._looks_at = min(self._looks_at, link.idle_since + KEPT_SECONDS)
            link.idle.append(link)
        if call is not None:
            try:
                call.ended(came)
            except Exception:
                # All other calls wait for this thread.
                logger.exception("An answer could not be handed over.")
