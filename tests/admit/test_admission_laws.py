"""The laws of admission, one by one."""

import gc
import sys
from itertools import pairwise
from math import ceil, inf
from random import Random

import pytest

from llm_api_client.admit.limiter import Go, Limiter, Never, NotBefore, Place
from llm_api_client.admit.rates import Charge, RateLimit
from llm_api_client.errors import ClientClosedError
from llm_api_client.records import Usage

from .hands import (
    ONE,
    SPAN,
    Asker,
    HandClock,
    Traffic,
    admitted,
    done,
    granted_at,
    limiter_of,
    most_in_any,
    refused,
    sent,
    state,
    used,
)

SEEDS = range(8)


# The window.


def test_third_call_of_two_a_minute():
    """With a limit of two a minute, two calls go at once, and the third a minute after the first, not half a one."""
    limiter, clock = limiter_of(requests_per_minute=2)
    times = [granted_at(limiter, clock) for _ in range(7)]
    assert times[:3] == [0.0, 0.0, SPAN]
    assert all(third - first >= 60 for first, third in zip(times, times[2:], strict=False))
    assert times[6] < 3 * 61.5


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_small_limit_is_reached_and_kept(limit):
    """However small the limit, a minute carries all of it and no minute more."""
    limiter, clock = limiter_of(requests_per_minute=limit)
    times = [granted_at(limiter, clock) for _ in range(3 * limit)]
    assert times[limit - 1] < 60
    assert times[-1] < 3 * 61.5
    assert most_in_any(60.2, [(time, 1) for time in times]) == limit


@pytest.mark.parametrize("seed", SEEDS)
def test_no_window_carries_more_than_the_limit(seed):
    """Any sixty seconds carry at most the limit on every axis, where calls use at most what they reserved."""
    chance = Random(seed)
    limits = {"tokens_per_minute": 900, "input_tokens_per_minute": 500, "output_tokens_per_minute": 600}
    traffic = Traffic(
        RateLimit(requests_per_minute=40, **limits),
        latency=lambda: chance.uniform(0, 90 if chance.random() < 0.05 else 5),
        charge=lambda: Charge(chance.randrange(40), chance.randrange(60)),
        usage=lambda charge: Usage(charge.prompt_tokens, chance.randint(0, charge.answer_tokens)),
    ).run(600)
    assert len(traffic.sent) > 150
    for limit, amount in (
        (40, lambda usage: 1),
        (900, lambda usage: usage.total_tokens),
        (500, lambda usage: usage.prompt_tokens),
        (600, lambda usage: usage.completion_tokens),
    ):
        assert most_in_any(60.2, [(at, amount(usage)) for at, usage in traffic.sent]) <= limit


def test_margin_is_no_more_than_it_must_be():
    """What was sent counts for a minute and a quarter of a second, in which ways to the provider may differ."""
    limiter, clock = limiter_of(requests_per_minute=2)
    done(limiter)
    done(limiter)
    clock.time = 60.2
    assert refused(limiter).when == SPAN
    clock.time = SPAN
    done(limiter)


def test_requests_of_a_day_have_no_pace():
    """A day's limit may be spent at once, and then opens a day after each call."""
    limiter, clock = limiter_of(requests_per_day=5)
    for _ in range(5):
        done(limiter)
    assert refused(limiter).when == 86_400.25
    clock.time = 86_400.2
    refused(limiter)
    clock.time = 86_400.25
    done(limiter)


@pytest.mark.parametrize("seed", SEEDS)
def test_overshoot_is_bounded_by_debits(seed):
    """Where calls use more than they reserved, a window exceeds the limit by at most that much."""
    chance = Random(seed)
    reserved = []
    traffic = Traffic(
        RateLimit(tokens_per_minute=1000),
        latency=lambda: chance.uniform(0, 10),
        charge=lambda: reserved.append(Charge(5, 10)) or reserved[-1],
        usage=lambda charge: Usage(5, chance.randrange(30)),
    ).run(600)
    events = [(at, usage.total_tokens, max(0, usage.total_tokens - 15)) for at, usage in traffic.sent]
    for first, _, _ in events:
        inside = [event for event in events if first <= event[0] < first + 60]
        assert sum(total for _, total, _ in inside) <= 1000 + sum(debit for _, _, debit in inside)


