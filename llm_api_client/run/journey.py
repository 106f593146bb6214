"""One request's way, top to bottom: prepare → admit → call → judge → record."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

from llm_api_client.admit.budget import Hold
from llm_api_client.admit.limiter import Decision, Go, Limiter, NotBefore, Place, Reservation
from llm_api_client.admit.rates import Charge
from llm_api_client.call.answer import cost_of, limits_of, usage_of
from llm_api_client.call.judge import Where, judge_answer
from llm_api_client.call.raised import judge_raised
from llm_api_client.errors import ConfigurationError, LLMAPIClientError, RequestCancelledError, RequestTooLargeError
from llm_api_client.record.identity import identity_of
from llm_api_client.record.table import excerpt_of
from llm_api_client.records import UNDER_WAY, Attempt, Key, Kind, News, Prepared, Result, Usage, Verdict
from llm_api_client.run.keeping import Claim, Keeps
from llm_api_client.run.keys import CarriedKey
from llm_api_client.run.patience import within
from llm_api_client.run.road import Road
from llm_api_client.secrets import masked, secrets_in

_NOTHING_GENERATED = Usage(0, 0)


Landed = Callable[["Journey", Callable[[], Any], News], None]
"""Is told whose call it is, and else as `Arrived`; a call that may go is to `go`."""


class Journey:
    """One request under way. Its methods are called by one thread at a time."""

    __slots__ = (
        "_asking_since", "_began", "_carried", "_charge", "_hold", "_identity", "_is_recorded", "_landed",
        "_perform", "_prepared", "_refusals", "_reservation", "_sent", "_waited", "_worst", "attempts", "claimed",
        "cost", "ended_as", "index", "key", "last", "limiter", "outcome", "request", "road", "turn", "was_lost",
    )  # fmt: skip

    def __init__(self, road: Road, index: int, request: Any) -> None:
        self.road = road
        self.index = index
        self.request = request
        self.attempts = 0
        self.cost: float | None = None
        self.last: Attempt | None = None
        self.limiter: Limiter
        self.key: Key | None = None
        self._identity: bytes | None = None
        self.claimed = False
        self.was_lost = False
        self.turn = road.turn_of(index)
        self._prepared: Prepared
        self._carried: CarriedKey
        self._charge: Charge
        self._reservation: Reservation | None = None
        self._worst = 0.0
        self._hold: Hold | None = None
        self._refusals = 0
        self._waited = 0.0
        self._asking_since: float | None = None
        self.ended_as: Result | None = None
        self._is_recorded = False
        # What came of the call, as `go` returns it, until which it is `UNDER_WAY`.
        self.outcome: Any = UNDER_WAY
        # Of the call under way: what performs it, if that was decided; what is sent; when it began; who is told.
        self._perform: Callable[[], Any] | None = None
        self._sent: Mapping[str, Any]
        self._began = 0.0
        self._landed: Landed
        road.tracker.record_start()

    @property
    def credentials(self) -> tuple[Any, ...]:
        """What a refused key is known by: itself, and whose it is."""
        params = self._prepared.params
        return self._carried.current, params.get("api_base") or params.get("base_url"), self._prepared.provider

    def prepare(self) -> None:
        """Check the request and make it fit its model.

        Raises:
            LLMAPIClientError: The request cannot be sent as it is.
        """
        road = self.road
        self.limiter = road.limits.of(road.preparer.check(self.request))
        self._prepared = road.preparer.prepare(
            road.defaults.complete(self.request),
            sanitize=road.sanitize,
            count_prompt=self.limiter.counts_tokens,
            exactly=self.limiter.tokens_are_scarce,
            response_format=None if road.validation is None else road.validation.response_format,
        )
        self._carried = CarriedKey(self._prepared.params)
        if road.purse is not None:
            self._worst = road.purse.worst_cost(self._prepared)

    def find(self, kept: Keeps | None) -> Result | None:
        """The answer that a checkpoint or the cache has for the request, or None.

        Raises:
            InvalidInputError: The request holds what neither can know it by.
        """
        cache = self.road.cache
        if kept is None and cache is None:
            return None
        self._identity = identity_of(self._prepared.params, self._prepared.operation)
        found = None
        if kept is not None:
            self.key, found = kept.next(self._identity)
            found = self._as_wanted(found)
        if found is None and cache is not None:
            found = self._as_wanted(cache.get(self._identity))
        return found

    def _as_wanted(self, found: Result | None) -> Result | None:
        if found is None or self.road.validation is None:
            return found
        verdict, parsed = self.road.validation.judge(found.response)
        return replace(found, parsed=parsed) if verdict.kind is Kind.ANSWERED else None

    def claim(self) -> Claim:
        """What a checkpoint writes down before the request is sent."""
        if self.key is None:
            raise TypeError("a request without a key cannot be claimed")
        self.claimed = True
        return self.key, self._prepared.model, excerpt_of(self._prepared.params) or ""

    def has_end(self, result: Result) -> bool:
        """Whether a checkpoint should know of this end: calls were made for it, and the last of them has ended."""
        if result.cached:
            return True
        return self.attempts > 0 and not result.replayed and not getattr(result.error, "in_flight", False)

    def was_spared(self, result: Result) -> bool:
        """Whether it was claimed, and ended without a call that may be paid for."""
        in_flight = self.was_lost or getattr(result.error, "in_flight", False)
        return self.claimed and not self.attempts and not in_flight

    def ask(self, place: Place) -> Decision:
        """Ask to be admitted.

        Raises:
            RequestTooLargeError: The request alone is larger than a limit.
            AdmissionTimeoutError: It cannot go within `max_delay`.
            BudgetExceededError: What is left of the money could not pay for it.
        """
        purse = self.road.purse
        if purse is not None:
            purse.check(self._worst)
        now = self.road.clock.now()
        if self._asking_since is None:
            self._asking_since = now
            self._charge = self.road.answers.charge_of(self._prepared, self.limiter)
        decision = self.limiter.ask(place, self._charge)
        match decision:
            case Go(reservation):
                if purse is not None:
                    self._hold = purse.hold(self._worst, place)
                    if self._hold is None:
                        reservation.cancel()
                        return NotBefore(inf, "calls under way may need what is left of max_cost")
                self._waited += now - self._asking_since
                self._asking_since = None
                self._reservation = reservation
                self.outcome = UNDER_WAY
                return decision
            case NotBefore():
                return self._patient(decision, now)
            case never:
                message = (
                    f"The request is larger than its limit: {never.why} (prompt {self._charge.prompt_tokens:,} tokens, "
                    f"answer up to {self._charge.answer_tokens:,}). Shorten it, lower max_tokens, or raise the limit."
                )
                raise RequestTooLargeError(message)

    def set_out(self, landed: Landed) -> Any:
        """Begin the call without a thread, if that takes no waiting; None says that it is to `go` in one.

        `UNDER_WAY` says that `landed` is told of its end, in another thread, maybe before this returns. Anything else
        is its outcome.
        """
        self._landed = landed
        if self._carried.is_asked:
            return None
        try:
            end = self._set_out()
        except Exception as raised:  # noqa: BLE001  it is its outcome; but what is to stop the program stops it here
            end = self._failed(raised)
        if end is not None and end is not UNDER_WAY:
            self.outcome = end
        return end

    def go(self) -> Any:
        """Make the call, judge and settle it, in whatever thread. What must stop the batch is returned, not raised.

        None says that it must ask again: the limit was paused since the request was admitted, so that it was not sent,
        or its key was refused, and there is another. `UNDER_WAY` says that `landed` will be told of its end.
        """
        return self._land(self._go)

    def arrive(self, end: Callable[[], Any]) -> Any:
        """The call has ended: judge and settle it; else as `go`."""
        return self._land(lambda: self._travel(end))

    def _set_out(self) -> Any:
        params = self._carried.params_to_send()
        if self._reservation is None or self.limiter.is_paused or not self.road.may_start(self.index):
            return None
        self._perform = self._begin(params, self._reservation)
        return UNDER_WAY if self._perform is None else None

    def _go(self) -> Any:
        perform, self._perform = self._perform, None
        params = self._sent if perform is not None else self._carried.params_to_send()
        # Asking for a key, or waiting for a thread, may have taken any time.
        if self.ended_as is not None or self._reservation is None or self.limiter.is_paused:
            self.cancel()
            return None
        if not self.road.may_start(self.index):
            self.cancel()
            return Verdict(Kind.PERMANENT, RequestCancelledError("It was cancelled before it was sent."))
        if perform is None:
            perform = self._begin(params, self._reservation)
        else:
            self._began = self.road.clock.now()
        return UNDER_WAY if perform is None else self._travel(perform)

    def _begin(self, params: Mapping[str, Any], reservation: Reservation) -> Callable[[], Any] | None:
        self._sent, self._began = params, self.road.clock.now()
        try:
            return self.road.begin(self._prepared, params, reservation.start, self._lands)
        except Exception as raised:  # noqa: BLE001  it is the call's end as if it had been sent
            return partial(_raise, raised)

    def _lands(self, end: Callable[[], Any], news: News) -> None:
        if news is News.MAY_GO:
            self._perform = end
        self._landed(self, end, news)

    def _land(self, step: Callable[[], Any]) -> Any:
        try:
            outcome = step()
        except Exception as raised:  # noqa: BLE001  likewise
            outcome = self._failed(raised)
        except BaseException as stop:  # noqa: BLE001  the api_call asks the program to end; the batch's thread obeys
            outcome = stop
        self.outcome = outcome
        return outcome

    def _failed(self, raised: Exception) -> Verdict:
        """What it comes to that a key could not be had; or that this library failed, which loses no other answer."""
        if isinstance(raised, ConfigurationError):
            self.cancel()
            return Verdict(Kind.PERMANENT, raised.with_traceback(None))
        self._pay(None)
        self.was_lost = True
        error = LLMAPIClientError(f"llm_api_client itself failed on this request: {raised!r}. Please report it.")
        error.__cause__ = raised
        return Verdict(Kind.PERMANENT, error)

    def cancel(self) -> bool:
        """Give an admission back that will not be used; returns whether there was one, and no call was sent by it."""
        is_unused = self._reservation is not None and self._reservation.cancel()
        if is_unused:
            self._pay(0.0)
            self.outcome = None
        return is_unused

    def end(self, error: LLMAPIClientError | None = None) -> Result:
        """The journey is over: with the last answer, or with `error`. Said again, it ends as it did the first time."""
        if self.ended_as is None:
            if error is not None:
                error.index = self.index
            self.ended_as = self.result(error)
        if not self._is_recorded:
            self._record(self.ended_as)
        return self.ended_as

    def _record(self, end: Result) -> None:
        road = self.road
        if road.cache is not None and end.error is None and self._identity is not None:
            road.cache.put(self._identity, end)
        road.record(end)
        self._is_recorded = True
        sent = self.last is not None or getattr(end.error, "in_flight", False)
        road.tracker.record_end(succeeded=end.error is None, sent=sent)

    def replay(self, found: Result) -> Result:
        """The journey is over before it began: with the answer that a checkpoint or the cache has."""
        result = self.ended_as = replace(found, index=self.index, request=masked(self.request))
        self.road.record(result)
        self._is_recorded = True
        if found.cached:
            self.road.tracker.record_cache_hit(found.cost)
        else:
            self.road.tracker.record_replay(found.cost)
        self.road.tracker.record_end(succeeded=True, sent=False)
        return result

    def result(self, error: LLMAPIClientError | None = None) -> Result:
        """What it has come to by now: the last answer, or `error`."""
        last = self.last
        answered = last is not None and error is None
        model = self.request.get("model") if isinstance(self.request, Mapping) else None
        return Result(
            index=self.index,
            request=masked(self.request),
            response=last.response if last is not None and answered else None,
            error=error,
            attempts=self.attempts,
            latency=None if last is None else last.latency,
            cost=self.cost,
            usage=last.usage if last is not None and answered else None,
            created_at=self.road.clock.wall(),
            model=model if isinstance(model, str) else None,
            parsed=last.parsed if last is not None and answered else None,
            provider=None if last is None else last.provider,
        )

    def _pay(self, cost: float | None) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.settle(cost)

    def _patient(self, decision: NotBefore, now: float) -> NotBefore:
        max_delay = self.road.max_delay
        if max_delay is None or self._asking_since is None:
            return decision
        give_up_at = self._asking_since + max_delay - self._waited
        refused = None if self.last is None else self.last.verdict.error
        return within(decision, now, give_up_at, max_delay, refused)

    def _travel(self, perform: Callable[[], Any]) -> Any:
        """Have the call's answer, judge and settle it; None where it goes again at once, with another key."""
        road, prepared, params, reservation = self.road, self._prepared, self._sent, self._reservation
        if reservation is None:
            raise TypeError("a request that was not admitted cannot be sent")
        where = Where(prepared.model, prepared.provider, params.get("api_base") or params.get("base_url"))
        response = parsed = None
        try:
            response = perform()
        except Exception as raised:  # noqa: BLE001  whatever it is, it has a meaning, and the judge says which
            verdict = judge_raised(raised, where, secrets_in(params), road.clock.wall())
            if road.has_spoken():
                verdict = replace(verdict, kind=Kind.PERMANENT)
        else:
            if response is UNDER_WAY:
                return UNDER_WAY
            verdict = judge_answer(response, where)
            if verdict.kind is Kind.ANSWERED and road.validation is not None:
                verdict, parsed = road.validation.judge(response)
        latency = road.clock.now() - self._began
        usage = usage_of(response)
        attempt = Attempt(
            model=prepared.model,
            verdict=verdict,
            latency=latency,
            usage=usage,
            cost=cost_of(response, prepared.model, usage, road.price),
            response=response,
            parsed=parsed,
            provider=prepared.provider,
        )
        self._settle(attempt, reservation)
        road.tracker.record_attempt(attempt)
        if attempt.cost is not None:
            self.cost = (self.cost or 0.0) + attempt.cost
        self.last = attempt
        again = self._carried.goes_again(params, verdict.kind)
        self.attempts -= again
        return None if again else verdict

    def _settle(self, attempt: Attempt, reservation: Reservation) -> None:
        road, verdict = self.road, attempt.verdict
        if verdict.kind is Kind.RATE_LIMITED:
            self._refusals += 1
            pause = road.retry.pause(self._refusals, verdict.retry_after, road.chance())
            reservation.refused(road.clock.now() + pause)
        else:
            self._refusals = 0
            self.attempts += 1
        refused = getattr(verdict.error, "status_code", 0) >= 400  # noqa: PLR2004  an HTTP error: nothing was generated
        reservation.settle(attempt.usage or (_NOTHING_GENERATED if refused else None))
        self._pay(attempt.cost if attempt.cost is not None or not refused else 0.0)
        # What never left this machine takes nothing of the limits; of what did, this changes nothing.
        reservation.cancel()
        if attempt.usage is not None:
            road.answers.learn(attempt.model, attempt.usage.completion_tokens)
            road.preparer.learn(self._prepared, attempt.usage.prompt_tokens)
        limits = limits_of(attempt.response)
        if limits:
            self.limiter.observe(attempt.model, limits)


def _raise(error: Exception) -> Any:
    raise error
