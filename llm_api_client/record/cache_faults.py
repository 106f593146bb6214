"""What can be wrong with a cache's file, in words that say what to do."""

import errno
import os
import sqlite3
from pathlib import Path

from llm_api_client.errors import ConfigurationError
from llm_api_client.record.faults import OLDEST_SQLITE, may

_ANEW = "Delete it, with what is beside it (-wal, -shm), or give another path: a cache fills again"


class explained:  # noqa: N801  it reads as what it does
    """Makes SQLite's and the system's errors ours, for what stands within it.

    Args:
        path: The cache's file.
        what: What was to be done with it: "opened", "cleared", …

    Raises:
        ConfigurationError: What went wrong within.
    """

    __slots__ = ("_path", "_what")

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, wrong: BaseException | None, _: object) -> None:
        if isinstance(wrong, (sqlite3.Error, OSError)):
            raise _unusable(self._path, reason(wrong), self._what) from wrong


def reason(wrong: Exception) -> str:
    """What an error of SQLite's or the system's means here, and what to do; without a full stop."""
    code = (getattr(wrong, "sqlite_errorcode", None) or 0) & 0xFF  # SQLite tells more in the upper bits
    number = getattr(wrong, "errno", None)
    if code == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. Make room"
    if code == sqlite3.SQLITE_NOTADB:
        return "it is not an SQLite file. Give another path, or move that file away"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"it is damaged ({wrong}). {_ANEW}"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program holds it locked. End that program's change"
    if code == sqlite3.SQLITE_READONLY or isinstance(wrong, PermissionError):
        return f"permission is missing ({wrong}). Make the file and its folder writable, or give another path"
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) or isinstance(wrong, OSError):
        return f"{wrong}. See that the disk works and has room, and that no limit on file sizes is reached"
    return str(wrong)


def check_place(path: Path) -> None:
    """Refuse a path at which no cache can be.

    Raises:
        ConfigurationError: What stands in the way.
    """
    folder = path.parent
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        fault = f"this Python has SQLite {sqlite3.sqlite_version}, and 3.37 is needed. Use a newer Python"
    elif not folder.is_dir():
        fault = f"there is no folder {folder}. Make it first, or give another path"
    elif path.is_dir():
        fault = "it is a folder. Give the path of a file"
    elif path.exists() and not path.is_file():
        fault = "it is not a regular file. Give the path of one"
    elif path.exists() and not may(path, os.R_OK | os.W_OK):
        fault = "permission to read and write the file is missing. Give yourself both, or give another path"
    elif not may(folder, os.W_OK | os.X_OK):
        fault = f"permission to write into the folder {folder} is missing, where SQLite writes. Give another path"
    else:
        return
    raise _unusable(path, fault)


def foreign(path: Path) -> ConfigurationError:
    """It is an SQLite file, and not a cache."""
    return _unusable(
        path, "it is an SQLite file of another kind, and nothing is written into it. Give another path, or move it away"
    )


def newer(path: Path, version: int, known: int) -> ConfigurationError:
    """It was written by a later version of this library."""
    return _unusable(
        path,
        f"it has version {version} of the cache's tables, and this llm_api_client knows up to {known}. Upgrade it, or "
        "give another path",
    )


def damaged(path: Path, found: str) -> ConfigurationError:
    """SQLite finds fault with its pages."""
    return _unusable(path, f"it is damaged ({found}). {_ANEW}")


def _unusable(path: Path, why: str, what: str = "opened") -> ConfigurationError:
    return ConfigurationError(f"The cache {path} can't be {what}: {why}.")