def test_debit_closes_the_window_until_it_has_aged():
    """While more is used than the limit, nothing goes, however small."""
    limiter, clock = limiter_of(tokens_per_minute=10)
    call = sent(limiter, Charge(1, 1))
    call.settle(Usage(1, 14))
    assert used(limiter) == 15
    assert refused(limiter, Charge(0, 0)).when >= SPAN
    clock.time = SPAN
    assert refused(limiter, Charge(0, 0)).why == "tokens per minute"
    clock.time = 15 / 10 * 62
    admitted(limiter, Charge(0, 1))


# The line.


@pytest.mark.parametrize("seed", SEEDS)
def test_first_come_first_served(seed):
    """Grants come in the order in which the places in line were taken, whoever asks how often."""
    limiter, clock = limiter_of(requests_per_minute=2)
    chance = Random(seed)
    done(limiter)
    done(limiter)
    places = [Asker() for _ in range(12)]
    for place in places:
        refused(limiter, ONE, place)
    served = []
    while len(served) < 12:
        clock.time += chance.choice([0.0, 0.25, 30.0])
        place = chance.choice([place for place in places if place not in served])
        decision = limiter.ask(place, ONE)
        if isinstance(decision, Go):
            decision.reservation.start()
            decision.reservation.settle(None)
            served.append(place)
    assert served == places


def test_small_requests_do_not_overtake_a_large_one():
    """A request that fits waits behind one that came before it and does not fit yet."""
    limiter, clock = limiter_of(tokens_per_minute=10)
    done(limiter, Charge(5))
    large, small = Asker(), Asker()
    assert refused(limiter, Charge(9), large).when == SPAN
    assert refused(limiter, Charge(1), small).when == inf
    clock.time = SPAN
    assert refused(limiter, Charge(1), small).why.startswith("other requests")
    admitted(limiter, Charge(9), large)


def test_place_may_ask_for_another_request():
    """A place in line that asks for something else keeps its turn."""
    limiter, clock = limiter_of(tokens_per_minute=10)
    done(limiter, Charge(8))
    first, second = Asker(), Asker()
    refused(limiter, Charge(9), first)
    refused(limiter, Charge(1), second)
    clock.time = 50
    admitted(limiter, Charge(2), first)
    clock.time = SPAN
    admitted(limiter, Charge(1), second)


@pytest.mark.parametrize(
    ("limits", "charge", "why"),
    [
        ({"tokens_per_minute": 10}, Charge(8, 3), "it needs 11 of 10 tokens per minute"),
        ({"tokens_per_minute": 1000, "input_tokens_per_minute": 10}, Charge(11), "11 of 10 input tokens per minute"),
        ({"output_tokens_per_minute": 10}, Charge(0, 11), "11 of 10 output tokens per minute"),
        ({"tokens_per_day": 2000}, Charge(1000, 1001), "2,001 of 2,000 tokens per day"),
    ],
)
def test_too_large_is_said_at_once(limits, charge, why):
    """A request that is larger than a limit is told so at once, and never stands in line."""
    limiter, _ = limiter_of(**limits)
    decision = limiter.ask(Asker(), charge)
    assert isinstance(decision, Never)
    assert why in decision.why
    admitted(limiter, Charge(1, 1))


def test_exactly_the_limit_is_not_too_large():
    """A request of exactly the limit goes."""
    limiter, _ = limiter_of(tokens_per_minute=10)
    admitted(limiter, Charge(4, 6))


def test_place_that_asks_for_too_much_is_out_of_the_line():
    """Whoever turns out too large makes way, and the next is woken."""
    limiter, _ = limiter_of(tokens_per_minute=10)
    done(limiter, Charge(5))
    first, second = Asker(), Asker()
    refused(limiter, Charge(9), first)
    refused(limiter, Charge(1), second)
    assert isinstance(limiter.ask(first, Charge(11)), Never)
    assert second.wakes == 1
    assert refused(limiter, Charge(1), second).when < inf


def test_leaving_frees_the_line():
    """Whoever leaves, from wherever in line, does not hold up the others; the next is woken where the first left."""
    limiter, clock = limiter_of(requests_per_minute=2)
    done(limiter)
    done(limiter)
    places = [Asker() for _ in range(4)]
    for place in places:
        refused(limiter, ONE, place)
    limiter.leave(places[1])
    limiter.leave(places[1])
    assert [place.wakes for place in places] == [0, 0, 0, 0]
    limiter.leave(places[0])
    assert [place.wakes for place in places] == [0, 0, 1, 0]
    clock.time = SPAN
    assert refused(limiter, ONE, places[3]).when == inf
    admitted(limiter, ONE, places[2])


