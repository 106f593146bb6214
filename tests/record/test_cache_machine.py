"""Whatever is put and asked in whatever order, a cache holds what a plain dict with the same bounds does."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llm_api_client.record import as_json
from llm_api_client.record.cache import ResponseCache
from llm_api_client.testing import FakeClock

from .checkpoints import answer, answered

NUMBERS = st.integers(0, 5)
LENGTHS = st.sampled_from([0, 1, 40, 300, 900])


def identity(number):
    return number.to_bytes(16, "big")


class MemoryMachine(RuleBasedStateMachine):
    """A cache, and beside it a dict whose order is that of the last uses."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock(1_000.0)
        self.model, self.hits, self.misses = {}, 0, 0

    def path(self):
        """Where the answers are: in memory."""

    @initialize(
        ttl=st.sampled_from([None, 10, 2.5]),
        max_entries=st.sampled_from([None, 1, 3, 10]),
        max_bytes=st.sampled_from([None, 100, 700, 2_000]),
    )
    def open(self, ttl, max_entries, max_bytes):
        """A cache with bounds."""
        self.ttl, self.most, self.size = ttl or float("inf"), max_entries or 1_000, max_bytes or 1_000_000
        self.options = {"ttl": ttl, "max_entries": max_entries, "max_bytes": max_bytes, "clock": self.clock}
        self.cache = ResponseCache(self.path(), **self.options)

    def forget_old(self):
        """What is past its time goes."""
        now = self.clock.wall()
        self.model = {key: held for key, held in self.model.items() if now - held[1] < self.ttl}

    @rule(number=NUMBERS, length=LENGTHS)
    def put(self, number, length):
        """The least recently used give way."""
        response = answer("é" * length)
        self.cache.put(identity(number), answered(response, at=self.clock.wall()))
        self.forget_old()
        self.model.pop(number, None)
        size = len(as_json.text(response).encode())
        if size > self.size:
            return
        self.model[number] = (length, self.clock.wall(), size)
        while len(self.model) > self.most or sum(held[2] for held in self.model.values()) > self.size:
            del self.model[next(iter(self.model))]

    @rule(number=NUMBERS)
    def get(self, number):
        """A hit is a use."""
        self.forget_old()
        found = self.cache.get(identity(number))
        held = self.model.pop(number, None)
        if held is None:
            assert found is None
            self.misses += 1
        else:
            assert found.response == answer("é" * held[0])
            assert found.created_at == held[1]
            self.model[number] = held
            self.hits += 1

    @rule(seconds=st.sampled_from([0.5, 2.5, 7.0]))
    def pass_time(self, seconds):
        """Answers grow older."""
        self.clock.advance(seconds)

    @rule()
    def clear(self):
        """Everything goes."""
        self.cache.clear()
        self.model = {}

    @invariant()
    def it_counts(self):
        """What can be found, and how often it was."""
        self.forget_old()
        assert len(self.cache) == len(self.model)
        assert (self.cache.hits, self.cache.misses) == (self.hits, self.misses)

    def teardown(self):
        """Nothing is left behind."""
        self.cache.close()
        assert [file.name for file in self.folder.iterdir()] == ([] if self.path() is None else ["cache.db"])
        shutil.rmtree(self.folder)


class FileMachine(MemoryMachine):
    """The same in a file, which outlives who opened it."""

    def path(self):
        """Where the answers are."""
        return self.folder / "cache.db"

    @rule()
    def reopen(self):
        """Uses are not forgotten either."""
        self.cache.close()
        self.cache = ResponseCache(self.path(), **self.options)
        self.hits = self.misses = 0


LIMITS = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestMemory = MemoryMachine.TestCase
TestMemory.settings = LIMITS
TestFile = FileMachine.TestCase
TestFile.settings = LIMITS
