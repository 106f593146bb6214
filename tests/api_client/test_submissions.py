"""Requests submitted one by one: their order, their cancellation, and the end that each of them has."""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError, wait

import pytest

from llm_api_client import APIClient, RateLimit, RetryPolicy, SimulatedProvider, errors
from llm_api_client.testing import FakeClock, ScriptedCalls, ScriptedError

PATIENCE = 30.0


def ask(said="hello", model="any"):
    return {"model": model, "messages": [{"role": "user", "content": said}]}


def said_of(call):
    return call.params["messages"][0]["content"]


class Gate:
    """Calls that wait until they are let go."""

    def __init__(self):
        self.sent = []
        self.open = threading.Event()

    def __call__(self, **params):
        """Wait, and answer."""
        self.sent.append(params["messages"][0]["content"])
        assert self.open.wait(PATIENCE)
        return ScriptedCalls()()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def make(litellm):
    made = []

    def client(rpm=None, **options):
        made.append(APIClient(rpm, None, progress=False, **options))
        return made[-1]

    yield client
    for each in made:
        each.close()


def no_threads():
    return not any(thread.name == "llm-api-client-submissions" for thread in threading.enumerate())


def wait_until(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it does not come to pass"
        time.sleep(0.002)


def taken(client):
    """How many requests the batch has taken out of the queue and not ended."""
    return len(client._submissions._open)


def queued(client, gate):
    """Keep the client's only worker busy, so that what follows waits."""
    first = client.submit(ask("first"))
    wait_until(lambda: gate.sent == ["first"])
    return first


def test_a_future_gives_a_result(make):
    """The future's result has the answer, what it cost and used, and no index; the history has it too."""
    client = make(api_call=ScriptedCalls(["Yes."]))
    result = client.submit(ask()).result(PATIENCE)
    assert (result.content, result.error, result.cost, result.usage.total_tokens) == ("Yes.", None, 0.001, 15)
    assert [entry["content"] for entry in client.history] == ["Yes."]
    assert client.tracker.num_api_calls == 1
    wait_until(no_threads)


def test_a_failure_is_in_the_result(make):
    """What fails gives a result as well, with the error in it; what may pass is tried twice more."""
    client = make(
        api_call=ScriptedCalls([ScriptedError(400), *[ScriptedError(500)] * 3]), retry=RetryPolicy(initial_delay=0)
    )
    refused, failed = (client.submit(ask()).result(PATIENCE) for _ in range(2))
    assert type(refused.error) is errors.InvalidRequestError
    assert (type(failed.error), failed.attempts, failed.error.index) == (errors.ServerError, 3, None)
    wrong = client.submit({"model": "any"}).result(PATIENCE)
    assert type(wrong.error) is errors.InvalidInputError
    assert not str(wrong.error).startswith("request ")
    assert type(client.submit(7).result(PATIENCE).error) is errors.InvalidInputError


def test_a_priority_that_is_none_is_refused(make):
    """Names that are none, and what is neither a name nor a whole number, raise at once."""
    client = make(api_call=ScriptedCalls())
    for priority in ("urgent", 1.5, None, True):
        with pytest.raises(errors.ConfigurationError, match='"high", "normal", "low"'):
            client.submit(ask(), priority=priority)
    assert client.queue_status()["running"] is False


def test_the_urgent_go_first(make, gate):
    """High goes before normal before low, whole numbers beside them, and equals in the order of their coming."""
    client = make(api_call=gate, max_workers=1)
    queued(client, gate)
    order = ["low", "normal", "high", 5, "low", "high", -7, 0]
    futures = [client.submit(ask(f"{n} {priority}"), priority=priority) for n, priority in enumerate(order)]
    gate.open.set()
    wait(futures, PATIENCE)
    assert gate.sent[1:] == ["3 5", "2 high", "5 high", "1 normal", "7 0", "0 low", "4 low", "6 -7"]


def test_the_urgent_go_first_also_where_models_have_limits_of_their_own(make, gate):
    """Requests are then taken ahead, to find one whose limit lets it go, and are overtaken all the same."""
    limits = {"any": RateLimit(requests_per_minute=1)}
    # The clock stands while the first call is at the gate; then each minute lets one go.
    client = make(api_call=gate, max_workers=9, model_limits=limits, max_delay_seconds=None, clock=FakeClock())
    queued(client, gate)
    futures = []
    for n, priority in enumerate(["low", "normal", "low", "normal", "high"], 1):
        futures.append(client.submit(ask(f"{n} {priority}"), priority=priority))
        wait_until(lambda so_many=n: taken(client) == 1 + so_many)
    gate.open.set()
    wait(futures, PATIENCE)
    assert gate.sent[1:] == ["5 high", "2 normal", "4 normal", "1 low", "3 low"]


def test_what_is_cancelled_is_never_sent(make, gate):
    """Cancelled before it is sent, a request reaches nobody, takes nothing of the limits, and its future is done."""
    client = make(rpm=1_000, api_call=gate, max_workers=1)
    first = queued(client, gate)
    futures = [client.submit(ask(f"{n}")) for n in range(10)]
    assert all(future.cancel() for future in futures)
    assert client.queue_status()["total_queue_length"] == 0
    gate.open.set()
    assert not wait([first, *futures], PATIENCE).not_done
    with pytest.raises(CancelledError):
        futures[0].result()
    wait_until(no_threads)
    assert gate.sent == ["first"]
    assert client.queue_status()["rate_limits"]["requests_per_minute"]["current"] == 1
    assert client.tracker.status.num_tasks_in_progress == 0


def test_what_is_under_way_cannot_be_cancelled(make, gate):
    """Once it is sent, `cancel` is False, and the answer comes."""
    client = make(api_call=gate)
    future = queued(client, gate)
    assert not future.cancel()
    assert future.running()
    gate.open.set()
    assert future.result(PATIENCE).error is None


def test_the_queue_is_told_truly(make, gate):
    """queue_status counts what waits by priority, what is under way, and the limits' use; then all is empty again."""
    client = make(rpm=6_000, api_call=gate, max_workers=1)
    assert client.queue_status() == {
        "queue_lengths": {"high": 0, "normal": 0, "low": 0},
        "total_queue_length": 0,
        "in_flight": 0,
        "running": False,
        "rate_limits": {"requests_per_minute": {"current": 0, "limit": 6_000, "display": "0/6,000"}},
    }
    queued(client, gate)
    futures = [client.submit(ask(), priority=priority) for priority in ("low", "low", "high", "normal", 9)]
    status = client.queue_status()
    assert status["queue_lengths"] == {"high": 1, "normal": 1, "low": 2, "9": 1}
    assert (status["total_queue_length"], status["in_flight"], status["running"]) == (5, 1, True)
    gate.open.set()
    wait(futures, PATIENCE)
    wait_until(lambda: client.queue_status()["running"] is False)
    assert client.queue_status()["total_queue_length"] == client.queue_status()["in_flight"] == 0
    assert client.queue_status()["rate_limits"]["requests_per_minute"]["current"] == 6


def test_what_stands_before_its_limit_waits(make):
    """A request that its limit does not let go yet is in the queue still, and may be cancelled."""
    client = make(rpm=1, api_call=(calls := ScriptedCalls()))
    client.submit(ask()).result(PATIENCE)
    future = client.submit(ask(), priority="low")
    wait_until(lambda: client.tracker.status.num_tasks_in_progress == 1)
    status = client.queue_status()
    assert (status["queue_lengths"]["low"], status["total_queue_length"], status["in_flight"]) == (1, 1, 0)
    assert future.cancel()
    assert client.queue_status()["total_queue_length"] == 0
    client.close()
    assert len(calls.calls) == 1


def test_what_waits_holds_no_thread(make, gate):
    """A thousand waiting requests are one thread beside those of the calls."""
    client = make(api_call=gate, max_workers=2)
    before = threading.active_count()
    futures = [client.submit(ask()) for _ in range(1_000)]
    wait_until(lambda: len(gate.sent) == 2)
    assert threading.active_count() <= before + 3
    gate.open.set()
    assert not wait(futures, PATIENCE).not_done


def test_each_has_one_end_whoever_submits(make):
    """From eight threads, with pauses and cancellations by chance, each request has one answer or is cancelled."""
    client = make(api_call=(calls := ScriptedCalls()))
    futures = {}

    def submit(thread):
        chance = random.Random(thread)
        for number in range(125):
            name = f"{thread}.{number}"
            futures[name] = client.submit(ask(name), priority=chance.choice(["high", "normal", "low"]))
            if chance.random() < 0.1:
                futures[name].cancel()
            if chance.random() < 0.02:
                wait([futures[name]], PATIENCE)

    threads = [threading.Thread(target=submit, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wait(futures.values(), PATIENCE).not_done
    sent = Counter(map(said_of, calls.calls))
    assert set(sent.values()) == {1}
    assert set(sent) == {name for name, future in futures.items() if not future.cancelled()}
    assert all(future.result().error is None for future in futures.values() if not future.cancelled())
    wait_until(no_threads)
    assert client.tracker.status.num_tasks_in_progress == 0


def test_what_comes_while_calls_are_under_way_goes_at_once(make, gate):
    """A request that is submitted while others are under way does not wait for the end of one."""
    client = make(api_call=gate)
    queued(client, gate)
    wait_until(lambda: client._submissions._batch._intake.has_none_now)
    client.submit(ask("second"))
    wait_until(lambda: gate.sent == ["first", "second"])


def test_the_last_end_and_a_new_one_do_not_miss_each_other(make):
    """A request that is submitted as the last one ends is performed as well, over and over."""
    client = make(api_call=ScriptedCalls())
    for _ in range(300):
        assert client.submit(ask()).result(PATIENCE).error is None


def test_a_callback_may_submit_again(make):
    """A future's callback runs in the queue's thread, and may put the next into it."""
    client = make(api_call=ScriptedCalls())
    done = threading.Event()

    def again(number):
        future = client.submit(ask(f"{number}"))
        future.add_done_callback(lambda _: again(number - 1) if number else done.set())

    again(20)
    assert done.wait(PATIENCE)
    assert len(client.history) == 21


def test_an_answer_of_a_checkpoint_is_not_asked_again(make, tmp_path):
    """Submitted requests are kept in the client's checkpoint, and found there."""
    client = make(api_call=(calls := ScriptedCalls(["Yes.", "No."])), checkpoint=tmp_path / "kept.db")
    first = client.submit(ask()).result(PATIENCE)
    wait_until(no_threads)
    again = client.submit(ask()).result(PATIENCE)
    assert (first.content, again.content, again.replayed, len(calls.calls)) == ("Yes.", "Yes.", True, 1)


def test_closing_ends_every_future(make, gate):
    """Closed, what was not sent ends with `ClientClosedError`; what was says that it may be billed."""
    client = make(api_call=gate, max_workers=1)
    first = queued(client, gate)
    futures = [client.submit(ask()) for _ in range(50)]
    client.close()
    assert {type(future.result(0).error) for future in futures} == {errors.ClientClosedError}
    assert type(first.result(0).error) is errors.BatchInterruptedError
    assert first.result(0).error.in_flight
    assert no_threads()
    with pytest.raises(errors.ClientClosedError):
        client.submit(ask())


def test_closing_ends_what_waits_for_a_limit_or_an_attempt(make):
    """Neither a limit of a minute nor a retry in an hour keeps a future open when the client is closed."""
    calls = ScriptedCalls([ScriptedError(500)])
    client = make(rpm=1, api_call=calls, retry=RetryPolicy(initial_delay=3_600, max_delay=3_600))
    futures = [client.submit(ask()) for _ in range(3)]
    wait_until(lambda: client._submissions._batch is not None and client._submissions._batch._retries)
    client.close()
    assert {type(future.result(0).error) for future in futures} == {errors.ClientClosedError}


def test_a_callback_may_close_the_client(make):
    """Closing from a future's callback, in the queue's own thread, waits for nothing."""
    client = make(api_call=ScriptedCalls())
    closed = threading.Event()

    def close(_):
        client.close()
        closed.set()

    client.submit(ask()).add_done_callback(close)
    assert closed.wait(PATIENCE)
    wait_until(no_threads)


def test_a_call_that_ends_the_program_ends_every_future(make):
    """What stops the batch as a whole leaves no future open, and the next is performed again."""
    client = make(api_call=ScriptedCalls([SystemExit(1)]), max_workers=1)
    futures = [client.submit(ask()) for _ in range(30)]
    assert not wait(futures, PATIENCE).not_done
    wait_until(no_threads)
    kinds = Counter(type(future.result().error) for future in futures)
    assert kinds[errors.BatchInterruptedError] > 0
    assert set(kinds) <= {errors.BatchInterruptedError, type(None)}
    assert client.submit(ask()).result(PATIENCE).error is None


def test_a_checkpoint_that_fails_ends_every_future(make, tmp_path):
    """A checkpoint that cannot be written any further is every waiting future's reason."""
    client = make(api_call=ScriptedCalls(), checkpoint=tmp_path / "kept.db", max_workers=1)
    client._store.close()
    futures = [client.submit(ask()) for _ in range(5)]
    assert not wait(futures, PATIENCE).not_done
    assert {type(future.result().error) for future in futures} <= {errors.CheckpointError, errors.ClientClosedError}


def test_a_model_that_waits_does_not_hold_up_others(make):
    """A model with limits of its own that are used up lets those of others pass."""
    client = make(api_call=ScriptedCalls(), model_limits={"slow": RateLimit(requests_per_minute=1)})
    client.submit(ask(model="slow")).result(PATIENCE)
    waiting = client.submit(ask(model="slow"), priority="high")
    assert client.submit(ask(model="fast"), priority="low").result(PATIENCE).error is None
    assert not waiting.done()


SCRIPT = """
import sys
from llm_api_client import RateLimit, APIClient
client = APIClient(base_url=sys.argv[1], api_key="sk-made-up-0123456789", max_workers=4)
for n in range(12):
    client.submit({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}).add_done_callback(
        lambda future: print(future.result().content)
    )
"""


def test_the_process_ends_when_all_is_done():
    """A script that submits and says nothing more has all its answers, though LiteLLM is imported after its end."""
    with SimulatedProvider(latency=0.1) as provider:
        command = [sys.executable, "-c", SCRIPT, provider.base_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "Simulated answer to: x\n" * 12
    assert done.stderr == ""
    assert provider.counts.received == 12