def test_leaving_changes_no_counts():
    """Waiting and leaving costs nothing."""
    limiter, _ = limiter_of(requests_per_minute=1, tokens_per_minute=10)
    done(limiter, Charge(1))
    before, place = state(limiter), Asker()
    refused(limiter, Charge(5), place)
    limiter.leave(place)
    assert state(limiter) == before


# What is charged.


@pytest.mark.parametrize(
    "blocking", ["requests_per_minute", "tokens_per_minute", "output_tokens_per_minute", "requests_per_day"]
)
def test_all_axes_or_none(blocking):
    """A refusal on one axis leaves the counters of all axes as they were."""
    limits = {
        "requests_per_minute": 100,
        "tokens_per_minute": 1000,
        "output_tokens_per_minute": 1000,
        "requests_per_day": 100,
    }
    limits[blocking] = 1
    limiter, _ = limiter_of(**limits)
    done(limiter, Charge(0, 1))
    before = state(limiter)
    assert refused(limiter, Charge(0, 1)).why == blocking.replace("_", " ")
    assert state(limiter) == before


def test_every_axis_is_charged():
    """A grant is charged on every axis at once: calls, tokens, prompts and answers apart, by the minute and the day."""
    limiter, _ = limiter_of(
        requests_per_minute=10,
        tokens_per_minute=100,
        input_tokens_per_minute=100,
        output_tokens_per_minute=100,
        requests_per_day=10,
        tokens_per_day=100,
    )
    call = sent(limiter, Charge(7, 11))
    assert [used(limiter, axis) for axis in range(6)] == [1, 18, 7, 11, 1, 18]
    call.settle(Usage(7, 3))
    assert [used(limiter, axis) for axis in range(6)] == [1, 10, 7, 3, 1, 10]


@pytest.mark.parametrize("usage", [None, Usage(3, 2), Usage(0, 0), Usage(9, 9)])
def test_what_is_used_is_what_is_live(usage):
    """When all has ended and aged, nothing is left over."""
    limiter, clock = limiter_of(requests_per_minute=900, tokens_per_minute=6000)
    for _ in range(3):
        sent(limiter, Charge(3, 2)).settle(usage)
        admitted(limiter, Charge(3, 2)).cancel()
        clock.time += 20
    assert used(limiter, 0) == 3
    clock.time += SPAN
    assert [used(limiter, 0), used(limiter, 1)] == [0, 0]


def test_settling_twice_changes_nothing():
    """A call ends once: what is said later of it, by whomever, changes nothing."""
    limiter, clock = limiter_of(tokens_per_minute=20)
    call = sent(limiter, Charge(2, 8))
    call.settle(Usage(2, 1))
    before = state(limiter)
    assert used(limiter) == 3
    call.settle(Usage(2, 0))
    call.settle(None)
    call.cancel()
    clock.time = 30
    call.start()
    assert state(limiter) == before
    clock.time = SPAN
    assert used(limiter) == 0


def test_refund_is_never_above_the_answer():
    """The part for the prompt is gone once sent, even where the provider reports less."""
    limiter, _ = limiter_of(tokens_per_minute=20, input_tokens_per_minute=20, output_tokens_per_minute=20)
    sent(limiter, Charge(6, 8)).settle(Usage(1, 2))
    assert [used(limiter, axis) for axis in range(3)] == [8, 6, 2]


def test_unknown_usage_keeps_all():
    """A call of which nothing is known keeps all that it reserved."""
    limiter, _ = limiter_of(tokens_per_minute=20)
    sent(limiter, Charge(6, 8)).settle(None)
    assert used(limiter) == 14


def test_answer_is_counted_in_full_where_it_is_limited_apart():
    """A prompt that was estimated too long does not hide tokens of the answer."""
    limiter, _ = limiter_of(output_tokens_per_minute=20)
    sent(limiter, Charge(10, 20)).settle(Usage(5, 20))
    assert used(limiter) == 20


