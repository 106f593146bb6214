"""What a batch promises: order, reasons, retries, deadlines. All on a clock that obeys."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_api_client import APIClient, RateLimit, Result, RetryPolicy
from llm_api_client.errors import (
    AdmissionTimeoutError,
    AuthenticationError,
    BatchInterruptedError,
    BatchTimeoutError,
    ClientClosedError,
    ConfigurationError,
    InvalidInputError,
    InvalidRequestError,
    QuotaExceededError,
    RateLimitError,
    RequestTooLargeError,
    ServerError,
)
from llm_api_client.run.road import in_a_thread
from llm_api_client.testing import FakeClock, ScriptedAnswer, ScriptedCalls, ScriptedError

from .conftest import contents, echo, questions


def rate_limited(seconds):
    return ScriptedError(429, "slow down", {"retry-after": str(seconds)})


def starts(calls):
    return [call.at for call in calls.calls]


class TestOrderAndSlots:
    def test_answers_stand_in_the_order_of_the_requests(self, make_client):
        """Whatever order the answers come in, each stands in its request's slot."""
        client, _ = make_client([echo] * 50, latency=lambda params: hash(params["messages"][0]["content"]) % 7 / 10)
        answers = client.make_requests(questions(50))
        assert contents(answers) == [f"answer to question {i}" for i in range(50)]

    def test_a_failed_slot_is_none_and_its_reason_is_kept(self, make_client):
        """A failure costs its own slot only, and says why in failures, history and the log."""
        client, _ = make_client(["one", ScriptedError(400, "no such thing"), "three"], latency=0, max_workers=1)
        assert contents(client.make_requests(questions(3))) == ["one", None, "three"]
        (failure,) = client.failures
        assert failure.index == 1
        assert isinstance(failure.error, InvalidRequestError)
        assert "request 1" in str(failure.error)
        assert "no such thing" in client.history[1]["error"]

    def test_exceptions_stand_in_their_slots_when_asked_for(self, make_client):
        """With return_exceptions the slot holds the exception itself."""
        client, _ = make_client([ScriptedError(400)], latency=0)
        (slot,) = client.make_requests(questions(1), return_exceptions=True)
        assert isinstance(slot, InvalidRequestError)

    def test_an_empty_list_is_answered_by_an_empty_list(self, make_client):
        """Nothing asked, nothing sent."""
        client, calls = make_client()
        assert client.make_requests([]) == []
        assert calls.calls == []

    @pytest.mark.parametrize("wrong", [None, "a prompt", {"model": "x"}, 5])
    def test_what_is_no_list_of_requests_is_refused(self, make_client, wrong):
        """A single request, a string or nothing is no batch, and the error says what is."""
        client, _ = make_client()
        with pytest.raises(InvalidInputError, match="list of request"):
            client.make_requests(wrong)

    def test_bad_requests_spoil_only_their_own_slots(self, make_client):
        """An entry that is no request fails with its index; the rest is answered."""
        client, calls = make_client()
        good = questions(1)[0]
        answers = client.make_requests([good, 5, {}, {"model": "x"}, good], return_exceptions=True)
        assert [type(answer) for answer in answers[1:4]] == [InvalidInputError] * 3
        assert [answer.index for answer in answers[1:4]] == [1, 2, 3]
        assert len(calls.calls) == 2

    def test_on_result_sees_every_end_once(self, make_client):
        """The callback gets each Result, with its index, as it ends."""
        seen: list[Result] = []
        client, _ = make_client([ScriptedError(400)], max_workers=1)
        client.make_requests(questions(5), on_result=seen.append)
        assert [result.index for result in seen] == [0, 1, 2, 3, 4]
        assert [result.error is None for result in seen] == [False, True, True, True, True]

    def test_the_callers_dicts_are_never_changed(self, make_client):
        """Defaults and sanitizing happen to copies."""
        client, _ = make_client(api_key="sk-test", base_url="http://127.0.0.1:1/v1", request_timeout=3)
        requests = questions(3, temperature=0.5)
        client.make_requests(requests)
        assert requests == questions(3, temperature=0.5)


