"""The checkpoint: every answer that was paid for, in one SQLite file."""

import json
import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from heapq import merge
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from llm_api_client.record import database, faults, rows
from llm_api_client.record.lock import HeldError, ProcessLock
from llm_api_client.records import Key, Result, Usage

if TYPE_CHECKING:
    from sqlite3 import Connection

logger = logging.getLogger(__name__)

Revive = Callable[[str, Any], Any]
"""Makes an answer's object again from its `response_type` and data, or returns None where it knows no such type."""

FEW = 10_000
"""Requests of a run that are numbered in memory, which takes some 2 MB; further ones are in a temporary file."""

_NUMBERS = """
    PRAGMA journal_mode = MEMORY;
    PRAGMA synchronous = OFF;
    CREATE TABLE numbers (identity BLOB PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
    BEGIN;
"""
# The transaction has no end: nobody else reads it, and a commit for each request would take as long as all else.
_NUMBER = "INSERT INTO numbers VALUES (?, 1) ON CONFLICT DO UPDATE SET next = next + 1 RETURNING next - 1"


class _Registry:
    """What is open in this process, by its real path. The lock is held while a file is opened or closed."""

    def __init__(self) -> None:
        self.stores: dict[Path, Store] = {}
        self.lock = Lock()

    def leave_to_parent(self) -> None:
        """In a forked child: its parent's files are not its own."""
        for store in self.stores.values():
            store.disown()
        # Not forgotten: SQLite would close them, as if they were its own.
        self.inherited = self.stores
        self.stores, self.lock = {}, Lock()


_registry = _Registry()
os.register_at_fork(after_in_child=_registry.leave_to_parent)


