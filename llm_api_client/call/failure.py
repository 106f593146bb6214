"""Whatever a call raised, read once into plain facts.

LiteLLM gives most failures a status that no server sent (500 for a refused connection, 408 for its own timeout), and
keeps the provider's headers apart. What was heard on the client's own connections is the truth; without it, the truth
is in the chain of exceptions behind the one raised.
"""

# ruff: noqa: PLR2004  HTTP statuses speak for themselves

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any
from urllib.error import HTTPError

from llm_api_client.secrets import scrubbed, scrubbed_data

MAX_BODY = 2_000
"""Characters of a provider's answer that an error keeps."""
MAX_MESSAGE = 500
"""Characters of a provider's message that an error repeats."""
MAX_QUOTE = 80
"""Characters of an unreadable answer that a message quotes."""

# Names of classes, own or inherited, so that no HTTP library needs to be imported to know its exceptions.
_TIMEOUTS = frozenset({"APITimeoutError", "PoolTimeout", "ReadTimeout", "Timeout", "TimeoutError", "TimeoutException"})
_NETWORK = frozenset(
    {
        "BadStatusLine", "ClientConnectionError", "ClientPayloadError", "ClosedResourceError", "ConnectError",
        "ConnectTimeout", "ConnectionError", "HTTPClientError", "IncompleteRead", "LocalProtocolError", "NetworkError",
        "ProtocolError", "ProxyError", "ReadError", "RemoteProtocolError", "SSLError", "TransportError", "URLError",
        "WriteError", "gaierror",
    }
)  # fmt: skip
_UNREADABLE = frozenset({"APIResponseValidationError", "DecodingError", "JSONDecodeError"})
# LiteLLM refuses these itself; the 400 that they carry is its own.
_LOCAL = frozenset({"LiteLLMUnknownProvider", "UnsupportedParamsError"})
# A LiteLLM Proxy puts the classes that it found into the message: there is no other word for them in its answer.
_PROXIED = re.compile(r"litellm\.\w+(?:Error|Exception|Timeout)\b", re.ASCII)
_PREFIX = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)\b(?: \w+Error)?(?::| -)\s*)+", re.ASCII)
_TRACEBACK = re.compile(r"\s*(?:Traceback \(most recent call last\)|Handle with `litellm\.).*", re.DOTALL)
_NO_KEY = re.compile(r"missing.{0,40}(?:api[ _-]?key|credentials)|api_?key is not set|no key is set", re.IGNORECASE)
_ATTRIBUTE = "llm_api_client_heard"


@dataclass(frozen=True, slots=True)
class Heard:
    """The last HTTP answer to a call; 0 is the status where nothing whole came back, if anything was `sent` at all."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    sent: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """The plain facts of a failed call.

    Attributes:
        message: What the provider, or else the exception, says.
        exception: Name of the class raised.
        status: HTTP status of the provider's answer, 0 where there was none.
        claimed: Status that the exception gives itself, 0 where it gives none.
        timed_out: The call's own timeout ended it.
        network: No HTTP answer came.
        unreadable: An HTTP answer came that LiteLLM could not read.
        no_key: There was no key to send.
        missing_module: Name of a Python module that the call needs and that is not installed.
        code: The provider's machine-readable code, type and violated quotas, where it gave any.
        retry_after: Seconds that the provider asked to wait.
        request_id: The provider's id of the request.
        body: What the provider answered, cut to `MAX_BODY` characters.
        headers: The answer's headers, names in lower case.
    """

    message: str
    exception: str
    status: int = 0
    claimed: int = 0
    timed_out: bool = False
    network: bool = False
    unreadable: bool = False
    no_key: bool = False
    missing_module: str | None = None
    code: frozenset[str] = frozenset()
    retry_after: float | None = None
    request_id: str | None = None
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def note_heard(raised: BaseException, heard: Heard) -> None:
    """Keep with an exception what was heard on the wire, for `read_failure`."""
    with suppress(Exception):  # an exception with slots, or frozen; the chain behind it must do
        setattr(raised, _ATTRIBUTE, heard)


def read_failure(raised: BaseException, wall: float) -> Failure:
    """The facts of what a call raised; `wall` is the time of day, for a Retry-After that names a date."""
    chain = list(chain_of(raised))
    names = {cls.__name__ for link in chain for cls in type(link).__mro__}
    heard: Heard | None = getattr(raised, _ATTRIBUTE, None)
    answer = heard if heard is not None and heard.status else None
    if heard is None or not heard.sent:
        answer = _answer_of(chain)
    headers = answer.headers if answer is not None and answer.headers else _headers_of(raised)
    body = (answer.text if answer is not None else "") or _body_of(raised)
    said, names_told = _unwrapped(_error_of(body))
    claimed = _status_of(raised)
    network = answer is None and _is_network(names, chain)
    timed_out = answer is None and not network and bool(names & _TIMEOUTS)
    text = _text_of(raised)
    local = bool(names & _LOCAL) or text.startswith("LLM Provider NOT provided")
    nowhere = network or timed_out or heard is not None or local
    unreadable = not said and (
        answer.status < 400 if answer is not None else not nowhere and _is_unreadable(names, chain)
    )
    no_key = not network and not timed_out and answer is None and _has_no_key(text, claimed, heard)
    if answer is not None:
        status = _stated_status(said) if answer.status < 400 and said else answer.status
    else:
        status = 0 if nowhere or no_key else 200 if unreadable else claimed
    if timed_out:
        message = "the call timed out"
    elif network:
        message = _deepest(chain, _NETWORK) or text
    elif unreadable:
        begins = f"begins {body[:MAX_QUOTE]!r}" if body else "is empty"
        message = f"what came cannot be read as an answer; it {begins} ({_innermost(chain)})"
    else:
        message = _string(said.get("message")) or (text if claimed or answer else _name_and_text(raised))
    return Failure(
        message=_shortened(message.strip() or repr(raised)),
        exception=type(raised).__name__,
        status=status,
        claimed=claimed,
        timed_out=timed_out,
        network=network,
        unreadable=unreadable,
        no_key=no_key,
        missing_module=_missing_module(chain),
        code=_codes_of(said) | names_told,
        retry_after=retry_after(headers, said, wall),
        request_id=headers.get("x-request-id") or headers.get("request-id"),
        body=body[:MAX_BODY] or None,
        headers=headers,
    )


def retry_after(headers: Mapping[str, str], error: Mapping[str, Any], wall: float) -> float | None:
    """Seconds to wait, from `retry-after-ms`, `retry-after` (seconds or a date), or Google's `retryDelay`."""
    if "retry-after" not in headers:  # A LiteLLM Proxy hands on the provider's under a name of its own.
        headers = {name.removeprefix("llm_provider-"): value for name, value in headers.items()}
    seconds = _number(headers.get("retry-after-ms"), scale=1_000)
    if seconds is None:
        seconds = _number(headers.get("retry-after"))
    if seconds is None:
        until = _moment(headers.get("retry-after"))
        # The server's own clock, where it tells the time, so that a wrong clock here does not matter.
        now = _moment(headers.get("date"))
        seconds = None if until is None else max(0.0, until - (wall if now is None else now))
    if seconds is None:
        for detail in _details_of(error):
            if isinstance(detail.get("retryDelay"), str):
                seconds = _number(detail["retryDelay"].removesuffix("s"))
    return seconds