class TestCallParameters:
    def test_inner_retries_are_always_off(self, make_client):
        """No call goes out that may be repeated behind the limiter's back, even if the request asks for it."""
        client, calls = make_client()
        client.make_requests(questions(1, num_retries=7))
        assert calls.calls[0].params["max_retries"] == 0
        assert calls.calls[0].params["num_retries"] == 0

    def test_client_defaults_reach_the_call_and_the_request_wins(self, make_client):
        """Key, base URL and timeout of the client hold for requests that carry none of their own."""
        client, calls = make_client(api_key="sk-client", base_url="http://one", request_timeout=3, max_workers=1)
        client.make_requests([*questions(1), *questions(1, api_key="sk-own", base_url="http://two", timeout=9)])
        first, second = (call.params for call in calls.calls)
        assert (first["api_key"], first["api_base"], first["timeout"]) == ("sk-client", "http://one", 3)
        assert (second["api_key"], second["base_url"], second["timeout"]) == ("sk-own", "http://two", 9)
        assert "api_base" not in second

    def test_a_replaced_api_call_is_used_from_then_on(self, make_client):
        """client.api_call is what performs the requests."""
        client, calls = make_client()
        client.api_call = lambda **_: ScriptedAnswer("another")
        assert contents(client.make_requests(questions(1))) == ["another"]
        assert calls.calls == []


