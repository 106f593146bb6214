"""Nothing paid for is lost, and nothing is paid for twice: batches with a checkpoint, on a clock that obeys."""

import sqlite3
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_api_client import APIClient
from llm_api_client.errors import (
    BatchInterruptedError,
    BudgetExceededError,
    CheckpointError,
    InvalidInputError,
    InvalidRequestError,
    LLMAPIClientError,
    ServerError,
)
from llm_api_client.record import store
from llm_api_client.testing import FakeClock, ScriptedAnswer, ScriptedCalls, ScriptedError

from .conftest import contents, echo, questions


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.db"


@pytest.fixture
def run(path):
    """Make requests with the checkpoint, in a client of their own; returns their contents and what was sent."""

    def run(requests, script=None, **options):
        calls = ScriptedCalls([echo] * 1_000 if script is None else script)
        with APIClient(None, None, api_call=calls, clock=FakeClock()) as client:
            answers = client.make_requests(requests, checkpoint=path, **options)
        return contents(answers), [call.params["messages"][-1]["content"] for call in calls.calls]

    return run


def rows(path, table):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  names of this file
    finally:
        connection.close()


class TestRunningAgain:
    def test_a_second_run_sends_nothing(self, run):
        """Every answer comes from the checkpoint, in its place."""
        first, sent = run(questions(20))
        assert len(sent) == 20
        assert run(questions(20)) == (first, [])

    def test_one_prompt_inserted_in_front_is_one_request(self, run):
        """Identity is independent of position."""
        run(questions(10))
        new = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "new"}]}
        answers, sent = run([new, *questions(10)])
        assert sent == ["new"]
        assert answers == ["answer to new", *(f"answer to question {i}" for i in range(10))]

    def test_reversed_order_sends_nothing(self, run):
        """Each request finds its own answer wherever it stands."""
        first, _ = run(questions(10))
        assert run(questions(10)[::-1]) == (first[::-1], [])

    @pytest.mark.parametrize(
        "change", [{"temperature": 0.5}, {"model": "gpt-4o"}, {"max_tokens": 7}, {"base_url": "http://localhost:1/v1"}]
    )
    def test_what_changes_the_answer_is_asked_again(self, run, change):
        """Another temperature, model, length or server is another request."""
        run(questions(3))
        _, sent = run([{**request, **change} for request in questions(3)])
        assert len(sent) == 3

    def test_another_system_prompt_is_asked_again(self, run):
        """The system prompt is a part of what is sent."""
        run(questions(1))
        request = questions(1)[0]
        request["messages"].insert(0, {"role": "system", "content": "Be brief."})
        assert len(run([request])[1]) == 1

    @pytest.mark.parametrize("change", [{"api_key": "sk-another-0123456789"}, {"timeout": 5}, {"num_retries": 9}])
    def test_what_does_not_change_the_answer_is_not(self, run, change):
        """Another key or timeout is no other request."""
        run(questions(3))
        _, sent = run([{**request, **change} for request in questions(3)])
        assert sent == []

    def test_equal_requests_have_answers_of_their_own(self, run):
        """N equal requests are n answers; two more ask for two more."""
        numbers = iter(range(100))
        script = [lambda _: f"answer {next(numbers)}"] * 100
        first, sent = run(questions(1) * 3, script)
        assert sorted(first) == ["answer 0", "answer 1", "answer 2"]
        assert len(sent) == 3
        second, sent = run(questions(1) * 5, script)
        assert second[:3] == first
        assert len(sent) == 2

    def test_failures_are_remembered_and_asked_again(self, run, path):
        """The reason stands in the file, and the next run tries anew."""
        answers, _ = run(questions(2), [ScriptedError(400, "no such thing"), "fine"], max_workers=1)
        assert answers == [None, "fine"]
        assert "no such thing" in str(rows(path, "failures"))
        answers, sent = run(questions(2), ["now"])
        assert (answers, sent) == (["now", "fine"], ["question 0"])
        assert rows(path, "failures") == []

    def test_an_answer_that_no_longer_validates_is_asked_again(self, path):
        """A replayed answer is judged like a fresh one; a fitting one is not paid for twice."""
        calls = ScriptedCalls(["four", "5", "4"])
        with APIClient(None, None, api_call=calls, clock=FakeClock(), checkpoint=path) as client:
            client.make_requests(questions(2), max_workers=1)
            results = list(client.iter_requests(questions(2), validate=int, ordered=True))
        assert [(result.parsed, result.replayed) for result in results] == [(4, False), (5, True)]


