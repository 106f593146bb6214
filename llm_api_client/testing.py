"""For tests of programs that use this library: a clock that obeys, calls that answer by script, a simulated provider.

Import the fixture `simulated_provider` into a `conftest.py`, or name this module in `pytest_plugins`.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Condition
from typing import Any, TypeVar

T = TypeVar("T")

_REAL_PATIENCE = 0.001
"""Seconds of real time between two looks at calls that run for real."""


class FakeClock:
    """A clock that stands still until it is needed, and then jumps to the next moment at which something happens.

    Calls made under it take time by `sleep`, in whatever thread; a batch that has nothing to do but wait moves the
    clock to the earliest of its own wake-up time and those of the sleeping calls. An hour of rate limits passes in an
    instant, and the order of events is exact. One batch at a time may run under it.

    Args:
        start: The first reading, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        # The condition guards both; it is notified whenever either changes.
        self._changed = Condition()
        self._now = start
        self._sleepers: list[float] = []

    def now(self) -> float:
        """Seconds by this clock."""
        return self._now

    def wall(self) -> float:
        """The same: this clock's epoch is 1970."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock by hand.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            message = f"Time can't go backwards, not even by {-seconds:g} s."
            raise ValueError(message)
        with self._changed:
            self._move_to(self._now + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved by `seconds`."""
        if seconds <= 0:
            return
        with self._changed:
            until = self._now + seconds
            heapq.heappush(self._sleepers, until)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._now >= until)

    def wait(self, inbox: SimpleQueue[T], timeout: float | None, *, running: int = 0) -> T:
        """Take the next item of `inbox`, as `llm_api_client.clock.Clock.wait` does, without waiting in real time."""
        until = None if timeout is None else self._now + timeout
        while True:
            try:
                return inbox.get_nowait()
            except Empty:
                if until is not None and self._now >= until:
                    raise
            with self._changed:
                if inbox.empty() and len(self._sleepers) >= running:
                    moments = self._sleepers[:1] + ([] if until is None else [until])
                    if moments:
                        self._move_to(min(moments))
                        continue
            try:
                return inbox.get(timeout=_REAL_PATIENCE)
            except Empty:
                continue

    def _move_to(self, moment: float) -> None:
        self._now = max(self._now, moment)
        while self._sleepers and self._sleepers[0] <= self._now:
            heapq.heappop(self._sleepers)
        self._changed.notify_all()


@dataclass(slots=True)
class _Message:
    content: str | None
    role: str = "assistant"


@dataclass(slots=True)
class _Choice:
    message: _Message
    finish_reason: str = "stop"
    index: int = 0


@dataclass(slots=True)
class _Usage:
    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class ScriptedAnswer:
    """An answer with the attributes that users read of LiteLLM's, made without importing it.

    Args:
        content: Text of the only choice.
        prompt_tokens: Reported tokens of the prompt.
        completion_tokens: Reported tokens of the answer.
        cost: US dollars, or None for an unknown price.
        model: The model that claims to have answered.
    """

    __slots__ = ("_hidden_params", "choices", "model", "usage")

    def __init__(
        self,
        content: str | None = "An answer.",
        *,
        prompt_tokens: int = 10,
        completion_tokens: int = 5,
        cost: float | None = 0.001,
        model: str = "scripted",
    ) -> None:
        self.choices = [_Choice(_Message(content))]
        self.usage = _Usage(prompt_tokens, completion_tokens)
        self.model = model
        self._hidden_params = {"response_cost": cost}

    def model_dump(self) -> dict[str, Any]:
        """The answer as plain data."""
        return {
            "model": self.model,
            "choices": [
                {
                    "index": choice.index,
                    "finish_reason": choice.finish_reason,
                    "message": {"role": choice.message.role, "content": choice.message.content},
                }
                for choice in self.choices
            ],
            "usage": {
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
                "total_tokens": self.usage.total_tokens,
            },
        }


class ScriptedError(Exception):
    """What a provider's refusal looks like to the client: a status, and headers.

    Args:
        status_code: HTTP status.
        message: What the provider says.
        headers: Headers of the answer, such as `retry-after`.
        code: The provider's machine-readable code.
    """

    def __init__(
        self,
        status_code: int,
        message: str = "scripted",
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message
        self.litellm_response_headers = dict(headers or {})
        self.body = {"message": message, "code": code}


@dataclass(frozen=True, slots=True)
class Call:
    """One call that a script received: when, and with which parameters."""

    at: float
    params: Mapping[str, Any] = field(repr=False)


class ScriptedCalls:
    """An `api_call` that answers by script, and remembers what it was asked.

    Args:
        script: What each call comes to, in the order of the calls: a text or a `ScriptedAnswer` is the answer, an
            exception is raised, a callable gets the parameters and returns or raises either. When the script is over,
            every further call is answered.
        latency: Seconds that each call takes by `clock`; a callable gets the parameters.
        clock: The client's clock. Left out, calls take no time.
    """

    def __init__(
        self,
        script: Iterable[Any] = (),
        *,
        latency: float | Callable[[Mapping[str, Any]], float] = 0.0,
        clock: FakeClock | None = None,
    ) -> None:
        # Guards the script and the list of calls: every worker thread takes from it.
        self._lock = Condition()
        self._script = iter(script)
        self._latency = latency
        self._clock = clock
        self.calls: list[Call] = []

    def __call__(self, **params: Any) -> Any:
        """Come to what the script says next."""
        with self._lock:
            self.calls.append(Call(self._clock.now() if self._clock else 0.0, params))
            outcome = next(self._script, None)
        seconds = self._latency(params) if callable(self._latency) else self._latency
        if self._clock is not None and seconds > 0:
            self._clock.sleep(seconds)
        if callable(outcome) and not isinstance(outcome, type):
            outcome = outcome(params)
        if isinstance(outcome, BaseException) or (isinstance(outcome, type) and issubclass(outcome, BaseException)):
            raise outcome
        if outcome is None or isinstance(outcome, str):
            return ScriptedAnswer(*(() if outcome is None else (outcome,)))
        return outcome


try:
    import pytest
except ImportError:  # Only the fixture needs it.
    pass
else:

    @pytest.fixture
    def simulated_provider() -> Iterator[Any]:
        """A `SimulatedProvider` on loopback without limits or faults, stopped when the test ends."""
        from llm_api_client.simulator import SimulatedProvider  # noqa: PLC0415

        with SimulatedProvider() as provider:
            yield provider
