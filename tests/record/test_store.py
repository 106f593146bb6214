"""The checkpoint: what is written is found again, by this process and by later ones."""

import copy
import json
import logging
import os
import pickle
import stat
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from llm_api_client.errors import AnswerValidationError, CheckpointError, RateLimitError
from llm_api_client.record import database, schema
from llm_api_client.record.replayed import ReplayedAnswer
from llm_api_client.record.store import FEW, Store, read_rows
from llm_api_client.records import Result, Usage
from llm_api_client.testing import ScriptedAnswer

from .checkpoints import answer, answered, asked, changed, claim, failed, key, opened, output_of, process

FIXTURE = Path(__file__).parent / "fixtures" / "version-1.db"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.db"


def write(path, *ends, claims=(), released=(), **options):
    with opened(path, **options) as run:
        run.write(claims, ends, released)


def find(path, wanted=None, **options):
    with opened(path, **options) as run:
        return run.find(wanted or key())


class TestNumbers:
    def test_equal_requests_are_numbered_as_they_come(self, path):
        """The occurrence is how many equal requests came before in this run; each run begins anew."""
        one, two = key(1).identity, key(2).identity
        with opened(path) as run:
            assert [run.key(identity).occurrence for identity in (one, two, one, one, two)] == [0, 0, 1, 2, 1]
            assert run.key(one).identity == one
        with opened(path) as run:
            assert run.key(one).occurrence == 0

    def test_runs_do_not_notice_each_other(self, path):
        """Two batches at once number their requests each for itself."""
        with opened(path) as first, opened(path) as second:
            assert [run.key(key().identity).occurrence for run in (first, second, first)] == [0, 0, 1]

    def test_threads_may_share_a_run(self, path):
        """No number is given twice."""
        with opened(path) as run, ThreadPoolExecutor(8) as pool:
            keys = list(pool.map(run.key, [key().identity] * 400))
        assert sorted(key.occurrence for key in keys) == list(range(400))

    def test_many_requests_do_not_grow_memory(self, path):
        """But for the first ten thousand, numbers are not kept in Python's memory; none is given twice."""
        with opened(path) as run:
            for number in range(FEW + 1):
                run.key(key(number).identity)
            tracemalloc.start()
            for number in range(FEW, 3 * FEW):
                assert run.key(key(number).identity).occurrence == (number == FEW)
            grown, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert [run.key(key(number).identity).occurrence for number in (0, FEW - 1, FEW, 3 * FEW)] == [1, 1, 2, 0]
        assert grown < 100_000