def test_cancelling_the_unsent_gives_everything_back():
    """An admission that is not used is as if it had never been: in the window, and in the pace."""
    limiter, _ = limiter_of(requests_per_minute=3, tokens_per_minute=6000)
    done(limiter, Charge(1, 1))
    before = state(limiter)
    call = admitted(limiter, Charge(9, 1))
    call.cancel()
    call.cancel()
    assert [used for used, _ in state(limiter)] == [used for used, _ in before]
    assert [due for _, due in state(limiter)] == pytest.approx([due for _, due in before])
    call.start()
    call.settle(Usage(1, 1))
    assert [used for used, _ in state(limiter)] == [used for used, _ in before]


def test_cancelling_the_sent_gives_nothing_back():
    """A call that was sent keeps its charge, and ages on."""
    limiter, clock = limiter_of(requests_per_minute=2)
    calls = [sent(limiter), sent(limiter)]
    before = state(limiter)
    calls[0].cancel()
    assert state(limiter) == before
    clock.time = 1
    for call in calls:
        call.settle(None)
    assert refused(limiter).when == SPAN


def test_retry_is_charged_again():
    """Another attempt is another call: it stands in line again, behind those who came, and is charged again."""
    limiter, clock = limiter_of(requests_per_minute=3, tokens_per_minute=30)
    place = Asker()
    for attempt in range(1, 4):
        sent(limiter, Charge(5), place).settle(Usage(0, 0))
        assert [used(limiter, 0), used(limiter, 1)] == [attempt, 5 * attempt]
        clock.time += 12
    refused(limiter, Charge(5), Asker())
    assert refused(limiter, Charge(5), place).when == inf


# Ageing.


def test_ageing_starts_when_the_call_is_sent():
    """A call counts for a minute from when it was sent, not from when it was admitted."""
    limiter, clock = limiter_of(requests_per_minute=1)
    call = admitted(limiter)
    clock.time = 30
    call.start()
    clock.time = 31
    call.start()
    call.settle(None)
    assert refused(limiter).when == 30 + SPAN


def test_end_of_a_call_does_not_restart_its_age():
    """A call counts for a minute from when it was sent, however late it ended."""
    limiter, clock = limiter_of(requests_per_minute=2)
    calls = [sent(limiter), sent(limiter)]
    clock.time = 45
    for call in calls:
        call.settle(None)
    assert refused(limiter).when == SPAN


def test_calls_leave_in_the_order_in_which_they_were_sent():
    """A call that ends after one that was sent later still makes room before it."""
    limiter, clock = limiter_of(requests_per_minute=3)
    calls = []
    for clock.time in (0.0, 20.0, 40.0):
        calls.append(sent(limiter))
    for call in reversed(calls):
        call.settle(None)
    assert [granted_at(limiter, clock) for _ in range(3)] == [SPAN, 20 + SPAN, 40 + SPAN]


def test_call_in_flight_counts_however_old():
    """A call that has not ended may reach the provider at any moment, and counts; ended, the old one counts no more."""
    limiter, clock = limiter_of(requests_per_minute=1)
    call = sent(limiter)
    clock.time = 1000
    assert refused(limiter).when == inf
    call.settle(None)
    admitted(limiter)


def test_admitted_but_unsent_counts_however_old():
    """What was admitted and not yet sent counts until it is sent, or given back."""
    limiter, clock = limiter_of(requests_per_minute=1)
    call = admitted(limiter)
    clock.time = 1000
    assert refused(limiter).when == inf
    call.cancel()
    admitted(limiter)


# Time.


@pytest.mark.parametrize("step", [0.0005, 0.24, 1.0, 61.0, 602.5])
def test_any_step_of_the_clock_keeps_the_law(step):
    """Whether time creeps or leaps, no minute carries more than the limit."""
    limiter, clock = limiter_of(requests_per_minute=20)
    times = []
    for _ in range(400):
        decision = limiter.ask(place := Asker(), ONE)
        limiter.leave(place)
        if isinstance(decision, Go):
            decision.reservation.start()
            decision.reservation.settle(None)
            times.append(clock.time)
        clock.time += step
    assert most_in_any(60.2, [(time, 1) for time in times]) <= 20
    assert times


def test_stall_causes_no_burst():
    """After a clock that stood for ten windows, those who waited go no faster than any others."""
    limiter, clock = limiter_of(requests_per_minute=600)
    places = [Asker() for _ in range(1000)]
    waiting = [place for place in places if not isinstance(limiter.ask(place, ONE), Go)]
    held = 1000 - len(waiting)
    clock.time = 602.5
    at_once = 0
    while isinstance(limiter.ask(waiting[at_once], ONE), Go):
        at_once += 1
    assert held == 10
    assert at_once == 10


