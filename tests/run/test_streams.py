"""What a stream promises: results as they end, input read when it is needed, and nothing lost at its end."""

import itertools
import threading
import time
import tracemalloc

import pytest

from llm_api_client import APIClient, RateLimit
from llm_api_client.errors import BatchInterruptedError, BatchTimeoutError, ConfigurationError, InvalidInputError
from llm_api_client.run import order
from llm_api_client.testing import ScriptedAnswer, ScriptedCalls, ScriptedError

from .conftest import echo, questions


def endless():
    """Questions without end, and how many were taken."""
    for index in itertools.count():
        yield {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"question {index}"}]}


def by_number(params):
    """A latency in which later questions of each ten are answered first."""
    return 1 - int(params["messages"][0]["content"].split()[-1]) % 10 / 10


class TestOrder:
    def test_results_come_as_they_end(self, make_client):
        """A quick answer does not wait for a slow one before it."""
        client, _ = make_client(latency=by_number, max_workers=10)
        results = list(client.iter_requests(questions(10)))
        assert [result.index for result in results] == list(range(9, -1, -1))
        assert all(result.content == "An answer." for result in results)

    def test_results_come_in_order_where_it_is_asked_for(self, make_client):
        """With ordered=True each waits for those before it."""
        client, _ = make_client([echo] * 50, latency=by_number, max_workers=10)
        results = list(client.iter_requests(questions(50), ordered=True))
        assert [result.index for result in results] == list(range(50))
        assert results[7].content == "answer to question 7"

    def test_one_slow_answer_holds_a_bounded_number_back(self, make_client, monkeypatch):
        """In order, no more is asked than may wait for the slowest."""
        monkeypatch.setattr(order, "AHEAD", 30)
        client, calls = make_client(latency=lambda params: 100 if params["messages"][0]["content"][-2:] == " 0" else 1)
        stream = client.iter_requests(questions(200), ordered=True, max_workers=5)
        assert next(stream).index == 0
        assert len(calls.calls) <= 30
        assert [result.index for result in stream] == list(range(1, 200))