class TestAnswers:
    def test_an_answer_is_found_again(self, path):
        """What was recorded with it comes back with it; whose it is, is the batch's to say."""
        write(path, (key(), answered()))
        found = find(path)
        assert (found.index, found.request, found.error, found.parsed) == (-1, None, None, None)
        assert found.response == answer()
        assert (found.attempts, found.latency, found.cost, found.usage) == (1, 0.5, 0.25, Usage(3, 5))
        assert (found.created_at, found.model, found.replayed) == (1_000.0, "m", True)

    def test_what_is_not_known_stays_so(self, path):
        """Costs, tokens and times that nobody knew are None again, not 0."""
        write(path, (key(), answered(cost=None, latency=None, usage=None, model=None)))
        found = find(path)
        assert (found.cost, found.latency, found.usage, found.model) == (None, None, None, None)

    def test_it_is_found_by_all_of_its_key(self, path):
        """Another identity, or another occurrence, is another request."""
        write(path, (key(1), answered()))
        assert find(path, key(1)) is not None
        assert find(path, key(2)) is None
        assert find(path, key(1, occurrence=1)) is None

    @pytest.mark.parametrize(
        "response",
        ["text", 0, False, [], {}, {"a": [1, 2.5, None, "ü\u2028\x00\ud800"]}, {"big": 2**80}, {"deep": [[[{}]]]}],
    )
    def test_plain_data_come_back_as_they_were(self, path, response):
        """An answer that is plain data is the same plain data again, and nobody is asked to revive it."""
        write(path, (key(), answered(response)))
        assert find(path, revive=lambda *_: pytest.fail("asked")).response == response

    def test_no_answer_at_all_is_an_answer(self, path):
        """A call that returned None was answered so."""
        write(path, (key(), Result(0, None, None, attempts=1)))
        assert find(path).response is None
        assert find(path).error is None

    def test_a_later_answer_takes_the_place_of_an_earlier(self, path):
        """A request that was asked again has its newest answer, and one row."""
        write(path, (key(), answered(answer("old"))))
        write(path, (key(), answered(answer("new"))))
        assert find(path).response == answer("new")
        assert asked(path, "SELECT count(*) FROM answers") == [(1,)]

    def test_litellm_s_answers_are_revived(self, path, litellm):
        """An answer of LiteLLM's is kept by its class's name and its dump, from which it can be made again."""
        messages = [{"role": "user", "content": "Hi"}]
        response = litellm.completion(model="gpt-4o-mini", messages=messages, mock_response="Hello")
        write(path, (key(), answered(response)))
        told = []

        def revive(response_type, data):
            told.append(response_type)
            return litellm.ModelResponse(**data)

        found = find(path, revive=revive).response
        assert told == ["ModelResponse"]
        assert type(found) is type(response)
        assert found.model_dump() == response.model_dump()

    def test_without_a_reviver_an_answer_is_read_the_same_way(self, path):
        """Where nobody makes the object again, its attributes are there all the same."""
        write(path, (key(), answered(ScriptedAnswer("Hello"))))
        for revive in (None, lambda *_: None):
            found = find(path, revive=revive)
            assert isinstance(found.response, ReplayedAnswer)
            assert found.content == "Hello"
            assert found.response.model_dump() == ScriptedAnswer("Hello").model_dump()

    def test_an_answer_of_unknown_form_keeps_its_text(self, path):
        """What cannot be dumped is kept in a poorer form rather than lost."""
        message = SimpleNamespace(content="Hello")
        write(path, (key(), answered(SimpleNamespace(choices=[SimpleNamespace(message=message)]))))
        assert find(path).content == "Hello"

    def test_an_answer_with_odd_facts_is_kept(self, path):
        """Numbers that SQLite has no room for, and text that UTF-8 has not, do not cost an answer."""
        odd = answered(cost=float("nan"), latency="soon", usage=Usage(2**70, 1.5), model="m\ud800")
        write(path, (key(), odd), claims=[(key(), "m\ud800", "half \ud800")])
        found = find(path)
        assert (found.response, found.cost, found.latency, found.usage) == (answer(), None, None, None)
        assert [row["prompt"] for row in read_rows(path)] == ["half \\ud800"]

    @pytest.mark.parametrize("text", ["{", "", "[" * 100_000, "NaN-"])
    def test_a_broken_row_is_asked_again(self, path, caplog, text):
        """An answer that cannot be read is as good as none; the log says so without showing it."""
        write(path, (key(), answered()))
        changed(path, "UPDATE answers SET response = ?", text)
        with caplog.at_level(logging.WARNING):
            assert find(path) is None
        assert "cannot be read" in caplog.text
        write(path, (key(), answered(answer("again"))))
        assert find(path).response == answer("again")

    def test_a_reviver_that_fails_is_a_broken_row(self, path, caplog):
        """Whatever a reviver raises, the request is asked again, and the log does not quote the answer."""

        def revive(_, data):
            raise ValueError(data)

        write(path, (key(), answered(ScriptedAnswer("private"))))
        assert find(path, revive=revive) is None
        assert "ValueError" in caplog.text
        assert "private" not in caplog.text


DATA = {"choices": [{"message": {"content": "x"}, "logprobs": None}], "usage": {"prompt_tokens": 3}}


class TestReplayedAnswers:
    def test_they_are_read_by_attributes_and_by_names(self):
        """Down the whole tree, as LiteLLM's are."""
        found = ReplayedAnswer(DATA)
        assert found.choices[0].message.content == found["choices"][0]["message"]["content"] == "x"
        assert found.choices[0].logprobs is None
        assert found.usage.prompt_tokens == 3
        assert "usage" in found
        assert "id" not in found
        assert getattr(found, "id", None) is None
        with pytest.raises(AttributeError, match="'id'"):
            _ = found.id
        with pytest.raises(KeyError):
            found["id"]

    def test_the_dump_is_the_stored_data(self):
        """`model_dump` gives what is stored, and a copy of it."""
        found, before = ReplayedAnswer(DATA), copy.deepcopy(DATA)
        assert found.model_dump() == before
        found.model_dump()["choices"].clear()
        assert found.model_dump() == before

    def test_they_can_be_compared_copied_and_pickled(self):
        """They are values."""
        found = ReplayedAnswer(DATA)
        for other in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):  # noqa: S301
            assert other == found
        assert found != ReplayedAnswer({})
        assert found != DATA
        assert repr(DATA) in repr(found)