def test_first_call_after_a_stall_is_stamped_with_the_time_it_is_sent():
    """A call that a stall kept from being sent ages from after the stall."""
    limiter, clock = limiter_of(requests_per_minute=2)
    calls = [admitted(limiter), admitted(limiter)]
    clock.time = 602.5
    for call in calls:
        call.start()
        call.settle(None)
    assert refused(limiter).when == 602.5 + SPAN


@pytest.mark.parametrize("seed", SEEDS)
def test_everybody_is_served(seed):
    """With time and ended calls, whoever waits is served within the windows that those before need."""
    chance = Random(seed)
    limiter, clock = limiter_of(requests_per_minute=4, tokens_per_minute=20)
    charges = [Charge(chance.randint(0, 10), chance.randint(0, 10)) for _ in range(60)]
    ahead = 0
    for number, charge in enumerate(charges, 1):
        ahead += charge.prompt_tokens + charge.answer_tokens
        windows = max(ceil(number / 4), ceil(2 * ahead / 20)) + 1
        assert granted_at(limiter, clock, charge) <= windows * SPAN


def test_large_request_among_many_small_ones_is_served():
    """A request of the whole limit is served, although smaller ones keep coming."""
    limiter, clock = limiter_of(tokens_per_minute=100)
    for _ in range(20):
        granted_at(limiter, clock, Charge(1))
    large, small = Asker(), [Asker() for _ in range(50)]
    refused(limiter, Charge(100), large)
    for place in small:
        refused(limiter, Charge(1), place)
    assert granted_at(limiter, clock, Charge(100), large) <= 2 * SPAN


def test_nothing_waits_that_could_go():
    """The stated time is right: just before it a request is refused, at it granted."""
    chance = Random(5)
    limiter, clock = limiter_of(requests_per_minute=30, tokens_per_minute=300)
    waits = 0
    for _ in range(300):
        charge = Charge(chance.randrange(20), chance.randrange(20))
        place = Asker()
        decision = limiter.ask(place, charge)
        if isinstance(decision, NotBefore):
            waits += 1
            clock.time = decision.when - 1e-4
            assert refused(limiter, charge, place).when == decision.when
            clock.time = decision.when
            decision = limiter.ask(place, charge)
        assert isinstance(decision, Go)
        decision.reservation.start()
        decision.reservation.settle(Usage(charge.prompt_tokens, charge.answer_tokens))
    assert waits > 100


# What the provider says.


def test_nothing_goes_before_the_pause_is_over():
    """After a 429 nothing goes before its time, and at it something does."""
    limiter, clock = limiter_of(requests_per_minute=100)
    call = sent(limiter)
    call.refused(7.0)
    call.settle(Usage(0, 0))
    decision = refused(limiter)
    assert decision == NotBefore(7.0, "the provider asked to wait")
    clock.time = 6.999
    assert refused(limiter).when == 7.0
    clock.time = 7.0
    admitted(limiter)


def test_pause_is_never_shortened():
    """A 429 that asks for less does not shorten a pause; one that asks for more extends it."""
    limiter, _ = limiter_of(requests_per_minute=100)
    calls = [sent(limiter) for _ in range(3)]
    calls[0].refused(20.0)
    calls[1].refused(5.0)
    assert refused(limiter).when == 20.0
    calls[2].refused(30.0)
    assert refused(limiter).when == 30.0


def test_pause_holds_where_nothing_is_limited():
    """A provider that asks to wait is obeyed even without any limit of one's own."""
    limiter, clock = limiter_of()
    call = sent(limiter)
    assert not limiter.counts_tokens
    call.refused(3.0)
    assert refused(limiter).when == 3.0
    clock.time = 3.0
    admitted(limiter)


def test_end_of_a_pause_is_no_starting_shot():
    """After a pause, those who waited are let go at the pace, not all at once."""
    limiter, clock = limiter_of(requests_per_minute=600)
    sent(limiter).refused(50.0)
    clock.time = 50.0
    at_once = 0
    while isinstance(limiter.ask(Asker(), ONE), Go):
        at_once += 1
    assert 8 <= at_once <= 10


