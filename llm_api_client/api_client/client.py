"""The client: options in, stations built here and nowhere else, results out."""

import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Self

from llm_api_client.admit.answers import AnswerLengths
from llm_api_client.admit.budget import Budget
from llm_api_client.admit.limits import Limits
from llm_api_client.admit.rates import RateLimit
from llm_api_client.api_client.account import Account
from llm_api_client.api_client.batches import Batches
from llm_api_client.api_client.jobs import Jobs
from llm_api_client.api_client.offline import Offline
from llm_api_client.api_client.options import check_base_url, check_positive
from llm_api_client.api_client.raw import RawHTTP
from llm_api_client.api_client.singles import Singles
from llm_api_client.api_tracker import APIUsageTracker
from llm_api_client.call import litellm_door
from llm_api_client.call.http_door import HTTPDoor
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.call.sender import Sender, Transport
from llm_api_client.call.validation import validation
from llm_api_client.catalog import Catalog
from llm_api_client.clock import Clock, SystemClock
from llm_api_client.errors import ClientClosedError, ConfigurationError, InvalidInputError
from llm_api_client.operations import Operation, operation_named
from llm_api_client.prepare.preparer import Preparer
from llm_api_client.record.cache import ResponseCache
from llm_api_client.record.history import History
from llm_api_client.records import Result
from llm_api_client.run.batch import GRACE_SECONDS, Batch
from llm_api_client.run.defaults import Defaults
from llm_api_client.run.intake import Numbered
from llm_api_client.run.keeping import opened
from llm_api_client.run.late import LateCalls
from llm_api_client.run.progress import Progress
from llm_api_client.run.purse import Purse
from llm_api_client.run.raw import RawPreparer
from llm_api_client.run.road import Road
from llm_api_client.run.streaming import Reader, Streams
from llm_api_client.run.submissions import Submissions

RAW_TIMEOUT = 60.0
"""Seconds for a plain HTTP request where the client has no `request_timeout`."""

_WORKERS_PER_CPU = 20