class TestLimits:
    def test_the_third_of_two_a_minute_waits_for_the_window(self, make_client):
        """With two requests a minute the third starts 60 s after the first, not 30."""
        client, calls = make_client(rpm=2)
        client.make_requests(questions(3))
        first, second, third = starts(calls)
        assert second - first < 1
        assert 60 <= third - first < 61

    def test_a_request_ages_from_when_it_left(self, make_client, clock):
        """What a call does before its bytes leave does not age its charge: the provider has not seen it yet."""
        client, _ = make_client(rpm=2)
        left = []

        def send(prepared, params, on_sent):
            clock.sleep(5 if len(left) < 2 else 0)
            left.append(clock.now())
            on_sent()
            return ScriptedAnswer()

        client._sender.begin = in_a_thread(send)
        client.make_requests(questions(3))
        assert left[2] - max(left[:2]) >= 60

    def test_a_call_that_cannot_even_begin_fails_as_a_call(self, make_client):
        """What is raised before anything is sent is the call's failure, and may be tried again like any other."""
        client, _ = make_client(rpm=10)
        raised = [ScriptedError(503, "not yet")]

        def begin(*_):
            if raised:
                raise raised.pop()
            return ScriptedAnswer

        client._sender.begin = begin
        [answer] = client.make_requests_with_retries(questions(1))
        assert answer.choices
        raised.append(ScriptedError(400, "never"))
        [failed] = client.make_requests(questions(1), return_exceptions=True)
        assert type(failed) is InvalidRequestError

    def test_what_never_left_takes_nothing_of_the_limits(self, make_client, clock):
        """A call that fails before anything was sent gives its admission back."""
        client, _ = make_client(rpm=2)

        def send(prepared, params, on_sent):
            raise OSError("no route")

        client._sender.begin = in_a_thread(send)
        client.make_requests(questions(10))
        assert clock.now() < 5

    def test_the_limit_holds_over_batches(self, make_client):
        """Two calls of make_requests share the client's window."""
        client, calls = make_client(rpm=2)
        client.make_requests(questions(2))
        client.make_requests(questions(1))
        assert starts(calls)[2] - starts(calls)[0] >= 60

    def test_a_waiting_request_holds_no_thread(self, make_client, monkeypatch):
        """Threads exist for calls in flight only, however many requests wait."""
        from llm_api_client.run import workers

        made = []
        thread = workers.Thread
        monkeypatch.setattr(workers, "Thread", lambda **kwargs: made.append(1) or thread(**kwargs))
        client, _ = make_client(rpm=3)
        client.make_requests(questions(12))
        assert len(made) <= 3

    def test_workers_are_a_ceiling_on_calls_in_flight(self, clock):
        """Never more calls at once than max_workers, of the client or of the batch."""
        at_once, most = 0, 0

        def call(**_):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            clock.sleep(1)
            at_once -= 1
            return ScriptedAnswer()

        client = APIClient(None, None, 8, api_call=call, clock=clock)
        client.make_requests(questions(40), max_workers=3)
        assert most == 3
        client.make_requests(questions(40))
        assert most == 8

    def test_a_request_larger_than_the_limit_fails_at_once(self, make_client, clock):
        """What could never fit is refused without waiting, and the error says what it needs."""
        client, calls = make_client(tpm=50)
        (slot,) = client.make_requests(questions(1, max_tokens=100), return_exceptions=True)
        assert isinstance(slot, RequestTooLargeError)
        assert "tokens per minute" in str(slot)
        assert calls.calls == []
        assert clock.now() == 0

    def test_a_guessed_answer_makes_no_request_too_large(self, make_client):
        """Where the request does not bound its answer, only its prompt can be too large."""
        client, calls = make_client(tpm=50)
        assert None not in client.make_requests(questions(2))
        assert len(calls.calls) == 2

    def test_a_wait_known_to_be_too_long_fails_at_once(self, make_client, clock):
        """max_delay_seconds is not waited out when it is known not to suffice."""
        client, calls = make_client(rpm=2, max_delay_seconds=30, latency=0)
        slots = client.make_requests(questions(3), return_exceptions=True)
        assert isinstance(slots[2], AdmissionTimeoutError)
        assert "max_delay_seconds=30" in str(slots[2])
        assert clock.now() < 1
        assert len(calls.calls) == 2

    def test_max_delay_counts_from_being_next_in_line(self, make_client):
        """A long queue is no reason to fail: each request waits only from the time it is next."""
        client, calls = make_client(rpm=2, max_delay_seconds=70)
        assert None not in client.make_requests(questions(10))
        assert starts(calls)[-1] > 240

    def test_models_with_limits_of_their_own_do_not_wait_for_others(self, make_client):
        """A request whose own limit lets it go does not stand behind one that must wait."""
        client, calls = make_client(rpm=1, model_limits={"gpt-4o": RateLimit(requests_per_minute=100)})
        slow, fast = questions(3), [{**request, "model": "gpt-4o"} for request in questions(3)]
        client.make_requests([*slow, *fast])
        times = [call.at for call in calls.calls if call.params["model"] == "gpt-4o"]
        assert max(times) < 5


