"""A client for an API that LiteLLM does not know, made by saying where it is and what it takes."""

import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from llm_api_client.admit.answers import AnswerLengths
from llm_api_client.admit.limiter import Limiter
from llm_api_client.admit.limits import Limits
from llm_api_client.api_tracker import APIUsageTracker, StatusTracker
from llm_api_client.call.answer import usage_of
from llm_api_client.call.http_door import HTTPCallError, HTTPDoor, join
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.clock import Clock, SystemClock
from llm_api_client.errors import ClientClosedError, ConfigurationError, InvalidInputError, LLMAPIClientError
from llm_api_client.prepare.check import check_requests
from llm_api_client.prepare.payloads import payload_of, unknown_name
from llm_api_client.prepare.tokens import estimate_tokens
from llm_api_client.records import Prepared, Result, Usage
from llm_api_client.run.batch import Batch
from llm_api_client.run.collect import Slots, log_summary
from llm_api_client.run.defaults import Defaults
from llm_api_client.run.progress import Progress
from llm_api_client.run.raw import RawPreparer
from llm_api_client.run.road import Road, in_a_thread
from llm_api_client.service.checks import check_seconds, check_whole
from llm_api_client.service.endpoint import Endpoint

logger = logging.getLogger(__name__)

_WORKERS_PER_CPU = 20
_MAX_DELAY = 300.0