def states(path):
    return [(row["state"], row["occurrence"]) for row in read_rows(path)]


class TestStates:
    """Claims, failures and answers of one request."""

    def test_a_claim_without_an_end_is_possibly_paid(self, path):
        """What was about to be sent when the process ended is counted at the next opening, and listed for people."""
        write(path, claims=[claim(key(1)), claim(key(2))], wall=lambda: 1_000_000_000.0)
        store = Store.open(path)
        try:
            assert store.possibly_paid == 2
        finally:
            store.close()
        listed = asked(path, "SELECT identity, occurrence, model, prompt, claimed_at FROM possibly_paid")
        assert [row[:4] for row in listed] == [(key(n).identity.hex(), 0, "m", f"prompt {n}") for n in (1, 2)]
        assert listed[0][4].startswith("2001-09-0")
        assert find(path, key(1)) is None

    @pytest.mark.parametrize("end", [answered(), failed()], ids=["answer", "failure"])
    def test_an_end_takes_the_claim_away(self, path, end):
        """Whether in a later group or the same, and keeps how its prompt begins."""
        write(path, claims=[claim(key(1)), claim(key(2))])
        write(path, (key(1), end), (key(3), end), claims=[claim(key(3))])
        assert asked(path, "SELECT identity FROM claims") == [(key(2).identity,)]
        assert {row["prompt"] for row in read_rows(path)} == {"prompt 1", "prompt 2", "prompt 3"}

    def test_what_was_released_was_not_sent(self, path):
        """A released claim is gone; one that is claimed again is there again."""
        write(path, claims=[claim(key())])
        write(path, released=[key()])
        assert states(path) == []
        write(path, claims=[claim(key())], released=[key()])
        assert states(path) == []
        write(path, claims=[claim(key())])
        assert states(path) == [("possibly paid", 0)]

    def test_a_claim_may_be_repeated(self, path):
        """A retry's claim is the same claim."""
        write(path, claims=[claim(key())])
        write(path, claims=[claim(key())])
        assert states(path) == [("possibly paid", 0)]

    def test_a_failure_is_kept_until_there_is_an_answer(self, path):
        """A failure is found by nobody who asks for an answer; the newest is kept, and an answer takes its place."""
        write(path, (key(), failed(RateLimitError("first"))))
        write(path, (key(), failed(RateLimitError("second"), at=1_001.0)))
        assert find(path) is None
        assert [row["error"] for row in read_rows(path)] == ["second"]
        write(path, (key(), answered()))
        assert states(path) == [("answered", 0)]

    def test_a_failure_never_replaces_an_answer(self, path):
        """Two batches that ask the same: what one was answered stays, whatever the other comes to."""
        write(path, (key(), answered()))
        write(path, (key(), failed()), claims=[claim(key())])
        assert states(path) == [("answered", 0)]
        assert find(path).response == answer()

    def test_an_empty_group_writes_nothing(self, path):
        """Nothing to write is no transaction."""
        with opened(path) as run:
            before = Path(f"{path}-wal").stat().st_size
            run.write([], [])
            assert Path(f"{path}-wal").stat().st_size == before