class APIClient(Batches, Singles, Offline, RawHTTP, Account, Jobs):
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
        api_key: Key for requests that don't carry their own, or a callable without arguments that gives it. The
            callable is asked when the first key is needed, in whatever thread, and once more when a provider has
            refused that key; what was refused then goes again, which is no attempt. Left out, LiteLLM reads the
            provider's environment variable.
        base_url: Base URL for requests that don't carry their own. An `api_key` that is given with it is sent nowhere
            else.
        request_timeout: Longest time for one call, in seconds. Left out, LiteLLM's own default holds (600).
        model_limits: Limits of single models, by the name that requests use. They replace the client's for that model.
        model_defaults: Parameters of single models' requests, by the name that requests use: `temperature`, `timeout`,
            `base_url`, `api_key`, also as a callable, and whatever else a request takes. The request wins over them,
            and they win over the client's.
        retry: How long to wait between attempts.
        transport: Which way calls go. "auto" lets LiteLLM perform the first requests of each kind, and performs those
            that are like them without it, several times as fast and with the same answers and errors; whatever is new,
            and all where LiteLLM has callbacks, a cache or rules of yours, goes through LiteLLM. "litellm" lets LiteLLM
            perform every request. "direct" is "auto", and says once per model in the log what goes through LiteLLM.
        checkpoint: File in which every answer is kept before it is handed out: a request that it has an answer to is
            not sent again. Made if it is not there. A batch may name another.
        cache: Answers to give again to requests that are exactly the same, instead of asking. It may be shared by
            several clients, and is not closed with this one.
        max_cost: US dollars that all calls of this client may cost together. Each is admitted only if its worst case
            fits; what does not fails with `BudgetExceededError`. None for no bound.
        allow_unpriced: Whether, under a `max_cost`, calls may go whose price is unknown; they count as nothing.
        on_context_overflow: What becomes of a prompt that is larger than its model takes: "truncate" gives up the
            oldest turns, "error" fails the request before anything is sent, "ignore" sends it as it is.
        history_limit: Entries that `history` keeps, the newest; None keeps all, but none of `iter_requests`, whose
            memory shall not grow.
        progress: Whether a progress bar is shown. Left out, it is shown on a terminal and in a notebook.
        clock: Time itself, for tests.

    Raises:
        ConfigurationError: An option cannot be used as it is.
        CheckpointError: The checkpoint cannot be used.
    """

    def __init__(
        self,
        max_requests_per_minute: int | None = 10_000,
        max_tokens_per_minute: int | None = 2_000_000,
        max_workers: int | None = None,
        max_delay_seconds: float | None = 300.0,
        *,
        api_call: Callable[..., Any] | None = None,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | None = None,
        request_timeout: float | None = None,
        model_limits: Mapping[str, RateLimit] | None = None,
        model_defaults: Mapping[str, Mapping[str, Any]] | None = None,
        retry: RetryPolicy | None = None,
        transport: Transport = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        cache: ResponseCache | None = None,
        max_cost: float | None = None,
        allow_unpriced: bool = False,
        on_context_overflow: Literal["truncate", "error", "ignore"] = "truncate",
        history_limit: int | None = None,
        progress: bool | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_positive("max_workers", max_workers, whole=True)
        check_positive("max_delay_seconds", max_delay_seconds, zero=True)
        check_positive("request_timeout", request_timeout)
        check_positive("history_limit", history_limit, whole=True, zero=True)
        check_positive("max_cost", max_cost)
        check_base_url(base_url)
        shared = RateLimit(requests_per_minute=max_requests_per_minute, tokens_per_minute=max_tokens_per_minute)
        self.max_requests_per_minute = max_requests_per_minute
        """The limit of requests that the client was made with."""
        self.max_tokens_per_minute = max_tokens_per_minute
        """The limit of tokens that the client was made with."""
        self.max_workers = max_workers or max_requests_per_minute or (os.cpu_count() or 1) * _WORKERS_PER_CPU
        """Most calls in flight at once, unless a batch says otherwise."""
        self.max_delay_seconds = max_delay_seconds
        """Longest wait for admission, in seconds."""
        self.api_call = api_call if api_call is not None else litellm_door.function("completion")
        """What performs a request; it may be replaced."""
        self.tracker = APIUsageTracker()
        """What this client's calls cost, used and took."""
        self.history = History(history_limit)
        """What was asked and what came of it, one entry for each request and batch call."""
        self.failures: list[Result] = []
        """The last batch's failed results, with their errors."""
        given = {"api_key": api_key, "api_base": base_url, "timeout": request_timeout}
        given = {name: value for name, value in given.items() if value is not None}
        self._defaults = Defaults(given, model_defaults or {})
        self._clock = clock or SystemClock()
        self._limits = Limits(shared, model_limits or {}, self._clock)
        self._answers = AnswerLengths()
        self._catalog = Catalog(litellm_door.Table())
        self._preparer = Preparer(
            litellm_door.Facts(),
            on_context_overflow=on_context_overflow,
            # Looking a request up imports LiteLLM, which another api_call may have no use for.
            name_providers=api_call is None,
        )
        made_with = self.api_call
        self._sender = Sender(
            self._call,
            is_litellm=api_call is None,
            transport=transport,
            is_replaced=lambda: self.api_call is not made_with,
        )
        self._base_url = base_url
        self._http = HTTPDoor(timeout=request_timeout or RAW_TIMEOUT)
        self._raw = RawPreparer(litellm_door.provider_of)
        self._submissions = Submissions(self._submitted, self._clock)
        self._streams = Streams()
        self._retry = retry or RetryPolicy()
        self._progress = progress
        self._budget = None if max_cost is None else Budget(max_cost)
        self._allow_unpriced = allow_unpriced
        self._late = LateCalls()
        self._closed = False
        self._cache = cache
        if cache is not None:
            cache.bind(litellm_door.revive)
        self._store = None if checkpoint is None else opened(checkpoint, litellm_door.revive)

    @classmethod
    def from_config(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """A client whose options are in a file.

        The file has this constructor's options by their names, `models` in place of `model_limits` and
        `model_defaults`, and no objects: `retry` is a table. `${NAME}` in a string is the environment variable NAME,
        and `$${` is `${`. A relative `checkpoint` begins at the file's folder. The documentation's page on
        configuration has it all.

        Args:
            path: A file in JSON (.json) or TOML (.toml).
            overrides: Options of the constructor that win over the file, whose own are then not looked at.

        Raises:
            ConfigurationError: The file cannot be read, or an option in it cannot be used. The message names the
                option, and shows no text of the file.
            CheckpointError: The checkpoint cannot be used.
        """
        from llm_api_client.api_client.config import options_from  # noqa: PLC0415  for those who have a file

        return cls(**{**options_from(path, without=overrides), **overrides})

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
        """Close the connections. Batches under way in other threads end with an error; calling twice is harmless.

        Where there is a checkpoint, calls that are still under way after a batch was left have five seconds more.
        """
        self._close(GRACE_SECONDS)

    def _close(self, patience: float) -> None:
        if self._closed:
            return
        self._closed = True
        self._streams.close()
        self._submissions.close()
        self._limits.close()
        self._late.wait(patience)
        if self._store is not None:
            self._store.close()
        self._sender.close()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        # Ctrl-C had its grace within the batch.
        self._close(0 if raised is KeyboardInterrupt else GRACE_SECONDS)

    def __repr__(self) -> str:
        return (
            f"<APIClient max_requests_per_minute={self.max_requests_per_minute} "
            f"max_tokens_per_minute={self.max_tokens_per_minute} max_workers={self.max_workers}>"
        )

    def _call(self, **params: Any) -> Any:
        # Looked up at each call: a client's api_call may be replaced.
        return self.api_call(**params)

    def _check_open(self) -> None:
        if self._closed:
            message = "The client is closed; make a new APIClient."
            raise ClientClosedError(message)

    def _batch(
        self,
        requests: Iterable[Any],
        progress: Progress,
        *,
        keep: Callable[[Result], None],
        max_retries: int,
        max_workers: int | None = None,
        endpoint: str = "chat",
        sanitize: bool = True,
        timeout: float | None = None,
        validate: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        max_cost: float | None = None,
        ordered: bool = False,
        whole: bool = True,
        reader: Reader | None = None,
        numbered: Iterator[Numbered] | None = None,
        may_start: Callable[[int], bool] = lambda _: True,
        turn_of: Callable[[int], float] = lambda _: 0.0,
    ) -> Batch:
        check_positive("max_retries", max_retries, whole=True, zero=True)
        check_positive("max_workers", max_workers, whole=True)
        check_positive("timeout", timeout, zero=True)
        check_positive("max_cost", max_cost)
        budget = self._budget if max_cost is None else Budget(max_cost, within=self._budget)
        self._defaults.renew_keys()
        road = Road(
            preparer=self._preparer.asking_for(_operation(endpoint)),
            limits=self._limits,
            answers=self._answers,
            begin=self._sender.begin if reader is None else self._sender.streaming(reader),
            needs_threads=self._sender.needs_threads,
            baton=self._sender.baton,
            price=litellm_door.price,
            retry=self._retry,
            tracker=self.tracker,
            record=keep,
            clock=self._clock,
            chance=random.random,
            defaults=self._defaults,
            sanitize=sanitize,
            max_delay=self.max_delay_seconds,
            validation=None if validate is None else validation(validate, litellm_door.strict_schema),
            purse=None if budget is None else Purse(budget, litellm_door.price, allow_unpriced=self._allow_unpriced),
            cache=self._cache,
            turn_of=turn_of,
            may_start=may_start if reader is None else reader.may_start,
            has_spoken=bool if reader is None else reader.has_spoken,
        )
        # The last that can fail: a checkpoint that is opened is closed by its batch.
        store = self._store if checkpoint is None else opened(checkpoint, litellm_door.revive)
        kept = None if store is None else store.run()
        if store is not None and checkpoint is not None:
            store.close()  # Its run keeps it open.
        return Batch(
            road,
            requests,
            workers=max_workers or self.max_workers,
            max_retries=max_retries,
            timeout=timeout,
            progress=progress,
            kept=kept,
            late=self._late,
            ordered=ordered,
            whole=whole,
            numbered=numbered,
        )


def _operation(endpoint: str) -> Operation:
    try:
        return operation_named(endpoint)
    except InvalidInputError as fault:
        raise ConfigurationError(fault.message) from None
