"""What can be wrong with a checkpoint file, in words that say what to do."""

import os
from pathlib import Path

from llm_api_client.errors import CheckpointError, LLMAPIClientError

OLDEST_SQLITE = (3, 37)
"""The first that has strict tables."""

_SAVE = "Put a copy in its place, or save what is readable with `sqlite3 FILE .recover`, and give a new path meanwhile"


class explained:  # noqa: N801  it reads as what it does
    """Makes SQLite's and the system's errors ours, for what stands within it.

    Args:
        path: The checkpoint file.
        what: What was to be done with it: "opened", "written", …

    Raises:
        CheckpointError: What went wrong within.
    """

    __slots__ = ("_path", "_what")

    # A class, not a generator: it stands around what is done for every request.
    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, wrong: BaseException | None, _: object) -> None:
        if wrong is None:
            return
        import sqlite3  # noqa: PLC0415  for those who have a file

        if isinstance(wrong, (sqlite3.Error, OSError)):
            raise self._ours(wrong) from wrong

    def _ours(self, wrong: Exception) -> LLMAPIClientError:
        why = reason(wrong, _SAVE, again=True)
        return CheckpointError(f"The checkpoint {self._path} can't be {self._what}: {why}.")


def reason(wrong: Exception, if_damaged: str, *, again: bool = False) -> str:
    """What an error of SQLite's or the system's means, and what to do; without a full stop.

    Args:
        wrong: The error.
        if_damaged: What to do with a damaged file.
        again: Whether what was being done is to be run again, with what is written kept.
    """
    import errno  # noqa: PLC0415  likewise
    import sqlite3  # noqa: PLC0415

    code = (getattr(wrong, "sqlite_errorcode", None) or 0) & 0xFF  # SQLite tells more in the upper bits
    number = getattr(wrong, "errno", None)
    if code == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. Make room" + " and run again: what was written until now is kept" * again
    if code == sqlite3.SQLITE_NOTADB:
        return "it is not an SQLite file. Give another path, or move that file away"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"it is damaged ({wrong}). {if_damaged}"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program holds it locked. End that program's change" + ", and run again" * again
    if code == sqlite3.SQLITE_READONLY or isinstance(wrong, PermissionError):
        return f"permission is missing ({wrong}). Make the file and its folder writable, or give another path"
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) or isinstance(wrong, OSError):
        cure = "See that the disk works and has room, that no limit on file sizes is reached"
        return f"{wrong}. {cure}" + ", and run again" * again
    return str(wrong)


def check_there(path: Path) -> None:
    """Refuse to read what is not there.

    Raises:
        CheckpointError: There is no such file, or it is not one that can be read.
    """
    if not path.exists():
        fault = "there is no such file. Give the path of a checkpoint"
    elif not path.is_file():
        fault = "it is not a regular file. Give the path of a checkpoint"
    elif not may(path, os.R_OK):
        fault = "permission to read it is missing"
    else:
        return
    message = f"The checkpoint {path} can't be read: {fault}."
    raise CheckpointError(message)


def check_place(path: Path) -> None:
    """Refuse a path at which no checkpoint can be.

    Raises:
        CheckpointError: What stands in the way.
    """
    fault = fault_of_place(path)
    if fault is not None:
        raise CheckpointError(f"The checkpoint {path} can't be opened: {fault}.")


def fault_of_place(path: Path) -> str | None:
    """Why no SQLite file can be at a path, and what to do, without a full stop; None where one can."""
    import sqlite3  # noqa: PLC0415  likewise

    folder = path.parent
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        return f"this Python has SQLite {sqlite3.sqlite_version}, and 3.37 is needed. Use a newer Python"
    if not folder.is_dir():
        return f"there is no folder {folder}. Make it first, or give another path"
    if path.is_dir():
        return "it is a folder. Give the path of a file"
    if path.exists() and not path.is_file():
        return "it is not a regular file. Give the path of one"
    if path.exists() and not may(path, os.R_OK | os.W_OK):
        return "permission to read and write the file is missing. Give yourself both, or give another path"
    if not may(folder, os.W_OK | os.X_OK):
        return (
            f"permission to write into the folder {folder} is missing. SQLite writes beside the file; give another path"
        )
    return None


def may(path: Path, how: int) -> bool:
    """Whether the system lets this process: read (`os.R_OK`), write (`os.W_OK`), enter a folder (`os.X_OK`)."""
    return os.access(path, how, effective_ids=os.access in os.supports_effective_ids)


def in_use(path: Path, pid: int | None) -> CheckpointError:
    """Another process has it open."""
    who = "" if pid is None else f" (pid {pid})"
    return CheckpointError(
        f"{path} is in use by another process{who}. Wait for its end or stop it; two runs need two checkpoints."
    )


def foreign(path: Path) -> CheckpointError:
    """It is an SQLite file, and not a checkpoint."""
    return CheckpointError(
        f"{path} is an SQLite file of another program, and nothing is written into it. Give the path of a checkpoint, "
        "or of a file that is not there yet."
    )


def newer(path: Path, version: int, known: int) -> CheckpointError:
    """It was written by a later version of this library."""
    return CheckpointError(
        f"{path} has version {version} of the checkpoint's tables, and this llm_api_client knows up to {known}. "
        "Upgrade it, or give another path."
    )


def cut_off(path: Path) -> CheckpointError:
    """Its end is missing."""
    return CheckpointError(
        f"{path} is cut off: it is shorter than it says itself, as after an unfinished copy. {_SAVE}."
    )


def damaged(path: Path, found: str) -> CheckpointError:
    """SQLite finds fault with its pages."""
    return CheckpointError(f"{path} is damaged ({found}). {_SAVE}.")


def gone(path: Path, part: Path) -> CheckpointError:
    """Somebody removed or replaced it while it was open."""
    return CheckpointError(
        f"The checkpoint {path} can't be written: {part.name} was removed or replaced while it was in use. "
        "Put it back, if it was moved, and run again."
    )


def unusable(path: Path) -> CheckpointError:
    """It was opened by the process that this one was forked from, or is closed."""
    return CheckpointError(
        f"The checkpoint {path} is not open in this process: it was closed, or opened before a fork. "
        "Make a client of its own in each process, with a checkpoint of its own."
    )
