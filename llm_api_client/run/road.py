"""The stations that all journeys of a batch pass, and what the engine asks of each."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from llm_api_client.admit.answers import AnswerLengths
from llm_api_client.admit.limits import Limits
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.clock import Clock
from llm_api_client.records import Attempt, Begin, Prepared, Result, Usage, Verdict
from llm_api_client.run.defaults import Defaults
from llm_api_client.run.purse import Purse

Send = Callable[[Prepared, Mapping[str, Any], Callable[[], None]], Any]
"""Performs a call, or raises whatever came of it."""


def in_a_thread(send: Send) -> Begin:
    """What begins calls that wait for their answers, each in a thread."""
    return lambda prepared, params, on_sent, _: partial(send, prepared, params, on_sent)


class Prepares(Protocol):
    """The first station: makes a request fit its model, and learns how well it counted."""

    def check(self, request: Any) -> str:
        """The model by whose limits a request is admitted.

        Raises:
            LLMAPIClientError: It is no request.
        """

    def prepare(
        self, request: Mapping[str, Any], *, sanitize: bool, count_prompt: bool, exactly: bool, response_format: Any
    ) -> Prepared:
        """The request as it will be sent, and its size."""

    def learn(self, prepared: Prepared, prompt_tokens: int) -> None:
        """What the provider counted."""


class Tracks(Protocol):
    """Counts what is spent, from any thread."""

    def record_start(self) -> None:
        """A request is taken up."""

    def record_attempt(self, attempt: Attempt) -> None:
        """A call has ended."""

    def record_end(self, *, succeeded: bool, sent: bool) -> None:
        """A request has ended."""

    def record_replay(self, cost: float | None) -> None:
        """A request has ended with an answer that an earlier run paid for."""

    def record_cache_hit(self, cost: float | None) -> None:
        """A request has ended with an answer out of the cache."""


class Caches(Protocol):
    """Keeps answers for whoever asks for exactly the same."""

    def get(self, identity: bytes) -> Result | None:
        """The answer that is kept, or None."""

    def put(self, identity: bytes, result: Result) -> None:
        """Keep an answer."""


class Validates(Protocol):
    """What the caller wants of an answer."""

    @property
    def response_format(self) -> Any:
        """What to ask of a model that can keep to it, or None."""

    def judge(self, response: Any) -> tuple[Verdict, Any]:
        """What an answer comes to, and what was made of it."""


def _as_it_came(_: int) -> float:
    return 0.0


def _always(_: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Road:
    """The stations that all journeys of a batch pass, built by the client.

    Attributes:
        preparer: Makes a request fit its model.
        limits: Which limiter admits which model.
        answers: Expected lengths of answers.
        begin: Begins a call.
        price: US dollars for a model's usage, for answers that don't say what they cost.
        retry: How long to wait after failures.
        tracker: Counts every call.
        record: Keeps every result.
        clock: Tells the time.
        chance: A random number from 0 to 1.
        defaults: What requests carry that don't say otherwise.
        sanitize: Whether requests are made to fit their models.
        needs_threads: Whether every call takes a thread while it is under way.
        max_delay: Longest wait for admission in seconds, or None.
        validation: What the caller wants of an answer, or None.
        purse: The money that calls may cost, or None.
        cache: Answers to requests that are exactly the same, or None.
        baton: Held by the batch's thread while it works, so that it and who reads answers do not disturb each other.
        turn_of: Where a request stands among others that wait, by its number; the lower, the sooner.
        may_start: Whether a request may still be sent, by its number; it may have been cancelled.
        has_spoken: Whether a call that failed is not to be made again, for the caller already has a part of the answer.
    """

    preparer: Prepares
    limits: Limits
    answers: AnswerLengths
    begin: Begin
    price: Callable[[str, Usage], float | None]
    retry: RetryPolicy
    tracker: Tracks
    record: Callable[[Result], None]
    clock: Clock
    chance: Callable[[], float]
    defaults: Defaults
    sanitize: bool
    max_delay: float | None
    validation: Validates | None = None
    purse: Purse | None = None
    cache: Caches | None = None
    needs_threads: bool = True
    baton: AbstractContextManager[Any] = field(default_factory=nullcontext)
    turn_of: Callable[[int], float] = _as_it_came
    may_start: Callable[[int], bool] = _always
    has_spoken: Callable[[], bool] = bool