def _spacing(limiter, clock):
    """Seconds between two grants when the burst is spent."""
    while isinstance(limiter.ask(place := Asker(), ONE), Go):
        pass
    limiter.leave(place)
    times = [granted_at(limiter, clock) for _ in range(6)]
    return [later - earlier for earlier, later in pairwise(times)][-1]


def test_refusal_slows_the_pace():
    """A 429 slows the pace to four fifths."""
    limiter, clock = limiter_of(requests_per_minute=600)
    full = _spacing(limiter, clock)
    clock.time += 2
    sent(limiter).refused(clock.time)
    assert _spacing(limiter, clock) == pytest.approx(full / 0.8)


def test_refusals_of_one_episode_slow_the_pace_once():
    """Many 429s to calls that were sent before the pace was slowed slow it no further; one to a later call does."""
    limiter, clock = limiter_of(requests_per_minute=600)
    full = _spacing(limiter, clock)
    clock.time += 2
    calls = [sent(limiter) for _ in range(8)]
    calls[0].refused(clock.time)
    clock.time += 0.5
    for call in calls[1:]:
        call.refused(clock.time)
    assert _spacing(limiter, clock) == pytest.approx(full / 0.8)
    clock.time += 0.5
    sent(limiter).refused(clock.time)
    assert _spacing(limiter, clock) == pytest.approx(full / 0.64)


def test_pace_is_full_again_after_a_while_without_refusals():
    """The pace comes back, and is never more than the full one."""
    limiter, clock = limiter_of(requests_per_minute=600)
    full = _spacing(limiter, clock)
    clock.time += 2
    sent(limiter).refused(clock.time)
    clock.time += 101
    assert _spacing(limiter, clock) == pytest.approx(full)
    clock.time += 10_000
    assert _spacing(limiter, clock) == pytest.approx(full)


def test_slowed_pace_does_not_keep_what_comes_back():
    """However slow the pace, an answer that did not come costs nothing of it."""
    spacings = []
    for reserved in (0, 500):
        limiter, clock = limiter_of(tokens_per_minute=6000)
        for _ in range(20):
            sent(limiter).refused(clock.time)
            clock.time += 0.1
        place, times = Asker(), []
        while len(times) < 5:
            decision = limiter.ask(place, Charge(100, reserved))
            if isinstance(decision, NotBefore):
                clock.time = decision.when
                continue
            decision.reservation.start()
            decision.reservation.settle(Usage(100, 0))
            times.append(clock.time)
        spacings.append([later - earlier for earlier, later in pairwise(times)])
    assert spacings[1] == pytest.approx(spacings[0])
    assert spacings[0][0] == pytest.approx(100 / 97.9 / 0.05)


# The pace.


@pytest.mark.parametrize("limit", [4, 60, 600, 6000])
def test_no_second_carries_more_than_its_share_and_a_burst(limit):
    """Any second carries at most a burst and a second's share."""
    traffic = Traffic(RateLimit(requests_per_minute=limit), latency=lambda: 0.3).run(150)
    burst = max(limit / 60, min(limit, 3))
    most = most_in_any(1.0, [(at, 1) for at, _ in traffic.sent])
    assert most <= burst + 0.98 * limit / 60 + 1e-6
    assert most >= burst - 1


def test_no_second_carries_more_tokens_than_its_share_and_a_burst():
    """Any second carries at most a burst of tokens, a second's share, and one request that is larger than a burst."""
    chance = Random(1)
    traffic = Traffic(
        RateLimit(tokens_per_minute=60_000),
        latency=lambda: 0.3,
        charge=lambda: Charge(chance.choice([10, 300, 900, 4000])),
    ).run(300)
    charged = [(at, usage.total_tokens) for at, usage in traffic.sent]
    assert most_in_any(1.0, charged) <= 1000 + 0.98 * 1000 + 4000
    assert most_in_any(1.0, [(at, tokens) for at, tokens in charged if tokens < 1000]) <= 1000 + 0.98 * 1000


def test_request_larger_than_a_burst_goes_when_nothing_is_owed():
    """A request of many seconds' worth goes, and the next waits until most of it is earned back."""
    limiter, clock = limiter_of(tokens_per_minute=6000)
    done(limiter, Charge(3000))
    assert granted_at(limiter, clock, Charge(100)) == pytest.approx(3000 / 97.9)
    assert granted_at(limiter, clock, Charge(2000)) == pytest.approx(3100 / 97.9)