class Store:
    """One checkpoint file, for any number of threads of this process; other processes are kept out by a lock.

    What `write` has returned from is on the disk: it outlives the process, however that ends, and a power cut, if the
    disk keeps its word. Programs that only read, such as SQLite's shell, may do so meanwhile. Made by `open`.

    Attributes:
        path: The file.
        possibly_paid: Claims found at opening: calls of an earlier process whose end nobody recorded.
        has_others: Whether a run may find answers that it has not written itself.
    """

    def __init__(self, path: Path, lock: ProcessLock, revive: Revive | None, wall: Callable[[], float]) -> None:
        self.path = path
        self.opens = 1
        self._pid = os.getpid()
        self._process_lock = lock
        self._revive = revive
        self._wall = wall
        # Each guards a connection, for one statement or transaction: finding does not wait for writing.
        self._finding, self._writing = Lock(), Lock()
        self._writer = database.writable(path)
        try:
            self._finder = database.connected(path, "ro")
            self.possibly_paid: int = self._finder.execute("SELECT count(*) FROM claims").fetchone()[0]
            # Whether others than the first run have written answers, and whether there are failures to take away: in
            # a new file there are neither, and to look for one costs as much as to write one.
            self.has_others = database.may_have_rows(self._finder, "answers")
            self._has_failures = database.may_have_rows(self._finder, "failures")
            self._runs = 0
            # Both are there by now. What is written into files that somebody took away would be lost.
            self._inodes = [(part, _inode(part)) for part in (path, Path(f"{path}-wal")) if part.exists()]
        except BaseException:
            self._writer.close()
            raise

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], revive: Revive | None = None, *, wall: Callable[[], float] = time.time
    ) -> "Store":
        """The checkpoint at `path`, made if there is none. Each opening needs a `close`.

        A file that is open in this process already is the same `Store`, as it was opened first.

        Args:
            path: The file. Its folder must be there.
            revive: Makes objects of the answers that are found again. Without, they are `ReplayedAnswer`s.
            wall: Tells the time, in seconds since the epoch.

        Raises:
            CheckpointError: The file cannot be used; the message says why, and what to do.
        """
        real = Path(os.path.realpath(os.fsdecode(path)))
        with _registry.lock:
            store = _registry.stores.get(real)
            if store is not None:
                store.opens += 1
                return store
            with faults.explained(real, "opened"):
                faults.check_place(real)
                try:
                    lock = ProcessLock(real)
                except HeldError as held:
                    raise faults.in_use(real, held.pid) from None
                try:
                    store = _registry.stores[real] = cls(real, lock, revive, wall)
                except BaseException:
                    lock.release()
                    raise
            return store

    def close(self) -> None:
        """Let go of the file, once everybody who opened it has closed it, and every run."""
        if not self.is_ours:
            return  # a parent's store is not a child's to close
        with _registry.lock:
            self.opens -= 1
            if self.opens:
                return
            del _registry.stores[self.path]
            try:
                with faults.explained(self.path, "closed"), self._writing, self._finding:
                    self._finder.close()
                    self._writer.close()
            finally:
                self._process_lock.release()

    def disown(self) -> None:
        """In a forked child: leave the file to the parent."""
        self._process_lock.disown()

    def run(self) -> "Run":
        """The checkpoint as one batch sees it, and open until that is closed.

        Raises:
            CheckpointError: There is no room for temporary files, or the store is not open in this process.
        """
        with _registry.lock:
            self.check()
            run = Run(self)
            self.opens += 1
            self._runs += 1
            self.has_others = self.has_others or self._runs > 1
            return run

    def find(self, key: Key) -> Result | None:
        """The answer kept for `key`, as `Run.find` gives it."""
        self.check()
        with faults.explained(self.path, "read"), self._finding:
            row = self._finder.execute(rows.FIND, rows.of_key(key)).fetchone()
        if row is None:
            return None
        model, ended_at, attempts, latency, cost, prompt_tokens, completion_tokens, response_type, response = row
        try:
            answer = rows.revived(self._revive, response_type, json.loads(response))
        except Exception as wrong:  # noqa: BLE001  whatever is wrong with it, it can be asked again
            name = f"{key.identity.hex()}/{key.occurrence}"
            why = type(wrong).__name__
            logger.warning("%s: the answer %s cannot be read (%s); its request is asked again.", self.path, name, why)
            return None
        counted = prompt_tokens is not None and completion_tokens is not None
        return Result(
            index=-1,
            request=None,
            response=answer,
            attempts=attempts,
            latency=latency,
            cost=cost,
            usage=Usage(prompt_tokens, completion_tokens) if counted else None,
            created_at=ended_at,
            model=model,
            replayed=True,
        )

    def write(
        self, claims: Sequence[tuple[Key, str, str]], ends: Sequence[tuple[Key, Result]], released: Sequence[Key]
    ) -> None:
        """Write a group down, as `Run.write` does."""
        self.check()
        now = self._wall()
        claimed = [rows.claim_row(key, model, prompt, now) for key, model, prompt in claims]
        answers = [rows.answer_row(key, result) for key, result in ends if result.error is None]
        failures = [rows.failure_row(key, result) for key, result in ends if result.error is not None]
        answered = [row[:2] for row in answers]
        settled = answered + [row[:2] for row in failures] + [rows.of_key(key) for key in released]
        with faults.explained(self.path, "written"), self._writing, self._transaction() as connection:
            connection.executemany(rows.CLAIM, claimed)
            connection.executemany(rows.ANSWER, answers)
            connection.executemany(rows.FAILURE, failures)
            self._has_failures = self._has_failures or bool(failures)
            if self._has_failures:
                connection.executemany(rows.NO_FAILURE, answered)
            connection.executemany(rows.NO_CLAIM, settled)

    @contextmanager
    def _transaction(self) -> "Iterator[Connection]":
        for part, inode in self._inodes:
            if _inode(part) != inode:
                raise faults.gone(self.path, part)
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException:  # an interrupt among them
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def check(self) -> None:
        """Refuse to be used when closed, or in a forked child.

        Raises:
            CheckpointError: It is one of the two.
        """
        if not self.is_ours:
            raise faults.unusable(self.path)

    @property
    def is_ours(self) -> bool:
        """Whether it is open, and was opened by this process: not by the one that this was forked from."""
        return self.opens > 0 and self._pid == os.getpid()


