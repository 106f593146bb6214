"""What a cache keeps of an answer, how much of it, and the same in memory. Pure but for the memory's lock."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, NamedTuple, Self

from llm_api_client.record import as_json, rows
from llm_api_client.records import Key, Result, Usage

_NO_KEY = Key(b"", 0)


class Entry(NamedTuple):
    """An answer, and what the call that brought it came to: a `Result` in plain data, and in a file's columns.

    Attributes:
        response_type: Class of the answer, as a checkpoint has it.
        response: The answer as JSON, in UTF-8.
    """

    model: str | None
    provider: str | None
    created_at: float
    attempts: int
    latency: float | None
    cost: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    response_type: str
    response: bytes

    @classmethod
    def of(cls, result: Result) -> Self:
        """What is kept of an answer; the request is not.

        Raises:
            TypeError: The answer has no form in JSON. Unlike in a checkpoint, a poorer one is worth nothing here: the
                answer can be asked for again.
            ValueError: Likewise.
            RecursionError: Likewise.
        """
        response = result.response
        data = as_json.dumped(response)
        text = as_json.text(data)
        kind = rows.PLAIN if data is response else type(response).__name__
        [_, _, model, _, *facts, _, _] = rows.answer_row(_NO_KEY, replace(result, request=None, response=None))
        # Of half a character its escape, as the row has it of the model.
        provider = None if result.provider is None else result.provider.encode(errors="backslashreplace").decode()
        return cls._make((model, provider, *facts, kind, text.encode()))

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return len(self.response)

    def result(self, answer: Any) -> Result:
        """The result again, with the answer made of `response`. Index and request are the batch's to say."""
        asked, answered = self.prompt_tokens, self.completion_tokens
        return Result(
            index=-1,
            request=None,
            response=answer,
            attempts=self.attempts,
            latency=self.latency,
            cost=self.cost,
            usage=None if asked is None or answered is None else Usage(asked, answered),
            created_at=self.created_at,
            model=self.model,
            provider=self.provider,
            cached=True,
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept; None for no bound.

    Attributes:
        entries: Most entries.
        size: Most bytes of their answers together.
    """

    entries: int | None = None
    size: int | None = None

    def hold(self, entries: int, size: int) -> bool:
        """Whether so much is within them."""
        return (self.entries is None or entries <= self.entries) and (self.size is None or size <= self.size)

    def take(self, entry: Entry) -> bool:
        """Whether an entry is within them by itself."""
        return self.hold(1, entry.size)


class CacheMemory:
    """Entries in memory, of which the least recently used go first."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        # The lock guards all three, which change together.
        self._lock = Lock()
        self._by_use: OrderedDict[bytes, Entry] = OrderedDict()
        self._kept_at: OrderedDict[bytes, float] = OrderedDict()
        self._size = 0

    def get(self, identity: bytes, horizon: float) -> Entry | None:
        """The entry, if it was kept after `horizon`."""
        with self._lock:
            entry = self._by_use.get(identity)
            if entry is None or self._kept_at[identity] <= horizon:
                return None
            self._by_use.move_to_end(identity)
            return entry

    def put(self, identity: bytes, entry: Entry, now: float, horizon: float) -> None:
        """Keep an entry in place of an earlier one, without what was kept before `horizon`, and within the bounds."""
        with self._lock:
            self._take_out_old(horizon)
            self._take_out(identity)
            if not self._bounds.take(entry):
                return
            self._by_use[identity] = entry
            self._kept_at[identity] = now
            self._size += entry.size
            while not self._bounds.hold(len(self._by_use), self._size):
                self._take_out(next(iter(self._by_use)))

    def clear(self) -> None:
        """Take everything out."""
        with self._lock:
            self._by_use.clear()
            self._kept_at.clear()
            self._size = 0

    def count(self, horizon: float) -> int:
        """How many entries were kept after `horizon`."""
        with self._lock:
            return sum(kept_at > horizon for kept_at in self._kept_at.values())

    close = clear

    def _take_out(self, identity: bytes) -> None:
        entry = self._by_use.pop(identity, None)
        if entry is not None:
            del self._kept_at[identity]
            self._size -= entry.size

    def _take_out_old(self, horizon: float) -> None:
        # The oldest first: a clock that was set back only lets some stay until those before them go.
        while self._kept_at:
            identity, kept_at = next(iter(self._kept_at.items()))
            if kept_at > horizon:
                return
            self._take_out(identity)
