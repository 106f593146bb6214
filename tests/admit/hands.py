"""A clock moved by hand, and the few moves of which every test of admission is made."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from llm_api_client.admit.limiter import Go, Limiter, NotBefore, Place, Reservation
from llm_api_client.admit.rates import Charge, RateLimit
from llm_api_client.records import Usage

ONE = Charge()
SPAN = 60.25
"""How long a minute's charge counts: the minute, and what two requests' ways to the provider may differ by."""


class HandClock:
    """Stands still until `time` is set."""

    def __init__(self, time: float = 0.0) -> None:
        self.time = time

    def now(self) -> float:
        """What was set."""
        return self.time


class Asker(Place):
    """A place that counts how often it was woken."""

    __slots__ = ("wakes",)

    def __init__(self) -> None:
        self.wakes = 0
        super().__init__(self._woken)

    def _woken(self) -> None:
        self.wakes += 1


def limiter_of(**limits: int) -> tuple[Limiter, HandClock]:
    clock = HandClock()
    return Limiter(RateLimit(**limits), clock), clock


def admitted(limiter: Limiter, charge: Charge = ONE, place: Place | None = None) -> Reservation:
    """Ask for what must be granted now."""
    decision = limiter.ask(place or Asker(), charge)
    assert isinstance(decision, Go), decision
    return decision.reservation


def refused(limiter: Limiter, charge: Charge = ONE, place: Place | None = None) -> NotBefore:
    """Ask for what must wait, without staying in line unless it is with a place of one's own."""
    asker = place or Asker()
    decision = limiter.ask(asker, charge)
    assert isinstance(decision, NotBefore), decision
    if place is None:
        limiter.leave(asker)
    return decision


def sent(limiter: Limiter, charge: Charge = ONE, place: Place | None = None) -> Reservation:
    reservation = admitted(limiter, charge, place)
    reservation.start()
    return reservation


def done(limiter: Limiter, charge: Charge = ONE, place: Place | None = None) -> None:
    """Send a call that uses what it reserved, and ends at once."""
    sent(limiter, charge, place).settle(Usage(charge.prompt_tokens, charge.answer_tokens))


def used(limiter: Limiter, axis: int = 0) -> int:
    """What counts now on an axis."""
    window = limiter._gauges[axis].window
    window.expire(limiter._clock.now())
    return window.used


def state(limiter: Limiter) -> list[tuple[int, float]]:
    """All counters of all axes, for comparison."""
    paces = [gauge.pace._due if gauge.pace else -inf for gauge in limiter._gauges]
    return list(zip([used(limiter, axis) for axis in range(len(paces))], paces, strict=True))


def granted_at(limiter: Limiter, clock: HandClock, charge: Charge = ONE, place: Place | None = None) -> float:
    """Wait for a grant as a patient asker does, send it, and say when it came."""
    asker = place or Asker()
    for _ in range(10_000):
        decision = limiter.ask(asker, charge)
        if isinstance(decision, Go):
            decision.reservation.start()
            decision.reservation.settle(Usage(charge.prompt_tokens, charge.answer_tokens))
            return clock.time
        assert isinstance(decision, NotBefore)
        assert clock.time < decision.when < inf
        clock.time = decision.when
    raise AssertionError("never granted")


@dataclass
class Traffic:
    """An endless backlog sent through a limiter, one call after the other as it lets them go.

    Attributes:
        limit: The limits.
        latency: Seconds that a call takes.
        charge: What the next call reserves.
        usage: What a call that reserved so much turns out to use.
        sent: When each call was sent, and what it used in the end.
    """

    limit: RateLimit
    latency: Callable[[], float]
    charge: Callable[[], Charge] = lambda: ONE
    usage: Callable[[Charge], Usage] = lambda charge: Usage(charge.prompt_tokens, charge.answer_tokens)
    sent: list[tuple[float, Usage]] = field(default_factory=list)

    def run(self, seconds: float) -> "Traffic":
        """Send for so many seconds."""
        clock = HandClock()
        limiter = Limiter(self.limit, clock)
        place, in_flight, charge = Asker(), [], self.charge()
        while clock.time < seconds:
            match limiter.ask(place, charge):
                case Go(reservation):
                    usage = self.usage(charge)
                    reservation.start()
                    self.sent.append((clock.time, usage))
                    heapq.heappush(in_flight, (clock.time + self.latency(), len(self.sent), reservation, usage))
                    charge = self.charge()
                case NotBefore(when):
                    clock.time = min(when, in_flight[0][0] if in_flight else inf)
                case decision:
                    raise AssertionError(decision)
            while in_flight and in_flight[0][0] <= clock.time:
                _, _, reservation, usage = heapq.heappop(in_flight)
                reservation.settle(usage)
        return self


def most_in_any(span: float, events: list[tuple[float, float]]) -> float:
    """The largest sum of amounts of (time, amount) in any window [t, t + span)."""
    events = sorted(events)
    most = total = 0.0
    first = 0
    for at, amount in events:
        total += amount
        while events[first][0] <= at - span:
            total -= events[first][1]
            first += 1
        most = max(most, total)
    return most
