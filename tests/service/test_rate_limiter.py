"""Limiters used by themselves: what may go when, what counts, and what comes back."""

import gc
from random import Random
from threading import Thread

import pytest

from llm_api_client.errors import (
    AdmissionTimeoutError,
    ClientClosedError,
    ConfigurationError,
    InvalidInputError,
    RequestTooLargeError,
)
from llm_api_client.service import RateLimiter, SimpleRateLimiter


def test_the_next_goes_an_interval_after_the_first(clock):
    """With two requests in ten seconds, two go at once, and each further one ten seconds after the last but one."""
    limiter = SimpleRateLimiter(2, interval=10, clock=clock)
    times = []
    for _ in range(5):
        limiter.acquire().settle()
        times.append(clock.now())
    assert times == [0.0, 0.0, 10.25, 10.25, 20.5]


@pytest.mark.parametrize("seed", range(5))
def test_no_interval_carries_more_than_the_limit(clock, seed):
    """Whatever is asked, and however long calls take, no interval carries more requests or tokens than it may."""
    random = Random(seed)
    interval = random.choice([0.5, 7, 300])
    limiter = SimpleRateLimiter(20, 1_000, interval, paced=bool(seed % 2), clock=clock)
    sent, under_way = [], []
    while len(sent) < 200:
        tokens = random.randrange(120)
        reservation = limiter.try_acquire(tokens)
        if reservation is not None:
            used = random.randrange(tokens + 1)
            sent.append((clock.now(), used))
            under_way.append((reservation, used))
        elif under_way:
            reservation, used = under_way.pop(random.randrange(len(under_way)))
            reservation.settle(used)
        clock.advance(random.random() * interval / 30)
    for start, _ in sent:
        within = [used for at, used in sent if start <= at < start + interval]
        assert len(within) <= 20
        assert sum(within) <= 1_000
    assert limiter.admission.used()["requests_per_minute"] <= 20


def test_a_whole_intervals_worth_may_go_at_once(clock):
    """What has capacity is granted: no hidden pace refuses what `available_request_capacity` says is free."""
    limiter = SimpleRateLimiter(15, clock=clock)
    assert [limiter.request_permission(0) for _ in range(16)] == [True] * 15 + [False]


def test_a_paced_limiter_spreads_its_requests(clock):
    """With a pace, a burst goes at once and the rest evenly; the interval still carries all of it."""
    limiter = SimpleRateLimiter(60, interval=60, paced=True, clock=clock)
    times = []
    for _ in range(60):
        limiter.acquire().settle()
        times.append(clock.now())
    assert times[:3] == [0.0, 0.0, 0.0]
    assert times[3] == pytest.approx(1 / 0.979)
    assert times[-1] < 60.0


def test_both_are_charged_or_none(clock):
    """A request that has no room for its tokens takes no request either."""
    limiter = SimpleRateLimiter(5, 100, clock=clock)
    assert limiter.request_permission(80)
    assert not limiter.request_permission(30)
    assert limiter.available_request_capacity == 4
    assert limiter.available_token_capacity == 20


def test_what_was_reserved_in_vain_comes_back(clock):
    """Settling at less gives the difference back at once, and at more charges it."""
    limiter = SimpleRateLimiter(None, 100, clock=clock)
    less, more = limiter.acquire(60), limiter.acquire(20)
    limiter.settle(less, 10)
    assert limiter.available_token_capacity == 70
    more.settle(50)
    assert limiter.available_token_capacity == 40
    less.settle(60)
    assert limiter.available_token_capacity == 40, "settled once"


def test_what_is_under_way_counts_however_old(clock):
    """A request whose answer has not come may reach the server at any moment: it counts until it is settled."""
    limiter = SimpleRateLimiter(1, interval=1, clock=clock)
    under_way = limiter.acquire()
    clock.advance(100)
    assert limiter.try_acquire() is None
    under_way.settle()
    assert limiter.try_acquire() is not None


def test_what_is_dropped_is_settled(clock):
    """A reservation that nobody holds any more counts for its interval, and not for ever."""
    limiter = SimpleRateLimiter(1, 10, interval=1, clock=clock)
    limiter.acquire(7)
    gc.collect()
    assert limiter.available_token_capacity == 3
    clock.advance(1.25)
    assert limiter.available_token_capacity == 10


def test_a_block_settles_what_it_held(clock):
    """`with` holds a reservation for the block, counts all of it where the block did not settle, also if it raises."""
    limiter = SimpleRateLimiter(None, 100, clock=clock)
    with limiter.limit(40) as reservation:
        reservation.settle(15)
    with pytest.raises(KeyError), limiter.limit(40):
        raise KeyError
    assert limiter.available_token_capacity == 45
    clock.advance(60.25)
    assert limiter.available_token_capacity == 100


def test_what_can_never_go_is_said_at_once(clock):
    """A request larger than the limit raises, however it is asked: whoever waited for it would wait for ever."""
    limiter = SimpleRateLimiter(None, 100, clock=clock)
    for ask in (limiter.acquire, limiter.try_acquire, limiter.request_permission):
        with pytest.raises(RequestTooLargeError, match="needs 101 of 100 tokens per minute"):
            ask(101)
    with pytest.raises(RequestTooLargeError, match="100 tokens per 10 s"):
        SimpleRateLimiter(None, 100, 10).acquire(101)


