"""What only real threads, real time and a real process can show."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from queue import Empty, SimpleQueue

import pytest

from llm_api_client import APIClient, RetryPolicy, clock
from llm_api_client.testing import ScriptedAnswer, ScriptedCalls, ScriptedError

from .conftest import contents, echo, questions

PROGRAM = """
import threading, time
from llm_api_client import APIClient
from llm_api_client.testing import ScriptedAnswer

def call(**params):
    index = int(params["messages"][0]["content"].split()[-1])
    if index >= 2:
        threading.Event().wait()
    return ScriptedAnswer(str(index))

requests = [{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"q {i}"}]} for i in range(20)]
client = APIClient(None, None, 8, api_call=call)
"""


def run_program(body):
    program = PROGRAM + textwrap.dedent(body)
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_hanging_calls_do_not_keep_the_process():
    """After a batch timeout with calls that hang, the process ends within 2 s of its last line, without a traceback."""
    body = """
        answers = client.make_requests(requests, sanitize=False, timeout=0.3)
        print(sum(a is not None for a in answers), "answered", flush=True)
        """
    with run_program(body) as process:
        assert process.stdout.readline() == "2 answered\n"
        last_line = time.monotonic()
        process.wait(timeout=10)
        assert time.monotonic() - last_line < 2
        assert process.returncode == 0
        assert "Traceback" not in process.stderr.read()


def test_ctrl_c_keeps_what_was_answered_and_leaves():
    """SIGINT in the middle of a batch raises KeyboardInterrupt at once; the answers are in the history."""
    body = """
        def tell(result):
            print("got", result.content, flush=True)
        try:
            client.make_requests(requests, sanitize=False, on_result=tell)
        except KeyboardInterrupt:
            answered = sum(entry["content"] is not None for entry in client.history)
            print("kept", answered, len(client.history), flush=True)
        """
    with run_program(body) as process:
        assert {process.stdout.readline(), process.stdout.readline()} == {"got 0\n", "got 1\n"}
        process.send_signal(signal.SIGINT)
        lines = process.stdout.read().splitlines()
        process.wait(timeout=10)
        assert lines[-1] == "kept 2 20"
        assert process.returncode == 0
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_no_wait_is_long(timeout, monkeypatch):
    """A signal that comes just before a wait is seen when it ends: none lasts longer than that may take."""
    assert clock.LONGEST_WAIT <= 1
    monkeypatch.setattr(clock, "LONGEST_WAIT", 0.01)
    began = time.monotonic()
    with pytest.raises(Empty):
        clock.SystemClock().wait(SimpleQueue(), timeout)
    assert time.monotonic() - began < 5


def test_one_client_serves_several_threads():
    """Batches in eight threads share one client: every answer is in its slot, every call is counted once."""
    calls = ScriptedCalls([echo] * 10_000)
    client = APIClient(1_000_000, None, 4, api_call=calls)
    answers: dict[int, list[object]] = {}

    def work(number):
        answers[number] = client.make_requests(questions(50), sanitize=False)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 8
    for slots in answers.values():
        assert contents(slots) == [f"answer to question {i}" for i in range(50)]
    assert client.tracker.num_api_calls == 400
    assert client.tracker.total_prompt_tokens == 4_000
    assert len(client.history) == 400
    assert client.tracker.status.num_tasks_in_progress == 0


def test_a_batch_that_cannot_send_holds_no_other_up():
    """A batch whose threads are all busy gives its place in line to the next."""
    gate = threading.Event()

    def call(**params):
        if params["model"] == "slow":
            gate.wait(30)
        return ScriptedAnswer()

    client = APIClient(1_000_000, None, 1, api_call=call)
    slow = [{"model": "slow", "messages": [{"role": "user", "content": "x"}]} for _ in range(5)]
    thread = threading.Thread(target=client.make_requests, args=(slow,), kwargs={"sanitize": False})
    thread.start()
    try:
        assert None not in client.make_requests(questions(20), sanitize=False, timeout=20)
    finally:
        gate.set()
        thread.join(30)


def test_no_thread_outlives_the_batch():
    """When make_requests returns, its threads end."""
    before = set(threading.enumerate())
    client = APIClient(None, None, 16, api_call=ScriptedCalls())
    client.make_requests(questions(100), sanitize=False)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before


def test_a_system_without_threads_to_spare_slows_down_and_loses_nothing(monkeypatch):
    """Where the system gives no more threads, those that there are do all the work."""
    from llm_api_client.run import workers

    made = []

    class Scarce(threading.Thread):
        def start(self):
            if len(made) == 3:
                raise RuntimeError("can't start new thread")
            made.append(self)
            super().start()

    monkeypatch.setattr(workers, "Thread", Scarce)
    client = APIClient(None, None, 50, api_call=ScriptedCalls([lambda _: threading.Event().wait(0.01)] * 20))
    assert len(client.make_requests(questions(20), sanitize=False)) == 20
    assert client.tracker.status.num_tasks_started == 20
    assert len(made) == 3


def test_closing_wakes_a_batch_that_waits():
    """close() from another thread ends a batch that waits for its limit, with a reason in every slot."""
    client = APIClient(1, None, api_call=ScriptedCalls())
    closer = threading.Timer(0.2, client.close)
    closer.start()
    began = time.monotonic()
    slots = client.make_requests(questions(3), sanitize=False, return_exceptions=True)
    assert time.monotonic() - began < 10
    assert "closed" in str(slots[2])
    closer.join()


@pytest.mark.parametrize("number", [20_000])
def test_queued_requests_are_cheap(number):
    """A request that waits in the queue costs well under 1 KB beyond the caller's own dict."""
    requests = questions(number)
    peak = 0

    def look(**_):
        nonlocal peak
        peak = max(peak, tracemalloc.get_traced_memory()[0])
        raise KeyboardInterrupt

    client = APIClient(None, None, 1, api_call=look, history_limit=0)
    client.make_requests(requests[:0])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        with pytest.raises(KeyboardInterrupt):
            client.make_requests(requests, sanitize=False)
    finally:
        tracemalloc.stop()
    assert (peak - before) / number < 200


def test_two_clients_do_not_notice_each_other():
    """Limits, trackers and histories belong to one client."""
    one, other = (APIClient(2, None, api_call=ScriptedCalls()) for _ in range(2))
    one.make_requests(questions(2), sanitize=False)
    began = time.monotonic()
    other.make_requests(questions(2), sanitize=False)
    assert time.monotonic() - began < 5
    assert one.tracker.num_api_calls == other.tracker.num_api_calls == 2
    assert len(one.history) == len(other.history) == 2


def test_a_crash_of_the_call_is_a_reason_and_not_a_hang():
    """Whatever the api_call raises, the batch ends."""

    class OddError(Exception):
        def __str__(self):
            raise RuntimeError("even its text fails")

    client = APIClient(None, None, 2, api_call=ScriptedCalls([OddError(), ScriptedError(500)]), retry=RetryPolicy(0.0))
    slots = client.make_requests(questions(4), sanitize=False, return_exceptions=True)
    assert sum(isinstance(slot, Exception) for slot in slots) == 2