class TestRateLimits:
    def test_a_429_is_no_attempt(self, make_client):
        """make_requests attempts once; refusals to admit do not count as that once."""
        client, calls = make_client([rate_limited(1)] * 5)
        assert None not in client.make_requests(questions(1))
        assert len(calls.calls) == 6
        assert client.history[0]["attempts"] == 1

    def test_a_429_pauses_everybody_until_retry_after(self, make_client):
        """After a 429 nothing goes before Retry-After is over, and the refused request goes first."""
        client, calls = make_client(["one", rate_limited(7)], latency=0, max_workers=1)
        client.make_requests(questions(4))
        assert [call.params["messages"][0]["content"][-1] for call in calls.calls] == ["0", "1", "1", "2", "3"]
        assert starts(calls)[2] - starts(calls)[1] >= 7

    def test_without_retry_after_the_pause_grows(self, make_client):
        """A provider that says nothing is asked less and less often."""
        client, calls = make_client([ScriptedError(429)] * 4, latency=0)
        client.make_requests(questions(1))
        gaps = [b - a for a, b in zip(starts(calls), starts(calls)[1:], strict=False)]
        assert all(gap >= 0.5 * 2**i for i, gap in enumerate(gaps))

    def test_only_max_delay_ends_the_waiting(self, make_client, clock):
        """A provider that refuses for ever costs max_delay_seconds, and the error says so."""
        client, _ = make_client([rate_limited(9)] * 1000, max_delay_seconds=60, latency=0)
        (slot,) = client.make_requests(questions(1), return_exceptions=True)
        assert isinstance(slot, AdmissionTimeoutError)
        assert clock.now() <= 61

    def test_a_retry_after_beyond_the_patience_fails_at_once(self, make_client, clock):
        """Retry-After of an hour is known not to fit into max_delay_seconds."""
        client, _ = make_client([rate_limited(3600)], latency=0)
        (slot,) = client.make_requests(questions(1), return_exceptions=True)
        assert isinstance(slot, AdmissionTimeoutError)
        assert clock.now() < 1

    def test_a_spent_quota_fails_at_once(self, make_client):
        """insufficient_quota comes as a 429, but no waiting helps."""
        client, calls = make_client([ScriptedError(429, "spent", code="insufficient_quota")])
        (slot,) = client.make_requests_with_retries(questions(1), return_exceptions=True)
        assert isinstance(slot, QuotaExceededError)
        assert len(calls.calls) == 1

    def test_429s_are_counted_apart(self, make_client):
        """The status tracker tells refusals from failures."""
        client, _ = make_client([rate_limited(1), ScriptedError(500), ValueError("odd")], max_workers=1)
        client.make_requests_with_retries(questions(1), max_retries=5)
        status = client.tracker.status
        assert (status.num_rate_limit_errors, status.num_api_errors, status.num_other_errors) == (1, 1, 1)


class TestRetries:
    def test_make_requests_attempts_once(self, make_client):
        """Without retries a failure is final."""
        client, calls = make_client([ScriptedError(500)])
        assert client.make_requests(questions(1)) == [None]
        assert len(calls.calls) == 1

    @pytest.mark.parametrize("failure", [ScriptedError(s) for s in (408, 409, 500, 502, 503, 529)] + [OSError("gone")])
    def test_what_may_pass_is_tried_again(self, make_client, failure):
        """Server errors, conflicts, timeouts and unknown exceptions are retried."""
        client, calls = make_client([failure, failure, "at last"])
        assert contents(client.make_requests_with_retries(questions(1))) == ["at last"]
        assert len(calls.calls) == 3
        assert client.history[0]["attempts"] == 3

    @pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
    def test_what_is_permanent_is_not(self, make_client, status):
        """The same request would fail again, so it is not sent again."""
        client, calls = make_client([ScriptedError(status)])
        assert client.make_requests_with_retries(questions(1)) == [None]
        assert len(calls.calls) == 1

    def test_max_retries_are_further_attempts(self, make_client):
        """max_retries=2 makes three attempts, and the last failure is the reason."""
        client, calls = make_client([ScriptedError(500, f"boom {i}") for i in range(9)])
        (slot,) = client.make_requests_with_retries(questions(1), max_retries=2, return_exceptions=True)
        assert isinstance(slot, ServerError)
        assert "boom 2" in str(slot)
        assert len(calls.calls) == 3

    def test_retry_after_is_honoured_by_retries(self, make_client):
        """A 503 with Retry-After is not tried again before."""
        client, calls = make_client([ScriptedError(503, headers={"retry-after-ms": "12500"})], latency=0)
        client.make_requests_with_retries(questions(1))
        assert starts(calls)[1] - starts(calls)[0] >= 12.5

    def test_a_503_pauses_nobody_else(self, make_client):
        """Only 429s slow the others down."""
        client, calls = make_client([ScriptedError(503, headers={"retry-after": "60"})], latency=0, max_workers=1)
        client.make_requests_with_retries(questions(5))
        assert starts(calls)[:5] == [0.0] * 5

    def test_backoff_is_bounded_by_the_policy(self, make_client):
        """No wait is longer than the policy says."""
        client, calls = make_client([ScriptedError(500)] * 8, latency=0, retry=RetryPolicy(1.0, 2.0, 5.0))
        client.make_requests_with_retries(questions(1), max_retries=8)
        gaps = [b - a for a, b in zip(starts(calls), starts(calls)[1:], strict=False)]
        assert all(gap <= min(5.0, 2.0**i) for i, gap in enumerate(gaps))

    def test_retries_do_not_come_in_waves(self, make_client):
        """A retry goes as soon as its wait is over, among fresh requests, not after all of them."""
        client, calls = make_client([ScriptedError(500)], latency=1, max_workers=2, retry=RetryPolicy(0.0))
        client.make_requests_with_retries(questions(20))
        asked = [call.params["messages"][0]["content"] for call in calls.calls]
        assert asked.index(asked[0], 1) < 6

    def test_a_retry_is_admitted_and_charged_again(self, make_client):
        """Retries take their place in the limits like any other call."""
        client, calls = make_client([ScriptedError(500), ScriptedError(500)], rpm=2, latency=0)
        client.make_requests_with_retries(questions(2))
        assert len(calls.calls) == 4
        assert starts(calls)[2] >= 60

    def test_a_sick_provider_is_asked_slowly_and_nobody_fails_for_it(self, make_client):
        """When all fail, retries slow down to about one a second, but each request gets all its attempts."""
        client, calls = make_client([ScriptedError(500)] * 10_000, latency=0.01, retry=RetryPolicy(0.1, 1.0, 0.1))
        client.make_requests_with_retries(questions(300), max_retries=2)
        assert len(calls.calls) == 900
        assert starts(calls)[-1] > 400


