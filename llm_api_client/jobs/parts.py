"""The parts of a job: one file and one batch of the provider's each, and how they are named and kept."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from llm_api_client import errors
from llm_api_client.errors import ConfigurationError, LLMAPIClientError
from llm_api_client.jobs.account import Account
from llm_api_client.jobs.lines import Asked
from llm_api_client.records import Result

_FORMAT = "llm_api_client_job"
_SHAPE = '"1200~gpt-4o-mini,batch_abc"'


@dataclass(slots=True)
class Part:
    """Requests to one model, in one file.

    Attributes:
        account: Where it goes.
        url: What all of its lines ask for.
        content: The file, until it is uploaded; None where it is not at hand.
        asked: The requests by their positions, in the order of the file; None where that is not at hand.
        count: How many requests there are, or None where that is not known.
        file: The provider's id of the file, once it is uploaded.
        batch: The provider's id of the batch, once it is made.
        said: What the provider last said of the batch.
        results: What came of the requests, once it was fetched.
    """

    account: Account
    url: str = ""
    content: bytes | None = field(default=None, repr=False)
    asked: dict[int, Asked] | None = field(default=None, repr=False)
    count: int | None = None
    file: str | None = None
    batch: str | None = None
    said: Mapping[str, Any] | None = field(default=None, repr=False)
    results: dict[int, Result] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that was never uploaded."""

    error: LLMAPIClientError
    name: str | None = None


class Pile:
    """Lines to one model on their way into files of at most so many requests and bytes.

    Args:
        account: Where they go.
        url: What they ask for.
        max_requests: Requests of a file; a request for several embeddings counts as so many.
        max_bytes: Bytes of a file.
    """

    def __init__(self, account: Account, url: str, max_requests: int, max_bytes: int) -> None:
        self._account = account
        self._url = url
        self._most = max_requests, max_bytes
        self._lines: list[bytes] = []
        self._asked: dict[int, Asked] = {}
        self._size = 0, 0
        self.parts: list[Part] = []
        """The files that are full; all of them after `close`."""

    def add(self, asked: Asked, line: bytes, weight: int) -> None:
        """Add a line that fits into a file by itself."""
        size = self._size[0] + weight, self._size[1] + len(line)
        if size[0] > self._most[0] or size[1] > self._most[1]:
            self.close()
            size = weight, len(line)
        self._lines.append(line)
        self._asked[asked.index] = asked
        self._size = size

    def close(self) -> None:
        """Make a file of what there is."""
        if self._lines:
            count = len(self._lines)
            self.parts.append(Part(self._account, self._url, b"".join(self._lines), self._asked, count))
        self._lines, self._asked, self._size = [], {}, (0, 0)


def job_id(total: int, batches: Iterable[tuple[str, str | None]]) -> str:
    """The name of a job, from which it is taken up again: how many requests it has, and its batches by their models.

    Args:
        total: Requests of the job.
        batches: The model and the provider's id of each batch; None for one that is not made yet.
    """
    groups = groupby((each for each in batches if each[1] is not None), key=itemgetter(0))
    named = (
        ",".join(_quoted(str(word)) for word in (model, *(batch for _, batch in group))) for model, group in groups
    )
    return "~".join([str(total), *named])


def read_job_id(text: str) -> tuple[int, list[tuple[str, str]]]:
    """How many requests a job has, and the model and the provider's id of each of its batches.

    Raises:
        ConfigurationError: It is no name of a job.
    """
    total, *groups = text.split("~")
    named = [[unquote(word) for word in group.split(",")] for group in groups]
    if not (total.isascii() and total.isdigit()) or any(len(group) < 2 or not all(group) for group in named):  # noqa: PLR2004
        message = f"this is no id of a job, such as {_SHAPE}: {text[:100]!r}. submit_batch gives it as job.id."
        raise ConfigurationError(message)
    return int(total), [(model, batch) for model, *batches in named for batch in batches]


def fingerprint(parts: Sequence[Part], refused: Mapping[int, Refused]) -> str:
    """By what the same requests are known again."""
    digest = sha256()
    for part in parts:
        digest.update(f"{part.account.model}\n{part.account.connection.get('api_base')}\n".encode())
        digest.update(sha256(part.content or b"").digest())
    digest.update(",".join(map(str, refused)).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class State:
    """A job as a file keeps it. It holds no keys, and nothing of what is asked.

    Attributes:
        total: Requests of the job.
        fingerprint: By what its requests are known again.
        parts: For each part its `model`, `url`, `count`, `file` and `batch`.
        refused: Requests that were never uploaded, by their positions.
        window: How long the provider may take.
        metadata: What the provider keeps with each batch.
    """

    total: int
    fingerprint: str
    parts: Sequence[Mapping[str, Any]]
    refused: Mapping[int, Refused]
    window: str = "24h"
    metadata: Mapping[str, str] | None = None

    @property
    def id(self) -> str:
        """The job's name."""
        return job_id(self.total, ((each["model"], each["batch"]) for each in self.parts))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "State":
        """The job that a file keeps.

        Raises:
            FileNotFoundError: There is no such file.
            ConfigurationError: The file keeps no job.
        """
        try:
            data = json.loads(Path(path).read_bytes())
            if data[_FORMAT] != 1:
                raise ValueError("another version")  # noqa: TRY301  as any other fault
            refused = {int(index): _refused(each) for index, each in data["refused"].items()}
            parts = [
                {name: each[name] for name in ("model", "url", "count", "file", "batch")} for each in data["parts"]
            ]
            known, window, metadata = str(data["fingerprint"]), str(data["window"]), data["metadata"]
            return cls(int(data["requests"]), known, parts, refused, window, metadata)
        except FileNotFoundError:
            raise
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as wrong:
            message = (
                f"{os.fspath(path)} keeps no job that could be taken up ({type(wrong).__name__}); name another file."
            )
            raise ConfigurationError(message) from wrong

    def write(self, path: str | os.PathLike[str]) -> None:
        """Keep the job, whole or not at all.

        Raises:
            ConfigurationError: It cannot be written.
        """
        data = {
            _FORMAT: 1,
            "requests": self.total,
            "fingerprint": self.fingerprint,
            "window": self.window,
            "metadata": self.metadata,
            "parts": list(self.parts),
            "refused": {
                index: {"name": each.name, "type": type(each.error).__name__, "message": each.error.message}
                for index, each in self.refused.items()
            },
        }
        target = Path(path)
        half = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            with half.open("w", encoding="utf-8") as file:
                json.dump(data, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            half.replace(target)
        except OSError as wrong:
            half.unlink(missing_ok=True)
            message = f"{os.fspath(path)} cannot be written: {wrong.strerror or wrong}."
            raise ConfigurationError(message) from wrong


def as_kept(part: Part) -> dict[str, Any]:
    """A part as a file keeps it."""
    kept = {"url": part.url, "count": part.count, "file": part.file, "batch": part.batch}
    return {"model": part.account.model, **kept}


def _refused(data: Mapping[str, Any]) -> Refused:
    cls = getattr(errors, str(data["type"]), None)
    if not (isinstance(cls, type) and issubclass(cls, LLMAPIClientError)):
        cls = LLMAPIClientError
    return Refused(cls(str(data["message"])), data["name"])


def _quoted(word: str) -> str:
    return quote(word, safe="").replace("~", "%7E")
