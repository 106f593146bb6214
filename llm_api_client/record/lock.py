"""A lock that keeps other processes from a file, and that the kernel lets go when its process dies."""

import os
from pathlib import Path

_PID_DIGITS = 20


class HeldError(Exception):
    """Another process holds the lock.

    Attributes:
        pid: The process, or None where it has not said yet.
    """

    def __init__(self, pid: int | None) -> None:
        super().__init__(pid)
        self.pid = pid


class ProcessLock:
    """The lock of a file, held from construction to `release`.

    It is on a file of its own beside it, `<path>-lock`, which holds the process's id and goes with the lock.

    Raises:
        HeldError: Another process holds it.
        OSError: The lock's file cannot be made, or the file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(f"{path}-lock")
        self._file = _locked(self._path)

    def release(self) -> None:
        """Let others in."""
        # First its name: whoever opened it meanwhile finds, once it is theirs, that it is nobody's.
        if _is_at(self._file, self._path):
            self._path.unlink()
        os.close(self._file)

    def disown(self) -> None:
        """Forget it in a forked child: the lock is its parent's, and must not outlive that."""
        os.close(self._file)


def _locked(path: Path) -> int:
    import fcntl  # noqa: PLC0415  POSIX has it; where it is missing, only checkpoints are

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                os.ftruncate(file, 0)
                os.pwrite(file, str(os.getpid()).encode(), 0)
                return file
        except BlockingIOError:
            written = os.pread(file, _PID_DIGITS, 0)
            os.close(file)
            raise HeldError(int(written) if written.isdigit() else None) from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its last owner took it away between the two steps


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