class TestTheFile:
    def test_it_says_what_it_is(self, path):
        """Its application id, its version, and tables that any SQLite tool reads."""
        write(path, (key(), answered()))
        assert asked(path, "PRAGMA application_id") == [(schema.APPLICATION_ID,)]
        assert asked(path, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]
        assert asked(path, "SELECT json_extract(response, '$.choices[0].message.content') FROM answers") == [("yes",)]
        assert asked(path, "PRAGMA quick_check") == [("ok",)]

    def test_it_is_its_owner_s_alone(self, path):
        """The file and all that SQLite puts beside it may be read by nobody else."""
        with opened(path) as run:
            run.write([claim(key())], [])
            found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert found == {f"labels.db{end}": 0o600 for end in ("", "-wal", "-shm", "-lock")}

    def test_closing_leaves_one_file(self, path):
        """What lay beside it goes with the last closing, and with the end of a reading."""
        write(path, (key(), answered()))
        assert list(path.parent.iterdir()) == [path]
        assert list(read_rows(path))
        assert list(path.parent.iterdir()) == [path]

    def test_the_same_file_is_the_same_store(self, path, tmp_path, monkeypatch):
        """By whatever path it is opened; it closes with the last closing, and then opens anew."""
        (tmp_path / "link.db").symlink_to(path)
        monkeypatch.chdir(tmp_path)
        stores = [Store.open(name) for name in (path, str(path), os.fsencode(path), "labels.db", "link.db")]
        assert len(set(map(id, stores))) == 1
        for store in stores[1:]:
            store.close()
        with closing(stores[0].run()) as run:
            run.write([claim(key())], [])
        stores[0].close()
        with pytest.raises(CheckpointError, match="closed"):
            stores[0].run()
        again = Store.open(path)
        assert again is not stores[0]
        again.close()

    def test_a_run_keeps_it_open(self, path):
        """A store that is closed while a batch runs closes with the batch; closing a run twice is closing it once."""
        other, store = Store.open(path), Store.open(path)
        run = store.run()
        store.close()
        run.write([claim(key())], [])
        run.close()
        run.close()
        other.run().close()
        other.close()
        with pytest.raises(CheckpointError, match="closed"):
            run.find(key())

    def test_odd_names_are_names(self, tmp_path):
        """Signs that mean something in addresses mean nothing in a path."""
        for name in ("a b.db", "50%25.db", "what?mode=memory", "#1.db", "ü.db", ":memory:"):
            write(tmp_path / name, (key(), answered()))
            assert find(tmp_path / name) is not None
            assert (tmp_path / name).stat().st_size > 0

    @pytest.mark.parametrize("length", [10, 700, 900, 1_300, 1_700, 2_000, 4_000, 9_000])
    def test_it_is_small(self, path, length):
        """Beyond the answer's own JSON and 1 % of it, a request takes less than 600 bytes at any length."""
        response = answer("w" * length)
        with opened(path) as run:
            for group in range(10):
                keys = [run.key(os.urandom(16)) for _ in range(30)]
                run.write([(key, "gpt-4o-mini", "p" * 1_000) for key in keys], [])
                run.write([], [(key, answered(response, at=float(group))) for key in keys])
        assert path.stat().st_size / 300 - 1.01 * len(json.dumps(response)) < 600