class BaseService:
    """What every service has in common: its endpoints' limits, retries, typed failures, and counts.

    A subclass says where it is and what there is: `base_url`, `endpoints`, `key_variable`; and, where its API is not
    like OpenAI's, how a key goes out (`headers`) and what an answer says of its tokens and its price (`usage`, `cost`).
    Calls go the way of all calls of this library: each is admitted by the limits of its endpoint, a 429 pauses the
    endpoint and is no attempt, and what may pass is tried again. A service may be used from several threads at once.

    Args:
        api_key: The key, or a callable that gives it, and another when one was refused. Left out, it is the environment
            variable `key_variable`.
        base_url: Another server than the class's.
        retry: How long to wait between attempts.
        timeout: Longest time for one call, in seconds.
        max_delay_seconds: Longest time that a call, once it is next in its queue, waits to be admitted, in seconds;
            None waits for ever.
        clock: Time itself, for tests.

    Raises:
        ConfigurationError: There is no base URL, no endpoint or no key; or an option cannot be used as it is.
    """

    base_url: str = ""
    """Where the API is, such as "https://api.example.com/v1"."""
    endpoints: tuple[Endpoint, ...] = ()
    """What it has. A service has its own copies, with limiters of their own."""
    key_variable: str | None = None
    """The environment variable that has the key; None for an API that needs none."""

    def __init__(
        self,
        api_key: str | Callable[[], str] | None = None,
        *,
        base_url: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float = 60.0,
        max_delay_seconds: float | None = _MAX_DELAY,
        clock: Clock | None = None,
    ) -> None:
        name = type(self).__name__
        self.base_url = base_url or self.base_url
        if not self.base_url:
            raise ConfigurationError(f'{name} has no base_url; set one, such as "https://api.example.com/v1".')
        join(self.base_url, "")
        paths = [endpoint.path.strip("/") for endpoint in self.endpoints]
        if not paths or len(set(paths)) < len(paths):
            raise ConfigurationError(f"{name} needs endpoints, each of them once, as in endpoints = (Endpoint(...),).")
        check_seconds("timeout", timeout)
        if max_delay_seconds is not None:
            check_seconds("max_delay_seconds", max_delay_seconds)
        self.endpoints = tuple(replace(endpoint, clock=clock or endpoint.clock) for endpoint in self.endpoints)
        self.tracker = APIUsageTracker()
        """What this service's calls used, cost and took."""
        self.failures: list[Result] = []
        """The failed results of the last `call_many`, with their errors."""
        self._clock = clock or SystemClock()
        self._retry = retry or RetryPolicy()
        self._max_delay = max_delay_seconds
        self._answers = AnswerLengths()
        self._door = HTTPDoor(timeout=timeout)
        key = self._key(api_key)
        self._defaults = Defaults({"base_url": self.base_url, **({} if key is None else {"api_key": key})}, {})
        self._closed = False

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Headers of each request; to override where the key goes out otherwise than as `Authorization: Bearer`."""
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def usage(self, answer: Any) -> Usage | None:
        """Tokens that an answer says it used; to override where it says so otherwise than OpenAI. None if unknown."""
        return usage_of(answer)

    def cost(self, answer: Any) -> float | None:  # noqa: ARG002  for those that override it
        """US dollars that an answer cost; to override where that is known. None if unknown."""
        return None

    @property
    def status_tracker(self) -> StatusTracker:
        """How many calls stand where, and what failed, by kind; a copy that does not change."""
        return self.tracker.status

    def endpoint(self, path: str | Endpoint) -> Endpoint:
        """The service's own endpoint of this path, with its limiter.

        Raises:
            InvalidInputError: There is none.
        """
        wanted = path.path if isinstance(path, Endpoint) else path
        known = {endpoint.path.strip("/"): endpoint for endpoint in self.endpoints}
        found = known.get(wanted.strip("/")) if isinstance(wanted, str) else None
        if found is None:
            raise InvalidInputError(f"{type(self).__name__} has no endpoint {wanted!r}; {unknown_name(wanted, known)}")
        return found

    def call(self, endpoint: str | Endpoint, payload: Mapping[str, Any], *, max_retries: int = 2) -> Any:
        """Call an endpoint once, and return its answer: the JSON that it sends, mostly a dict.

        Args:
            endpoint: Which.
            payload: Its parameters; those left out have the endpoint's defaults.
            max_retries: Further attempts where it fails in a way that may pass. A 429 is no attempt.

        Raises:
            APICallException: It failed; the class says how.
            InvalidInputError: The payload is not what the endpoint takes; nothing was sent.
            AdmissionTimeoutError: The limits do not let it go within `max_delay_seconds`; nothing was sent.
            RequestTooLargeError: It alone is larger than a limit; nothing was sent.
            ClientClosedError: The service is closed.
        """
        slots = Slots(1, return_exceptions=True)
        self._perform(slots, endpoint, [payload], max_workers=1, max_retries=max_retries)
        (answer,) = slots.answers
        if isinstance(answer, LLMAPIClientError):
            answer.index = None
            raise answer
        return answer.said

    def call_many(
        self,
        endpoint: str | Endpoint,
        payloads: Iterable[Mapping[str, Any]],
        *,
        max_workers: int | None = None,
        max_retries: int = 2,
        return_exceptions: bool = False,
        on_result: Callable[[Result], None] | None = None,
    ) -> list[Any]:
        """Call an endpoint with each payload, many at once, and return the answers in the order of the payloads.

        What fails leaves None in its slot, and its reason in `failures`.

        Args:
            endpoint: Which.
            payloads: The parameters of each call.
            max_workers: Most calls in flight at once. Left out, the endpoint's `max_requests`, or 20 for each CPU.
            max_retries: Further attempts for each call that fails in a way that may pass.
            return_exceptions: Whether a failed slot holds the exception instead of None.
            on_result: Called in this thread with each `Result` as it ends, also of those that end before Ctrl-C.

        Raises:
            InvalidInputError: There is no such endpoint, or `payloads` is no list. A bad payload fails only its slot.
            ClientClosedError: The service is closed.
        """
        payloads = list(check_requests(payloads))
        told = None if on_result is None else lambda result: on_result(_as_said(result))
        slots = Slots(len(payloads), return_exceptions=return_exceptions, on_result=told)
        try:
            self._perform(slots, endpoint, payloads, max_workers=max_workers, max_retries=max_retries)
        finally:
            self.failures = slots.failures
            log_summary(len(payloads), slots.failures)
        return [answer.said if isinstance(answer, _Answer) else answer for answer in slots.answers]

    def close(self) -> None:
        """Close the connections; calls that wait end with an error. Calling twice is harmless."""
        self._closed = True
        for endpoint in self.endpoints:
            endpoint.limiter.close()
        self._door.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url} {', '.join(endpoint.path for endpoint in self.endpoints)}>"

    def _perform(
        self, slots: Slots, path: str | Endpoint, payloads: list[Any], *, max_workers: int | None, max_retries: int
    ) -> None:
        """Run a batch in the calling thread."""
        if self._closed:
            raise ClientClosedError(f"The {type(self).__name__} is closed; make a new one.")
        endpoint = self.endpoint(path)
        check_whole("max_retries", max_retries, least=0)
        if max_workers is not None:
            check_whole("max_workers", max_workers)
        self._defaults.renew_keys()
        batch = Batch(
            self._road(endpoint),
            [_request(endpoint, payload) for payload in payloads],
            workers=max_workers or endpoint.max_requests or (os.cpu_count() or 1) * _WORKERS_PER_CPU,
            max_retries=max_retries,
            timeout=None,
            progress=Progress(len(payloads), wanted=False),
        )
        slots.fill(batch)

    def _road(self, endpoint: Endpoint) -> Road:
        return Road(
            preparer=_Preparer(endpoint, type(self).__name__),
            limits=_OneLimit(endpoint.limiter.admission),
            answers=self._answers,
            begin=in_a_thread(self._send),
            price=lambda _, __: None,
            retry=self._retry,
            tracker=self.tracker,
            record=lambda _: None,
            clock=self._clock,
            chance=random.random,
            defaults=self._defaults,
            sanitize=False,
            max_delay=self._max_delay,
        )

    def _send(self, prepared: Prepared, params: Mapping[str, Any], on_sent: Callable[[], None]) -> "_Answer":
        try:
            headers = dict(self.headers(params.get("api_key")))
        except Exception as bug:
            # Nothing was sent, and the next attempt would fail alike.
            raise HTTPCallError(f"{type(self).__name__}.headers raised {bug!r}", 400) from bug
        said = self._door.send({**params, "api_key": None, "headers": headers}, prepared.provider, on_sent)
        return _Answer(said, self._asked(self.usage, said), {"response_cost": self._asked(self.cost, said)})

    def _asked(self, hook: Callable[[Any], Any], said: Any) -> Any:
        try:
            return hook(said)
        except Exception as bug:  # noqa: BLE001  the answer is paid for, whatever a subclass makes of it
            name = getattr(hook, "__name__", "a hook")
            logger.warning("%s.%s raised %s; what it should say counts as unknown.", type(self).__name__, name, bug)
            return None

    def _key(self, given: Any) -> Any:
        if given is not None or self.key_variable is None:
            return given
        found = os.environ.get(self.key_variable, "").strip()
        if not found:
            raise ConfigurationError(f"There is no key: pass api_key=..., or set {self.key_variable}.")
        return found


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a server said, as the road looks at answers."""

    said: Any
    usage: Usage | None
    _hidden_params: Mapping[str, Any]


