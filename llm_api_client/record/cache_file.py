"""A cache's entries in one SQLite file, which any number of processes and threads may use at once."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from threading import Lock
from weakref import WeakSet

from llm_api_client.clock import Clock
from llm_api_client.errors import ConfigurationError
from llm_api_client.record import cache_faults, database
from llm_api_client.record.cache_entry import Bounds, Entry

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 30.0
"""How long a file that could not be read is not read, and one that could not be written is not written."""

MOST_NOTES = 100
"""Hits that are noted in memory before they are written down."""

_FAULTS = (sqlite3.Error, OSError, ConfigurationError)
"""What may go wrong: the last where a forked child opens the file anew."""

_FIND = (
    "SELECT model, provider, created_at, attempts, latency, cost, prompt_tokens, completion_tokens, response_type, "
    "CAST(response AS BLOB) FROM entries WHERE identity = ? AND kept_at > ?"
)
_PUT = """INSERT INTO entries (identity, used, kept_at, size, model, provider, created_at, attempts, latency, cost,
    prompt_tokens, completion_tokens, response_type, response)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT))"""
_TAKE_OUT = "DELETE FROM entries WHERE identity = ?"
_TAKE_OUT_OLD = "DELETE FROM entries WHERE kept_at <= ?"
_TAKE_OUT_ROW = "DELETE FROM entries WHERE rowid = ?"
_LAST_USE = "SELECT coalesce(max(used), 0) FROM entries"
_USE = "UPDATE entries SET used = ? WHERE identity = ?"
_BY_USE = "SELECT rowid, size FROM entries ORDER BY used"


class _Registry:
    """The files that are open in this process. The lock is held while one is opened.

    A file that is made must not be closed while SQLite has it open: that would take SQLite's locks from it.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.files: WeakSet[CacheFile] = WeakSet()
        self.inherited: list[sqlite3.Connection | None] = []

    def leave_to_parent(self) -> None:
        """In a forked child: its parent's connections are not its own, not even to be closed."""
        self.lock = Lock()
        self.inherited += [file.disown() for file in self.files]


_registry = _Registry()
os.register_at_fork(after_in_child=_registry.leave_to_parent)


class CacheFile:
    """Entries in a file; a forked child goes on with a connection of its own.

    A hit writes nothing: it is noted in memory, and the notes are written with the next answer that is put, at the
    latest after `MOST_NOTES` of them, or when the file is closed. So the least recently used is known exactly as far as
    this process's own hits go, and of other processes' as far as they have written theirs.

    Whatever the disk does, `get` and `put` raise nothing: the file then counts as empty for `PAUSE_SECONDS`, or is not
    written for so long, and the first fault of each kind is logged.

    Raises:
        ConfigurationError: The file cannot be used; the message says why, and what to do.
    """

    def __init__(self, path: Path, bounds: Bounds, clock: Clock) -> None:
        self._path, self._bounds, self._clock = path, bounds, clock
        # The lock guards the connection, for one statement or transaction, and the notes.
        self._lock = Lock()
        self._noted: dict[bytes, None] = {}
        self._paused: dict[str, float] = {}
        with cache_faults.explained(path, "opened"):
            cache_faults.check_place(path)
            self._connection: sqlite3.Connection | None = _connected(path)
        _registry.files.add(self)

    def get(self, identity: bytes, horizon: float) -> Entry | None:
        """The entry, if it was kept after `horizon`."""
        if self._is_paused("read"):
            return None
        try:
            with self._lock:
                row = self._opened().execute(_FIND, (identity, horizon)).fetchone()
                if row is not None:
                    self._noted.pop(identity, None)
                    self._noted[identity] = None
        except _FAULTS as wrong:
            self._pause("read", wrong)
            return None
        if len(self._noted) >= MOST_NOTES:
            self._write_notes()
        return None if row is None else Entry(*row)

    def put(self, identity: bytes, entry: Entry, now: float, horizon: float) -> None:
        """Keep an entry in place of an earlier one, without what was kept before `horizon`, and within the bounds."""
        if self._is_paused("written"):
            return
        try:
            with self._lock, self._transaction() as connection:
                last = self._with_notes(connection)
                if horizon > -inf:
                    connection.execute(_TAKE_OUT_OLD, (horizon,))
                connection.execute(_TAKE_OUT, (identity,))
                if self._bounds.take(entry):
                    connection.execute(_PUT, (identity, last + 1, now, entry.size, *entry))
                    self._make_room(connection)
        except _FAULTS as wrong:
            self._pause("written", wrong)

    def clear(self) -> None:
        """Take everything out, for all who use the file.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        with cache_faults.explained(self._path, "cleared"), self._lock, self._transaction() as connection:
            self._noted.clear()
            connection.execute("DELETE FROM entries")

    def count(self, horizon: float) -> int:
        """How many entries were kept after `horizon`.

        Raises:
            ConfigurationError: The file cannot be read.
        """
        with cache_faults.explained(self._path, "read"), self._lock:
            return int(
                self._opened().execute("SELECT count(*) FROM entries WHERE kept_at > ?", (horizon,)).fetchone()[0]
            )

    def close(self) -> None:
        """Write the notes down, and close the file."""
        if self._noted:
            self._write_notes()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
        _registry.files.discard(self)

    def disown(self) -> sqlite3.Connection | None:
        """In a forked child: give the parent's connection away, and with it a lock that nobody here will release."""
        inherited, self._connection = self._connection, None
        self._lock = Lock()
        self._noted.clear()
        return inherited

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _connected(self._path)
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._opened()
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException:  # an interrupt among them
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _write_notes(self) -> None:
        try:
            with self._lock:
                if self._is_paused("written"):
                    self._noted.clear()
                    return
                with self._transaction() as connection:
                    self._with_notes(connection)
        except _FAULTS as wrong:
            self._pause("written", wrong)

    def _with_notes(self, connection: sqlite3.Connection) -> int:
        """The number of the last use, after those that were noted."""
        [last] = connection.execute(_LAST_USE).fetchone()
        noted = list(self._noted)
        self._noted.clear()
        connection.executemany(_USE, enumerate(noted, last + 1))
        return int(last) + len(noted)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        [entries, size] = connection.execute("SELECT entries, bytes FROM totals").fetchone()
        if self._bounds.hold(entries, size):
            return
        out = []
        for row, of_row in connection.execute(_BY_USE):
            out.append((row,))
            entries, size = entries - 1, size - of_row
            if self._bounds.hold(entries, size):
                break
        connection.executemany(_TAKE_OUT_ROW, out)

    def _is_paused(self, what: str) -> bool:
        return what in self._paused and self._clock.now() < self._paused[what]

    def _pause(self, what: str, wrong: Exception) -> None:
        first = what not in self._paused
        self._paused[what] = self._clock.now() + PAUSE_SECONDS
        if first:
            logger.warning(
                "The cache %s can't be %s: %s. Requests go on without it.",
                self._path, what, cache_faults.reason(wrong),
            )  # fmt: skip


def _connected(path: Path) -> sqlite3.Connection:
    with _registry.lock:
        return database.cache(path)