class TestReading:
    def test_rows_are_in_the_order_of_their_ends(self, path):
        """Answers, failures and claims, one dict each with all that is known."""
        invalid = AnswerValidationError("no number", content="many")
        write(path, (key(1), answered(ScriptedAnswer("Hello"), at=3.0)), claims=[claim(key(1))])
        write(path, (key(2), failed(invalid, at=2.0, cost=0.5)), (key(3), answered(answer("late"), at=4.0)))
        write(path, claims=[claim(key(4, 1))], wall=lambda: 3.5)
        first, second, third, fourth = read_rows(path)
        assert first == {
            "state": "failed", "identity": key(2).identity.hex(), "occurrence": 0, "model": "m", "prompt": None,
            "content": "many", "created_at": 2.0, "attempts": 3, "latency": 0.5, "cost": 0.5, "prompt_tokens": None,
            "completion_tokens": None, "error_type": "AnswerValidationError", "error": "no number", "response": None,
        }  # fmt: skip
        assert second == {
            "state": "answered", "identity": key(1).identity.hex(), "occurrence": 0, "model": "m",
            "prompt": "prompt 1", "content": "Hello", "created_at": 3.0, "attempts": 1, "latency": 0.5, "cost": 0.25,
            "prompt_tokens": 3, "completion_tokens": 5, "error_type": None, "error": None,
            "response": ScriptedAnswer("Hello").model_dump(),
        }  # fmt: skip
        assert list(first) == list(second)
        assert (third["state"], third["occurrence"], third["created_at"]) == ("possibly paid", 1, 3.5)
        assert (fourth["content"], fourth["response"]) == ("late", answer("late"))

    def test_a_failure_without_a_claim_shows_its_prompt(self, path):
        """A request that was never sent is found by its prompt too."""
        request = {"model": "m", "messages": [{"role": "user", "content": "Why? " * 100}]}
        write(path, (key(), Result(0, request, error=RateLimitError("no"))))
        assert [row["prompt"] for row in read_rows(path)] == [("Why? " * 100)[:160]]

    def test_it_is_one_state(self, path):
        """Rows are read while a run writes; what is written after the first row is not among them."""
        with opened(path) as run:
            run.write([], [(key(number), answered()) for number in range(50)])
            rows = read_rows(path)
            next(rows)
            run.write([claim(key(60))], [(key(70), answered()), (key(1), answered(answer("new")))])
            assert [row["content"] for row in rows] == ["yes"] * 49
            assert len(list(read_rows(path))) == 52

    def test_opening_does_not_wait_for_readers(self, path):
        """Somebody who is reading holds up no run, and reads on."""
        write(path, (key(1), answered()), (key(2), answered()))
        with opened(path) as run:
            run.write([], [(key(3), answered())])
            rows = read_rows(path)
            next(rows)
            run.write([], [(key(4), answered())])
        began = time.monotonic()
        write(path, (key(5), answered()))
        assert time.monotonic() - began < database.PATIENCE_SECONDS / 2
        assert len(list(rows)) == 2
        assert len(list(read_rows(path))) == 5

    def test_it_is_read_little_by_little(self, path):
        """Reading takes memory for a row, not for the file."""
        with opened(path) as run:
            run.write([], [(key(number), answered(answer("w" * 10_000))) for number in range(200)])
        rows = read_rows(path)
        next(rows)
        tracemalloc.start()
        assert sum(1 for _ in rows) == 199
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 200_000

    def test_a_row_that_is_broken_is_shown_without_its_answer(self, path):
        """One unreadable answer does not end the reading."""
        write(path, (key(1), answered()), (key(2), answered()))
        changed(path, "UPDATE answers SET response = '{' WHERE id = 1")
        assert [row["response"] for row in read_rows(path)] == [None, answer()]

    def test_nothing_yet_is_no_rows(self, path):
        """A checkpoint that was only begun has none."""
        path.touch()
        assert list(read_rows(path)) == []
        write(path)
        assert list(read_rows(path)) == []


@pytest.fixture
def old(path):
    path.write_bytes(FIXTURE.read_bytes())
    return path


class TestVersions:
    # The fixture was written by version 1: the answers "one" (plain data, identity 00…01) and "two" (a ScriptedAnswer,
    # 00…02), the failure "broken" of 00…03, and the claim of 00…04.

    def test_files_of_version_1_open(self, old):
        """What the first version wrote is read by this one."""
        assert FIXTURE.read_bytes()[60:64] == b"\0\0\0\1"
        store = Store.open(old)
        with closing(store.run()) as run:
            assert run.find(key(1)).response == answer("one")
            assert run.find(key(2)).content == "two"
            assert run.find(key(3)) is None
        assert store.possibly_paid == 1
        store.close()
        assert [row["state"] for row in read_rows(old)] == ["answered", "answered", "failed", "possibly paid"]
        assert asked(old, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]

    def test_an_older_file_gets_what_is_missing(self, old, monkeypatch):
        """Each migration that the file has not had is applied, once."""
        more = "ALTER TABLE answers ADD COLUMN note TEXT; UPDATE answers SET note = 'kept'"
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, more))
        for _ in range(2):
            assert find(old, key(1)).response == answer("one")
        assert asked(old, "SELECT note FROM answers") == [("kept",), ("kept",)]
        assert asked(old, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]

    def test_a_migration_that_fails_changes_nothing(self, old, monkeypatch):
        """Half a migration is none: the file is as it was, and opens again."""
        wrong = "CREATE TABLE half (a); UPDATE missing SET a = 1"
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, wrong))
        with pytest.raises(CheckpointError, match="no such table"):
            Store.open(old)
        monkeypatch.undo()
        assert asked(old, "SELECT count(*) FROM sqlite_master WHERE name = 'half'") == [(0,)]
        assert find(old, key(1)) is not None

    def test_a_file_of_a_later_version_is_left_alone(self, old):
        """What a later version wrote is neither read nor written by this one."""
        changed(old, "PRAGMA user_version = 99")
        before = old.read_bytes()
        for use in (Store.open, lambda path: list(read_rows(path))):
            with pytest.raises(CheckpointError, match=r"version 99 .*Upgrade"):
                use(old)
        assert old.read_bytes() == before