class TestRefusedKeys:
    def test_a_refused_key_ends_the_batch_for_those_who_carry_it(self, make_client):
        """One 401 is enough: requests with that key are not sent, those with another are."""
        client, calls = make_client(
            [lambda p: ScriptedError(401, "bad key") if p["api_key"] == "sk-bad-key" else "fine"] * 99, max_workers=1
        )
        requests = [*questions(5, api_key="sk-bad-key"), *questions(2, api_key="sk-good-key")]
        slots = client.make_requests_with_retries(requests, return_exceptions=True)
        assert all(isinstance(slot, AuthenticationError) for slot in slots[:5])
        assert contents(slots[5:]) == ["fine", "fine"]
        assert len(calls.calls) == 3
        assert "key was refused" in str(slots[4])
        assert "sk-bad-key" not in str(slots)

    def test_a_new_batch_asks_again(self, make_client):
        """A key that was refused once may be right by the next batch."""
        client, _ = make_client([ScriptedError(401)])
        assert client.make_requests(questions(1)) == [None]
        assert None not in client.make_requests(questions(1))


class TestTimeout:
    def test_the_timeout_bounds_the_whole_call(self, make_client, clock):
        """It returns in time, keeps what was answered, starts nothing further, and waits for nobody."""
        client, calls = make_client(latency=lambda p: 1000 if p["messages"][0]["content"] == "question 1" else 1)
        slots = client.make_requests(questions(10), timeout=5, max_workers=2, return_exceptions=True)
        assert clock.now() <= 5
        assert [slot.in_flight for slot in slots if isinstance(slot, BatchTimeoutError)].count(True) >= 1
        answered = [slot for slot in slots if isinstance(slot, ScriptedAnswer)]
        assert 1 <= len(answered) <= 5
        assert len(calls.calls) <= 7
        assert len(client.history) == 10

    def test_the_timeout_holds_during_rate_limits_and_backoff(self, make_client, clock):
        """Waiting for a limit or for a retry ends with the batch's time."""
        client, _ = make_client([ScriptedError(503, headers={"retry-after": "100"})], rpm=2)
        slots = client.make_requests_with_retries(questions(5), timeout=10, return_exceptions=True)
        assert clock.now() == pytest.approx(10)
        assert all(isinstance(slot, BatchTimeoutError | ScriptedAnswer) for slot in slots)

    def test_a_timeout_of_zero_sends_nothing(self, make_client):
        """No time, no call."""
        client, calls = make_client()
        assert client.make_requests(questions(3), timeout=0) == [None] * 3
        assert calls.calls == []

    def test_an_answer_that_comes_too_late_is_still_counted(self, make_client, clock):
        """What the provider bills after the timeout is in the tracker's cost."""
        client, _ = make_client(latency=60)
        client.make_requests(questions(1), timeout=5)
        assert client.tracker.total_cost == 0
        clock.advance(100)
        for _ in range(1000):
            if client.tracker.num_api_calls:
                break
            client.count_messages_tokens([], model="gpt-4o-mini")
        assert client.tracker.total_cost > 0


