"""Admission within one process: one decision over all axes, first come first served, for any number of askers."""
# ruff: noqa: SLF001  a limiter and its reservations are one thing, under one lock

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from threading import RLock

from llm_api_client.admit.pace import Pace, Throttle
from llm_api_client.admit.rates import AXES, MINUTE, Axis, Charge, RateLimit, axis_of
from llm_api_client.admit.window import SlidingWindow
from llm_api_client.clock import Clock
from llm_api_client.errors import ClientClosedError
from llm_api_client.records import Usage

logger = logging.getLogger(__name__)

SKEW = 0.25
"""Seconds by which two requests' ways to the provider may differ: it must not see in 60 s what was sent in 60.2 s."""
PACE = 0.979
"""The even pace as a part of the limit. Pace and burst together stay within the limit for any window, skew included."""
BURST_SECONDS = 1.0
"""What may go at once, in seconds' worth of the limit: providers enforce a minute's limit by the second at times."""
MIN_BURST = 3
"""Requests that may go at once however small the limit is."""


@dataclass(frozen=True, slots=True)
class Go:
    """Admitted, now."""

    reservation: "Reservation"


@dataclass(frozen=True, slots=True)
class NotBefore:
    """Not admitted yet: ask again at `when`, or as soon as the place is woken.

    Attributes:
        when: The earliest possible time, infinite where it depends on others' ends.
        why: What stands in the way, for people.
    """

    when: float
    why: str


@dataclass(frozen=True, slots=True)
class Never:
    """Waiting cannot help; `why` says which limit the request alone is larger than."""

    why: str


Decision = Go | NotBefore | Never