class TestWhatIsReplayed:
    def test_it_is_marked_and_costs_nothing(self, path):
        """Spend, calls and times are those of this run alone; what was replayed is counted apart."""
        with APIClient(None, None, api_call=ScriptedCalls(), clock=FakeClock(), checkpoint=path) as client:
            client.make_requests(questions(5))
        with APIClient(None, None, api_call=ScriptedCalls(), clock=FakeClock(), checkpoint=path) as client:
            results = list(client.iter_requests(questions(6)))
            tracker = client.tracker
        assert [result.replayed for result in results] == [True] * 5 + [False]
        assert results[0].cost == 0.001
        assert results[0].request["model"] == "gpt-4o-mini"
        assert tracker.total_cost == 0.001
        assert tracker.num_api_calls == 1
        assert tracker.num_replayed == 5
        assert tracker.replayed_cost == pytest.approx(0.005)
        assert tracker.status.num_tasks_succeeded == 6
        assert "checkpoint: 5" in str(tracker)

    def test_it_takes_nothing_of_limits_and_budgets(self, path):
        """A replay waits for no limit, and no money is held for it."""
        clock = FakeClock()
        with APIClient(None, None, api_call=ScriptedCalls(), clock=clock, checkpoint=path) as client:
            client.make_requests(questions(500, max_tokens=100))
        with APIClient(1, 1_000, api_call=ScriptedCalls(), clock=clock, checkpoint=path, max_cost=1e-9) as client:
            assert None not in client.make_requests(questions(500, max_tokens=100))
        assert clock.now() < 1


class TestClaims:
    def test_a_request_is_claimed_before_its_call_and_finished_after(self, path):
        """While a call is under way, the file says that it may be paid for; afterwards it has the answer."""
        seen = []

        def call(**_):
            seen.append(len(rows(path, "possibly_paid")))
            return ScriptedAnswer()

        with APIClient(None, None, 1, api_call=call, checkpoint=path) as client:
            client.make_requests(questions(2))
        assert seen[0] >= 1
        assert rows(path, "possibly_paid") == []
        assert len(rows(path, "answers")) == 2

    def test_an_answer_is_on_disk_before_the_caller_sees_it(self, path):
        """Whoever is shown a result finds it in the file."""
        kept = []
        with APIClient(None, None, api_call=ScriptedCalls(), clock=FakeClock(), checkpoint=path) as client:
            for number, _ in enumerate(client.iter_requests(questions(30)), 1):
                kept.append(len(rows(path, "answers")) >= number)
        assert all(kept)

    def test_what_was_claimed_and_not_sent_is_released(self, path):
        """A request that waited for its limit when the batch ended is not suspected of having been paid for."""
        calls = ScriptedCalls([ScriptedError(429, "slow down", {"retry-after": "1000"})] * 3)
        with APIClient(None, None, api_call=calls, clock=FakeClock(), checkpoint=path) as client:
            client.make_requests(questions(3), timeout=5)
        assert rows(path, "claims") == []

    def test_an_answer_that_comes_after_its_batch_is_kept(self, path):
        """After a timeout a call under way is still paid for: its answer goes into the file when it comes."""
        clock = FakeClock()
        calls = ScriptedCalls(latency=60, clock=clock)
        with APIClient(None, None, api_call=calls, clock=clock, checkpoint=path) as client:
            client.make_requests(questions(2), timeout=5)
            assert len(rows(path, "possibly_paid")) == 2
            clock.advance(100)
            for _ in range(2_000):
                if not rows(path, "possibly_paid"):
                    break
            assert len(rows(path, "answers")) == 2
            assert contents(client.make_requests(questions(2))) == ["An answer."] * 2
        assert len(calls.calls) == 2

    def test_closing_the_client_waits_for_what_is_under_way(self, path):
        """A stream that is left inside `with` loses no answer that comes within the grace."""
        left, all_begun = threading.Event(), threading.Barrier(4)

        def call(**params):
            all_begun.wait(30)
            if params["messages"][-1]["content"] != "question 0":
                left.wait(30)
            return ScriptedAnswer()

        with APIClient(None, None, api_call=call, checkpoint=path) as client:
            for _ in client.iter_requests(questions(4), max_workers=4, sanitize=False):
                break
            left.set()
        assert len(rows(path, "answers")) == 4
        assert rows(path, "possibly_paid") == []

    def test_leaving_a_stream_early_keeps_what_comes(self, path):
        """What was under way when the loop was left is in the file for the next run."""
        clock = FakeClock()
        calls = ScriptedCalls(latency=lambda params: 1 if "0" in str(params["messages"]) else 50, clock=clock)
        with APIClient(None, None, api_call=calls, clock=clock, checkpoint=path) as client:
            for _ in client.iter_requests(questions(4), max_workers=4):
                break
            clock.advance(100)
            for _ in range(2_000):
                if len(rows(path, "answers")) == 4:
                    break
            assert len(rows(path, "answers")) == 4