class TestInterrupts:
    def test_what_was_answered_is_kept(self, make_client):
        """Ctrl-C ends the batch at once; answers are in the history, the rest has its reason, and then it is raised."""
        client, calls = make_client(["one", "two", KeyboardInterrupt()], max_workers=1)
        with pytest.raises(KeyboardInterrupt):
            client.make_requests(questions(10))
        assert [entry["content"] for entry in client.history][:2] == ["one", "two"]
        assert len(client.history) == 10
        assert all(isinstance(failure.error, BatchInterruptedError) for failure in client.failures)
        assert len(calls.calls) == 3

    def test_answers_that_have_come_are_not_given_up(self, make_client):
        """Calls that ended before the batch was stopped are answers, even if nobody had looked at them yet."""

        def interrupt(_):
            while client.tracker.num_api_calls < 4:
                time.sleep(0.005)
            time.sleep(0.05)  # from being counted to being handed over
            raise KeyboardInterrupt

        client, _ = make_client(max_workers=4, latency=1)
        with pytest.raises(KeyboardInterrupt):
            client.make_requests(questions(4), on_result=interrupt)
        answered = [entry for entry in client.history if entry["error"] is None]
        assert len(answered) == client.tracker.num_api_calls == 4
        assert client.tracker.status.num_other_errors == 0

    def test_a_failing_callback_ends_the_batch_with_its_own_error(self, make_client):
        """What on_result raises reaches the caller, and what was answered is in the history."""

        def fail(_):
            raise ZeroDivisionError

        client, _ = make_client(max_workers=1)
        with pytest.raises(ZeroDivisionError):
            client.make_requests(questions(5), on_result=fail)
        assert client.history[0]["error"] is None
        assert len(client.history) == 5


class TestLifecycle:
    def test_a_closed_client_says_so(self, make_client):
        """After close there is a clear error, and closing twice is harmless."""
        client, _ = make_client()
        with client:
            client.make_requests(questions(1))
        client.close()
        with pytest.raises(ClientClosedError, match="new APIClient"):
            client.make_requests(questions(1))

    @pytest.mark.parametrize(
        "options",
        [
            {"max_requests_per_minute": 0},
            {"max_requests_per_minute": True},
            {"max_tokens_per_minute": -5},
            {"max_tokens_per_minute": float("nan")},
            {"max_requests_per_minute": float("inf")},
            {"max_requests_per_minute": "600"},
            {"max_workers": 0},
            {"max_workers": 2.5},
            {"max_delay_seconds": -1},
            {"request_timeout": 0},
            {"history_limit": -1},
            {"on_context_overflow": "explode"},
        ],
    )
    def test_options_that_cannot_be_used_are_named(self, options):
        """A wrong option is refused when the client is made, by name."""
        (name,) = options
        with pytest.raises(ConfigurationError, match=name.removeprefix("max_")):
            APIClient(**options, api_call=ScriptedCalls())

    def test_details_are_limits_workers_and_the_trackers(self, make_client):
        """client.details is one dict of plain data."""
        client, _ = make_client(rpm=60, tpm=1000, max_workers=4)
        client.make_requests(questions(2))
        assert client.details == {
            "max_requests_per_minute": 60,
            "max_tokens_per_minute": 1000,
            "max_workers": 4,
            **client.tracker.details,
        }

    @pytest.mark.parametrize(
        ("options", "workers"), [({"max_workers": 7}, 7), ({}, 10_000), ({"max_requests_per_minute": 30}, 30)]
    )
    def test_workers_default_to_the_request_limit(self, options, workers):
        """Left out, the ceiling is the request limit; 20 for each CPU only where there is none."""
        import os

        assert APIClient(**options, api_call=ScriptedCalls()).max_workers == workers
        unlimited = APIClient(max_requests_per_minute=None, api_call=ScriptedCalls())
        assert unlimited.max_workers == (os.cpu_count() or 1) * 20


