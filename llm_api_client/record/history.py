"""What was asked and what came of it, one entry for each request and batch call."""

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from threading import Lock
from typing import Any, overload

from llm_api_client.records import Result
from llm_api_client.secrets import masked


class History(Sequence[dict[str, Any]]):
    """The newest `limit` results (None: all), oldest first, each read as a plain dict.

    Entries have the keys `request` (as given, secrets masked), `response` (a dict or None), `content`, `created_at`
    (local time, `%Y-%m-%d %H:%M:%S`), `error` (text or None), `attempts`, `model`, `cost` and `latency`.
    """

    def __init__(self, limit: int | None = None) -> None:
        # The lock guards the deque: batches in several threads append to it while others read.
        self._lock = Lock()
        self.limit = limit
        """Entries that are kept at most; None for all."""
        self._results: deque[Result] = deque(maxlen=limit)

    def append(self, result: Result) -> None:
        """Keep a result, once if an interrupt has it given twice; with a limit reached, the oldest goes."""
        with self._lock:
            if not self._results or self._results[-1] is not result:
                self._results.append(result)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._results.clear()

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [entry_of(result) for result in self._snapshot()[index]]
        with self._lock:
            result = self._results[index]
        return entry_of(result)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(entry_of, self._snapshot())

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<History of {len(self)} requests>"

    def _snapshot(self) -> list[Result]:
        with self._lock:
            return list(self._results)


def entry_of(result: Result) -> dict[str, Any]:
    """A result as a history entry."""
    return {
        "request": masked(result.request),  # masked long since; the copy is the reader's own
        "response": plain(result.response),
        "content": result.content,
        "created_at": datetime.fromtimestamp(result.created_at).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        "error": None if result.error is None else f"{type(result.error).__name__}: {result.error.message}",
        "attempts": result.attempts,
        "model": result.model,
        "cost": result.cost,
        "latency": result.latency,
    }


def plain(response: Any) -> Any:
    """An answer as plain data: what its `model_dump` gives, or itself where it has none."""
    dump = getattr(response, "model_dump", None)
    return dump() if callable(dump) else response
