"""Files that clients upload and batches write, as OpenAI keeps them. No I/O: they are kept in memory, to a bound."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from .protocol import Json, ProviderError
from .uploads import Form

MAX_STORED = 1024 * 1024 * 1024
"""Bytes of all files together."""
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
LINES_ONLY = {"batch": "Batch API", "fine-tune": "Fine-Tuning API"}
_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file; `created_at` is in seconds since the epoch."""

    id: str
    filename: str
    purpose: str
    created_at: int
    content: bytes = field(repr=False)

    def body(self) -> Json:
        """What is said of it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "expires_at": None,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Files:
    """The files there are. One that is deleted while a batch still reads it counts until the batch has ended."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}
        self._held: list[StoredFile] = []
        self._numbers = count(1)

    def upload(self, form: Form, created: int) -> Json:
        """Keep a file that a client sends.

        Raises:
            ProviderError: something is missing or not allowed, or there is no room.
        """
        purpose, file = form.fields.get("purpose"), form.files.get("file")
        if file is None:
            raise ProviderError(400, "Missing required parameter: 'file'.", param="file")
        if purpose is None:
            raise ProviderError(400, "Missing required parameter: 'purpose'.", param="purpose")
        if purpose not in PURPOSES:
            raise ProviderError(400, f"{purpose!r} is not one of {list(PURPOSES)} - 'purpose'", param="purpose")
        if purpose in LINES_ONLY and not file.filename.lower().endswith(".jsonl"):
            raise ProviderError(400, f"Invalid file format for {LINES_ONLY[purpose]}. Must be .jsonl")
        return self.add(file.filename, purpose, file.content, created).body()

    def add(self, filename: str, purpose: str, content: bytes, created: int) -> StoredFile:
        """Keep a file.

        Raises:
            ProviderError: there is no room for it.
        """
        kept = {file.id: len(file.content) for file in (*self._files.values(), *self._held)}
        if sum(kept.values()) + len(content) > MAX_STORED:
            raise ProviderError(413, f"All files together may have {MAX_STORED} bytes; delete some.", param="file")
        file = StoredFile(f"file-sim{next(self._numbers)}", filename, purpose, created, content)
        self._files[file.id] = file
        return file

    def hold(self, file: StoredFile) -> None:
        """Count a file, whether or not it is deleted, until it is released."""
        self._held.append(file)

    def release(self, file: StoredFile) -> None:
        """Nobody reads it any more who held it."""
        self._held.remove(file)

    def find(self, file_id: object) -> StoredFile | None:
        """A file, or None."""
        return self._files.get(file_id) if isinstance(file_id, str) else None

    def get(self, file_id: str) -> StoredFile:
        """A file.

        Raises:
            ProviderError: there is none.
        """
        file = self._files.get(file_id)
        if file is None:
            raise ProviderError(404, f"No such File object: {file_id}", param="id")
        return file

    def delete(self, file_id: str) -> Json:
        """Forget a file.

        Raises:
            ProviderError: there is none.
        """
        del self._files[self.get(file_id).id]
        return {"id": file_id, "object": "file", "deleted": True}

    def listed(self, query: Mapping[str, str]) -> Json:
        """A page of the files, the newest first."""
        purpose = query.get("purpose")
        bodies = [file.body() for file in self._files.values() if purpose in {None, file.purpose}]
        return page(bodies, query, most=10_000, usual=10_000)


def page(bodies: list[Json], query: Mapping[str, str], *, most: int, usual: int) -> Json:
    """A page of a list of bodies that is in order of creation: the newest first, or as `order` in the query says.

    Raises:
        ProviderError: the query asks for what cannot be.
    """
    limit, after = query.get("limit", str(usual)), query.get("after")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= len(str(most)) and 1 <= int(limit) <= most):
        raise ProviderError(400, f"'limit' has to be a whole number, from 1 to {most}.", param="limit")
    ordered = bodies if query.get("order") == "asc" else bodies[::-1]
    start = 0
    if after:
        start = next((index + 1 for index, body in enumerate(ordered) if body["id"] == after), -1)
        if start < 0:
            raise ProviderError(400, f"There is nothing with the id {after!r} to go on after.", param="after")
    data = ordered[start : start + int(limit)]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": start + len(data) < len(ordered),
    }


def metadata_of(body: Json) -> dict[str, str] | None:
    """The pairs of texts that a client attaches to a batch or a job.

    Raises:
        ProviderError: they are no pairs of texts, or too many or long ones.
    """
    given = body.get("metadata")
    if given is None:
        return None
    if (
        not isinstance(given, dict)
        or len(given) > _MAX_PAIRS
        or not all(isinstance(value, str) and len(value) <= _MAX_VALUE for value in given.values())
        or not all(len(key) <= _MAX_KEY for key in given)
    ):
        message = f"'metadata' holds at most {_MAX_PAIRS} texts of {_MAX_VALUE} characters, under keys of {_MAX_KEY}."
        raise ProviderError(400, message, param="metadata")
    return given