FATES = st.sampled_from(["ok", "429", "429-silent", "500", "400", "401", "odd", "hang"])


@settings(max_examples=60, deadline=None)
@given(
    fates=st.lists(st.lists(FATES, max_size=4), min_size=1, max_size=12),
    rpm=st.sampled_from([None, 1, 2, 30]),
    workers=st.integers(1, 5),
    retries=st.integers(0, 3),
    timeout=st.sampled_from([None, 0.5, 20, 200]),
    latency=st.floats(0, 3),
)
def test_every_request_ends_exactly_once(fates, rpm, workers, retries, timeout, latency):
    """Whatever calls come to, each request has one end, in its slot, with a reason if it failed, and in time."""
    clock = FakeClock()
    left = [list(fate) for fate in fates]
    sent: list[tuple[int, float]] = []

    def call(**params):
        index = int(params["messages"][0]["content"].split()[-1])
        sent.append((index, clock.now()))
        fate = left[index].pop(0) if left[index] else "ok"
        clock.sleep(10_000 if fate == "hang" else latency)
        match fate:
            case "ok" | "hang":
                return ScriptedAnswer(f"answer to question {index}")
            case "429":
                raise ScriptedError(429, headers={"retry-after": "3"})
            case "429-silent":
                raise ScriptedError(429)
            case "odd":
                raise ValueError(fate)
            case status:
                raise ScriptedError(int(status))

    client = APIClient(rpm, None, workers, api_call=call, clock=clock, max_delay_seconds=None)
    seen: list[int] = []
    requests = questions(len(fates))
    slots = client.make_requests_with_retries(
        requests,
        max_retries=retries,
        timeout=timeout,
        return_exceptions=True,
        on_result=lambda result: seen.append(result.index),
    )
    ended_at = clock.now()
    assert sorted(seen) == list(range(len(fates)))
    assert len(slots) == len(fates) == len(client.history)
    for index, slot in enumerate(slots):
        if isinstance(slot, Exception):
            assert slot.index == index
        else:
            assert slot.choices[0].message.content == f"answer to question {index}"
    assert {failure.index for failure in client.failures} == {
        index for index, slot in enumerate(slots) if isinstance(slot, Exception)
    }
    if timeout is not None:
        assert ended_at <= timeout + 1e-6
    if rpm is not None:
        times = sorted(at for _, at in sent)
        assert all(b - a >= 60 for a, b in zip(times, times[rpm:], strict=False))
    status = client.tracker.status
    assert status.num_tasks_started == len(fates) == status.num_tasks_succeeded + status.num_tasks_failed
    assert status.num_tasks_in_progress == 0
    clock.advance(20_000)


def test_rate_limit_error_is_the_cause_that_is_seen(make_client):
    """While a request waits out 429s, what the provider said is not lost: it is counted, and named at the end."""
    client, _ = make_client([rate_limited(40)] * 9, max_delay_seconds=60, latency=0)
    (slot,) = client.make_requests(questions(1), return_exceptions=True)
    assert isinstance(slot.__cause__, RateLimitError)