class TestFaults:
    def test_a_request_that_has_no_identity_spoils_only_its_slot(self, run):
        """What a checkpoint could not know again is refused, by its name."""
        good = questions(1)[0]
        answers, sent = run([good, {**good, "stop": object()}, good])
        assert answers == ["answer to question 0", None, "answer to question 0"]
        assert len(sent) == 2

    def test_its_reason_names_the_parameter(self, path):
        """The error says which parameter it is."""
        with APIClient(None, None, api_call=ScriptedCalls(), clock=FakeClock(), checkpoint=path) as client:
            (slot,) = client.make_requests([{**questions(1)[0], "stop": object()}], return_exceptions=True)
        assert isinstance(slot, InvalidInputError)
        assert "stop" in str(slot)

    def test_a_write_failure_stops_the_job_and_hands_every_answer_back(self, path, monkeypatch):
        """What was answered is returned, what is left says why it was not sent, and nothing further is spent."""
        written = 0
        write = store.Run.write

        def failing(self, claims, ends, released=()):
            nonlocal written
            written += len(ends)
            if written > 5:
                raise CheckpointError("the disk is full")
            write(self, claims, ends, released)

        monkeypatch.setattr(store.Run, "write", failing)
        clock = FakeClock()
        calls = ScriptedCalls(latency=1, clock=clock)
        with APIClient(None, None, 3, api_call=calls, clock=clock, checkpoint=path) as client:
            answers = client.make_requests(questions(50), return_exceptions=True)
        answered = [answer for answer in answers if not isinstance(answer, Exception)]
        assert len(answered) == len(calls.calls) < 15
        assert {type(answer) for answer in answers if isinstance(answer, Exception)} == {CheckpointError}
        assert "disk is full" in str(answers[-1])

    def test_a_stream_raises_what_stopped_it(self, path, monkeypatch):
        """After the last answer, the failure of the checkpoint is raised: a loop must not end as if all were done."""

        def failing(*_):
            raise CheckpointError("the disk is full")

        with APIClient(None, None, api_call=ScriptedCalls(), clock=FakeClock(), checkpoint=path) as client:
            monkeypatch.setattr(store.Run, "write", failing)
            with pytest.raises(CheckpointError, match="disk is full"):
                list(client.iter_requests(questions(5)))

    def test_a_checkpoint_that_cannot_be_used_is_refused_before_anything_is_sent(self, tmp_path):
        """The error names the file, and not a single call was made."""
        calls = ScriptedCalls()
        wrong = tmp_path / "notes.txt"
        wrong.write_text("These are notes.\n" * 100)
        client = APIClient(None, None, api_call=calls)
        with pytest.raises(CheckpointError, match=r"notes\.txt"):
            client.make_requests(questions(1), checkpoint=wrong)
        with pytest.raises(CheckpointError, match=r"notes\.txt"):
            APIClient(checkpoint=wrong, api_call=calls)
        assert calls.calls == []
        assert wrong.read_text().startswith("These are notes.")

    def test_a_stream_that_nobody_reads_keeps_no_file(self, path):
        """A stream that is dropped before its first result has closed its checkpoint."""
        with APIClient(None, None, api_call=ScriptedCalls()) as client:
            client.iter_requests(questions(3), checkpoint=path)
            assert path not in {opened.path for opened in store._registry.stores.values()}

    def test_a_call_that_is_lost_to_a_bug_is_possibly_paid(self, path, monkeypatch):
        """What this library itself fails on once the call was sent keeps its claim, and its money counts as spent."""
        calls = ScriptedCalls()
        with APIClient(None, None, api_call=calls, clock=FakeClock(), max_cost=0.0015) as client:
            monkeypatch.setattr("llm_api_client.run.journey.Journey._settle", lambda *_: 1 / 0)
            slots = client.make_requests(questions(5, max_tokens=1_000), checkpoint=path, return_exceptions=True)
        assert len(calls.calls) == len(rows(path, "possibly_paid")) == 2
        assert [type(slot) for slot in slots] == [LLMAPIClientError] * 2 + [BudgetExceededError] * 3

    def test_the_file_is_free_once_the_batch_is_over(self, run, path):
        """A checkpoint of one batch is closed with it: no lock and no log is left."""
        run(questions(3))
        assert path not in {opened.path for opened in store._registry.stores.values()}
        assert not path.with_name(path.name + "-wal").exists()


