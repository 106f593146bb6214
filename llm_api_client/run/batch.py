"""Many journeys at once: which goes next, what is in flight, what is tried again, and when it is over."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, count
from math import inf
from queue import Empty, SimpleQueue
from typing import Any

from llm_api_client.admit.limiter import Go, Limiter, NotBefore, Place
from llm_api_client.call.retry import RetryBudget
from llm_api_client.errors import (
    AuthenticationError,
    BatchInterruptedError,
    BatchTimeoutError,
    LLMAPIClientError,
)
from llm_api_client.records import Kind, Result, Verdict
from llm_api_client.run.journey import Journey, Road
from llm_api_client.run.progress import Progress
from llm_api_client.run.workers import Workers

MOST_READY = 8
"""Calls that wait, admitted, for a thread while all are busy. Without them each thread that ends a call would wait for
this one, which under load costs more than all else that is done for a call here."""

LOOK_AHEAD = 1_000
"""Requests taken from the input ahead of their turn, to find one whose own limit lets it go while others wait."""


class _Lane:
    """The queue before one limiter. Its first journey is the only one that asks."""

    __slots__ = ("limiter", "not_before", "place", "queue")

    def __init__(self, limiter: Limiter, inbox: SimpleQueue[Any]) -> None:
        self.limiter = limiter
        self.place = Place(lambda: inbox.put(self))
        self.queue: deque[Journey] = deque()
        self.not_before = -inf


class Batch:
    """One batch on its way. `results` runs it, in the calling thread; all state here belongs to that thread.

    Other threads only put messages into the inbox: a worker the end of its call, a limiter the lane that may ask again.
    """

    def __init__(
        self,
        road: Road,
        requests: Iterable[Any],
        *,
        workers: int,
        max_retries: int,
        timeout: float | None,
        progress: Progress,
    ) -> None:
        self._road = road
        self._clock = road.clock
        self._source = enumerate(requests)
        self._exhausted = False
        self._ceiling = workers
        self._max_retries = max_retries
        self._timeout = timeout
        self._deadline = inf if timeout is None else self._clock.now() + timeout
        self._progress = progress
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._workers: Workers[Journey] = Workers(workers, "llm-api-client")
        # Calls that are admitted and handed over: those under way, and a few for the threads to go on with at once.
        self._room = workers + min(workers // 4, MOST_READY)
        self._lanes: dict[Limiter, _Lane] = {}
        self._retries: list[tuple[float, int, Journey]] = []
        self._retry_order = count()
        self._budget = RetryBudget()
        # Every request that was taken up and has not ended, wherever it is: an interrupt, which may come between any
        # two steps, finds it here. Before, it is `_taken`.
        self._open: dict[Journey, None] = {}
        self._taken: tuple[int, Any] | None = None
        self._in_flight: set[Journey] = set()
        self._refused_keys: dict[tuple[Any, ...], AuthenticationError] = {}

    def results(self) -> Iterator[Result]:
        """Every request's result, as they end. Returns within the timeout, whatever hangs."""
        try:
            while True:
                if self._clock.now() >= self._deadline:
                    yield from self.give_up(f"the batch's timeout of {self._timeout:g} s ended", BatchTimeoutError)
                    return
                self._revive()
                yield from self._send()
                if self._is_over():
                    return
                yield from self._receive()
        finally:
            self._close()

    def give_up(self, why: str, error: type[BatchTimeoutError | BatchInterruptedError]) -> Iterator[Result]:
        """End everything that has not ended, without waiting for it."""
        yield from self._deal_with_what_has_come()
        sent = self._in_flight.difference(self._workers.withdraw())
        open_journeys = list(self._open)
        self._open.clear()
        self._in_flight.clear()
        self._retries.clear()
        for lane in self._lanes.values():
            lane.queue.clear()
        for journey in open_journeys:
            if journey in sent:
                message = f"No answer yet when {why}; the call was under way and may be billed."
                yield self._ended(journey, error(message, in_flight=True))
            else:
                journey.cancel()
                again = "again " if journey.attempts else ""
                yield self._ended(journey, error(f"Not sent {again}before {why}."))
        for index, request in chain([self._taken] if self._taken else [], self._source):
            yield self._ended(Journey(self._road, index, request), error(f"Not sent before {why}."))

    def _is_over(self) -> bool:
        return self._exhausted and not self._open

    def _revive(self) -> None:
        """Put retries whose time has come at the head of their lanes, as many as the budget allows."""
        now = self._clock.now()
        while self._retries and self._retries[0][0] <= now and self._budget.ready_at(now) <= now:
            _, _, journey = heapq.heappop(self._retries)
            self._budget.take(now)
            self._put_first(journey)

    def _send(self) -> Iterator[Result]:
        """Start every call that may go now; what can never go ends here."""
        while len(self._in_flight) < self._room:
            now = self._clock.now()
            if now >= self._deadline:
                return
            lane = next((lane for lane in self._lanes.values() if lane.queue and lane.not_before <= now), None)
            if lane is not None:
                yield from self._ask_for_first(lane)
            elif self._may_take_up():
                yield from self._take_up()
            else:
                return
        # No thread to send with: a place kept in line would hold up the other batches of the client.
        for lane in self._lanes.values():
            lane.limiter.leave(lane.place)
            lane.not_before = -inf

    def _ask_for_first(self, lane: _Lane) -> Iterator[Result]:
        journey = lane.queue[0]
        try:
            self._check_key(journey)
            decision = journey.ask(lane.place)
        except LLMAPIClientError as error:
            lane.queue.popleft()
            yield self._ended(journey, error)
        else:
            if isinstance(decision, NotBefore):
                lane.not_before = decision.when
            elif isinstance(decision, Go):
                lane.queue.popleft()
                self._in_flight.add(journey)
                self._workers.submit(journey, journey.go, self._inbox)
        if not lane.queue:
            lane.limiter.leave(lane.place)

    def _check_key(self, journey: Journey) -> None:
        refusal = self._refused_keys.get(journey.key)
        if refusal is not None:
            message = f"Not sent, because its key was refused before ({refusal})"
            raise AuthenticationError(
                message, status_code=refusal.status_code, provider=refusal.provider, model=refusal.model
            ) from refusal

    def _may_take_up(self) -> bool:
        """Whether to take the next request from the input: as late as possible, so that waiting costs no memory."""
        waiting = sum(len(lane.queue) for lane in self._lanes.values())
        return not self._exhausted and waiting < (LOOK_AHEAD if self._road.limits.several else 1)

    def _take_up(self) -> Iterator[Result]:
        self._taken = next(self._source, None)
        if self._taken is None:
            self._exhausted = True
            return
        journey = Journey(self._road, *self._taken)
        self._open[journey] = None
        self._taken = None
        try:
            journey.prepare()
        except LLMAPIClientError as error:
            yield self._ended(journey, error)
        else:
            self._lane_of(journey).queue.append(journey)

    def _receive(self) -> Iterator[Result]:
        """Wait for something to happen, and deal with all that has."""
        now = self._clock.now()
        wake_at = min(self._next_event(now), self._deadline)
        self._progress.show(self._waiting_for(now), wake_at - now)
        timeout = min(wake_at - now, self._progress.refresh_seconds)
        try:
            message = self._clock.wait(
                self._inbox, None if timeout == inf else timeout, running=min(len(self._in_flight), self._ceiling)
            )
            while True:
                yield from self._deal_with(message)
                message = self._inbox.get_nowait()
        except Empty:
            return

    def _next_event(self, now: float) -> float:
        """When something can go on without a message."""
        events = [lane.not_before for lane in self._lanes.values() if lane.queue]
        if len(self._in_flight) >= self._room:
            events = []
        if self._retries:
            events.append(max(self._retries[0][0], self._budget.ready_at(now)))
        return min(events, default=inf)

    def _waiting_for(self, now: float) -> str:
        """What stands in the way of the next request, for people."""
        held_up = any(lane.queue and lane.not_before > now for lane in self._lanes.values())
        if held_up and len(self._in_flight) < self._room:
            return "rate limit"
        return "retry" if self._retries and not self._in_flight else ""

    def _deal_with_what_has_come(self) -> Iterator[Result]:
        """Deal with the calls that have ended before the batch did: they are paid for."""
        while True:
            try:
                message = self._inbox.get_nowait()
            except Empty:
                return
            if isinstance(message, _Lane) or not isinstance(message[1], BaseException):
                yield from self._deal_with(message)

    def _deal_with(self, message: Any) -> Iterator[Result]:
        if isinstance(message, _Lane):
            message.not_before = -inf
            return
        journey, verdict = message
        if isinstance(verdict, BaseException):
            raise verdict
        result = self._after(journey, verdict)
        self._in_flight.discard(journey)
        if result is not None:
            yield result

    def _after(self, journey: Journey, verdict: Verdict | None) -> Result | None:
        """What follows from the end of a call: the journey's end, or another try."""
        if verdict is None:
            self._put_first(journey)
            return None
        match verdict.kind:
            case Kind.ANSWERED:
                self._budget.answered(retry=journey.attempts > 1)
                return self._ended(journey)
            case Kind.RATE_LIMITED:
                self._put_first(journey)
                return None
            case Kind.TRANSIENT if journey.attempts <= self._max_retries:
                delay = self._road.retry.delay(journey.attempts, verdict.retry_after, self._road.chance())
                due = self._clock.now() + delay
                heapq.heappush(self._retries, (due, next(self._retry_order), journey))
                return None
            case Kind.KEY_REFUSED if isinstance(verdict.error, AuthenticationError):
                self._refused_keys.setdefault(journey.key, verdict.error)
        return self._ended(journey, verdict.error)

    def _put_first(self, journey: Journey) -> None:
        lane = self._lane_of(journey)
        lane.queue.appendleft(journey)
        lane.not_before = -inf

    def _lane_of(self, journey: Journey) -> _Lane:
        lane = self._lanes.get(journey.limiter)
        if lane is None:
            lane = self._lanes[journey.limiter] = _Lane(journey.limiter, self._inbox)
        return lane

    def _ended(self, journey: Journey, error: LLMAPIClientError | None = None) -> Result:
        result = journey.end(error)
        self._open.pop(journey, None)
        self._progress.ended(result)
        return result

    def _close(self) -> None:
        for lane in self._lanes.values():
            lane.limiter.leave(lane.place)
        self._workers.close()
