"""Whatever happens in whatever order, admission decides as a naive reckoning from the list of all events does."""

from math import inf, isclose

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llm_api_client.admit.limiter import Go, Limiter, Never, NotBefore, Place
from llm_api_client.admit.rates import Charge, RateLimit
from llm_api_client.records import Usage

from .hands import HandClock
from .oracle import COUNTED, EXACT, Oracle

LIMITS = [
    {"requests_per_minute": 2, "tokens_per_minute": 10},
    {"requests_per_minute": 2},
    {"tokens_per_minute": 10},
    {"input_tokens_per_minute": 6, "output_tokens_per_minute": 5},
    {"requests_per_minute": 2, "requests_per_day": 3},
    {"requests_per_minute": 5, "tokens_per_day": 17},
    {"requests_per_minute": 240, "tokens_per_minute": 30},
    {"tokens_per_minute": 300},
]
SMALL = st.sampled_from([0, 1, 1, 2, 3, 5])
PLACES = 3


class AdmissionMachine(RuleBasedStateMachine):
    """Several askers of one limiter, beside an oracle that is told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock(1000.0)
        self.reservations = []
        self.told = {}
        self.woken = []
        self.sure = None

    @initialize(limits=st.sampled_from(LIMITS))
    def make(self, limits):
        """A limiter, and an oracle, of the same limits."""
        self.limiter = Limiter(RateLimit(**limits), self.clock)
        self.oracle = Oracle(limits)
        self.places = [Place(lambda number=number: self.woken.append(number)) for number in range(PLACES)]

    @rule(number=st.integers(0, PLACES - 1), prompt=SMALL, answer=SMALL, larger=st.sampled_from([0, 0, 0, 0, 12]))
    def ask(self, number, prompt, answer, larger):
        """Anybody asks for anything."""
        self._ask(number, (prompt, answer + larger))

    @precondition(lambda self: self.oracle.line)
    @rule()
    def ask_again(self):
        """The first in line asks again for the same."""
        number = self.oracle.line[0]
        self._ask(number, self.oracle.asked[number])

    @rule(
        prompt=SMALL,
        answer=SMALL,
        delay=st.sampled_from([0.0, 0.0, 0.25, 61.0]),
        how=st.sampled_from(["as reserved", "as reserved", "unknown", "shorter", "anything"]),
        used_prompt=SMALL,
        used_answer=SMALL,
    )
    def call(self, prompt, answer, delay, how, used_prompt, used_answer):
        """A call is asked for, and sent and settled where it may go: what fills windows fastest."""
        number = self.oracle.line[0] if self.oracle.line else 0
        before = len(self.reservations)
        self._ask(number, (prompt, answer))
        if len(self.reservations) > before:
            self.clock.time += delay
            self.start(before)
            self.settle(before, how, used_prompt, used_answer)

    def _ask(self, number, tokens):
        now, oracle = self.clock.time, self.oracle
        counters = self._counters()
        decision = self.limiter.ask(self.places[number], Charge(*tokens))
        note(f"{now}: {number} asks for {tokens}: {decision}")
        if oracle.too_large(tokens):
            assert isinstance(decision, Never)
            self._leaves(number)
        elif (oracle.line or [number])[0] != number:
            assert isinstance(decision, NotBefore)
            assert decision.when == inf
            if number not in oracle.line:
                oracle.line.append(number)
            oracle.asked[number], self.told[number] = tokens, inf
        else:
            expected = oracle.earliest(tokens, now)
            if isinstance(decision, Go):
                assert expected <= now + EXACT, f"not before {expected}"
                self._leaves(number)
                self.sure = None
                self.reservations.append((decision.reservation, oracle.grant(tokens, now)))
            else:
                assert isinstance(decision, NotBefore)
                assert expected > now - EXACT, "it may go"
                assert decision.when > now
                assert self.sure != (number, tokens, now), "it was told that it could go now, and nothing has changed"
                assert decision.when == expected or isclose(decision.when, expected, rel_tol=0, abs_tol=EXACT)
                oracle.line = oracle.line or [number]
                oracle.asked[number], self.told[number] = tokens, decision.when
                self.sure = (number, tokens, decision.when)
        if not isinstance(decision, Go):
            assert self._counters() == counters, "a refusal changed what is counted"
        self._check_wakes(asker=number)

    def _leaves(self, number):
        if number in self.oracle.line:
            self.oracle.line.remove(number)
        self.told.pop(number, None)

    @rule(number=st.integers(0, PLACES - 1))
    def leave(self, number):
        """Somebody gives up."""
        self.limiter.leave(self.places[number])
        self._leaves(number)
        self._changed()

    @precondition(lambda self: self.reservations)
    @rule(back=st.integers(0, 3))
    def start_one(self, back):
        """One of the last admitted is sent, or told so twice."""
        self.start(max(0, len(self.reservations) - 1 - back))

    def start(self, index):
        """Send one."""
        reservation, entry = self.reservations[index]
        reservation.start()
        self.oracle.start(entry, self.clock.time)
        self._changed()

    @precondition(lambda self: self.reservations)
    @rule(
        back=st.integers(0, 3),
        how=st.sampled_from(["as reserved", "unknown", "less", "shorter", "anything"]),
        prompt=SMALL,
        answer=SMALL,
    )
    def settle_one(self, back, how, prompt, answer):
        """One of the last ends, having used less, as much, or more; or says so twice."""
        self.settle(max(0, len(self.reservations) - 1 - back), how, prompt, answer)

    def settle(self, index, how, prompt, answer):
        """End one."""
        reservation, entry = self.reservations[index]
        reserved = entry.tokens
        usage = {
            "as reserved": reserved,
            "unknown": None,
            "less": (min(prompt, reserved[0]), min(answer, reserved[1])),
            "shorter": (reserved[0], reserved[1] // 2),
            "anything": (prompt, answer),
        }[how]
        reservation.settle(None if usage is None else Usage(*usage))
        self.oracle.settle(entry, usage, self.clock.time)
        self._changed()

    @precondition(lambda self: self.reservations)
    @rule(back=st.integers(0, 3))
    def cancel(self, back):
        """One of the last is given back, sent or not."""
        reservation, entry = self.reservations[max(0, len(self.reservations) - 1 - back)]
        reservation.cancel()
        self.oracle.cancel(entry, self.clock.time)
        self._changed()

    @precondition(lambda self: self.reservations)
    @rule(back=st.integers(0, 3), pause=st.sampled_from([0.0, 0.5, 7.0, 70.0]))
    def refuse(self, back, pause):
        """The provider answers 429."""
        reservation, entry = self.reservations[max(0, len(self.reservations) - 1 - back)]
        now = self.clock.time
        reservation.refused(now + pause)
        self.oracle.refusals.append((now, inf if entry.sent is None else entry.sent, now + pause))
        self._changed()

    @precondition(lambda self: any(entry.ended is None for _, entry in self.reservations))
    @rule()
    def finish_all(self):
        """All that is held is sent, and all that was sent ends as reserved."""
        for index, (_, entry) in enumerate(self.reservations):
            if entry.ended is None:
                self.start(index)
                self.settle(index, "as reserved", 0, 0)

    @rule(seconds=st.sampled_from([0.001, 0.25, 1.0, 9.9, 10.0, 59.5, 60.0, 60.5, 602.5, 86_400.0]))
    def pass_time(self, seconds):
        """The clock goes on, by little or by much."""
        self.clock.time += seconds

    @rule(which=st.integers(0, 5), off=st.sampled_from([-0.5, -0.25, -0.001, 0.0, 0.25, 0.5]))
    def jump_to_edge(self, which, off):
        """The clock jumps to where something leaves a window, or just beside it."""
        edges = [edge + off for edge in self.oracle.leaving(self.clock.time) if edge + off > self.clock.time]
        if edges:
            self.clock.time = edges[which % len(edges)]

    @precondition(lambda self: self.oracle.line)
    @rule(early=st.sampled_from([0.0, 0.0, 0.001]))
    def jump_to_turn(self, early):
        """The clock jumps to when the first in line was told to ask again, or just before."""
        number = self.oracle.line[0]
        told = self.told[number]
        if self.clock.time < told - early < inf and number not in self.woken:
            self.clock.time = told - early
            self._ask(number, self.oracle.asked[number])

    def _changed(self):
        self.sure = None
        self._check_wakes()

    def _check_wakes(self, asker=None):
        """Only the first in line is woken, only if it can go earlier than it was told, and then always."""
        oracle, now = self.oracle, self.clock.time
        woken, self.woken = self.woken, []
        if not oracle.line:
            assert woken == []
            return
        head = oracle.line[0]
        earliest = oracle.earliest(oracle.asked[head], now)
        if woken:
            assert woken == [head]
            assert earliest < self.told[head] + EXACT
            assert asker != head
            self.told[head] = earliest
        else:
            assert earliest >= self.told[head] - EXACT, "nobody told it"

    @invariant()
    def what_is_counted_is_what_is_live(self):
        """Conservation: what is counted on each axis is the sum of what is live."""
        expected = [self.oracle.used(name, self.clock.time) for name in COUNTED if name in self.oracle.limits]
        assert [used for used, _ in self._counters()] == expected
        assert all(used >= 0 for used in expected)

    @invariant()
    def no_window_carries_more(self):
        """Any window of any axis carries at most the limit, and what calls used beyond what they reserved."""
        calls = [entry for entry in self.oracle.entries if entry.sent is not None]
        for name, limit in self.oracle.limits.items():
            span, amount = COUNTED[name]
            for first in calls:
                inside = [call for call in calls if first.sent <= call.sent < first.sent + span]
                total = sum(amount(*call.charged()) for call in inside)
                overshoot = sum(max(0, amount(*call.charged()) - amount(*call.tokens)) for call in inside)
                assert total <= limit + overshoot

    def _counters(self):
        """Use and debt on each axis, read without touching them."""
        now = self.clock.time
        return [
            (
                gauge.window.used - sum(amount for when, amount in gauge.window._leaving if when <= now),
                gauge.pace._due if gauge.pace else None,
            )
            for gauge in self.limiter._gauges
        ]


AdmissionMachine.TestCase.settings = settings(
    max_examples=400,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class TestAdmissionAgainstOracle(AdmissionMachine.TestCase):
    """Every decision, every wait and every waking is the one that the list of all events asks for."""

    @pytest.mark.timeout(100)
    def runTest(self):  # noqa: N802  unittest's name
        """Every decision, every wait and every waking is the one that the list of all events asks for."""
        super().runTest()