# Many askers.


def test_wakings_are_as_many_as_grants():
    """Of five hundred who wait one is woken for each grant, and each asks in vain once in line and once as first."""
    limiter, clock = limiter_of(requests_per_minute=60, tokens_per_minute=600_000)
    places = [Asker() for _ in range(500)]
    heard = dict.fromkeys(places, 0)
    told = dict.fromkeys(places, -inf)
    asks = grants = 0
    while grants < 500:
        place = next((place for place in told if place.wakes > heard[place] or told[place] <= clock.time), None)
        if place is None:
            clock.time = min(told.values())
            continue
        heard[place] = place.wakes
        decision = limiter.ask(place, Charge(10, 10))
        asks += 1
        if isinstance(decision, Go):
            grants += 1
            del told[place]
            decision.reservation.start()
            decision.reservation.settle(Usage(10, 10))
        else:
            told[place] = decision.when
    assert sum(place.wakes for place in places) <= grants
    assert asks <= 3 * grants


def test_only_the_first_is_woken_when_something_comes_back():
    """What is given back wakes the first in line alone, and only if it can go earlier than it was told."""
    limiter, clock = limiter_of(tokens_per_minute=600)
    small = sent(limiter, Charge(0, 1))
    clock.time = 1
    large = sent(limiter, Charge(0, 399))
    clock.time = 42
    last = sent(limiter, Charge(0, 190))
    places = [Asker() for _ in range(4)]
    for place in places:
        assert refused(limiter, Charge(0, 100), place).when == inf
    small.settle(None)
    assert [place.wakes for place in places] == [0, 0, 0, 0]
    large.settle(None)
    large.settle(None)
    assert [place.wakes for place in places] == [1, 0, 0, 0]
    last.settle(Usage(0, 0))
    assert [place.wakes for place in places] == [2, 0, 0, 0]
    admitted(limiter, Charge(0, 100), places[0])


@pytest.mark.parametrize("how", ["settle", "cancel", "leave", "go", "never"])
def test_whoever_makes_way_wakes_the_next(how):
    """The end of a call, an admission given back, a place given up, a grant: each wakes the next who can go."""
    limiter, clock = limiter_of(tokens_per_minute=10)
    call = admitted(limiter, Charge(0, 10 if how in {"settle", "cancel"} else 4))
    if how == "settle":
        call.start()
    first, second = Asker(), Asker()
    refused(limiter, Charge(0, 8), first)
    refused(limiter, Charge(0, 1), second)
    match how:
        case "settle":
            call.settle(Usage(0, 0))
            assert (first.wakes, second.wakes) == (1, 0)
        case "cancel":
            call.cancel()
            assert (first.wakes, second.wakes) == (1, 0)
        case "leave":
            limiter.leave(first)
            assert (first.wakes, second.wakes) == (0, 1)
        case "go":
            clock.time = 30
            admitted(limiter, Charge(0, 1), first)
            assert (first.wakes, second.wakes) == (0, 1)
        case "never":
            limiter.ask(first, Charge(11))
            assert (first.wakes, second.wakes) == (0, 1)


def test_whoever_was_first_before_is_woken_again():
    """What a place was told when it was first, long ago, does not keep it from being woken when it is first again."""
    limiter, clock = limiter_of(tokens_per_minute=10)
    done(limiter, Charge(5))
    place, other = Asker(), Asker()
    refused(limiter, Charge(1), place)
    clock.time = 30
    done(limiter, Charge(1), place)
    refused(limiter, Charge(9), other)
    refused(limiter, Charge(1), place)
    limiter.leave(other)
    assert place.wakes == 1


def test_wakings_go_by_the_last_request_asked_for():
    """A place that asks for something smaller, in vain, is woken when that can go."""
    limiter, clock = limiter_of(tokens_per_minute=100)
    done(limiter, Charge(50))
    clock.time = 31
    call = sent(limiter, Charge(0, 30))
    clock.time = 55
    place = Asker()
    assert refused(limiter, Charge(60), place).when == SPAN
    assert refused(limiter, Charge(30), place).when == SPAN
    call.settle(Usage(0, 0))
    assert place.wakes == 1
    admitted(limiter, Charge(30), place)


