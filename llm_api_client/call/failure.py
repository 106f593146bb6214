"""Whatever a call raised, read once into plain facts.

LiteLLM gives most failures a status that no server sent (500 for a refused connection, 408 for its own timeout), and
keeps the provider's headers apart; the truth is in the chain of exceptions behind the one raised.
"""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from llm_api_client.secrets import scrubbed

MAX_BODY = 2_000
"""Characters of a provider's answer that an error keeps."""
MAX_MESSAGE = 500
"""Characters of a provider's message that an error repeats."""

_TIMEOUTS = frozenset({"APITimeoutError", "ConnectTimeout", "PoolTimeout", "ReadTimeout", "TimeoutError", "WriteTimeout"})
_NETWORK = frozenset(
    {
        "BrokenPipeError", "ClosedResourceError", "ConnectError", "ConnectionAbortedError", "ConnectionError",
        "ConnectionRefusedError", "ConnectionResetError", "LocalProtocolError", "ProxyError", "ReadError",
        "RemoteProtocolError", "SSLError", "WriteError", "gaierror",
    }
)  # fmt: skip
_UNREADABLE = frozenset({"APIResponseValidationError", "DecodingError", "JSONDecodeError"})
_LITELLM_PREFIX = re.compile(r"^(?:litellm\.)?(?:\w+(?:Error|Exception)\b(?: Error)?(?::| -) *)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Failure:
    """The plain facts of a failed call.

    Attributes:
        message: What the provider, or else the exception, says.
        exception: Name of the class raised.
        status: HTTP status of the provider's answer, 0 where there was none.
        timed_out: The call's own timeout ended it.
        network: No HTTP answer came.
        unreadable: An HTTP answer came that LiteLLM could not read.
        no_key: There was no key to send.
        code: The provider's machine-readable code and type, where it gave any.
        retry_after: Seconds that the provider asked to wait.
        request_id: The provider's id of the request.
        body: What the provider answered, cut to `MAX_BODY` characters.
        headers: The answer's headers, names in lower case.
    """

    message: str
    exception: str
    status: int = 0
    timed_out: bool = False
    network: bool = False
    unreadable: bool = False
    no_key: bool = False
    code: frozenset[str] = frozenset()
    retry_after: float | None = None
    request_id: str | None = None
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def read_failure(raised: BaseException, wall: float) -> Failure:
    """The facts of what a call raised; `wall` is the time of day, for a Retry-After that names a date."""
    chain = list(_chain(raised))
    names = {type(link).__name__ for link in chain}
    answer = next((link for link in map(_response, chain) if link is not None), None)
    headers = _headers(raised, answer)
    body = _body(raised, answer)
    said = _error_of(body)
    status = _status(raised)
    answered = answer is not None
    timed_out = not answered and bool(names & _TIMEOUTS)
    network = not answered and not timed_out and bool(names & _NETWORK)
    message = _text(said.get("message")) or _LITELLM_PREFIX.sub("", str(getattr(raised, "message", None) or raised))
    unreadable = not answered and not timed_out and not network and _is_unreadable(names, chain)
    no_key = not answered and "OpenAIError" in names and "Missing credentials" in message
    nowhere = timed_out or network or no_key
    return Failure(
        message=_shortened(message.strip() or repr(raised)),
        exception=type(raised).__name__,
        status=0 if nowhere else answer.status_code if answer is not None else 200 if unreadable else status,
        timed_out=timed_out,
        network=network,
        unreadable=unreadable,
        no_key=no_key,
        code=frozenset(filter(None, (_text(said.get("code")), _text(said.get("type")), _text(said.get("status"))))),
        retry_after=retry_after(headers, said, wall),
        request_id=headers.get("x-request-id") or headers.get("request-id"),
        body=body[:MAX_BODY] if body else None,
        headers=headers,
    )


def retry_after(headers: Mapping[str, str], error: Mapping[str, Any], wall: float) -> float | None:
    """Seconds to wait, from `retry-after-ms`, `retry-after` (seconds or a date), or Google's `retryDelay` in the body."""
    seconds = _number(headers.get("retry-after-ms"), scale=1_000)
    if seconds is None:
        seconds = _number(headers.get("retry-after"))
    if seconds is None and "retry-after" in headers:
        try:
            seconds = max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - wall)
        except (TypeError, ValueError, OverflowError):
            seconds = None
    if seconds is None:
        details = error.get("details")
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, Mapping) and isinstance(detail.get("retryDelay"), str):
                seconds = _number(detail["retryDelay"].removesuffix("s"))
    return seconds


def _chain(raised: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = raised
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _response(link: BaseException) -> Any:
    """The HTTP answer behind an exception of the HTTP library or the SDK.

    LiteLLM's own exceptions carry a made-up one, so they don't count.
    """
    if type(link).__module__.startswith("litellm"):
        return None
    response = getattr(link, "response", None)
    return response if isinstance(getattr(response, "status_code", None), int) else None


def _status(raised: BaseException) -> int:
    status = getattr(raised, "status_code", None)
    try:
        return int(status) if status is not None and not isinstance(status, bool) else 0
    except (TypeError, ValueError):
        return 0


def _is_unreadable(names: set[str], chain: list[BaseException]) -> bool:
    return bool(names & _UNREADABLE) or any(
        getattr(link, "status_code", None) == 500  # noqa: PLR2004  LiteLLM's own status for what it could not read
        and ("Empty or invalid response" in str(link) or "provider returned" in str(link))
        for link in chain
    )


def _headers(raised: BaseException, answer: Any) -> dict[str, str]:
    found = getattr(raised, "litellm_response_headers", None) or getattr(answer, "headers", None) or {}
    try:
        return {str(name).lower(): str(value) for name, value in found.items()}
    except AttributeError:
        return {}


def _body(raised: BaseException, answer: Any) -> str | None:
    try:
        text = answer.text
    except Exception:  # noqa: BLE001  a streamed answer that was not read, or an object that only looks like one
        text = None
    if isinstance(text, str) and text:
        return text
    body = getattr(raised, "body", None)
    if body is None:
        return None
    return body if isinstance(body, str) else json.dumps(body, default=str)


def _error_of(body: str | None) -> Mapping[str, Any]:
    """The error object of a JSON body, whether or not it stands under the key "error"."""
    try:
        found = json.loads(body) if body else {}
    except ValueError:
        return {}
    if isinstance(found, list) and found:  # Google wraps its errors in a list at times.
        found = found[0]
    if isinstance(found, Mapping) and isinstance(found.get("error"), Mapping):
        found = found["error"]
    return found if isinstance(found, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _number(text: str | None, *, scale: float = 1.0) -> float | None:
    try:
        value = float(text) / scale if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def scrub(raised: BaseException, secrets: Collection[str]) -> None:
    """Take secrets out of the texts of an exception and of those behind it: they are shown with a traceback."""
    for link in _chain(raised):
        link.args = tuple(scrubbed(arg, secrets) if isinstance(arg, str) else arg for arg in link.args)
        message = getattr(link, "message", None)
        if isinstance(message, str) and scrubbed(message, secrets) != message:
            link.message = scrubbed(message, secrets)  # type: ignore[attr-defined]


def forget_frames(raised: BaseException) -> None:
    """Drop the tracebacks of an exception and of those behind it, and with them all that their frames hold."""
    for link in _chain(raised):
        link.__traceback__ = None
