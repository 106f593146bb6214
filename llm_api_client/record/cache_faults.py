"""What can be wrong with a cache's file, in words that say what to do."""

from pathlib import Path

from llm_api_client.errors import ConfigurationError
from llm_api_client.record import faults

_ANEW = "Delete it, with what is beside it (-wal, -shm), or give another path: a cache fills again"


class explained(faults.explained):  # noqa: N801  it reads as what it does
    """Makes SQLite's and the system's errors ours, for what stands within it.

    Args:
        path: The cache's file.
        what: What was to be done with it: "opened", "cleared", …

    Raises:
        ConfigurationError: What went wrong within.
    """

    __slots__ = ()

    def _ours(self, wrong: Exception) -> ConfigurationError:
        return _unusable(self._path, reason(wrong), self._what)


def reason(wrong: Exception) -> str:
    """What an error of SQLite's or the system's means here, and what to do; without a full stop."""
    return faults.reason(wrong, _ANEW)


def check_place(path: Path) -> None:
    """Refuse a path at which no cache can be.

    Raises:
        ConfigurationError: What stands in the way.
    """
    fault = faults.fault_of_place(path)
    if fault is not None:
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
