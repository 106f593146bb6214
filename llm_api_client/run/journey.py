"""One request's way, top to bottom: prepare → admit → call → judge → record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol

from llm_api_client.admit.answers import AnswerLengths
from llm_api_client.admit.budget import Hold
from llm_api_client.admit.limiter import Decision, Go, Limiter, NotBefore, Place, Reservation
from llm_api_client.admit.limits import Limits
from llm_api_client.admit.rates import Charge
from llm_api_client.call.answer import cost_of, limits_of, usage_of
from llm_api_client.call.failure import forget_frames, read_failure, scrub
from llm_api_client.call.judge import Where, judge_answer, judge_failure
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.clock import Clock
from llm_api_client.errors import AdmissionTimeoutError, ConfigurationError, LLMAPIClientError, RequestTooLargeError
from llm_api_client.prepare.check import check_request
from llm_api_client.record.identity import identity_of
from llm_api_client.record.table import excerpt_of
from llm_api_client.records import Attempt, Key, Kind, Prepared, Result, Usage, Verdict
from llm_api_client.run.defaults import Defaults
from llm_api_client.run.keeping import Claim, Keeps
from llm_api_client.run.keys import CarriedKey
from llm_api_client.run.purse import Purse
from llm_api_client.secrets import masked, secrets_in

_NOTHING_GENERATED = Usage(0, 0)


class Prepares(Protocol):
    """The first station: makes a request fit its model, and learns how well it counted."""

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


class Validates(Protocol):
    """What the caller wants of an answer."""

    @property
    def response_format(self) -> Any:
        """What to ask of a model that can keep to it, or None."""

    def judge(self, response: Any) -> tuple[Verdict, Any]:
        """What an answer comes to, and what was made of it."""


@dataclass(frozen=True, slots=True)
class Road:
    """The stations that all journeys of a batch pass, built by the client.

    Attributes:
        preparer: Makes a request fit its model.
        limits: Which limiter admits which model.
        answers: Expected lengths of answers.
        send: Performs a call; takes the parameters, the provider's name, and what to call when the request leaves.
        price: US dollars for a model's usage, for answers that don't say what they cost.
        retry: How long to wait after failures.
        tracker: Counts every call.
        record: Keeps every result.
        clock: Tells the time.
        chance: A random number from 0 to 1.
        defaults: What requests carry that don't say otherwise.
        sanitize: Whether requests are made to fit their models.
        max_delay: Longest wait for admission in seconds, or None.
        validation: What the caller wants of an answer, or None.
        purse: The money that calls may cost, or None.
    """

    preparer: Prepares
    limits: Limits
    answers: AnswerLengths
    send: Callable[[Mapping[str, Any], str | None, Callable[[], None]], Any]
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


class Journey:
    """One request under way. Its methods are called by one thread at a time."""

    __slots__ = (
        "_asking_since", "_carried", "_charge", "_has_ended", "_hold", "_prepared", "_refusals", "_reservation",
        "_waited", "_worst", "attempts", "claimed", "cost", "index", "key", "last", "limiter", "request", "road",
        "was_lost",
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
        self.claimed = False
        self.was_lost = False
        self._prepared: Prepared
        self._carried: CarriedKey
        self._charge: Charge
        self._reservation: Reservation | None = None
        self._worst = 0.0
        self._hold: Hold | None = None
        self._refusals = 0
        self._waited = 0.0
        self._asking_since: float | None = None
        self._has_ended = False
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
        check_request(self.request)
        road = self.road
        self.limiter = road.limits.of(self.request["model"])
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

    def find(self, kept: Keeps) -> Result | None:
        """The answer that a checkpoint has for the request, or None.

        Raises:
            InvalidInputError: The request holds what a checkpoint cannot know it by.
        """
        self.key = kept.key(identity_of(self._prepared.params))
        found = kept.find(self.key)
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
            self._charge = self._expected_charge()
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
                return decision
            case NotBefore(when, why):
                return self._patient_until(when, why, now)
            case never:
                message = (
                    f"The request is larger than its limit: {never.why} (prompt {self._charge.prompt_tokens:,} tokens, "
                    f"answer up to {self._charge.answer_tokens:,}). Shorten it, lower max_tokens, or raise the limit."
                )
                raise RequestTooLargeError(message)

    def go(self) -> Verdict | BaseException | None:
        """Make the call, judge and settle it, in whatever thread. What must stop the batch is returned, not raised.

        None says that it must ask again: the limit was paused since the request was admitted, so that it was not sent,
        or its key was refused, and there is another.
        """
        try:
            params = self._carried.params_to_send()
            # Asking for a key may have taken any time.
            if self._has_ended or self._reservation is None or self.limiter.is_paused:
                self.cancel()
                return None
            verdict = self._travel(self._reservation, params)
            again = self._carried.goes_again(params, verdict.kind)
        except ConfigurationError as no_key:  # of the callable that was asked for it
            self.cancel()
            return Verdict(Kind.PERMANENT, no_key.with_traceback(None))
        except Exception as bug:  # a bug here must not lose the other answers  # noqa: BLE001
            self._pay(None)
            self.was_lost = True
            error = LLMAPIClientError(f"llm_api_client itself failed on this request: {bug!r}. Please report it.")
            error.__cause__ = bug
            return Verdict(Kind.PERMANENT, error)
        except BaseException as stop:  # noqa: BLE001  the api_call asks the program to end; the batch's thread obeys
            return stop
        self.attempts -= again
        return None if again else verdict

    def cancel(self) -> None:
        """Give an admission back that will not be used."""
        if self._reservation is not None:
            self._reservation.cancel()
        self._pay(0.0)

    def end(self, error: LLMAPIClientError | None = None) -> Result:
        """The journey is over: with the last answer, or with `error`."""
        self._has_ended = True
        if error is not None:
            error.index = self.index
        result = self._result(error)
        sent = self.last is not None or getattr(error, "in_flight", False)
        self.road.tracker.record_end(succeeded=error is None, sent=sent)
        self.road.record(result)
        return result

    def replay(self, found: Result) -> Result:
        """The journey is over before it began: with the answer that a checkpoint has."""
        result = replace(found, index=self.index, request=masked(self.request))
        self.road.tracker.record_replay(found.cost)
        self.road.tracker.record_end(succeeded=True, sent=False)
        self.road.record(result)
        return result

    def late_result(self) -> Result:
        """What a call came to whose end was given up, for the checkpoint only."""
        return self._result(None)

    def _result(self, error: LLMAPIClientError | None) -> Result:
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
        )

    def _pay(self, cost: float | None) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.settle(cost)

    def _expected_charge(self) -> Charge:
        prepared = self._prepared
        if not self.limiter.counts_tokens:
            return Charge()
        answer = self.road.answers.expect(prepared.model, prepared.max_answer_tokens)
        room = self.limiter.room_for_answer(prepared.prompt_tokens)
        if prepared.max_answer_tokens is None and room is not None:
            # Only a guess: it must not make a request too large that would fit without it.
            answer = min(answer, max(0, room))
        return Charge(prepared.prompt_tokens, answer)

    def _patient_until(self, when: float, why: str, now: float) -> NotBefore:
        if self.road.max_delay is None or self._asking_since is None:
            return NotBefore(when, why)
        give_up_at = self._asking_since + self.road.max_delay - self._waited
        if now >= give_up_at or give_up_at < when < inf:
            known = f" for another {when - now:,.1f} s" if when < inf else ""
            message = (
                f"Not admitted within max_delay_seconds={self.road.max_delay:g} ({why}{known}). "
                "Raise max_delay_seconds or the limit."
            )
            # What the provider said when it refused, if that is what was waited for.
            raise AdmissionTimeoutError(message) from (None if self.last is None else self.last.verdict.error)
        return NotBefore(min(when, give_up_at), why)

    def _travel(self, reservation: Reservation, params: Mapping[str, Any]) -> Verdict:
        road, prepared = self.road, self._prepared
        where = Where(prepared.model, prepared.provider, params.get("api_base") or params.get("base_url"))
        response = parsed = None
        began = road.clock.now()
        try:
            response = road.send(params, prepared.provider, reservation.start)
        except Exception as raised:  # noqa: BLE001  whatever it is, it has a meaning, and the judge says which
            verdict = self._judged(raised, where, secrets_in(params))
        else:
            verdict = judge_answer(response, where)
            if verdict.kind is Kind.ANSWERED and road.validation is not None:
                verdict, parsed = road.validation.judge(response)
        latency = road.clock.now() - began
        usage = usage_of(response)
        attempt = Attempt(
            model=prepared.model,
            verdict=verdict,
            latency=latency,
            usage=usage,
            cost=cost_of(response, prepared.model, usage, road.price),
            response=response,
            parsed=parsed,
        )
        self._settle(attempt, reservation)
        road.tracker.record_attempt(attempt)
        if attempt.cost is not None:
            self.cost = (self.cost or 0.0) + attempt.cost
        self.last = attempt
        return verdict

    def _judged(self, raised: Exception, where: Where, secrets: set[str]) -> Verdict:
        failure = read_failure(raised, self.road.clock.wall())
        verdict = judge_failure(failure, where, secrets)
        scrub(raised, secrets)
        if failure.status or failure.network or failure.timed_out:
            # The frames say nothing that the error does not, and would keep the request alive with it.
            forget_frames(raised)
        if verdict.error is not None:
            verdict.error.__cause__ = raised
        return verdict

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
