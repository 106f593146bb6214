"""What goes wrong, and when. One small language says it everywhere; see `parse_fault`."""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, cast, get_args

Kind = Literal[
    "answer",
    "error",
    "hang",
    "reset",
    "cut",
    "bad-json",
    "html",
    "empty",
    "no-usage",
    "no-choices",
    "no-content",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """How one request is to be answered.

    Attributes:
        kind: What happens; "answer" is the ordinary answer, and the only one that is no fault.
        status: HTTP status of what is sent.
        type: The error's type, as OpenAI names it.
        code: The error's code, if it has one.
        message: The error's text.
        retry_after: Seconds that the client is told to wait; None says nothing.
        latency: Seconds until the answer; None leaves the provider's own.
    """

    kind: Kind = "answer"
    status: int = 200
    type: str = "server_error"
    code: str | None = None
    message: str = ""
    retry_after: float | None = None
    latency: float | None = None


NO_FAULT = Fault()

_ERRORS = {
    400: ("invalid_request_error", None, "The request was refused as invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory refused."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}
_NAMED = {
    "quota": Fault(
        "error",
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "context": Fault(
        "error",
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. "
        "Please reduce the length of the messages.",
    ),
    "content-filter": Fault(
        "error",
        400,
        "invalid_request_error",
        "content_policy_violation",
        "Your request was rejected as a result of our safety system.",
    ),
}
_KINDS = [kind for kind in get_args(Kind) if kind != "error"]
_MARK = re.compile(r"\[simulate:([^\]]*)\]")


def parse_fault(text: str) -> Fault:
    """Read one fault: a word and its options, as in ``429; retry-after=2`` or ``html; status=502; latency=0.5``.

    The word is an HTTP status from 200 to 599, which is sent with an error as its body, or one of:

    - ``hang``: nothing is ever sent. ``reset``: the connection is reset without an answer. ``cut``: the connection
      closes in the middle of the answer.
    - ``bad-json``: half of the JSON. ``html``: a page. ``empty``: no body at all.
    - ``no-usage``, ``no-choices``, ``no-content``: an answer in which that is missing.
    - ``quota``, ``context``, ``content-filter``: the error that the provider has for it.
    - ``answer``, or no word: the ordinary answer.

    Options are ``retry-after`` and ``latency``, in seconds, and ``status``.

    Raises:
        ValueError: if it says anything else.
    """
    fault = NO_FAULT
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        name, is_option, value = (piece.strip().lower() for piece in part.partition("="))
        if is_option:
            fault = _with_option(fault, name, value)
        elif fault.kind != "answer":
            msg = f"one fault at a time, so {part!r} is too much in {text!r}"
            raise ValueError(msg)
        else:
            fault = replace(_word(name), retry_after=fault.retry_after, latency=fault.latency)
    return fault


def _word(name: str) -> Fault:
    if name in _NAMED:
        return _NAMED[name]
    if name in _KINDS:
        return Fault(cast("Kind", name))
    status = _status(name)
    kind, code, message = _ERRORS.get(status, ("server_error", None, "The server had an error."))
    return Fault("error", status, kind, code, message)


def _with_option(fault: Fault, name: str, value: str) -> Fault:
    if name == "status":
        return replace(fault, status=_status(value))
    if name not in {"retry-after", "latency"} or not re.fullmatch(r"\d{1,9}(\.\d*)?", value):
        msg = f"{name}={value} is no option of a fault; there are retry-after and latency in seconds, and status"
        raise ValueError(msg)
    seconds = float(value)
    return replace(fault, latency=seconds) if name == "latency" else replace(fault, retry_after=seconds)


def _status(text: str) -> int:
    if not re.fullmatch(r"[2-5]\d\d", text):
        words = ", ".join([*_KINDS, *_NAMED])
        msg = f"{text!r} is no fault; there are HTTP statuses from 200 to 599, and {words}"
        raise ValueError(msg)
    return int(text)


def asked_for(prompt: str) -> Fault | None:
    """The fault that a text asks for by ``[simulate: ...]``, or None.

    Raises:
        ValueError: if it asks for something that is no fault.
    """
    mark = _MARK.search(prompt)
    return parse_fault(mark[1]) if mark else None


class FaultPlan:
    """Decides what happens to each request: asked for by itself first, then the script, then chance.

    Args:
        rates: Fault, as `parse_fault` reads it, and the share of requests that it strikes. Several faults in one
            entry, separated by "|", share its rate evenly.
        rng: Source of chance.
    """

    def __init__(self, rates: Mapping[str, float], rng: Random) -> None:
        self._rates = [([parse_fault(text) for text in key.split("|")], rate) for key, rate in rates.items() if rate]
        self._rng = rng
        # Appended to by any thread and popped by the server's: single operations, which a deque makes atomic.
        self._script: deque[Fault | None] = deque()

    def next(self, *faults: str | None) -> None:
        """Append to the script; None leaves its request alone."""
        self._script.extend([None if text is None else parse_fault(text) for text in faults])

    def forget(self) -> None:
        """Drop what is left of the script."""
        self._script.clear()

    def choose(self, header: str | None, prompt: str) -> Fault:
        """The fault of the request that has just arrived.

        Raises:
            ValueError: if the request asks for something that is no fault.
        """
        if header is not None:
            return parse_fault(header)
        if fault := asked_for(prompt):
            return fault
        try:
            return self._script.popleft() or NO_FAULT
        except IndexError:
            return self._chance()

    def _chance(self) -> Fault:
        if not self._rates:
            return NO_FAULT
        draw = self._rng.random()
        for faults, rate in self._rates:
            if draw < rate:
                return self._rng.choice(faults)
            draw -= rate
        return NO_FAULT