def chain_of(raised: BaseException) -> Iterator[BaseException]:
    """An exception and those behind it, from the last to the first."""
    seen: set[int] = set()
    link: BaseException | None = raised
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _answer_of(chain: list[BaseException]) -> Heard | None:
    """The HTTP answer behind an exception of an HTTP library or an SDK.

    LiteLLM's own exceptions carry a made-up one, so they don't count.
    """
    for link in chain:
        if isinstance(link, HTTPError):
            return Heard(link.code, _lowered(link.headers))
        response = None if type(link).__module__.startswith("litellm") else getattr(link, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int) and not isinstance(status, bool) and status:
            try:
                text = response.text  # type: ignore[union-attr]
            except Exception:  # noqa: BLE001  a streamed answer that was not read, or an object that only looks like one
                text = ""
            return Heard(status, _lowered(getattr(response, "headers", None)), text if isinstance(text, str) else "")
    return None


def _is_network(names: set[str], chain: list[BaseException]) -> bool:
    # Timeouts inherit from connection errors in several libraries; while connecting, nothing was sent yet.
    if names & _TIMEOUTS and "ConnectTimeout" not in names:
        return False
    # LiteLLM also names its own bugs so; they have the bug behind them.
    return bool(names & _NETWORK) or (len(chain) == 1 and type(chain[0]).__name__ == "APIConnectionError")


def _is_unreadable(names: set[str], chain: list[BaseException]) -> bool:
    return bool(names & _UNREADABLE) or any(
        getattr(link, "status_code", None) == 500  # LiteLLM's own status for what it could not read
        and ("Empty or invalid response" in str(link) or "provider returned" in str(link))
        for link in chain
    )


def _missing_module(chain: list[BaseException]) -> str | None:
    names = [link.name for link in chain if isinstance(link, ModuleNotFoundError) and link.name]
    return names[0].partition(".")[0] if names else None


def _has_no_key(text: str, claimed: int, heard: Heard | None) -> bool:
    """Whether LiteLLM or an SDK sent nothing for want of a key; a 401 that no server sent is theirs."""
    if heard is None:
        return "Missing credentials" in text
    return not heard.sent and (claimed == 401 or _NO_KEY.search(text) is not None)


def _status_of(raised: BaseException) -> int:
    """The status that an exception claims: SDKs call it `status_code`, aiohttp `status`, Google `code`."""
    for name in ("status_code", "status", "code"):
        value = getattr(raised, name, None)
        with suppress(TypeError, ValueError):
            if not isinstance(value, bool) and value is not None and 100 <= int(value) <= 599:
                return int(value)
    return 0