def test_memory_is_by_calls_not_tokens():
    """A call of a million tokens is remembered in as much memory as a call of one, and forgotten when it has aged."""
    sizes = []
    for tokens in (1, 1_000_000):
        limiter, clock = limiter_of(requests_per_minute=600_000, tokens_per_minute=600_000_000)
        for _ in range(50):
            granted_at(limiter, clock, Charge(tokens))
        sizes.append([len(gauge.window) for gauge in limiter._gauges])
    assert sizes[0] == [50, 50]
    assert sizes[1] == [50, 50]


def test_what_has_aged_is_forgotten():
    """Hours of traffic are held in no more memory than a minute's."""
    limiter, clock = limiter_of(requests_per_minute=60)
    for _ in range(600):
        granted_at(limiter, clock)
        assert len(limiter._gauges[0].window) <= 60
    gc.collect()
    assert sys.getsizeof(limiter._gauges[0].window._leaving) < 10_000


# The end.


def test_close_wakes_everybody():
    """Closing wakes all who wait, and asking again raises."""
    limiter, _ = limiter_of(requests_per_minute=1)
    done(limiter)
    places = [Asker() for _ in range(3)]
    for place in places:
        refused(limiter, ONE, place)
    limiter.close()
    assert [place.wakes for place in places] == [1, 1, 1]
    for place in [*places, Asker()]:
        with pytest.raises(ClientClosedError):
            limiter.ask(place, ONE)


def test_after_close_what_was_begun_can_be_ended():
    """Leaving, settling, cancelling and closing again are as harmless after the close as before."""
    limiter, _ = limiter_of(requests_per_minute=3)
    calls = [sent(limiter), admitted(limiter), sent(limiter)]
    place = Asker()
    refused(limiter, ONE, place)
    limiter.close()
    limiter.leave(place)
    calls[0].settle(None)
    calls[1].cancel()
    calls[2].refused(5.0)
    limiter.close()
    assert place.wakes == 1


def test_leaving_from_within():
    """An abandoned asker may be collected, and leave, while the limiter decides in the same thread."""

    class Collector(HandClock):
        victim = None

        def now(self):
            victim, self.victim = self.victim, None
            if victim is not None:
                limiter.leave(victim)
            return self.time

    clock = Collector()
    limiter = Limiter(RateLimit(requests_per_minute=1), clock)
    call = sent(limiter)
    first, abandoned, last = Asker(), Asker(), Asker()
    for place in (first, abandoned, last):
        refused(limiter, ONE, place)
    clock.victim = abandoned
    call.settle(None)
    limiter.leave(first)
    assert last.wakes == 1


@pytest.mark.parametrize(
    ("limits", "prompt", "room"),
    [
        ({}, 5, None),
        ({"requests_per_minute": 3}, 5, None),
        ({"input_tokens_per_minute": 3}, 5, None),
        ({"tokens_per_minute": 30}, 5, 25),
        ({"tokens_per_minute": 30}, 35, -5),
        ({"output_tokens_per_minute": 20}, 35, 20),
        ({"tokens_per_minute": 30, "output_tokens_per_minute": 20, "tokens_per_day": 22}, 5, 17),
        ({"tokens_per_minute": 30, "output_tokens_per_minute": 10}, 5, 10),
    ],
)
def test_room_for_an_answer(limits, prompt, room):
    """The room beside a prompt is what the tightest axis that counts answers leaves."""
    limiter, _ = limiter_of(**limits)
    assert limiter.room_for_answer(prompt) == room
    if room is not None and room > 0:
        assert not isinstance(limiter.ask(Asker(), Charge(prompt, room)), Never)
        assert isinstance(limiter.ask(Asker(), Charge(prompt, room + 1)), Never)


@pytest.mark.parametrize(
    ("limits", "counts"),
    [({}, False), ({"requests_per_minute": 3, "requests_per_day": 5}, False), ({"input_tokens_per_minute": 3}, True)],
)
def test_tokens_are_counted_where_a_limit_needs_them(limits, counts):
    """Only a limit on tokens needs a request's tokens counted."""
    limiter, _ = limiter_of(**limits)
    assert limiter.counts_tokens is counts


def test_whole_floats_are_limits():
    """`2e6` is a limit like `2_000_000`."""
    limiter = Limiter(RateLimit(tokens_per_minute=1e1), HandClock())
    assert limiter.ask(Place(lambda: None), Charge(11)).why == "it needs 11 of 10 tokens per minute"
