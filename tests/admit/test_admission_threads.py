"""Admission under real threads and the real clock."""

from collections import Counter
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread

import pytest

from llm_api_client.admit.limiter import Go, Limiter, NotBefore, Place
from llm_api_client.admit.rates import Charge, RateLimit
from llm_api_client.clock import SystemClock
from llm_api_client.errors import ClientClosedError
from llm_api_client.records import Usage

from .hands import ONE, HandClock, refused, sent, used

THREADS = 200
PATIENCE = 20.0


def _together(work, threads=THREADS):
    """Run `work(number)` in many threads; all must end."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except Exception as failure:  # noqa: BLE001  told below, in the test's own thread
            failures.append(failure)

    running = [Thread(target=guarded, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in running), "deadlock"
    assert failures == []


def _wait_for(limiter, place, inbox, charge):
    while not isinstance(decision := limiter.ask(place, charge), Go):
        assert isinstance(decision, NotBefore)
        try:
            inbox.get(timeout=max(0.0, min(decision.when - limiter._clock.now(), PATIENCE)))
        except Empty:
            continue
    return decision.reservation


def _asker():
    inbox = SimpleQueue()
    return Place(lambda: inbox.put(None)), inbox


def test_two_hundred_threads_keep_the_counts():
    """Whatever two hundred threads do at once, what is counted in the end is what they sent."""
    limiter = Limiter(RateLimit(requests_per_minute=60_000, tokens_per_minute=6_000_000), SystemClock())
    counts, lock = Counter(), Lock()

    def work(number):
        place, inbox = _asker()
        for turn in range(7):
            reservation = _wait_for(limiter, place, inbox, Charge(5, 5))
            if (number + turn) % 7 == 0:
                reservation.cancel()
                continue
            reservation.start()
            reservation.settle(Usage(5, turn % 5))
            with lock:
                counts.update(requests=1, tokens=5 + turn % 5)

    _together(work)
    assert counts["requests"] == THREADS * 6
    assert [used(limiter, 0), used(limiter, 1)] == [counts["requests"], counts["tokens"]]
    assert not limiter._line


def test_two_hundred_threads_wait_for_one_another():
    """Where each must wait for what another gives back, all are served, and no waking is lost."""
    clock = HandClock()
    limiter = Limiter(RateLimit(tokens_per_minute=10), clock)
    ends = SimpleQueue()

    def work(number):
        place, inbox = _asker()
        for turn in range(5):
            while not isinstance(decision := limiter.ask(place, Charge(0, 10)), Go):
                inbox.get(timeout=PATIENCE)
            if (number + turn) % 2:
                decision.reservation.cancel()
            else:
                decision.reservation.start()
                decision.reservation.settle(Usage(0, 0))
            ends.put(number)

    _together(work)
    assert ends.qsize() == THREADS * 5
    assert used(limiter) == 0


@pytest.mark.parametrize("how", ["settle", "cancel", "leave", "never", "close"])
def test_wake_is_called_without_the_lock(how):
    """Whoever is woken may ask at once, in any thread, and is answered before the waking is over."""
    limiter = Limiter(RateLimit(output_tokens_per_minute=100), HandClock())
    call = limiter.ask(Place(lambda: None), Charge(0, 60)).reservation
    answered = []

    def wake():
        asker = Thread(target=ask, daemon=True)
        asker.start()
        asker.join(5)
        answered.append(not asker.is_alive())

    def ask():
        with suppress(ClientClosedError):
            limiter.ask(woken, Charge(0, 10))

    first, woken = Place(lambda: None), Place(wake)
    if how in {"leave", "never"}:
        refused(limiter, Charge(0, 90), first)
    refused(limiter, Charge(0, 90), woken)
    if how == "settle":
        call.start()
    act = {
        "settle": lambda: call.settle(Usage(0, 0)),
        "cancel": call.cancel,
        "leave": lambda: limiter.leave(first),
        "never": lambda: limiter.ask(first, Charge(0, 101)),
        "close": limiter.close,
    }
    limiter.ask(woken, Charge(0, 5 if how in {"leave", "never"} else 90))
    act[how]()
    assert answered == [True]


def test_waking_that_asks_itself_does_not_deadlock():
    """A waking that asks, leaves and asks again in the waking thread is answered."""
    limiter = Limiter(RateLimit(tokens_per_minute=10), HandClock())
    call = sent(limiter, Charge(0, 10))
    answers = []

    def wake():
        limiter.leave(place)
        answers.append(limiter.ask(place, Charge(0, 10)))

    place = Place(wake)
    refused(limiter, Charge(0, 10), place)
    call.settle(Usage(0, 0))
    assert isinstance(answers[0], Go)


def test_close_ends_the_waiting_of_all_threads():
    """Threads that wait when the limiter is closed are woken, and told."""
    limiter = Limiter(RateLimit(requests_per_minute=1), HandClock())
    sent(limiter)
    told = SimpleQueue()
    in_line = SimpleQueue()

    def work(_):
        place, inbox = _asker()
        refused(limiter, ONE, place)
        in_line.put(None)
        inbox.get(timeout=PATIENCE)
        with pytest.raises(ClientClosedError):
            limiter.ask(place, ONE)
        told.put(None)

    def close():
        for _ in range(THREADS):
            in_line.get(timeout=PATIENCE)
        limiter.close()

    closer = Thread(target=close, daemon=True)
    closer.start()
    _together(work)
    closer.join(PATIENCE)
    assert told.qsize() == THREADS
