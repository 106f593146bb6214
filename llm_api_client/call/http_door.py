"""The door to plain HTTP: JSON, or a file, sent to a server that LiteLLM does not know, and JSON read from it.

Whatever is not JSON from a server that agreed is an `HTTPCallError`, in the form that `failure` reads.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from llm_api_client.call.failure import Heard, note_heard
from llm_api_client.call.wire import KEPT_SECONDS
from llm_api_client.errors import ClientClosedError, ConfigurationError, InvalidInputError

DEFAULT_TIMEOUT = 60.0
"""Seconds for a call that names no timeout."""
MAX_ERROR = 100_000
"""Bytes that are read of an answer that is an error, and characters that are kept of one that cannot be read."""
MOST_REDIRECTS = 5
"""Redirects that one GET follows."""

_COST = "x-litellm-response-cost"
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


class HTTPCallError(Exception):
    """A call came to nothing. `failure.read_failure` knows the rest: what was heard, and what is behind it.

    Attributes:
        status_code: What the server answered; of a request that never left, what a server would have: 400, or 401
            where its key is at fault. None where no answer came.
    """

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class HTTPDoor:
    """Sends requests over connections of its own, as many as there are calls in flight. Used from any thread.

    Proxies and certificates come from the environment, as `httpx` takes them: `HTTPS_PROXY`, `NO_PROXY`,
    `SSL_CERT_FILE`. Cookies are not kept: one door may serve many keys.

    Args:
        timeout: Longest time for a call that names none, in seconds.
    """

    def __init__(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._timeout = timeout
        # The lock guards the connections, that they are made once, and not after the end.
        self._lock = Lock()
        self._http: Any = None
        self._closed = False

    def send(
        self,
        params: Mapping[str, Any],
        provider: str | None = None,  # noqa: ARG002  as of all that performs calls
        on_sent: Callable[[], None] = lambda: None,
    ) -> Any:
        """Perform one call.

        Args:
            params: `method` (default "POST") and `url`; what is sent, as `json`, as `content`, or as a form of `files`
                and `data`; `params` for the URL; `headers`; `api_key`, which goes out as `Authorization: Bearer` unless
                the headers have that name; `timeout` in seconds. Of `files`, a path is opened anew for each call, and
                sent as it is read. Other names are not looked at.
            provider: Not needed here.
            on_sent: Called when the connection stands and bytes are about to leave.

        Returns:
            What the JSON of the answer says: a dict or a list.

        Raises:
            HTTPCallError: All else that may come of it.
            ClientClosedError: The door is closed.
        """
        http = self._connections()
        with ExitStack() as files:
            return _Call(http, params, self._timeout, on_sent).perform(files)

    def close(self) -> None:
        """Close the connections; calls in flight fail, and no further one is made. Calling twice is harmless."""
        with self._lock:
            self._closed = True
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def _connections(self) -> Any:
        from http.cookiejar import CookieJar, DefaultCookiePolicy  # noqa: PLC0415  likewise

        import httpx  # noqa: PLC0415  slow to import, and needed by the first call only

        with self._lock:
            if self._closed:
                message = "The client was closed while this call was about to be sent."
                raise ClientClosedError(message)
            if self._http is None:
                self._http = httpx.Client(
                    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
                    timeout=self._timeout,
                    limits=httpx.Limits(
                        max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT_SECONDS
                    ),
                )
            return self._http


class _Call:
    """One call under way."""

    def __init__(
        self, http: Any, params: Mapping[str, Any], default_timeout: float, on_sent: Callable[[], None]
    ) -> None:
        self._http = http
        self._params = params
        timeout = params.get("timeout")
        self._timeout = default_timeout if timeout is None else timeout
        self._until = time.monotonic() + self._timeout
        self._on_sent = on_sent
        self._sent = False
        self._heard = Heard()

    def perform(self, files: ExitStack) -> Any:
        import httpx  # noqa: PLC0415  as above

        try:
            request = self._request(files)
        except OSError as unreadable:
            raise self._error(f"the file cannot be read: {unreadable}", 400) from unreadable
        except (httpx.InvalidURL, RecursionError, TypeError, ValueError) as fault:
            raise self._error(f"what was to be sent is not what JSON or HTTP can say: {fault}", 400) from fault
        try:
            return self._answer(self._exchange(request))
        except httpx.RequestError as failed:
            failed.request = None  # type: ignore[assignment]  # It knows the key and the payload.
            if self._heard.status < 300 and not isinstance(failed, httpx.DecodingError):  # noqa: PLR2004  no error
                self._heard = Heard()  # Half an answer is none; half an error is one.
            raise self._error(str(failed)) from failed
        except (OSError, RuntimeError) as failed:  # of a file under way; of connections that were closed meanwhile
            raise self._error(str(failed)) from failed

    def _request(self, files: ExitStack) -> Any:
        params = self._params
        headers = {str(name).lower(): value for name, value in (params.get("headers") or {}).items()}
        key = params.get("api_key")
        if key and "authorization" not in headers:
            if not key.isascii() or not key.isprintable():
                raise self._error("the key has characters that no header can carry, such as the end of a line", 401)
            headers["authorization"] = f"Bearer {key}"
        body = {name: params[name] for name in ("json", "content", "data") if params.get(name) is not None}
        if "content" in body:
            headers.setdefault("content-type", "application/json")
        if params.get("files"):
            body["files"] = {name: _opened(file, files) for name, file in params["files"].items()}
        return self._http.build_request(
            params.get("method") or "POST",
            params["url"],
            headers=headers,
            params=params.get("params") or None,
            timeout=self._timeout,
            extensions={"trace": self._trace},
            **body,
        )

    def _trace(self, event: str, _: Any) -> None:
        """What `httpcore` tells of a request's way (its "trace" extension)."""
        if event.endswith(".send_request_headers.started") and not self._sent:
            self._sent = True
            self._on_sent()

    def _exchange(self, request: Any) -> bytes:
        """Send, and read what comes; a GET follows where it is led, and a key stays with the server that it is for."""
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._http.send(request, stream=True, follow_redirects=False)
            try:
                body = self._read(answer)
            finally:
                answer.close()
            if answer.next_request is None or request.method != "GET":
                return body
            asked, request = request, answer.next_request
            if not _is_same_place(urlsplit(str(asked.url)), urlsplit(str(request.url))):
                request = self._http.build_request("GET", request.url)
            request.extensions = asked.extensions
        raise self._error("it redirects without end")

    def _read(self, answer: Any) -> bytes:
        status = answer.status_code
        headers = {name.lower(): value for name, value in answer.headers.items()}
        self._heard = Heard(status, headers)
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if status >= 300 and len(body) > MAX_ERROR:  # noqa: PLR2004  no answer
                break
            if time.monotonic() > self._until:
                self._heard = Heard()
                raise self._error("the answer took too long") from TimeoutError()
        self._heard = Heard(status, headers, bytes(body[:MAX_ERROR]).decode("utf-8", "replace"))
        return bytes(body)

    def _answer(self, body: bytes) -> Any:
        status = self._heard.status
        if status >= 400:  # noqa: PLR2004  an error
            raise self._error(f"the server answered {status}")
        if status >= 300:  # noqa: PLR2004  a redirect
            raise self._error(f"it redirects to {self._heard.headers.get('location')}, which only a GET follows")
        try:
            said = json.loads(body)
        except (RecursionError, ValueError) as fault:
            raise self._error(str(fault)) from fault
        if not isinstance(said, dict | list):
            raise self._error("JSON, but neither an object nor a list")
        if isinstance(said, dict) and _is_error(said):
            raise self._error(f"the server answered {status} with an error")
        cost = self._heard.headers.get(_COST)
        if isinstance(said, dict) and cost is not None:
            with suppress(ValueError):
                return PricedAnswer(said, float(cost))
        return said

    def _error(self, message: str, status: int | None = None) -> HTTPCallError:
        error = HTTPCallError(message, status or self._heard.status or None)
        note_heard(error, self._heard if self._heard.status else Heard(sent=self._sent))
        return error


