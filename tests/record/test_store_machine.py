"""Whatever is written in whatever order and groups, a checkpoint holds what a plain dict does."""

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llm_api_client.record.store import Store, read_rows

from .checkpoints import answer, answered, claim, failed, key

NUMBERS = st.integers(0, 3)
KEYS = st.builds(key, NUMBERS, st.integers(0, 1))
WORDS = st.sampled_from(["one", "two", None])
STATES = ("answered", "failed", "possibly paid")


class StoreMachine(RuleBasedStateMachine):
    """A store, and beside it three dicts that are told the same."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.answers, self.failures, self.claims = {}, {}, set()
        self.time = 0.0
        self.open()

    def open(self):
        """Open it, as a process does at its beginning."""
        self.store = Store.open(self.folder / "labels.db")
        self.run = self.store.run()
        self.next = {}
        assert self.store.possibly_paid == len(self.claims)

    @rule(
        claims=st.lists(KEYS, max_size=3),
        ends=st.lists(st.tuples(KEYS, WORDS), max_size=3),
        released=st.lists(KEYS, max_size=2),
    )
    def write(self, claims, ends, released):
        """A group of anything: a word is an answer, none a failure."""
        self.time += 1.0
        words = [(key, word) for key, word in ends if word is not None]
        results = [(key, answered(answer(word), self.time) if word else failed(at=self.time)) for key, word in ends]
        self.run.write(list(map(claim, claims)), results, released)
        self.claims |= set(claims)
        self.answers |= {key: (self.time, word) for key, word in words}
        self.failures |= {key: self.time for key, _ in ends}
        self.failures = {key: time for key, time in self.failures.items() if key not in self.answers}
        self.claims -= {key for key, _ in ends} | set(released)

    @rule(number=NUMBERS)
    def number(self, number):
        """The next request of an identity."""
        expected = self.next.get(number, 0)
        self.next[number] = expected + 1
        assert self.run.key(key(number).identity) == key(number, expected)

    @rule()
    def another_run(self):
        """A batch ends, and the next begins."""
        self.run.close()
        self.run = self.store.run()
        self.next = {}

    @rule()
    def reopen(self):
        """The process ends, and the next begins."""
        self.run.close()
        self.store.close()
        self.open()

    @rule()
    def copied_after_a_kill(self):
        """The process is killed: the next finds its files as they are, its log among them."""
        other = Path(tempfile.mkdtemp())
        for end in ("", "-wal"):
            shutil.copy(self.folder / f"labels.db{end}", other)
        self.teardown()
        self.folder = other
        self.open()

    @invariant()
    def it_finds_what_was_answered(self):
        """By its key, and nothing else."""
        for number in range(4):
            for occurrence in range(2):
                wanted = key(number, occurrence)
                found = self.run.find(wanted)
                time, word = self.answers.get(wanted, (None, None))
                assert (found and found.response) == (word and answer(word))
                assert found is None or found.created_at == time

    @invariant()
    def its_rows_are_what_was_written(self):
        """Each key in the one state that it has, in the order of the ends."""
        with closing(read_rows(self.folder / "labels.db")) as rows:
            found = list(rows)
        by_state = {
            state: {(row["identity"], row["occurrence"]) for row in found if row["state"] == state} for state in STATES
        }
        expected = (self.answers, self.failures, self.claims)
        for state, keys in zip(STATES, expected, strict=True):
            assert by_state[state] == {(key.identity.hex(), key.occurrence) for key in keys}
        ends = [row["created_at"] for row in found if row["state"] != "possibly paid"]
        assert ends == sorted(ends)

    def teardown(self):
        """Nothing is left behind."""
        self.run.close()
        self.store.close()
        assert [file.name for file in self.folder.iterdir()] == ["labels.db"]
        shutil.rmtree(self.folder)


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
