"""What was spent: cost, tokens and latency, counted from the engine's own records of its calls."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from llm_api_client.call import litellm_door
from llm_api_client.call.answer import usage_of
from llm_api_client.errors import AnswerValidationError
from llm_api_client.records import Attempt, Kind, Usage

PERCENTILES = (50, 75, 90, 95, 99, 99.9)
MOST_MODELS = 1_000
"""Models that are summed up each by itself; what comes beyond is summed up as `OTHERS`."""
OTHERS = "others"
UNKNOWN = "unknown"
"""The provider or the model of calls that name none."""


@dataclass(slots=True)
class _Sum:
    """What the calls of one provider to one model came to."""

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0

    def add(self, other: "_Sum") -> None:
        self.requests += other.requests
        self.tokens += other.tokens
        self.cost += other.cost
        self.unpriced += other.unpriced

    def shown(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "tokens": self.tokens,
            "cost": self.cost,
            "unpriced_requests": self.unpriced,
        }


@dataclass(slots=True)
class StatusTracker:
    """How many requests stand where, and how many calls failed, by kind.

    Attributes:
        num_tasks_started: Requests taken up.
        num_tasks_in_progress: Requests taken up that have not ended.
        num_tasks_succeeded: Requests that ended with an answer.
        num_tasks_failed: Requests that ended without one.
        num_rate_limit_errors: Calls that a provider refused with 429.
        num_api_errors: Calls that a provider answered with another error.
        num_other_errors: Calls without an answer (network, timeout), and requests that were never sent.
    """

    num_tasks_started: int = 0
    num_tasks_in_progress: int = 0
    num_tasks_succeeded: int = 0
    num_tasks_failed: int = 0
    num_rate_limit_errors: int = 0
    num_api_errors: int = 0
    num_other_errors: int = 0


class APIUsageTracker:
    """Cost, tokens and response times of every answered call, and of failed ones that a provider bills.

    Exact with any number of threads. A cost that LiteLLM has no price for is counted in `num_unpriced_calls` and adds
    nothing to `total_cost`.
    """

    def __init__(self) -> None:
        # The lock guards every count; each record is one change.
        self._lock = Lock()
        self._cost = 0.0
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._unpriced = 0
        self._unmeasured = 0
        self._replayed = 0
        self._replayed_cost = 0.0
        self._hits = 0
        self._saved_cost = 0.0
        # By provider and model.
        self._sums: dict[tuple[str, str], _Sum] = {}
        # 8 bytes a call: exact percentiles of a million calls take 8 MB.
        self._response_times = array("d")
        self._status = StatusTracker()

    def record_attempt(self, attempt: Attempt) -> None:
        """Count one call."""
        with self._lock:
            # An answer that failed the caller's validation is an answer: it took its time, and is paid for.
            if attempt.verdict.kind is Kind.ANSWERED or isinstance(attempt.verdict.error, AnswerValidationError):
                self._answered(attempt.usage, attempt.cost, attempt.latency, attempt.provider, attempt.model)
                return
            if attempt.usage is not None:
                self._spent(attempt.usage, attempt.cost, attempt.provider, attempt.model)
            if attempt.verdict.kind is Kind.RATE_LIMITED:
                self._status.num_rate_limit_errors += 1
            elif getattr(attempt.verdict.error, "status_code", 0):
                self._status.num_api_errors += 1
            else:
                self._status.num_other_errors += 1

    def record_start(self) -> None:
        """Count a request that is taken up."""
        with self._lock:
            self._status.num_tasks_started += 1
            self._status.num_tasks_in_progress += 1

    def record_end(self, *, succeeded: bool, sent: bool) -> None:
        """Count a request that has ended; `sent` says whether any call was made for it."""
        with self._lock:
            self._status.num_tasks_in_progress -= 1
            if succeeded:
                self._status.num_tasks_succeeded += 1
                return
            self._status.num_tasks_failed += 1
            if not sent:
                self._status.num_other_errors += 1

    def record_replay(self, cost: float | None) -> None:
        """Count an answer that came from a checkpoint, and what it cost the run that asked for it."""
        with self._lock:
            self._replayed += 1
            self._replayed_cost += cost or 0.0

    def record_cache_hit(self, cost: float | None) -> None:
        """Count an answer that came from the cache, and what it cost when it was asked for."""
        with self._lock:
            self._hits += 1
            self._saved_cost += cost or 0.0

    def _answered(
        self, usage: Usage | None, cost: float | None, latency: float, provider: str | None, model: str | None
    ) -> None:
        self._response_times.append(latency)
        if usage is None:
            self._unmeasured += 1
        self._spent(usage, cost, provider, model, answers=1)

    def _spent(
        self, usage: Usage | None, cost: float | None, provider: str | None, model: str | None, *, answers: int = 0
    ) -> None:
        tokens = 0 if usage is None else usage.total_tokens
        self._sum_of(provider, model).add(_Sum(answers, tokens, cost or 0.0, int(cost is None)))
        if usage is not None:
            self._prompt_tokens += usage.prompt_tokens
            self._completion_tokens += usage.completion_tokens
        if cost is None:
            self._unpriced += 1
        else:
            self._cost += cost

    def _sum_of(self, provider: str | None, model: str | None) -> _Sum:
        key = provider or UNKNOWN, model or UNKNOWN
        if key not in self._sums and len(self._sums) >= MOST_MODELS:
            key = OTHERS, OTHERS
        return self._sums.setdefault(key, _Sum())

    @property
    def total_cost(self) -> float:
        """US dollars of all calls with a known price."""
        return self._cost

    @property
    def total_prompt_tokens(self) -> int:
        """Tokens of all prompts, as the providers report them."""
        return self._prompt_tokens

    @property
    def total_completion_tokens(self) -> int:
        """Tokens of all answers, as the providers report them."""
        return self._completion_tokens

    @property
    def num_api_calls(self) -> int:
        """Calls that were answered."""
        return len(self._response_times)

    @property
    def num_unpriced_calls(self) -> int:
        """Billed calls whose price is unknown: they are missing from `total_cost`."""
        return self._unpriced

    @property
    def num_unmeasured_calls(self) -> int:
        """Answered calls for which the provider reported no tokens: they are missing from the token totals."""
        return self._unmeasured

    @property
    def num_replayed(self) -> int:
        """Answers that came from a checkpoint. They are in no other total of calls, tokens, times or cost."""
        return self._replayed

    @property
    def replayed_cost(self) -> float:
        """US dollars that the replayed answers cost the runs that asked for them; not spent again."""
        return self._replayed_cost

    @property
    def num_cache_hits(self) -> int:
        """Answers that came from the cache. They are in no other total of calls, tokens, times or cost."""
        return self._hits

    @property
    def saved_cost(self) -> float:
        """US dollars that the answers from the cache cost when they were asked for; not spent again."""
        return self._saved_cost

    @property
    def usage(self) -> dict[str, Any]:
        """What was spent, in all and by provider and by model, as plain data.

        `total_requests` are answered calls, as `num_api_calls`; `tokens` are those of prompts and answers together.
        """
        with self._lock:
            sums = [(provider, model, replace(each)) for (provider, model), each in self._sums.items()]
            totals = {
                "total_requests": len(self._response_times),
                "total_tokens": self._prompt_tokens + self._completion_tokens,
                "prompt_tokens": self._prompt_tokens,
                "completion_tokens": self._completion_tokens,
                "total_cost": self._cost,
                "unpriced_requests": self._unpriced,
            }
        by_provider: dict[str, _Sum] = {}
        by_model: dict[str, _Sum] = {}
        for provider, model, each in sums:
            by_provider.setdefault(provider, _Sum()).add(each)
            by_model.setdefault(model, _Sum()).add(each)
        return {
            **totals,
            "by_provider": {name: each.shown() for name, each in by_provider.items()},
            "by_model": {name: each.shown() for name, each in by_model.items()},
        }

    @property
    def status(self) -> StatusTracker:
        """The counts by state, as they stand now; a copy that does not change."""
        with self._lock:
            return replace(self._status)

    @property
    def mean_response_time(self) -> float | None:
        """Seconds, or None before the first answer."""
        times = self._times()
        return sum(times) / len(times) if times else None

    def response_time_at_percentile(self, percentile: float) -> float | None:
        """Seconds within which `percentile` per cent of the answers came (linear interpolation), or None if none did.

        Raises:
            ValueError: `percentile` is not from 0 to 100.
        """
        if not 0 <= percentile <= 100:  # noqa: PLR2004
            message = f"percentile must be from 0 to 100; it is {percentile!r}."
            raise ValueError(message)
        times = sorted(self._times())
        return _percentile(times, percentile) if times else None

    @property
    def details(self) -> dict[str, Any]:
        """The totals as plain data; response times are texts in seconds, keyed "50percentile" to "99.9percentile"."""
        with self._lock:
            times = sorted(self._response_times)
            totals = {
                "total_cost": self._cost,
                "total_prompt_tokens": self._prompt_tokens,
                "total_completion_tokens": self._completion_tokens,
                "num_api_calls": len(times),
            }
        percentiles = {f"{p}percentile": f"{_percentile(times, p):.3f}" for p in PERCENTILES} if times else {}
        mean = sum(times) / len(times) if times else None
        return {**totals, "mean_response_time": mean, "response_times": percentiles}

    def get_stats_str(self) -> str:
        """The totals for people, one to a line."""
        with self._lock:
            times = sorted(self._response_times)
            lines = [
                f"Total cost of API calls: ${self._cost:.2f}",
                f"Total prompt tokens: {self._prompt_tokens}",
                f"Total completion tokens: {self._completion_tokens}",
                f"Number of responses: {len(times)}",
            ]
            unpriced, unmeasured = self._unpriced, self._unmeasured
            replayed, replayed_cost = self._replayed, self._replayed_cost
            hits, saved = self._hits, self._saved_cost
        if times:
            lines += [
                f"Mean response time: {sum(times) / len(times):.2f} seconds",
                f"Response time at 99th percentile: {_percentile(times, 99):.3f} seconds",
            ]
        if replayed:
            lines.append(
                f"Answers from the checkpoint: {replayed}, which cost ${replayed_cost:.2f} when they were asked"
            )
        if hits:
            lines.append(f"Answers from the cache: {hits}, which saved ${saved:.2f}")
        if unpriced:
            lines.append(f"Calls with unknown price, not in the cost: {unpriced}")
        if unmeasured:
            lines.append(f"Calls with unknown tokens, not in the totals: {unmeasured}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.get_stats_str()

    def track_cost_callback(
        self,
        kwargs: Mapping[str, Any],
        completion_response: Any,
        start_time: datetime | float,
        end_time: datetime | float,
    ) -> None:
        """A LiteLLM success callback: count a call that was made outside any client.

        Calls that a client of this library made are counted by the client itself, and left out here.
        """
        if str(kwargs.get("litellm_call_id") or "").startswith(litellm_door.OWN_CALL):
            return
        cost = kwargs.get("response_cost")
        usage = usage_of(completion_response)
        taken = end_time - start_time  # type: ignore[operator]  # LiteLLM passes two of a kind
        latency = taken.total_seconds() if isinstance(taken, timedelta) else float(taken)
        with self._lock:
            self._answered(
                usage,
                None if cost is None else float(cost),
                latency,
                _name(kwargs.get("custom_llm_provider")),
                _name(kwargs.get("model")),
            )

    def set_up_litellm_cost_tracking(self) -> None:
        """Count LiteLLM calls made outside any client too. Adds a callback to LiteLLM's, and removes none."""
        litellm_door.append_success_callback(self.track_cost_callback)

    def _times(self) -> list[float]:
        with self._lock:
            return self._response_times.tolist()


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _percentile(ordered: list[float], percentile: float) -> float:
    position = (len(ordered) - 1) * percentile / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
