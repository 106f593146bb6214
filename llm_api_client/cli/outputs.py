"""Results to a file: lines in order, each on disk as soon as all before it are."""

import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from llm_api_client.cli.inputs import STANDARD
from llm_api_client.cli.parser import UsageError


class OutputError(Exception):
    """The results cannot be written any further; its text says why."""


class Lines:
    """Lines that are written as they come, each handed to the system at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def put(self, position: int, line: str) -> None:  # noqa: ARG002  for those that keep an order
        """Write a line.

        Raises:
            OutputError: It cannot be written.
        """
        with uninterrupted():
            self._write(line.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise OutputError(error.strerror or str(error)) from error


class OrderedLines(Lines):
    """Lines that come in any order and are written in that of their positions, from 0.

    A line waits in memory until all before it have come; then it is written and handed to the system at once.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._waiting: dict[int, bytes] = {}
        self.written = 0
        """Lines written: the position of the first that is missing."""

    def put(self, position: int, line: str) -> None:
        """Take a line; one that came before is left alone.

        Raises:
            OutputError: It cannot be written.
        """
        if position < self.written or position in self._waiting:
            return
        self._waiting[position] = line.encode() + b"\n"
        if position != self.written:
            return
        with uninterrupted():
            ready = []
            while (data := self._waiting.pop(self.written, None)) is not None:
                ready.append(data)
                self.written += 1
            self._write(b"".join(ready))


def check_output(path: str, *, overwrite: bool, source: str | None = None) -> None:
    """Refuse an output that would destroy something, before anything else is done.

    Raises:
        UsageError: It would.
    """
    if path == STANDARD:
        return
    try:
        found = os.stat(path)  # noqa: PTH116  its errors name the path as it was given
    except FileNotFoundError:
        folder = Path(path).parent
        if not folder.is_dir():
            message = f"cannot write {path}: there is no folder {folder}"
            raise UsageError(message) from None
        return
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise UsageError(message) from error
    if stat.S_ISDIR(found.st_mode):
        message = f"cannot write {path}: it is a folder"
        raise UsageError(message)
    if source not in (None, STANDARD) and Path(source).exists() and Path(source).samefile(path):
        message = f"{path} is the input itself; name another file for the results"
        raise UsageError(message)
    if stat.S_ISREG(found.st_mode) and not overwrite:
        message = f"{path} exists; name another file, or replace it with --overwrite"
        raise UsageError(message)


@contextmanager
def opened_output(path: str, *, overwrite: bool) -> Iterator[BinaryIO]:
    """The output, empty and ready.

    Raises:
        UsageError: It cannot be written.
    """
    if path == STANDARD:
        yield sys.stdout.buffer
        return
    new = not overwrite and not Path(path).exists()
    try:
        # "x" leaves a file alone that has come into being since it was checked.
        file = open(path, "xb" if new else "wb")  # noqa: PTH123, SIM115  closed below, and named as it was given
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise UsageError(message) from error
    try:
        yield file
    except BaseException:
        # What could not be written would be tried again here, and its failure would hide the first.
        with suppress(OSError):
            file.close()
        raise
    try:
        file.close()
    except OSError as error:
        message = f"cannot write {path} to its end: {error.strerror}"
        raise UsageError(message) from error


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back: half a line would spoil the file."""
    caught: list[int] = []
    held: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        held = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda received, _frame: caught.append(received))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
    if caught:
        held[caught[0]](caught[0], None)
