"""Files that a request sends: read once, so that every attempt sends the same bytes."""

import os
from pathlib import Path
from typing import Any

from llm_api_client.errors import InvalidInputError

_BEGINNINGS = (
    (b"RIFF", "wav"), (b"ID3", "mp3"), (b"\xff\xfb", "mp3"), (b"fLaC", "flac"), (b"OggS", "ogg"),
    (b"\x1aE\xdf\xa3", "webm"),
)  # fmt: skip
_BEFORE_TYPE = 4


def as_upload(file: Any) -> tuple[str, bytes]:
    """A file's name and content, from a path, an open file, its bytes, or a pair of name and any of these.

    Providers tell the format of a sound by the end of its name. Bytes without a name are named by their beginning.

    Raises:
        InvalidInputError: It cannot be read.
    """
    if isinstance(file, tuple) and len(file) > 1 and isinstance(file[0], str):
        return file[0], as_upload(file[1])[1]
    if isinstance(file, (str, os.PathLike)):
        try:
            return Path(file).name, Path(file).read_bytes()
        except OSError as fault:
            raise InvalidInputError(f'"file" cannot be read ({fault.strerror or type(fault).__name__})') from None
    if isinstance(file, (bytes, bytearray)):
        return f"sound.{_format_of(bytes(file[:12]))}", bytes(file)
    content = file.read() if hasattr(file, "read") else None
    if not isinstance(content, bytes):
        kind = f"an object of type {type(file).__name__}" if content is None else "a file opened for text"
        raise InvalidInputError(f'"file" is {kind}; give a path, bytes, or a file opened with "rb"')
    name = getattr(file, "name", None)
    return Path(name).name if isinstance(name, str) else as_upload(content)[0], content


def _format_of(beginning: bytes) -> str:
    if beginning[_BEFORE_TYPE:].startswith(b"ftyp"):
        return "m4a"
    return next((name for mark, name in _BEGINNINGS if beginning.startswith(mark)), "wav")
