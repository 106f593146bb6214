"""A client's own HTTP connections, and what came over them for each call.

LiteLLM's exceptions do not say reliably what a server answered: a page instead of JSON becomes a status of 500, and
some routes lose the headers. So the connections remember the last answer of the call that each thread has under way.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from llm_api_client.call.failure import Heard
from llm_api_client.call.wire import KEPT_SECONDS, Raw, WireError

DEFAULT_TIMEOUT = 600.0
"""Seconds for a call that names no timeout; what LiteLLM takes for most providers."""


@dataclass(slots=True)
class Exchange:
    """What one call sent over these connections, and what came back.

    Attributes:
        timeout: The call's timeout, as `httpx.Timeout` takes it.
        on_sent: Called when bytes leave, on a connection that stands: what comes before, from LiteLLM's first use to a
            handshake, may take a second.
        leaves: Is shown each request, as an `httpx.Request`, when it is about to leave, and told how many went before.
        sent: Whether a request went out.
        answer: The last answer, or None where none came whole.
        exchanges: Requests that went out.
        canned: What has come of the request already, over other connections: it is not sent again.
    """

    timeout: Any = DEFAULT_TIMEOUT
    on_sent: Callable[[], None] = lambda: None
    leaves: Callable[[Any, int], None] = lambda *_: None
    sent: bool = False
    answer: Any = field(default=None, repr=False)
    exchanges: int = 0
    canned: Raw | WireError | None = field(default=None, repr=False)

    def trace(self, event: str, _: Any) -> None:
        """What `httpcore` tells of a request's way (its "trace" extension)."""
        if event.endswith(".send_request_headers.started"):
            self.on_sent()

    def heard(self) -> Heard:
        """The answer as plain facts."""
        if self.answer is None:
            return Heard(sent=self.sent)
        try:
            text = self.answer.text
        except Exception:  # noqa: BLE001  a stream that was not read to its end
            text = ""
        headers = {name.lower(): value for name, value in self.answer.headers.items()}
        return Heard(self.answer.status_code, headers, text)


class _Current(threading.local):
    exchange: Exchange | None = None


_current = _Current()


@contextmanager
def exchange(timeout: Any, on_sent: Callable[[], None]) -> Iterator[Exchange]:
    """Watch what this thread sends and hears over any client's connections."""
    before = _current.exchange
    ours = _current.exchange = Exchange(DEFAULT_TIMEOUT if timeout is None else timeout, on_sent)
    try:
        yield ours
    finally:
        _current.exchange = before
        # The answer knows its request, which knows this exchange: left as a circle, it would wait for the collector.
        ours.answer = None


def _leaves(request: Any) -> None:
    current = _current.exchange
    if current is not None:
        current.leaves(request, current.exchanges)
        current.exchanges += 1


def _as_if_sent(canned: Raw | WireError, request: Any) -> Any:
    """What a client of these connections would have given for what came over others."""
    import httpx  # noqa: PLC0415  as in `connect`

    if isinstance(canned, Raw):
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in canned.headers]
        # As a stream, for which no header is made up.
        answer = httpx.Response(
            canned.status,
            headers=headers,
            stream=httpx.ByteStream(canned.body),
            request=request,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": canned.reason},
        )
        answer.read()
        answer.elapsed = timedelta()
        return answer
    match canned.connecting, canned.timed_out:
        case True, True:
            error: type[httpx.TransportError] = httpx.ConnectTimeout
        case True, False:
            error = httpx.ConnectError
        case False, True:
            error = httpx.ReadTimeout
        case _:
            error = httpx.ReadError
    raise error(str(canned), request=request) from canned


def connect(*, verify: Any, cert: Any, headers: Mapping[str, str]) -> Any:
    """An `httpx.Client` with as many connections as calls in flight, all kept alive, and no cookies.

    Proxies come from the environment, as they do for LiteLLM's own clients.
    """
    from http.cookiejar import CookieJar, DefaultCookiePolicy  # noqa: PLC0415  slow to import, for LiteLLM only

    import httpx  # noqa: PLC0415  likewise

    # The lock guards both: requests under way, and the most that there were, each on a connection of its own by then.
    lock = threading.Lock()
    under_way = most = 0

    class Connections(httpx.Client):
        def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
            nonlocal under_way, most
            current = _current.exchange or Exchange()
            canned, current.canned = current.canned, None
            if canned is not None:
                current.sent, current.answer = True, None
                answer: httpx.Response = _as_if_sent(canned, request)
                current.answer = answer
                return answer
            with lock:
                under_way += 1
                connects = under_way > most
                most = max(most, under_way)
            if connects:
                # Bytes leave when the connection stands, after a handshake; to be told costs as much as all else here.
                request.extensions["trace"] = current.trace
            else:
                current.on_sent()
            try:
                return self._sent(request, current, **options)
            finally:
                with lock:
                    under_way -= 1

        def _sent(self, request: httpx.Request, current: Exchange, **options: Any) -> httpx.Response:
            # Some of LiteLLM's routes do not hand the call's timeout on, and their calls would wait for ever.
            if not any(request.extensions.get("timeout", {}).values()):
                request.extensions["timeout"] = httpx.Timeout(current.timeout).as_dict()
            current.sent, current.answer = True, None
            response = super().send(request, **options)
            current.answer = response
            return response

    return Connections(
        verify=verify,
        cert=cert,
        headers=dict(headers),
        # It is called last: what else httpx puts into a request, such as a password of `.netrc`, is in it by then.
        event_hooks={"request": [_leaves]},
        # One pool serves many keys; a cookie that one of them is given is no other's business.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=True,
        timeout=None,
        # Kept for longer than httpx would (5 s): with hundreds of connections each is idle for a while.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT_SECONDS),
    )
