"""How a checkpoint file is opened: found sound, ours and of the newest version, or refused. Only this opens SQLite."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from llm_api_client.record import faults, schema

if TYPE_CHECKING:
    from sqlite3 import Connection

CHECKED_BYTES = 16 * 2**20
"""Largest file that is read through when it is opened: it takes some hundredths of a second."""

PATIENCE_SECONDS = 5.0
"""How long another program's lock is waited for."""

_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    # Each group is on the disk, not only with the system, before its answers are handed out: that costs fractions of a
    # millisecond a group.
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 8000",  # pages: some 4 MB
)


def connected(path: Path, mode: str) -> "Connection":
    """A connection that any thread may use, and that begins no transaction of its own.

    Args:
        path: The file, which must be there.
        mode: "ro" or "rw".
    """
    import sqlite3  # noqa: PLC0415  for those who have a checkpoint

    address = f"{path.as_uri()}?mode={mode}"
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=PATIENCE_SECONDS)


def readable(path: Path) -> "Connection":
    """A connection that changes nothing."""
    if not faults.may(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
        # Nobody writes, and SQLite cannot even make the files by which it would tell writers of its reading.
        return connected(path, "ro&immutable=1")
    # Open for writing, so that the same files are taken away again.
    connection = connected(path, "rw")
    connection.execute("PRAGMA query_only = 1")
    return connection


def temporary() -> "Connection":
    """A connection to a file of its own that goes with it, of which SQLite keeps a few MB in memory."""
    import sqlite3  # noqa: PLC0415  likewise

    return sqlite3.connect("", isolation_level=None, check_same_thread=False)


def writable(path: Path) -> "Connection":
    """A connection to a checkpoint that is whole and of the newest version; it is made where there is none.

    Raises:
        CheckpointError: It is none, or damaged.
    """
    if not path.exists():
        # What SQLite makes beside it has the same rights.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = connected(path, "rw")
    try:
        version = version_of(connection, path)
        if version == 0:
            connection.execute(f"PRAGMA page_size = {schema.PAGE_SIZE}")
        for number, script in enumerate(schema.MIGRATIONS[version:], version + 1):
            # One transaction: a process that is killed in its midst leaves the file as it was.
            mark = f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = {number};"
            connection.executescript(f"BEGIN IMMEDIATE; {script}; {mark} COMMIT;")
        for setting in _SETTINGS:
            connection.execute(setting)
        _check_whole(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def version_of(connection: "Connection", path: Path) -> int:
    """How many migrations a checkpoint has; none, where there is nothing in the file yet.

    Raises:
        CheckpointError: It is no checkpoint, or one of a later version.
    """
    [owner], [version], [tables] = (
        connection.execute(question).fetchone()
        for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if owner != schema.APPLICATION_ID and (owner or version or tables):
        raise faults.foreign(path)
    known = len(schema.MIGRATIONS)
    if version > known:
        raise faults.newer(path, version, known)
    return int(version)


def _check_whole(connection: "Connection", path: Path) -> None:
    # What an earlier run left in the log goes into the file first, as far as nobody who reads stands in the way.
    [_, logged, moved] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    [pages], [page] = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    size = path.stat().st_size
    if logged == moved and size < pages * page:
        raise faults.cut_off(path)
    if size <= CHECKED_BYTES:
        [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise faults.damaged(path, found)
