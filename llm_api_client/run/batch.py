"""Many journeys at once: which goes next, what is in flight, what is tried again, and when it is over."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import chain
from math import inf
from queue import Empty, SimpleQueue
from typing import Any

from llm_api_client.admit.limiter import Go, NotBefore
from llm_api_client.errors import BatchTimeoutError, CheckpointError, LLMAPIClientError
from llm_api_client.records import UNDER_WAY, Kind, News, Result, Verdict
from llm_api_client.run.given_up import GivenUp, by_checkpoint, by_timeout, ended_by
from llm_api_client.run.intake import LOOK_AHEAD, Intake, Numbered
from llm_api_client.run.journey import Journey
from llm_api_client.run.keeping import Keeps, write_down
from llm_api_client.run.lane import Lane, Lanes
from llm_api_client.run.late import LateCalls
from llm_api_client.run.order import AsTheyEnd, InOrder, Outbox
from llm_api_client.run.progress import Progress
from llm_api_client.run.refused import RefusedKeys
from llm_api_client.run.retries import Retries
from llm_api_client.run.road import Road
from llm_api_client.run.workers import MOST_READY, Workers, drained, reply

logger = logging.getLogger(__name__)

GROUP = 256
"""Requests that end at most before their results are handed out: answers from a checkpoint come by the thousand."""

GRACE_SECONDS = 5.0
"""How long calls under way are waited for once a batch is stopped: they are paid for."""


class Batch:
    """One batch on its way. `results` runs it, in the calling thread; all state here belongs to that thread.

    Other threads only put messages into the inbox: a worker the end of its call, a limiter the lane that may ask again.

    Args:
        road: The stations.
        requests: The requests, read when their turn comes.
        workers: Most calls in flight at once.
        max_retries: Further attempts for a request that failed in a way that may pass.
        timeout: Seconds for all of it, or None.
        progress: Shows how it goes.
        kept: The checkpoint, or None.
        late: Takes, for the checkpoint, calls that are still under way when the batch is left.
        ordered: Whether results come in the order of the requests.
        whole: Whether requests that were not taken up when the batch is stopped have results too. Without, the rest
            of the input is not read, and what stopped the batch is raised at the end.
        numbered: The requests with their numbers, in place of `requests`. While it gives `NONE_NOW`, `wake` says that
            it may have some.
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
        kept: Keeps | None = None,
        late: LateCalls | None = None,
        ordered: bool = False,
        whole: bool = True,
        numbered: Iterator[Numbered] | None = None,
    ) -> None:
        self._road = road
        self._clock = road.clock
        self._intake = Intake(enumerate(requests) if numbered is None else numbered)
        # What is not at hand may have to be waited for, and nobody else shall.
        self._reading = road.baton if isinstance(requests, list) else nullcontext()
        self._ceiling = workers
        self._max_retries = max_retries
        self._timeout = timeout
        self._deadline = inf if timeout is None else self._clock.now() + timeout
        self._progress = progress
        self._kept = kept
        self._late = late or LateCalls()
        self._out: Outbox = InOrder() if ordered else AsTheyEnd()
        self._whole = whole
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._workers: Workers[Journey] = Workers(workers, "llm-api-client")
        # Calls that are admitted and handed over: those under way, and a few for the threads to go on with at once;
        # with a checkpoint none of these: a kill shall leave no more calls without a record than are in flight.
        self._room = workers + (min(workers // 4, MOST_READY) if kept is None and road.needs_threads else 0)
        self._lanes = Lanes(self._inbox.put)
        self._retries = Retries()
        # Every request that was taken up and has not ended, wherever it is: an interrupt, which may come between any
        # two steps, finds it here. Before, the intake has it; after, it is among `_ended`, and then among `_out`. What
        # came of a call is with its journey; the inbox only says so.
        self._open: dict[Journey, None] = {}
        self._admitted: deque[Journey] = deque()
        self._in_flight: set[Journey] = set()
        self._ended: list[tuple[Journey, Result]] = []
        self._refused_keys = RefusedKeys()
        self._stopped_by: Exception | None = None
        self._stopped_by_checkpoint: CheckpointError | None = None
        self._stopping = False

    def results(self) -> Iterator[Result]:
        """Every request's result, as they end. Returns within the timeout, whatever hangs.

        Raises:
            Exception: Whatever the input raises, after the results of all that was taken from it before. Where not the
                whole input is to have results, also what stopped the batch: `BatchTimeoutError`, `CheckpointError`.
        """
        while not self._is_over():
            if self._clock.now() >= self._deadline:
                why = f"the batch's timeout of {self._timeout:g} s ended"
                self._stopped_by = BatchTimeoutError(f"Not all requests were read from the input before {why}.")
                yield from self.give_up(by_timeout(why))
                break
            with self._reading:
                self._send()
            if self._ended or self._admitted:
                yield from self._hand_out()
            elif not self._is_over():
                self._receive()
            if self._stopped_by_checkpoint is not None:
                yield from self.last_calls()
                yield from self.give_up(by_checkpoint(self._stopped_by_checkpoint))
                break
        self.close()
        if self._stopped_by is not None and not (self._whole and isinstance(self._stopped_by, LLMAPIClientError)):
            raise self._stopped_by

    def last_calls(self, seconds: float = GRACE_SECONDS) -> Iterator[Result]:
        """Start nothing more, and wait so long for the calls under way."""
        until = min(self._deadline, self._clock.now() + seconds)
        self._stop_sending()
        if number := len(self._in_flight):
            logger.warning("Stopping: %d calls under way have %g s more; Ctrl-C again leaves at once.", number, seconds)
        self._look_who_has_landed()
        yield from self._hand_out()
        while self._in_flight and self._clock.now() < until:
            self._receive(until)
            yield from self._hand_out()

    def give_up(self, error: GivenUp) -> Iterator[Result]:
        """End everything that has not ended, without waiting for it."""
        self._stop_sending()
        self._look_who_has_landed()
        self._lanes.clear()
        self._retries.clear()
        for journey in list(self._open):
            if journey in self._in_flight:
                self._end(journey, error("No answer yet when {}; the call was under way and may be billed.", True))
            else:
                again = "again " if journey.attempts else ""
                self._end(journey, error(f"Not sent {again}before {{}}.", False))
        if self._whole:
            for index, request in self._intake.rest():
                self._end(Journey(self._road, index, request), error("Not sent before {}.", False))
        self._intake.close()
        yield from self._hand_out()

    def close(self) -> None:
        """Leave; calling twice is harmless. What calls under way still bring goes into the checkpoint."""
        self._stop_sending()
        self._workers.close()
        kept, self._kept = self._kept, None
        if kept is None:
            return
        if self._in_flight and self._stopped_by_checkpoint is None:
            self._late.take(kept, self._inbox, self._in_flight)
        else:
            kept.close()

    def wake(self) -> None:
        """An input that had none may have some. From any thread."""
        self._inbox.put(None)

    def interrupt(self, stop: BaseException) -> None:
        """Raise `stop` in the batch's thread, as Ctrl-C would. From any thread."""
        self._inbox.put(stop)

    def _stop_sending(self) -> None:
        self._stopping = True
        for journey in chain(self._admitted, self._workers.withdraw()):
            if journey.cancel():  # or an interrupt came when the first of them had just left
                self._in_flight.discard(journey)
        self._admitted.clear()
        self._lanes.leave()

    def _is_over(self) -> bool:
        return self._intake.is_exhausted and not self._open and not self._ended

    def _send(self) -> None:
        """Admit every call that may go now; what can never go ends here."""
        for journey in self._retries.due(self._clock.now()):  # as many as their budget allows
            self._put_first(journey)
        while len(self._in_flight) + len(self._admitted) < self._room:
            now = self._clock.now()
            if now >= self._deadline or len(self._ended) >= GROUP:
                return
            lane = self._lanes.ready(now)
            if lane is not None:
                with self._road.baton:
                    self._ask_for_first(lane)
            elif self._may_take_up():
                self._take_up()
            else:
                return
        # No thread to send with: a place kept in line would hold up the other batches of the client.
        self._lanes.leave()

    def _ask_for_first(self, lane: Lane) -> None:
        journey = lane.queue[0]
        try:
            self._refused_keys.check(journey)
            decision = journey.ask(lane.place)
        except LLMAPIClientError as error:
            lane.queue.popleft()
            self._end(journey, error)
        else:
            if isinstance(decision, NotBefore):
                lane.not_before = decision.when
            elif isinstance(decision, Go):
                lane.queue.popleft()
                self._admitted.append(journey)
        if not lane.queue:
            lane.leave()

    def _may_take_up(self) -> bool:
        """Whether to take the next request from the input: as late as possible, so that waiting costs no memory."""
        ahead = LOOK_AHEAD if self._road.limits.several else 1
        if self._intake.is_exhausted or self._intake.has_none_now or self._lanes.waiting >= ahead:
            return False
        return self._out.has_room(len(self._open) + len(self._ended), self._ceiling)

    def _take_up(self) -> None:
        taken = self._intake.take()
        if taken is None:
            self._stopped_by = self._intake.failure or self._stopped_by
            return
        with self._road.baton:
            journey = Journey(self._road, *taken)
            self._open[journey] = None
            self._intake.taken = None
            try:
                journey.prepare()
                found = journey.find(self._kept)
            except LLMAPIClientError as error:
                self._end(journey, error)
            else:
                if found is not None:
                    self._end(journey, replay=found)
                else:
                    self._lanes.of(journey).add(journey)

    def _hand_out(self) -> Iterator[Result]:
        """Make final what was decided: first it is kept, then calls go under way, then results go to the caller."""
        self._keep()
        with self._road.baton:
            while self._admitted:
                journey = self._admitted[0]
                self._in_flight.add(journey)
                end = journey.set_out(self._landed)
                del self._admitted[0]
                if end is None:
                    self._workers.submit(journey, journey.go, self._inbox)
                elif end is not UNDER_WAY:
                    self._inbox.put(journey)
            results = [result for _, result in self._ended]
            self._out += results
            self._ended.clear()
            for result in results:
                self._progress.ended(result)
        if self._out.has_some:
            # The caller may take any time with them, in which others of the client shall not wait for this batch.
            self._lanes.leave()
        yield from self._out
        self._intake.has_none_now = False

    def _landed(self, journey: Journey, end: Callable[[], Any], news: News) -> None:
        """There is news of a call that takes no thread. Who tells it shall not wait for what is done about it."""
        call = journey.go if news is News.MAY_GO else partial(journey.arrive, end)
        if news is News.MAY_GO and self._stopping:
            journey.cancel()
            self._inbox.put(journey)
        elif news is News.MADE or not self._workers.try_submit(journey, call, self._inbox, was_sent=news is News.CAME):
            reply(journey, call, self._inbox)

    def _keep(self) -> None:
        """Write down what is about to be sent, and what has ended; should that fail, nothing further is sent."""
        if self._kept is None or self._stopped_by_checkpoint is not None:
            return
        try:
            write_down(self._kept, self._admitted, self._ended)
        except CheckpointError as error:
            self._stopped_by = self._stopped_by_checkpoint = error
            for journey in self._admitted:
                journey.cancel()
            self._admitted.clear()

    def _receive(self, until: float = inf) -> None:
        """Wait for something to happen, and deal with all that has."""
        now = self._clock.now()
        wake_at = min(self._next_event(now), self._deadline, until)
        self._progress.show(self._waiting_for(now), wake_at - now)
        timeout = min(wake_at - now, self._progress.refresh_seconds)
        try:
            message = self._clock.wait(
                self._inbox, None if timeout == inf else timeout, running=min(len(self._in_flight), self._ceiling)
            )
        except Empty:
            return
        with self._road.baton:
            for each in chain((message,), drained(self._inbox)):
                self._deal_with(each)

    def _next_event(self, now: float) -> float:
        """When something can go on without a message."""
        if self._stopping:
            return inf
        has_room = len(self._in_flight) < self._room
        events = [lane.not_before for lane in self._lanes if lane.queue and has_room]
        return min([*events, self._retries.next_at(now)])

    def _waiting_for(self, now: float) -> str:
        """What stands in the way of the next request, for people."""
        if self._stopping:
            return "calls under way"
        if self._lanes.are_held_up(now) and len(self._in_flight) < self._room:
            return "rate limit"
        return "retry" if self._retries and not self._in_flight else ""

    def _look_who_has_landed(self) -> None:
        """Deal with the calls that have ended, which are paid for; an interrupt may have swallowed the word of it."""
        # First the one that was just ending: its result may be the history's last, and is no second one then.
        for journey in sorted(self._in_flight, key=lambda journey: journey.ended_as is None):
            if not isinstance(journey.outcome, BaseException):
                self._land(journey)

    def _deal_with(self, message: Any) -> None:
        self._intake.has_none_now = False
        if isinstance(message, Lane):
            message.not_before = -inf
        elif isinstance(message, Journey):
            self._land(message)
        elif isinstance(message, BaseException):
            raise message

    def _land(self, journey: Journey) -> None:
        """Deal with a call that has ended: once, however often it is told."""
        outcome = journey.outcome
        if outcome is UNDER_WAY or journey not in self._in_flight:
            return
        if journey in self._open:
            if isinstance(outcome, BaseException):
                self._end(journey, ended_by(outcome))
            else:
                self._after(journey, outcome)
        self._in_flight.discard(journey)
        if isinstance(outcome, BaseException):
            raise outcome

    def _after(self, journey: Journey, verdict: Verdict | None) -> None:
        """What follows from the end of a call: the journey's end, or another try."""
        if verdict is None:
            self._put_first(journey)
            return
        if verdict.kind is Kind.ANSWERED:
            self._retries.budget.answered(retry=journey.attempts > 1)
            self._end(journey)
            return
        if not self._stopping:
            match verdict.kind:
                case Kind.RATE_LIMITED:
                    self._put_first(journey)
                    return
                case Kind.INVALID if journey.attempts <= self._max_retries:
                    # The provider is well, so that nothing is to be waited for.
                    self._put_first(journey)
                    return
                case Kind.TRANSIENT if journey.attempts <= self._max_retries:
                    delay = self._road.retry.delay(journey.attempts, verdict.retry_after, self._road.chance())
                    self._retries.add(self._clock.now() + delay, journey)
                    return
        self._refused_keys.learn(journey, verdict)
        self._end(journey, verdict.error)

    def _put_first(self, journey: Journey) -> None:
        lane = self._lanes.of(journey)
        lane.queue.appendleft(journey)
        lane.not_before = -inf

    def _end(self, journey: Journey, error: LLMAPIClientError | None = None, *, replay: Result | None = None) -> None:
        result = journey.end(error) if replay is None else journey.replay(replay)
        # CPython looks for signals after calls and jumps back, so that none comes between these two.
        self._ended += [(journey, result)]
        self._open.pop(journey, None)