class Run:
    """A checkpoint as one batch sees it: equal requests are numbered in the order in which they come."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._closed = False
        self._lock = Lock()
        with faults.explained(store.path, "used"):
            # Not a dict alone: a batch may have millions of requests.
            self._numbers = database.temporary()
            self._numbers.executescript(_NUMBERS)
        self._first: dict[bytes, int] = {}

    def key(self, identity: bytes) -> Key:
        """The next request of this identity in this run.

        Raises:
            CheckpointError: The temporary file cannot be written, or the checkpoint is not open in this process.
        """
        self._store.check()
        with self._lock:
            number = self._first.get(identity)
            if number is None and len(self._first) >= FEW:
                with faults.explained(self._store.path, "used"):
                    return Key(identity, self._numbers.execute(_NUMBER, (identity,)).fetchone()[0])
            self._first[identity] = 1 if number is None else number + 1
            return Key(identity, 0 if number is None else number)

    def next(self, identity: bytes) -> tuple[Key, Result | None]:
        """The next request of this identity in this run, and the answer that another run has kept for it.

        Raises:
            CheckpointError: As `key` and `find`.
        """
        key = self.key(identity)
        return key, self.find(key) if self._store.has_others else None

    def find(self, key: Key) -> Result | None:
        """The answer kept for `key`, or None. One that cannot be read is None, with a warning in the log.

        The result has the index -1 and no request: they are the batch's to say.

        Raises:
            CheckpointError: The file cannot be read.
        """
        return self._store.find(key)

    def write(
        self,
        claims: Sequence[tuple[Key, str, str]],
        ends: Sequence[tuple[Key, Result]],
        released: Sequence[Key] = (),
    ) -> None:
        """Write all of it down in this order, or, where an error is raised, none.

        Args:
            claims: What is about to be sent: its key, model, and the beginning of its prompt.
            ends: What has ended. An answer takes the place of its request's claim, failure, and earlier answer; a
                failure that of its claim and earlier failure, and none where there is an answer.
            released: What was claimed and was not sent after all.

        Raises:
            CheckpointError: It cannot be written; the message says why, and what to do.
        """
        if claims or ends or released:
            self._store.write(claims, ends, released)

    def close(self) -> None:
        """Forget the numbering, and let go of the store."""
        if self._closed or not self._store.is_ours:
            return
        self._closed = True
        with self._lock:
            self._numbers.close()
        self._store.close()


def read_rows(path: str | os.PathLike[str]) -> Generator[dict[str, Any], None, None]:
    """Every request of a checkpoint, one dict each, in the order of their ends.

    It is the state at the first row, read little by little; a run may go on writing meanwhile. The keys: `state`
    ("answered", "failed", or "possibly paid": sent, its end not recorded), `identity` (hex), `occurrence`, `model`,
    `prompt` (its beginning), `content`, `created_at` (when it ended, or was sent; seconds since the epoch), `attempts`,
    `latency`, `cost`, `prompt_tokens`, `completion_tokens`, `error_type`, `error`, `response` (plain data). What is
    not known is None.

    Raises:
        CheckpointError: With the first row: there is no checkpoint, or none that can be read.
    """
    real = Path(os.path.realpath(os.fsdecode(path)))
    with faults.explained(real, "read"):
        faults.check_there(real)
        connection = database.readable(real)
    with faults.explained(real, "read"), closing(connection):
        if database.version_of(connection, real) == 0:
            return
        connection.execute("BEGIN")  # one state, whatever is written meanwhile
        yield from map(rows.as_dict, merge(*map(connection.execute, rows.ALL), key=itemgetter(rows.TIME)))


def _inode(part: Path) -> tuple[int, int] | None:
    try:
        found = part.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