def test_a_wait_that_is_too_long_is_not_begun(clock):
    """Where it is known that a request cannot go in time, it fails without waiting."""
    limiter = SimpleRateLimiter(1, interval=10, clock=clock)
    limiter.acquire().settle()
    with pytest.raises(AdmissionTimeoutError, match=r"timeout=5 \(requests per 10 s for another 10.2 s\)"):
        limiter.acquire(timeout=5)
    assert clock.now() == 0.0
    limiter.acquire(timeout=11)
    assert clock.now() == 10.25


def test_a_wait_for_others_ends_in_time(clock):
    """Where it is not known when others end, a request waits as long as it may, and then leaves the line."""
    limiter = SimpleRateLimiter(1, interval=10, clock=clock)
    under_way = limiter.acquire()
    with pytest.raises(AdmissionTimeoutError):
        limiter.acquire(timeout=5)
    assert clock.now() == 5.0
    under_way.settle()
    clock.advance(5.25)
    assert limiter.request_permission()


def test_who_came_first_goes_first():
    """One that asks in passing never overtakes one that waits, however small it is."""
    limiter = SimpleRateLimiter(None, 10, interval=0.05)
    under_way = limiter.acquire(8)
    waiter = Thread(target=limiter.acquire, args=(9,))
    waiter.start()
    while not limiter.admission._line:
        pass
    assert limiter.try_acquire(1) is None
    under_way.settle(0)
    waiter.join(5)
    assert not waiter.is_alive()


def test_many_threads_are_within_the_limit():
    """However many threads ask at once, exactly as many go as the limit allows."""
    limiter = SimpleRateLimiter(30, 1_000)
    granted = []
    threads = [
        Thread(target=lambda: granted.extend(limiter.request_permission(10) for _ in range(10))) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 30


def test_the_status_says_what_counts(clock):
    """The status has what counts, the limit, and both for people; without a limit nothing is counted."""
    limiter = SimpleRateLimiter(15, interval=30, clock=clock)
    for _ in range(3):
        limiter.request_permission()
    assert limiter.status() == {
        "requests": {"current": 3, "limit": 15, "display": "3/15"},
        "tokens": {"current": None, "limit": None, "display": "no limit"},
        "interval": 30.0,
    }
    assert limiter.available_token_capacity is None


def test_without_limits_everything_goes(clock):
    """None switches a limit off."""
    limiter = SimpleRateLimiter(None, None, clock=clock)
    assert all(limiter.request_permission(10**9) for _ in range(1_000))


@pytest.mark.parametrize(
    "options",
    [
        {"max_requests": 0}, {"max_requests": 1.5}, {"max_requests": True}, {"max_requests": 1, "max_tokens": -1},
        {"max_requests": 1, "interval": 0}, {"max_requests": 1, "interval": float("inf")},
        {"max_requests": 1, "interval": "60"},
    ],
)  # fmt: skip
def test_limits_are_positive(options):
    """A limit that is none is refused by its name."""
    with pytest.raises(ConfigurationError, match=list(options)[-1]):
        SimpleRateLimiter(**options)


@pytest.mark.parametrize("tokens", [-1, 1.5, True, "1", None])
def test_tokens_are_whole_numbers(tokens):
    """A number of tokens that is none is refused, and takes nothing."""
    limiter = SimpleRateLimiter(1, 10)
    with pytest.raises(InvalidInputError, match="tokens must be a whole number"):
        limiter.acquire(tokens)
    with limiter.limit(5) as reservation, pytest.raises(InvalidInputError):
        reservation.settle("5")
    assert limiter.available_token_capacity == 5


def test_closing_ends_every_wait():
    """Who waits when the limiter is closed is told so."""
    limiter = SimpleRateLimiter(1)
    under_way = limiter.acquire()
    raised = []

    def wait():
        try:
            limiter.acquire()
        except ClientClosedError as error:
            raised.append(error)

    waiter = Thread(target=wait)
    waiter.start()
    while not limiter.admission._line:
        pass
    limiter.close()
    waiter.join(5)
    assert raised
    under_way.settle()


class Granting(RateLimiter):
    """A limiter of one's own, say of a server that all processes ask."""

    def acquire(self, tokens=0, timeout=None):
        """Wait."""
        return self.try_acquire(tokens)

    def try_acquire(self, tokens=0):
        """Do not wait."""
        return self.granted

    granted = None

    available_request_capacity = 2
    available_token_capacity = None


def test_a_limiter_of_ones_own():
    """A subclass that says how to acquire, and what is left, has the rest from the base; the base alone is none."""
    limiter = Granting(5, None)
    assert not limiter.request_permission(1)
    assert limiter.status()["requests"]["display"] == "3/5"
    with pytest.raises(TypeError, match="abstract"):
        RateLimiter(1, 1)