class _OneLimit(Limits):
    """The limits of one endpoint, whatever the model."""

    several = False

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def of(self, _: str) -> Limiter:
        return self._limiter

    def close(self) -> None:
        self._limiter.close()


class _Preparer(RawPreparer):
    """Prepares the calls of one endpoint: its defaults, its schema, its tokens."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        super().__init__(lambda _, __: name)
        self._endpoint = endpoint
        self._is_get = endpoint.method.upper() == "GET"

    def check(self, request: Any) -> str:
        return super().check(self._complete(request))

    def prepare(self, request: Mapping[str, Any], **how: Any) -> Prepared:
        request = self._complete(request)
        prepared = super().prepare(request, **how)
        # Of a payload unlike OpenAI's, all texts are the prompt.
        said = request.get("payload") or request.get("params")
        return replace(prepared, prompt_tokens=prepared.prompt_tokens or estimate_tokens([said]))

    def _complete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        payload = request["payload"]
        if not isinstance(payload, Mapping):
            kind = type(payload).__name__
            raise InvalidInputError(f"the payload is a {kind}; give a dict of the endpoint's parameters")
        complete = payload_of(payload, self._endpoint.config, self._endpoint.schema)
        return {**request, **({"payload": None, "params": complete} if self._is_get else {"payload": complete})}


def _request(endpoint: Endpoint, payload: Any) -> dict[str, Any]:
    model = payload.get("model") if isinstance(payload, Mapping) else None
    # Failures name the model, or else the endpoint.
    return {
        "endpoint": endpoint.path,
        "method": endpoint.method,
        "payload": payload,
        "model": model if isinstance(model, str) and model else endpoint.config.get("model") or endpoint.path,
    }


def _as_said(result: Result) -> Result:
    """A result with the answer itself."""
    return replace(result, response=result.response.said) if isinstance(result.response, _Answer) else result