class TestReading:
    def test_the_input_is_read_when_it_is_needed(self, make_client):
        """An endless input is read as far as calls are in flight, and not further."""
        taken = 0

        def counted():
            nonlocal taken
            for request in endless():
                taken += 1
                yield request

        client, _ = make_client(latency=1)
        stream = client.iter_requests(counted(), max_workers=4)
        assert taken == 0
        for number, _ in enumerate(stream, 1):
            # Those handed out, those that ended together with them, and those under way and ready in their place.
            assert taken <= number + 2 * (4 + 4 // 4)
            if number == 100:
                break
        stream.close()

    def test_what_the_input_raises_comes_after_the_results_before_it(self, make_client):
        """A fault in the caller's generator costs no answer that was asked for before it."""

        def broken():
            yield from questions(5)
            raise ZeroDivisionError

        client, _ = make_client()
        results = []
        with pytest.raises(ZeroDivisionError):
            results.extend(client.iter_requests(broken()))
        assert sorted(result.index for result in results) == [0, 1, 2, 3, 4]

    def test_bad_requests_are_results_too(self, make_client):
        """An entry that is no request fails in its place, and the stream goes on."""
        client, _ = make_client()
        results = {result.index: result for result in client.iter_requests([*questions(2), 5, *questions(1)])}
        assert isinstance(results[2].error, InvalidInputError)
        assert [results[index].error for index in (0, 1, 3)] == [None] * 3

    @pytest.mark.parametrize("wrong", [None, "a prompt", {"model": "x"}])
    def test_what_is_no_iterable_of_requests_is_refused_at_once(self, make_client, wrong):
        """The mistake is reported by the call itself, not by the first step of the loop."""
        client, _ = make_client()
        with pytest.raises(InvalidInputError):
            client.iter_requests(wrong)
        with pytest.raises(ConfigurationError):
            client.iter_requests([], max_retries=-1)

    def test_a_million_results_leave_nothing_behind(self):
        """Memory does not grow with the stream (here by 20,000 requests; the benchmark has the million)."""
        client = APIClient(None, None, 4, api_call=ScriptedCalls())
        client._sender.begin = lambda *_: ScriptedAnswer
        stream = client.iter_requests(endless(), sanitize=False)
        for _ in itertools.islice(stream, 2_000):
            pass
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in itertools.islice(stream, 20_000):
                pass
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
            stream.close()
        assert grown / 20_000 < 24  # 8 bytes of it are the tracker's response time
        assert len(client.history) == 0

    def test_a_bounded_history_keeps_a_stream_s_newest(self, make_client):
        """With a history_limit, the newest results are in the history."""
        client, _ = make_client(history_limit=3)
        assert len(list(client.iter_requests(questions(10)))) == 10
        assert len(client.history) == 3


class TestLeaving:
    def test_leaving_the_loop_cancels_what_has_not_started(self, make_client):
        """After a break nothing further is sent, and nothing is counted as under way."""
        client, calls = make_client(latency=1, max_workers=4)
        for _ in client.iter_requests(endless()):
            break
        sent = len(calls.calls)
        assert sent <= 4 + 4
        assert client.tracker.status.num_tasks_in_progress == 0
        client.make_requests(questions(3))
        assert len(calls.calls) <= sent + 4 + 3

    def test_a_stream_that_is_not_read_on_holds_no_other_batch_up(self, make_client):
        """While the caller works on a result, other batches of the client go on."""
        client, _ = make_client(rpm=5, latency=0.1)
        stream = client.iter_requests(questions(20))
        next(stream)
        assert None not in client.make_requests(questions(6))
        assert len(list(stream)) == 19

    def test_calls_go_on_while_the_caller_works(self):
        """Calls are sent before a result is handed out, so that they and the caller's work overlap."""
        calls = ScriptedCalls()
        client = APIClient(None, None, 10, api_call=calls)
        for number, _ in enumerate(client.iter_requests(questions(100), sanitize=False), 1):
            deadline = time.monotonic() + 30
            while len(calls.calls) < min(100, number + 10):
                assert time.monotonic() < deadline, "nothing was sent while the caller worked"

    def test_a_timeout_ends_what_was_read_and_is_raised(self, make_client):
        """What was taken from the input has its result, the rest is not read, and the reason is raised."""
        client, _ = make_client(latency=10, max_workers=2)
        results = []
        with pytest.raises(BatchTimeoutError, match="timeout of 25 s"):
            results.extend(client.iter_requests(endless(), timeout=25))
        assert sum(result.error is None for result in results) == 4
        assert all(isinstance(result.error, BatchTimeoutError) for result in results if result.error)

    def test_ctrl_c_brings_what_is_under_way_and_is_raised(self, make_client):
        """Interrupted, the stream yields the calls under way, and what was not sent as a failure; then it raises."""

        def interrupted(number):
            def call(params):
                if params["messages"][0]["content"] == f"question {number}":
                    raise KeyboardInterrupt
                return "answered"

            return call

        client, calls = make_client(
            [interrupted(3)] * 100, max_workers=4, latency=lambda p: 1 + int(p["messages"][0]["content"][-1]) % 4
        )
        results = []
        with pytest.raises(KeyboardInterrupt):
            results.extend(client.iter_requests(endless()))
        answered = [result for result in results if result.error is None]
        assert len(answered) == len(calls.calls) - 1
        assert all(isinstance(result.error, BatchInterruptedError) for result in results if result.error)

    def test_a_consumer_that_is_interrupted_can_go_on_taking(self, make_client):
        """Thrown into the stream, an interrupt ends it as one from within does."""
        client, _ = make_client(latency=1, max_workers=4)
        stream = client.iter_requests(endless())
        next(stream)
        rest = [stream.throw(KeyboardInterrupt)]
        with pytest.raises(KeyboardInterrupt):
            rest.extend(stream)
        assert rest[0].error is None

    def test_the_last_calls_have_a_short_grace(self, make_client, clock):
        """A call that takes longer than the grace is not waited for, and may be billed."""
        client, _ = make_client(latency=lambda params: 100 if params["messages"][0]["content"][-1] == "0" else 1)
        stream = client.iter_requests(questions(3), max_workers=3)
        next(stream)
        asked_at = clock.now()
        rest = [stream.throw(KeyboardInterrupt)]
        with pytest.raises(KeyboardInterrupt):
            rest.extend(stream)
        assert clock.now() - asked_at == pytest.approx(5)
        assert [result.index for result in rest if result.error is None] in ([1], [2])
        assert [result.error.in_flight for result in rest if result.error] == [True]

    def test_several_limits_go_on_beside_one_another(self, make_client):
        """In a stream too, one model's limit does not hold the other's requests up."""
        client, calls = make_client(model_limits={"slow": RateLimit(requests_per_minute=1)}, max_workers=50)
        requests = [{**request, "model": "slow"} for request in questions(3)] + questions(20)
        order = [result.index for result in client.iter_requests(requests, sanitize=False)]
        assert sorted(order) == list(range(23))
        assert set(order[-2:]) == {1, 2}
        assert len(calls.calls) == 23

    def test_a_stream_can_be_left_from_another_thread_s_garbage(self, make_client):
        """A stream that nobody holds any longer ends by itself."""
        client, _ = make_client(latency=1)
        stream = client.iter_requests(endless())
        next(stream)
        thread = threading.Thread(target=stream.close)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        assert client.tracker.status.num_tasks_in_progress == 0

    def test_failures_are_tried_again(self, make_client):
        """A stream tries again what may pass, twice unless told otherwise."""
        client, calls = make_client([ScriptedError(500), ScriptedError(500), "third"])
        (result,) = client.iter_requests(questions(1))
        assert (result.content, result.attempts, len(calls.calls)) == ("third", 3, 3)