class TestProcesses:
    def test_one_process_at_a_time(self, path):
        """A second process is told at once who has the file, and has it when that ends."""
        with opened(path):
            told = output_of("try:\n    Store.open(path)\nexcept Exception as error:\n    print(error)", path)
        assert f"in use by another process (pid {os.getpid()})" in told
        assert output_of("Store.open(path).close(); print('ok')", path) == "ok"

    def test_others_may_read_meanwhile(self, path):
        """Rows are read from another process, and by any SQLite tool, while a run writes."""
        code = "from llm_api_client.record.store import read_rows\nprint(len(list(read_rows(path))))"
        with opened(path) as run:
            run.write([], [(key(number), answered()) for number in range(10)])
            assert output_of(code, path) == "10"
            assert asked(path, "SELECT count(*) FROM answers") == [(10,)]
            run.write([], [(key(99), answered())])

    def test_a_forked_child_does_not_use_its_parent_s(self, path):
        """In the child every use is refused and closing does nothing; the parent does not notice its end."""
        code = """if True:
            store = Store.open(path)
            run = store.run()
            run.write([claim(key(1))], [])
            if not os.fork():
                for use, *given in ((store.run,), (run.find, key()), (run.key, b"1"), (run.write, [claim(key())], [])):
                    try:
                        use(*given)
                    except Exception as error:
                        print(type(error).__name__, "not open in this process" in str(error))
                try:
                    Store.open(path)
                except Exception as error:
                    print("in use by another process" in str(error))
                run.close(), store.close()
                sys.exit()
            os.wait()
            run.write([], [(key(1), answered())])
            print(run.find(key(1)).content is None)
            try:
                print(process("Store.open(path)", path).communicate()[1].count("in use"))
            finally:
                run.close(), store.close()
        """
        lines = output_of(code, path).split("\n")
        assert lines == ["CheckpointError True"] * 4 + ["True", "True", "1"]
        assert find(path, key(1)).response == answer()

    def test_a_child_does_not_keep_the_lock(self, path):
        """A forked child that outlives its parent does not keep the file from others."""
        code = """if True:
            store = Store.open(path)
            born, bear = os.pipe()
            if os.fork():
                os.read(born, 1)
                os._exit(0)
            os.write(bear, b"!")
            sys.stdin.read()
        """
        with process(code, path, stdout=None, stderr=None) as child:
            child.wait(timeout=60)
            assert find(path) is None
            child.stdin.close()


def test_threads_write_and_find_together(path):
    """Groups of many threads are all written, and each is found as soon as it is."""
    barrier = threading.Barrier(6)
    with opened(path) as run:

        def work(thread):
            barrier.wait()
            for number in range(20):
                mine = key(thread * 1_000 + number)
                run.write([claim(mine)], [])
                run.write([], [(mine, answered(answer(f"{thread}-{number}")))])
                assert run.find(mine).response == answer(f"{thread}-{number}")

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
    assert [row["state"] for row in read_rows(path)] == ["answered"] * 120


class Interrupted:
    """A connection during which Ctrl-C comes, in the midst of a group."""

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def executemany(self, statement, rows):
        """The statement, and then Ctrl-C after an answer."""
        self._connection.executemany(statement, rows)
        if "INTO answers" in statement:
            raise KeyboardInterrupt


def test_an_interrupt_leaves_no_half_group(path, monkeypatch):
    """Ctrl-C in the midst of a group takes the whole group back, and the next is written."""
    with opened(path) as run:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(run._store, "_writer", Interrupted(run._store._writer))
            with pytest.raises(KeyboardInterrupt):
                run.write([claim(key(1))], [(key(2), answered())])
        assert run.find(key(2)) is None
        run.write([], [(key(3), answered())])
    assert [row["identity"] for row in read_rows(path)] == [key(3).identity.hex()]