OUTCOMES = st.sampled_from(["answer", "answer", "answer", "refused", "sick", "busy", "killed"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    prompts=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    runs=st.lists(st.lists(OUTCOMES, max_size=30), min_size=1, max_size=4),
    workers=st.integers(1, 5),
)
def test_whatever_happens_each_answer_is_paid_for_once(tmp_path_factory, prompts, runs, workers):
    """Over any sequence of failing and interrupted runs, no request that has an answer is sent again."""
    path = tmp_path_factory.mktemp("machine") / "labels.db"
    requests = [questions(prompt + 1)[prompt] for prompt in prompts]
    answered = []

    def outcome(kind):
        def call(params):
            if kind == "answer":
                text = params["messages"][-1]["content"]
                answered.append(text)
                return f"{text}: {answered.count(text)}"
            raise {
                "refused": ScriptedError(400),
                "sick": ScriptedError(500),
                "busy": ScriptedError(429, headers={"retry-after": "3"}),
                "killed": KeyboardInterrupt(),
            }[kind]

        return call

    for script in [*runs, ["answer"] * 40]:
        clock = FakeClock()
        calls = ScriptedCalls([outcome(kind) for kind in [*script, *["answer"] * 40]], latency=1, clock=clock)
        with APIClient(None, None, workers, api_call=calls, clock=clock) as client:
            try:
                slots = client.make_requests(requests, checkpoint=path, return_exceptions=True)
            except KeyboardInterrupt:
                # A second interrupt leaves calls under way behind; closing waits for what they bring.
                clock.advance(10)
                continue
            for request, slot in zip(requests, slots, strict=True):
                if isinstance(slot, Exception):
                    assert isinstance(slot, InvalidRequestError | ServerError | BatchInterruptedError)
                else:
                    text = request["messages"][-1]["content"]
                    assert slot.choices[0].message.content.startswith(f"{text}: ")
    final = [slot.choices[0].message.content for slot in slots]
    # Equal requests have answers of their own, and none was asked for more often than it is needed.
    assert len(set(final)) == len(final) == len(answered) == len(requests)
