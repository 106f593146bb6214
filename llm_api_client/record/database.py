"""How a checkpoint or a cache is opened: sound, ours and of the newest version, or refused. Only this opens SQLite."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llm_api_client.record import cache_schema, faults, schema

if TYPE_CHECKING:
    from sqlite3 import Connection

CHECKED_BYTES = 16 * 2**20
"""Largest file that is read through when it is opened: it takes some hundredths of a second."""

PATIENCE_SECONDS = 5.0
"""How long another program's lock is waited for."""

CACHE_PATIENCE_SECONDS = 1.0
"""Likewise once a cache is open: without it, a request is only slower."""

_BETWEEN_TRIES_SECONDS = 0.01

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


def may_have_rows(connection: "Connection", table: str) -> bool:
    """Whether a table of ours has rows, or cannot be read: whoever reads it will be told why."""
    try:
        [found] = connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()  # noqa: S608  a name of ours
    except Exception:  # noqa: BLE001  SQLite's errors, whose classes are not at hand before it is imported
        return True
    return bool(found)


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


def cache(path: Path) -> "Connection":
    """A connection to a response cache of the newest version; it is made where there is none.

    Any number of processes may have it open, and may make it at the same time.

    Raises:
        ConfigurationError: It is none, damaged, or one of a later version.
    """
    if not path.exists():
        with suppress(FileExistsError):  # another process was quicker
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = connected(path, "rw")
    try:
        if _cache_version(connection, path) < len(cache_schema.MIGRATIONS):
            _migrate_cache(connection, path)
        _write_ahead(connection)
        # No answer waits for the disk: a killed process loses none, a power cut the newest.
        connection.execute("PRAGMA synchronous = NORMAL")
        _check_pages(connection, path)
        connection.execute(f"PRAGMA busy_timeout = {CACHE_PATIENCE_SECONDS * 1000:.0f}")
    except BaseException:
        connection.close()
        raise
    return connection


def _cache_version(connection: "Connection", path: Path) -> int:
    from llm_api_client.record import cache_faults  # noqa: PLC0415  for those who have a cache

    # One statement, so that it is one state of the file, whoever is making it.
    [owner, version, tables] = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if owner != cache_schema.APPLICATION_ID and (owner or version or tables):
        raise cache_faults.foreign(path)
    known = len(cache_schema.MIGRATIONS)
    if version > known:
        raise cache_faults.newer(path, version, known)
    return int(version)


def _migrate_cache(connection: "Connection", path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    version = _cache_version(connection, path)  # another process may have been quicker
    for statements in cache_schema.MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {cache_schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(cache_schema.MIGRATIONS)}")
    connection.execute("COMMIT")


def _write_ahead(connection: "Connection") -> None:
    import sqlite3  # noqa: PLC0415  likewise

    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as wrong:
            # For this change alone, SQLite does not wait for others by itself.
            if wrong.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_BETWEEN_TRIES_SECONDS)
        else:
            return


def _check_pages(connection: "Connection", path: Path) -> None:
    from llm_api_client.record import cache_faults  # noqa: PLC0415  likewise

    if path.stat().st_size <= CHECKED_BYTES:
        [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise cache_faults.damaged(path, found)