class Place:
    """One asker's place in a limiter's line.

    `wake` is called, from any thread and without any lock held, when it is worth asking again.
    """

    __slots__ = ("charge", "in_line", "told", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        # Owned by the limiter, under its lock. That it is in line, or is not, is said just before a call makes it so:
        # an interrupt comes after a call, and thus never between the two.
        self.charge = Charge()
        self.in_line = False
        self.told = inf


class _State(Enum):
    HELD = "held"
    SENT = "sent"
    ENDED = "ended"


class Reservation:
    """What one admitted request holds of the limits: `start` it as the call is sent, then `settle` it; or `cancel` it.

    Each is done at most once, whoever does it: what comes too late changes nothing.
    """

    __slots__ = ("_charge", "_factor", "_limiter", "_sent_at", "_state")

    def __init__(self, limiter: "Limiter", charge: Charge, factor: float) -> None:
        self._limiter = limiter
        self._charge = charge
        self._factor = factor
        # Guarded by the limiter's lock.
        self._state = _State.HELD
        self._sent_at = inf

    def start(self) -> None:
        """The call is being sent: from now on the charge ages."""
        self._limiter._start(self)

    def settle(self, usage: Usage | None) -> None:
        """The call has ended, having used `usage`; None where that is unknown, so that all that was reserved stays."""
        self._limiter._settle(self, usage)

    def cancel(self) -> bool:
        """The call will not be sent: give everything back. A call that was sent keeps its charge.

        Returns whether anything was given back.
        """
        return self._limiter._cancel(self)

    def refused(self, until: float) -> None:
        """The provider answered 429: nothing goes before `until`, and then more slowly."""
        self._limiter._refused(self, until)


class _Gauge:
    """One axis at work: its hard window, and its pace where it has one."""

    __slots__ = ("_configured", "axis", "field", "pace", "window")

    def __init__(self, field: str, limit: int, minute: float, *, paced: bool) -> None:
        axis = axis_of(field, minute)
        self._configured = limit
        self.field = field
        self.axis = axis
        self.window = SlidingWindow(limit, axis.span + SKEW)
        # A day's limit is for spending as fast as the minute's allows; only a minute's is spread.
        self.pace = Pace(*_rate_and_burst(axis, limit)) if paced and axis.span <= MINUTE else None

    def lower_to(self, limit: int | None) -> bool:
        """Keep to `limit` where it is below the configured one, None takes that back. Returns whether it changes."""
        limit = self._configured if limit is None else min(limit, self._configured)
        if limit == self.window.limit:
            return False
        self.window.limit = limit
        if self.pace:
            self.pace.rate, self.pace.burst = _rate_and_burst(self.axis, limit)
        return True


def _rate_and_burst(axis: Axis, limit: int) -> tuple[float, float]:
    return PACE * limit / axis.span, max(limit * BURST_SECONDS / axis.span, min(limit, MIN_BURST))


class Limiter:
    """Admits requests within a `RateLimit`: the hard law is the sliding window, on top of it goes an even pace.

    Waiting costs no thread: an asker that must wait has a `Place` in line and is woken when its turn may have come.

    Args:
        limit: What is admitted.
        clock: Tells the time.
        minute: How many seconds the limit's minutes have.
        paced: Whether there is a pace; without, a whole window's worth may go at once.
    """

    def __init__(self, limit: RateLimit, clock: Clock, *, minute: float = MINUTE, paced: bool = True) -> None:
        self.limit = limit
        self._clock = clock
        # The lock guards everything below, and the states of places and reservations. Nothing is called under it
        # that could wait or ask back. It is re-entrant because the garbage collector may strike while it is held, and
        # what it finds may be an abandoned batch, whose last act is to leave the line.
        self._lock = RLock()
        limits = ((field, getattr(limit, field)) for field in AXES)
        self._gauges = [_Gauge(field, int(value), minute, paced=paced) for field, value in limits if value is not None]
        self._line: deque[Place] = deque()
        self._paused_until = -inf
        self._throttle = Throttle()
        self._closed = False
        # The model asked last, and how many there were: a provider's limits are its own for each model.
        self._model: str | None = None
        self._models = 0

    @property
    def counts_tokens(self) -> bool:
        """Whether any axis needs to know a request's tokens."""
        return any(not gauge.axis.requests for gauge in self._gauges)

    @property
    def is_paused(self) -> bool:
        """Whether a provider asked to wait until later than now."""
        return self._clock.now() < self._paused_until

    @property
    def tokens_are_scarce(self) -> bool:
        """Whether half of a limit on tokens is used, so that a request's size should be known exactly."""
        return any(not gauge.axis.requests and 2 * gauge.window.used >= gauge.window.limit for gauge in self._gauges)

    def used(self) -> dict[str, int]:
        """What counts now, by the fields of `RateLimit` that are limited."""
        with self._lock:
            now = self._clock.now()
            for gauge in self._gauges:
                gauge.window.expire(now)
            return {gauge.field: gauge.window.used for gauge in self._gauges}

    def room_for_answer(self, prompt_tokens: int) -> int | None:
        """The longest answer that could ever be reserved beside such a prompt; None if nothing limits it."""
        prompt = Charge(prompt_tokens, 0)
        rooms = (gauge.window.limit - gauge.axis.amount(prompt) for gauge in self._gauges if gauge.axis.answer)
        return min(rooms, default=None)

    def observe(self, model: str, limits: Mapping[str, int]) -> None:
        """A provider's answer for `model` names its limits, by the fields of `RateLimit`.

        Those that are smaller than the configured ones are kept to instead, since to exceed them is to be refused;
        larger ones change nothing. Once a second model is asked, what one of them allows says nothing of the other.
        """
        with self._lock:
            if model != self._model and self._models < 2:  # noqa: PLR2004  the second model
                self._model = model
                self._models += 1
            told = limits if self._models == 1 else {}
            # Every gauge is brought to what was told; `any` would stop at the first that changes.
            changed = [gauge for gauge in self._gauges if gauge.lower_to(told.get(gauge.field))]
            woken = self._next_to_wake()
        for gauge in changed:
            logger.info("The limit of %s is now %s, as the provider says.", gauge.axis.name, f"{gauge.window.limit:,}")
        if woken:
            woken.wake()

    def ask(self, place: Place, charge: Charge) -> Decision:
        """May a request of this size go now? Only the first in line is ever let go.

        Asking takes a place in line, which is kept until the answer is `Go` or `Never`, or until `leave`. A place
        that asks again may do so for another request.

        Raises:
            ClientClosedError: The limiter is closed.
        """
        with self._lock:
            if self._closed:
                raise ClientClosedError("The client is closed; make a new APIClient.")
            decision = self._decide(place, charge)
            woken = self._next_to_wake()
        if woken:
            woken.wake()
        return decision

    def leave(self, place: Place) -> None:
        """Give the place in line up."""
        with self._lock:
            self._drop(place)
            woken = self._next_to_wake()
        if woken:
            woken.wake()

    def close(self) -> None:
        """Let nobody wait any longer: whoever is in line is woken, and asking raises."""
        with self._lock:
            self._closed = True
            waiting = list(self._line)
            for place in waiting:
                self._drop(place)
        for place in waiting:
            place.wake()

    def _decide(self, place: Place, charge: Charge) -> Decision:
        for gauge in self._gauges:
            amount = gauge.axis.amount(charge)
            if amount > gauge.window.limit:
                self._drop(place)
                return Never(f"it needs {amount:,} of {gauge.window.limit:,} {gauge.axis.name}")
        if not place.in_line:
            place.in_line = True
            self._line.append(place)
        place.charge = charge
        if self._line[0] is not place:
            place.told = inf
            return NotBefore(inf, "other requests of this client come first")
        now = self._clock.now()
        place.told, why = self._earliest(charge, now)
        if place.told > now:
            return NotBefore(place.told, why)
        self._drop(place)
        factor = self._throttle.at(now)
        for gauge in self._gauges:
            amount = gauge.axis.amount(charge)
            gauge.window.hold(amount)
            if gauge.pace:
                gauge.pace.spend(amount, now, factor)
        return Go(Reservation(self, charge, factor))

    def _earliest(self, charge: Charge, now: float) -> tuple[float, str]:
        when, why = self._paused_until, "the provider asked to wait"
        for gauge in self._gauges:
            amount = gauge.axis.amount(charge)
            fits_at = gauge.window.fits_at(amount, now)
            if gauge.pace:
                fits_at = max(fits_at, gauge.pace.go_at(amount))
            if fits_at > when:
                when, why = fits_at, gauge.axis.name
        return when, why

    def _drop(self, place: Place) -> None:
        if place.in_line:
            place.in_line = False
            self._line.remove(place)

    def _next_to_wake(self) -> Place | None:
        """The first in line, if it can go earlier than it was told. Wakeups are thus as many as grants, not waiters."""
        if not self._line:
            return None
        head = self._line[0]
        earliest, _ = self._earliest(head.charge, self._clock.now())
        if earliest >= head.told:
            return None
        head.told = earliest
        return head

    def _start(self, reservation: Reservation) -> None:
        with self._lock:
            if reservation._state is _State.HELD:
                reservation._state = _State.SENT
                reservation._sent_at = self._clock.now()

    def _settle(self, reservation: Reservation, usage: Usage | None) -> None:
        with self._lock:
            if reservation._state is not _State.SENT:
                return
            reservation._state = _State.ENDED
            settled = reservation._charge.settled(usage)
            for gauge in self._gauges:
                amount = gauge.axis.amount(settled)
                self._give_back(gauge, gauge.axis.amount(reservation._charge) - amount, reservation._factor)
                gauge.window.leave_at(reservation._sent_at + gauge.window.span, amount)
            woken = self._next_to_wake()
        if woken:
            woken.wake()

    def _cancel(self, reservation: Reservation) -> bool:
        with self._lock:
            if reservation._state is not _State.HELD:
                return False
            reservation._state = _State.ENDED
            for gauge in self._gauges:
                self._give_back(gauge, gauge.axis.amount(reservation._charge), reservation._factor)
            woken = self._next_to_wake()
        if woken:
            woken.wake()
        return True

    def _refused(self, reservation: Reservation, until: float) -> None:
        with self._lock:
            self._paused_until = max(self._paused_until, until)
            self._throttle = self._throttle.after_refusal(self._clock.now(), reservation._sent_at)

    def _give_back(self, gauge: _Gauge, amount: int, factor: float) -> None:
        gauge.window.hold(-amount)
        if gauge.pace:
            gauge.pace.refund(amount, factor)
