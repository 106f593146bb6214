"""What code around an API needs time and again: retries, uploads, answers kept for a while, parts of addresses."""

import copy
import math
import random
import re
from collections.abc import Callable, Mapping
from itertools import count
from os import PathLike
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from llm_api_client.call.http_door import HTTPCallError, HTTPDoor
from llm_api_client.call.judge import Where
from llm_api_client.call.raised import judge_raised
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.clock import Clock, SystemClock
from llm_api_client.errors import NetworkError, RateLimitError, ServerError
from llm_api_client.secrets import secrets_in
from llm_api_client.service.checks import check_seconds, check_whole

T = TypeVar("T")

MAY_PASS = (NetworkError, RateLimitError, ServerError)
"""Failures after which the same call may succeed; timeouts and unreadable answers are among them by inheritance."""

_POLICY = RetryPolicy()
_AFTER_VERSION = re.compile(r"/v\d+(?:alpha\d*|beta\d*)?/(.+)")


def retry(
    call: Callable[[], T],
    *,
    max_retries: int = 2,
    policy: RetryPolicy = _POLICY,
    retry_on: type[Exception] | tuple[type[Exception], ...] = MAY_PASS,
    clock: Clock | None = None,
) -> T:
    """What a call returns, which is made again where it fails in a way that may pass. Waits in the calling thread.

    Args:
        call: Takes nothing, and raises where it fails.
        max_retries: Further calls at most.
        policy: How long to wait before each. Never less than the `retry_after` of the failure, where it has one.
        retry_on: Classes of failures that may pass. What is none of them is raised at once.
        clock: Time itself, for tests.

    Raises:
        Exception: The last failure, as it came.
        ConfigurationError: `max_retries` is not a whole number of 0 or more.
    """
    check_whole("max_retries", max_retries, least=0)
    clock = clock or SystemClock()
    for attempt in count(1):
        try:
            return call()
        except retry_on as failure:
            if attempt > max_retries:
                raise
            delay = policy.delay(attempt, getattr(failure, "retry_after", None), random.random())  # noqa: S311  jitter
        _sleep(clock, delay)
    raise AssertionError  # pragma: no cover  the loop has no end


def send(door: HTTPDoor, params: Mapping[str, Any], clock: Clock) -> Any:
    """One call through a door, whose failure is one of this library's.

    Args:
        door: Where it goes out.
        params: As `HTTPDoor.send` takes them.
        clock: Tells the time of day, for a hint that names a date.

    Raises:
        APICallException: Of the class that says what the failure means.
        ClientClosedError: The door is closed.
    """
    try:
        return door.send(params)
    except HTTPCallError as raised:
        secrets = secrets_in(params)
        address = urlsplit(str(params["url"]))
        where = Where(endpoint_from_url(address.geturl()) or address.path, None, f"{address.scheme}://{address.netloc}")
        error = judge_raised(raised, where, secrets, clock.wall()).error
        if error is None:  # pragma: no cover  a failure has one
            raise
        raise error from raised


def upload_file_with_retry(
    url: str,
    path: str | PathLike[str],
    *,
    param_name: str = "file",
    purpose: str | None = None,
    additional_data: Mapping[str, Any] | None = None,
    retries: int = 3,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    policy: RetryPolicy = _POLICY,
    door: HTTPDoor | None = None,
    clock: Clock | None = None,
) -> Any:
    """Upload a file as a form, and return what the server says to it.

    A server that takes a file and fails before it says so has it twice after a retry.

    Args:
        url: Where to.
        path: The file. It is sent as it is read, and opened anew for each attempt.
        param_name: The form's name for the file.
        purpose: What it is for, as OpenAI's `files` asks: "batch", "fine-tune".
        additional_data: What else is in the form.
        retries: Attempts in all.
        api_key: Goes out as `Authorization: Bearer`.
        headers: Further headers.
        timeout: Longest time for each attempt, in seconds. Left out, the door's.
        policy: How long to wait between attempts.
        door: Where it goes out. Left out, one that is closed afterwards.
        clock: Time itself, for tests.

    Raises:
        APICallException: The last attempt's failure.
        ConfigurationError: `retries` is not a whole number above 0.
    """
    check_whole("retries", retries)
    data = {**(additional_data or {}), **({} if purpose is None else {"purpose": purpose})}
    params = {
        "method": "POST",
        "url": url,
        "files": {param_name: path},
        "data": data,
        "headers": headers,
        "api_key": api_key,
        "timeout": timeout,
    }
    clock = clock or SystemClock()
    out = door or HTTPDoor()
    try:
        return retry(lambda: send(out, params, clock), max_retries=retries - 1, policy=policy, clock=clock)
    finally:
        if door is None:
            out.close()


class CachedGet:
    """Gets JSON from addresses, and keeps each answer for a while: what was asked before is not asked again.

    Only answers are kept, and no failures. An answer is the caller's own: what is changed in it stays there. Used from
    any thread; those that ask the same at the same time, before there is an answer, may each send a request.

    Args:
        door: Where requests go out.
        ttl: Seconds for which an answer is kept.
        max_entries: Answers that are kept at most, the newest.
        api_key: Goes out with each request, as `Authorization: Bearer`.
        headers: Further headers of each request.
        clock: Time itself, for tests.

    Raises:
        ConfigurationError: `ttl` or `max_entries` is not a positive number.
    """

    def __init__(
        self,
        door: HTTPDoor,
        ttl: float = 600.0,
        max_entries: int = 1_024,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_seconds("ttl", ttl)
        check_whole("max_entries", max_entries)
        self._door = door
        self._ttl = ttl
        self._max_entries = max_entries
        self._sent_along = {"api_key": api_key, "headers": headers}
        self._clock = clock or SystemClock()
        # The lock guards the answers, each with when it came; the oldest is the first. Nothing is sent under it.
        self._lock = Lock()
        self._answers: dict[str, tuple[float, Any]] = {}

    def __call__(self, url: str, params: Mapping[str, Any] | None = None) -> Any:
        """The answer of a GET, kept or new.

        Args:
            url: The address.
            params: What is asked there, in any order.

        Raises:
            APICallException: It failed.
        """
        key = f"{url}?{urlencode(sorted((params or {}).items()), doseq=True)}"
        with self._lock:
            came, answer = self._answers.get(key, (-math.inf, None))
        if self._clock.now() - came >= self._ttl:
            asked = {"method": "GET", "url": url, "params": params, **self._sent_along}
            answer = send(self._door, asked, self._clock)
            self._keep(key, answer)
        return copy.deepcopy(answer)

    def __len__(self) -> int:
        return len(self._answers)

    def clear(self) -> None:
        """Forget all answers."""
        with self._lock:
            self._answers.clear()

    def _keep(self, key: str, answer: Any) -> None:
        now = self._clock.now()
        with self._lock:
            self._answers.pop(key, None)
            self._answers[key] = (now, answer)
            for oldest, (came, _) in list(self._answers.items()):
                if len(self._answers) <= self._max_entries and now - came < self._ttl:
                    break
                del self._answers[oldest]


def endpoint_from_url(url: str) -> str:
    """What an address asks for: its path after the version, as in `/v1/`. Empty where there is nothing.

    `https://api.openai.com/v1/chat/completions?x=1` is `chat/completions`.
    """
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    found = _AFTER_VERSION.search(path)
    return found[1].strip("/") if found else ""


def _sleep(clock: Clock, seconds: float) -> None:
    nothing_comes: SimpleQueue[None] = SimpleQueue()
    until = clock.now() + seconds
    while (left := until - clock.now()) > 0:
        try:
            clock.wait(nothing_comes, left)
        except Empty:
            continue