def _opened(file: Any, files: ExitStack) -> Any:
    """A file of a form: a path opened for this call, anything else as `httpx` takes it."""
    if not isinstance(file, str | PathLike):
        return file
    path = Path(file)
    return path.name, files.enter_context(path.open("rb"))


class PricedAnswer(dict[str, Any]):
    """A JSON object, and what the server that it came from says that it cost, in US dollars."""

    def __init__(self, said: Mapping[str, Any], cost: float) -> None:
        super().__init__(said)
        # Where LiteLLM's own answers have it.
        self._hidden_params = {"response_cost": cost}


def _is_error(said: Mapping[str, Any]) -> bool:
    """Whether an answer says that it is none, whatever its status: some gateways do so."""
    error = said.get("error")
    return isinstance(error, Mapping) and isinstance(error.get("message"), str) and "id" not in said


def join(base_url: str, endpoint: str) -> str:
    """The address of an endpoint: below the base URL, with one slash between them; queries are kept.

    Args:
        base_url: Where the server is, such as "https://api.openai.com/v1".
        endpoint: Such as "chat/completions"; a whole URL only if it is on the same server, for a key goes along.

    Raises:
        ConfigurationError: The base URL is none.
        InvalidInputError: The endpoint is none, or is on another server.
    """
    base = _server(base_url)
    if not isinstance(endpoint, str):
        raise InvalidInputError(f'the endpoint is a {type(endpoint).__name__}; give a string like "chat/completions"')
    queries = [base.query]
    if _ABSOLUTE.match(endpoint):
        asked = urlsplit(endpoint)
        if not _is_same_place(base, asked):
            raise InvalidInputError(
                f"the endpoint is on {asked.hostname or 'no server'}, and the base URL on {base.hostname}; a key is "
                'sent to no other server. Give the path alone, such as "chat/completions"'
            )
        path, queries = asked.path, [asked.query]
    else:
        path, _, query = endpoint.partition("#")[0].partition("?")
        path = "/".join(part for part in (base.path.rstrip("/"), path.lstrip("/")) if part)
        queries.append(query)
    # The server is taken from the base URL alone, whatever an endpoint may look like to whom.
    return urlunsplit((base.scheme, base.netloc, f"/{path.lstrip('/')}", "&".join(filter(None, queries)), ""))


def _server(base_url: str) -> SplitResult:
    try:
        base = urlsplit(base_url)
        good = base.scheme in _PORTS and base.hostname and (base.port is None or base.port > 0)
    except (AttributeError, TypeError, ValueError):
        good = False
    if not good:
        raise ConfigurationError('base_url must be an address such as "https://api.openai.com/v1".')
    return base


def _is_same_place(known: SplitResult, other: SplitResult) -> bool:
    """Whether what may be sent to one address may be sent to the other: the same server, or the same made safe."""
    try:
        here = known.scheme, known.hostname, known.port or _PORTS.get(known.scheme)
        there = other.scheme, other.hostname, other.port or _PORTS.get(other.scheme)
    except ValueError:  # a port that is none
        return False
    return here == there or (here == ("http", here[1], 80) and there == ("https", here[1], 443))
