"""The client: options in, stations built here and nowhere else, results out."""

import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any, Literal, Self

from llm_api_client.admit.answers import AnswerLengths
from llm_api_client.admit.limits import Limits
from llm_api_client.admit.rates import RateLimit
from llm_api_client.api_tracker import APIUsageTracker
from llm_api_client.call import litellm_door
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.clock import Clock, SystemClock
from llm_api_client.errors import (
    BatchInterruptedError,
    ClientClosedError,
    ConfigurationError,
)
from llm_api_client.prepare.check import check_requests
from llm_api_client.prepare.preparer import Preparer
from llm_api_client.record.history import History
from llm_api_client.records import Result
from llm_api_client.run.batch import Batch
from llm_api_client.run.journey import Road
from llm_api_client.run.progress import Progress

logger = logging.getLogger(__name__)

_WORKERS_PER_CPU = 20


class APIClient:
    """Sends lists of requests to LLM providers through LiteLLM: concurrently, within limits, each with its reason.

    A client may be used from several threads at once; its limits hold for all of them together. Clients share nothing.

    Args:
        max_requests_per_minute: Calls in any 60 seconds; None for no limit.
        max_tokens_per_minute: Tokens of prompts and answers in any 60 seconds; None for no limit.
        max_workers: Most calls in flight at once. Left out, it is `max_requests_per_minute`, or 20 for each CPU where
            that is None. Threads exist only for calls in flight.
        max_delay_seconds: Longest time that a request, once it is next in its queue, waits to be admitted, in seconds;
            None waits for ever. One that is known not to fit in time fails at once.
        api_call: What performs a request, given its parameters as keyword arguments. Left out, it is
            `litellm.completion` as it is when the client is made.
        api_key: Key for requests that don't carry their own. Left out, LiteLLM reads the provider's environment
            variable.
        base_url: Base URL for requests that don't carry their own.
        request_timeout: Longest time for one call, in seconds. Left out, LiteLLM's own default holds (600).
        model_limits: Limits of single models, by the name that requests use. They replace the client's for that model.
        retry: How long to wait between attempts.
        on_context_overflow: What becomes of a prompt that is larger than its model takes: "truncate" gives up the
            oldest turns, "error" fails the request before anything is sent, "ignore" sends it as it is.
        history_limit: Entries that `history` keeps, the newest; None keeps all.
        progress: Whether a progress bar is shown. Left out, it is shown on a terminal and in a notebook.
        clock: Time itself, for tests.

    Raises:
        ConfigurationError: An option cannot be used as it is.
    """

    def __init__(
        self,
        max_requests_per_minute: int | None = 10_000,
        max_tokens_per_minute: int | None = 2_000_000,
        max_workers: int | None = None,
        max_delay_seconds: float | None = 300.0,
        *,
        api_call: Callable[..., Any] | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        request_timeout: float | None = None,
        model_limits: Mapping[str, RateLimit] | None = None,
        retry: RetryPolicy | None = None,
        on_context_overflow: Literal["truncate", "error", "ignore"] = "truncate",
        history_limit: int | None = None,
        progress: bool | None = None,
        clock: Clock | None = None,
    ) -> None:
        _check_positive("max_workers", max_workers, whole=True)
        _check_positive("max_delay_seconds", max_delay_seconds, zero=True)
        _check_positive("request_timeout", request_timeout)
        _check_positive("history_limit", history_limit, whole=True, zero=True)
        shared = RateLimit(requests_per_minute=max_requests_per_minute, tokens_per_minute=max_tokens_per_minute)
        self.max_requests_per_minute = max_requests_per_minute
        """The limit of requests that the client was made with."""
        self.max_tokens_per_minute = max_tokens_per_minute
        """The limit of tokens that the client was made with."""
        self.max_workers = max_workers or max_requests_per_minute or (os.cpu_count() or 1) * _WORKERS_PER_CPU
        """Most calls in flight at once, unless a batch says otherwise."""
        self.max_delay_seconds = max_delay_seconds
        """Longest wait for admission, in seconds."""
        self.api_call = api_call if api_call is not None else litellm_door.completion()
        """What performs a request; it may be replaced."""
        self.tracker = APIUsageTracker()
        """What this client's calls cost, used and took."""
        self.history = History(history_limit)
        """What was asked and what came of it, one entry for each request and batch call."""
        self.failures: list[Result] = []
        """The last batch's failed results, with their errors."""
        self._defaults = {
            name: value
            for name, value in (("api_key", api_key), ("api_base", base_url), ("timeout", request_timeout))
            if value is not None
        }
        self._clock = clock or SystemClock()
        self._limits = Limits(shared, model_limits or {}, self._clock)
        self._answers = AnswerLengths()
        self._preparer = Preparer(
            litellm_door.Facts(),
            on_context_overflow=on_context_overflow,
            # Looking a request up imports LiteLLM, which another api_call may have no use for.
            name_providers=api_call is None,
        )
        self._sender = litellm_door.Sender(self._call, is_litellm=api_call is None)
        self._retry = retry or RetryPolicy()
        self._progress = progress
        self._closed = False

    def make_requests(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        max_workers: int | None = None,
        sanitize: bool = True,
        timeout: float | None = None,
        return_exceptions: bool = False,
        on_result: Callable[[Result], None] | None = None,
    ) -> list[Any]:
        """Perform every request once, and return the answers in the order of the requests.

        A 429 is not an attempt: the request waits its turn again. All else that fails leaves None in its slot; the
        reason is in `failures`, in `history`, and, with `return_exceptions`, in the slot itself.

        Args:
            requests: One dict for each call, with `model`, `messages` and whatever else LiteLLM's `completion` takes.
            max_workers: Most calls in flight at once in this batch. Left out, the client's.
            sanitize: Whether to drop parameters that the model does not take, and to truncate the messages to its
                context window.
            timeout: Longest time for the whole batch in seconds. When it ends, nothing further is started, what was
                answered is kept, and calls in flight are not waited for.
            return_exceptions: Whether a failed slot holds the exception instead of None.
            on_result: Called in this thread with each `Result` as it ends. While it runs nothing new is started.

        Raises:
            InvalidInputError: `requests` is not a list of requests. A single bad request fails only its own slot.
            ClientClosedError: The client is closed.
            KeyboardInterrupt: Ctrl-C; what was answered until then is in `history`.
        """
        return self._run(
            requests, 0, max_workers, sanitize, timeout, return_exceptions=return_exceptions, on_result=on_result
        )

    def make_requests_with_retries(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        max_retries: int = 2,
        max_workers: int | None = None,
        sanitize: bool = True,
        timeout: float | None = None,
        return_exceptions: bool = False,
        on_result: Callable[[Result], None] | None = None,
    ) -> list[Any]:
        """Perform every request, those that failed in a way that may pass up to `max_retries` times more.

        Retries wait as the client's `RetryPolicy` says, holding no thread, and are admitted by the limits again.
        Everything else is as in `make_requests`.
        """
        _check_positive("max_retries", max_retries, whole=True, zero=True)
        return self._run(
            requests,
            max_retries,
            max_workers,
            sanitize,
            timeout,
            return_exceptions=return_exceptions,
            on_result=on_result,
        )

    def sanitize_completion_request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as it would be sent: unsupported parameters dropped, messages truncated to the context window."""
        return self._preparer.sanitize_completion_request(request)

    def remove_unsupported_params(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request without the OpenAI parameters that its model does not take."""
        return self._preparer.remove_unsupported_params(request)

    def truncate_to_max_context_tokens(
        self, messages: Sequence[Mapping[str, Any]], model: str
    ) -> list[Mapping[str, Any]]:
        """The messages cut to what `model` takes, the oldest turns given up first."""
        return self._preparer.truncate_to_max_context_tokens(messages, model)

    def get_max_context_tokens(self, model: str) -> int:
        """Largest prompt of `model` in tokens.

        `MAX_INPUT_TOKENS_OVERRIDE` in the environment wins over LiteLLM; where LiteLLM knows nothing,
        `MAX_CONTEXT_TOKENS_FALLBACK` holds (100,000).
        """
        return self._preparer.get_max_context_tokens(model)

    def count_messages_tokens(self, messages: Sequence[Mapping[str, Any]], *, model: str, timeout: float = 10) -> int:
        """Tokens of a prompt. Never raises and never waits for the network: at worst a third of the characters."""
        return self._preparer.count_messages_tokens(messages, model=model, timeout=timeout)

    @property
    def details(self) -> dict[str, Any]:
        """The client's limits and workers, and all that its tracker counts."""
        return {
            "max_requests_per_minute": self.max_requests_per_minute,
            "max_tokens_per_minute": self.max_tokens_per_minute,
            "max_workers": self.max_workers,
            **self.tracker.details,
        }

    def close(self) -> None:
        """Close the connections. Batches under way in other threads end with an error; calling twice is harmless."""
        self._closed = True
        self._limits.close()
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<APIClient max_requests_per_minute={self.max_requests_per_minute} "
            f"max_tokens_per_minute={self.max_tokens_per_minute} max_workers={self.max_workers}>"
        )

    def _call(self, **params: Any) -> Any:
        # Looked up at each call: a client's api_call may be replaced.
        return self.api_call(**params)

    def _run(
        self,
        requests: Iterable[Mapping[str, Any]],
        max_retries: int,
        max_workers: int | None,
        sanitize: bool,  # noqa: FBT001
        timeout: float | None,
        *,
        return_exceptions: bool,
        on_result: Callable[[Result], None] | None,
    ) -> list[Any]:
        if self._closed:
            message = "The client is closed; make a new APIClient."
            raise ClientClosedError(message)
        _check_positive("max_workers", max_workers, whole=True)
        _check_positive("timeout", timeout, zero=True)
        requests = list(check_requests(requests))
        slots: list[Any] = [None] * len(requests)
        failures: list[Result] = []
        progress = Progress(len(requests), wanted=self._progress)
        batch = Batch(
            self._road(sanitize=sanitize),
            requests,
            workers=max_workers or self.max_workers,
            max_retries=max_retries,
            timeout=timeout,
            progress=progress,
        )

        def keep(result: Result) -> None:
            if result.error is None:
                slots[result.index] = result.response
            else:
                slots[result.index] = result.error if return_exceptions else None
                failures.append(result)
            if on_result is not None:
                on_result(result)

        try:
            for result in batch.results():
                keep(result)
        except BaseException as stop:
            on_result = None  # It may be what raised.
            for result in batch.give_up(f"the batch was stopped by {type(stop).__name__}", BatchInterruptedError):
                keep(result)
            raise
        finally:
            progress.close()
            self.failures = sorted(failures, key=lambda result: result.index)
            _log_summary(len(requests), self.failures)
        return slots

    def _road(self, *, sanitize: bool) -> Road:
        return Road(
            preparer=self._preparer,
            limits=self._limits,
            answers=self._answers,
            send=self._sender,
            price=litellm_door.price,
            retry=self._retry,
            tracker=self.tracker,
            record=self.history.append,
            clock=self._clock,
            chance=random.random,
            defaults=self._defaults,
            sanitize=sanitize,
            max_delay=self.max_delay_seconds,
        )


def _log_summary(number: int, failures: Sequence[Result]) -> None:
    """One line that says how many failed and why, with the first of them by name."""
    if not failures:
        return
    kinds = Counter(type(result.error).__name__ for result in failures)
    reasons = ", ".join(f"{count} {name}" for name, count in kinds.most_common())
    logger.error("%d of %d requests failed: %s. First: %s", len(failures), number, reasons, failures[0].error)


def _check_positive(name: str, value: float | None, *, whole: bool = False, zero: bool = False) -> None:
    if value is None:
        return
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not (value >= 0 if zero else value > 0) or value == inf:
        kind = "a whole number" if whole else "a finite number"
        least = "of 0 or more" if zero else "above 0"
        message = f"{name} must be {kind} {least}, or None; it is {value!r}."
        raise ConfigurationError(message)