def _stated_status(error: Mapping[str, Any]) -> int:
    """The status that an error in the body of a 200 states (OpenRouter does so), or else 200."""
    code = error.get("code")
    with suppress(TypeError, ValueError):
        if not isinstance(code, bool) and code is not None and 400 <= int(code) <= 599:
            return int(code)
    return 200


def _headers_of(raised: BaseException) -> dict[str, str]:
    return _lowered(getattr(raised, "litellm_response_headers", None) or getattr(raised, "headers", None))


def _lowered(headers: Any) -> dict[str, str]:
    try:
        return {str(name).lower(): str(value) for name, value in headers.items()}
    except AttributeError:
        return {}


def _body_of(raised: BaseException) -> str:
    body = getattr(raised, "body", None)
    if body is None or isinstance(body, str):
        return body or ""
    try:
        return json.dumps(body, default=str)
    except (TypeError, ValueError):  # keys that JSON does not know, or a circle
        return str(body)


def _error_of(body: str) -> Mapping[str, Any]:
    """The error object of a JSON body, whether or not it stands under the key "error"."""
    try:
        found = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        return {}
    if isinstance(found, list) and found:  # Google wraps its errors in a list at times.
        found = found[0]
    if not isinstance(found, Mapping):
        return {}
    error = found.get("error")
    if isinstance(error, Mapping):
        return error
    if isinstance(error, str):
        return {"message": error}
    return found if "message" in found else {}


def _unwrapped(error: Mapping[str, Any]) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The error without the names that a LiteLLM Proxy puts before the provider's message, and these names."""
    message = _string(error.get("message")) or ""
    prefix = _PREFIX.match(message)
    if prefix is None or not _PROXIED.match(message):
        return error, frozenset()
    return {**error, "message": message[prefix.end() :]}, frozenset(re.findall(r"\w+", prefix.group()))


def _codes_of(error: Mapping[str, Any]) -> frozenset[str]:
    codes = [error.get("code"), error.get("type"), error.get("status")]
    for detail in _details_of(error):
        violations = detail.get("violations")
        if isinstance(violations, list):
            codes += [violation.get("quotaId") for violation in violations if isinstance(violation, Mapping)]
    return frozenset(filter(None, map(_string, codes)))


def _details_of(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = error.get("details")
    return [detail for detail in details if isinstance(detail, Mapping)] if isinstance(details, list) else []


def _text_of(raised: BaseException) -> str:
    text = str(getattr(raised, "message", None) or raised)
    return _PREFIX.sub("", _TRACEBACK.sub("", text)).strip()


def _name_and_text(link: BaseException) -> str:
    text = _text_of(link)
    return f"{type(link).__name__}: {text}" if text else type(link).__name__


def _innermost(chain: list[BaseException]) -> str:
    # The JSON decoder stumbles over a StopIteration of its own.
    return _name_and_text(next((link for link in reversed(chain) if not isinstance(link, StopIteration)), chain[0]))


def _deepest(chain: list[BaseException], names: frozenset[str]) -> str | None:
    """The text of the innermost exception of these classes: the outer ones say less."""
    for link in reversed(chain):
        if names & {cls.__name__ for cls in type(link).__mro__} and str(link):
            return str(link)
    return None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _number(text: str | None, *, scale: float = 1.0) -> float | None:
    try:
        value = float(text) / scale if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _moment(date: str | None) -> float | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  slow to import, and seldom needed

    try:
        moment = parsedate_to_datetime(date or "")
    except (TypeError, ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def scrub(raised: BaseException, secrets: Collection[str]) -> None:
    """Take secrets out of the texts of an exception and of those behind it: they are shown with a traceback."""
    chain = list(chain_of(raised))
    for link in chain:
        with suppress(Exception):  # an exception that does not let itself be changed
            link.args = tuple(scrubbed_data(arg, secrets) for arg in link.args)
        for name, value in list(getattr(link, "__dict__", {}).items()):
            clean = scrubbed_data(value, secrets)
            if clean is not value:
                with suppress(Exception):
                    setattr(link, name, clean)
    # What still tells is cut off; of the outermost exception, which is the caller's, only what is behind it can be.
    for link in chain:
        if link.__cause__ is not None and _tells(link.__cause__, secrets):
            link.__cause__ = None
        if link.__context__ is not None and _tells(link.__context__, secrets):
            link.__context__ = None


def _tells(link: BaseException, secrets: Collection[str]) -> bool:
    try:
        return any(scrubbed(text, secrets) != text for text in (str(link), repr(link), *getattr(link, "__notes__", ())))
    except Exception:  # noqa: BLE001  it cannot even be shown
        return True


def forget_frames(raised: BaseException) -> None:
    """Drop the tracebacks of an exception and of those behind it, and with them all that their frames hold.

    What was heard goes too: by then it was read, is as long as it was, and may repeat a secret.
    """
    for link in chain_of(raised):
        link.__traceback__ = None
        getattr(link, "__dict__", {}).pop(_ATTRIBUTE, None)
