"""Batches: a file of requests, answered later and in another order. No I/O, and the time is an argument."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from .files import Files, StoredFile, metadata_of, page
from .protocol import Json, ProviderError

MAX_LINES = 50_000
MAX_BYTES = 200 * 1024 * 1024
MAX_ERRORS = 100
"""Bad lines that a failed batch names."""
WINDOW = 24 * 60 * 60
"""Seconds that a batch may take."""
UNDERWAY = frozenset({"validating", "in_progress", "cancelling"})

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
Write = Callable[[str, Json, str, int], tuple[int, Json]]
"""Answers a request: from path, body, a name that becomes part of the answer's id, and the time, status and body."""

_LEFT = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request executed."),
}


@dataclass(slots=True)
class Batch:
    """One batch, and how far it is.

    Attributes:
        id: Its id.
        endpoint: Path of all its requests, with ``/v1``.
        input_id: Id of its input, as the client gave it.
        source: The input, or None where there is none; also None once it has ended.
        metadata: What the client attached.
        created: When it was created, in seconds since the epoch.
        started: The same on the clock that does not go back.
        status: Where it stands.
        stamps: When it got where, by the name of the field.
        left: Where in the input the requests are that have no answer yet, in the order in which they get one, the last
            first.
        total: All requests.
        model: The model of all of them.
        outputs: Lines of answers; empty once it has ended, as those of errors are.
        errors: Lines of errors.
        answered: Requests that were answered.
        failed: Requests that failed.
        faults: What is wrong with the input.
        files: Ids of what it wrote, by the name of the field.
        tokens: Tokens of all prompts, and of all answers.
    """

    id: str
    endpoint: str
    input_id: str
    source: StoredFile | None
    metadata: dict[str, str] | None
    created: float
    started: float
    status: Status = "validating"
    stamps: dict[str, int] = field(default_factory=dict)
    left: list[slice] = field(default_factory=list, repr=False)
    total: int = 0
    model: str | None = None
    outputs: list[bytes] = field(default_factory=list, repr=False)
    errors: list[bytes] = field(default_factory=list, repr=False)
    answered: int = 0
    failed: int = 0
    faults: list[Json] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    tokens: tuple[int, int] = (0, 0)

    def body(self) -> Json:
        """What is said of it."""
        moments = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        prompt, answer = self.tokens
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": self.faults} if self.faults else None,
            "input_file_id": self.input_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.files.get("output_file_id"),
            "error_file_id": self.files.get("error_file_id"),
            "created_at": int(self.created),
            "expires_at": int(self.created) + WINDOW,
            **{f"{moment}_at": self.stamps.get(f"{moment}_at") for moment in moments},
            "request_counts": {"total": self.total, "completed": self.answered, "failed": self.failed},
            "usage": {
                "input_tokens": prompt,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": answer,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": prompt + answer,
            },
            "metadata": self.metadata,
        }


class Batches:
    """The batches there are. They get on when they are looked at: as far as their time has come.

    A batch is validated for `seconds`, and in progress for as long again, in which its requests are answered evenly.
    With a metadata of ``{"simulate": "expired"}`` its time is up when half of them are.

    Args:
        files: Where their inputs are, and their outputs go.
        write: Answers a request.
        endpoints: Paths that a batch may have, with ``/v1``.
        seconds: What each of the first two states takes.
        rng: Shuffles the requests.
    """

    def __init__(self, files: Files, write: Write, endpoints: tuple[str, ...], seconds: float, rng: Random) -> None:
        self._files = files
        self._write = write
        self._endpoints = endpoints
        self._seconds = seconds
        self._rng = rng
        self._batches: dict[str, Batch] = {}
        self._underway: dict[str, Batch] = {}

    def create(self, request: Json, now: float, created: float) -> Json:
        """Take a batch.

        Raises:
            ProviderError: the request is none for a batch. What is wrong with its file is found later, and said by
                the batch.
        """
        input_id, endpoint = request.get("input_file_id"), request.get("endpoint")
        if not isinstance(input_id, str) or not input_id:
            raise ProviderError(400, "Missing required parameter: 'input_file_id'.", param="input_file_id")
        if endpoint not in self._endpoints:
            message = f"Invalid value: {endpoint!r}. Supported values are: {', '.join(map(repr, self._endpoints))}."
            raise ProviderError(400, message, param="endpoint", code="invalid_value")
        if request.get("completion_window") != "24h":
            message = f"Invalid value: {request.get('completion_window')!r}. Value must be '24h'."
            raise ProviderError(400, message, param="completion_window", code="invalid_value")
        metadata = metadata_of(request)
        if metadata and metadata.get("simulate", "expired") != "expired":
            message = f"{metadata['simulate']!r} cannot be simulated; a batch's metadata may ask for 'expired'."
            raise ProviderError(400, message, param="metadata")
        number = len(self._batches) + 1
        if (source := self._files.find(input_id)) is not None:
            self._files.hold(source)
        batch = Batch(f"batch_sim{number}", endpoint, input_id, source, metadata, created, now)
        self._batches[batch.id] = self._underway[batch.id] = batch
        return batch.body()

    def get(self, batch_id: str) -> Json:
        """A batch.

        Raises:
            ProviderError: there is none.
        """
        return self._find(batch_id).body()

    def listed(self, query: Mapping[str, str]) -> Json:
        """A page of the batches, the newest first."""
        return page([batch.body() for batch in self._batches.values()], query, most=100, usual=20)

    def cancel(self, batch_id: str, created: float) -> Json:
        """Stop a batch; what was answered is kept.

        Raises:
            ProviderError: there is none, or it has ended.
        """
        batch = self._find(batch_id)
        if batch.status not in UNDERWAY:
            raise ProviderError(409, f"Cannot cancel a batch with status '{batch.status}'.")
        if batch.status != "cancelling":
            batch.status = "cancelling"
            batch.stamps["cancelling_at"] = int(created)
        return batch.body()

    def settle(self, now: float) -> None:
        """Bring every batch as far as its time has come."""
        for batch in tuple(self._underway.values()):
            try:
                self._advance(batch, now)
            except Exception as error:  # noqa: BLE001  one batch that cannot go on must not stop the others
                batch.status, batch.stamps["failed_at"] = "failed", int(batch.created + now - batch.started)
                batch.faults = [_fault("server_error", f"The simulated batch failed: {error!r}", None, None)]
            if batch.status not in UNDERWAY:
                if batch.source is not None:
                    self._files.release(batch.source)
                batch.source, batch.left = None, []
                del self._underway[batch.id]

    def _find(self, batch_id: str) -> Batch:
        batch = self._batches.get(batch_id)
        if batch is None:
            raise ProviderError(404, f"No batch found with id '{batch_id}'.", param="id")
        return batch

    def _advance(self, batch: Batch, now: float) -> None:
        if batch.status == "cancelling":
            self._finish(batch, "cancelled", batch.stamps["cancelling_at"])
            return
        elapsed, needed = now - batch.started, 2 * self._seconds
        if batch.status == "validating":
            if elapsed < min(self._seconds, WINDOW):
                return
            self._validate(batch)
        if batch.status == "failed":
            return
        expires = bool(batch.metadata and "simulate" in batch.metadata) or needed > WINDOW
        end = min(needed, WINDOW)
        until = min(elapsed, end) - self._seconds
        share = 1.0 if not self._seconds else max(0.0, until / self._seconds)
        if batch.metadata and "simulate" in batch.metadata:
            share = min(share, 0.5)
        self._answer(batch, int(share * batch.total))
        if elapsed >= end:
            self._finish(batch, "expired" if expires else "completed", int(batch.created + end))

    def _validate(self, batch: Batch) -> None:
        moment = int(batch.created + min(self._seconds, WINDOW))
        if batch.source is None:
            message = f"No such File object: {batch.input_id}"
            batch.faults = [_fault("invalid_request", message, None, "input_file_id")]
        elif batch.source.purpose != "batch":
            message = f"The file has the purpose '{batch.source.purpose}'; a batch needs 'batch'."
            batch.faults = [_fault("invalid_request", message, None, "input_file_id")]
        else:
            batch.faults, batch.left, batch.model = validate(batch.source.content, batch.endpoint)
        if batch.faults:
            batch.status, batch.stamps["failed_at"] = "failed", moment
            return
        batch.status, batch.stamps["in_progress_at"] = "in_progress", moment
        batch.total = len(batch.left)
        in_order = batch.left[:]
        self._rng.shuffle(batch.left)
        if batch.left == in_order[::-1]:
            batch.left = in_order  # answered from the end, so that no output has the order of its input

    def _answer(self, batch: Batch, upto: int) -> None:
        content = b"" if batch.source is None else batch.source.content
        while batch.left and batch.answered + batch.failed < upto:
            line = json.loads(content[batch.left.pop()])
            name = f"{batch.id}-{batch.answered + batch.failed + 1}"
            status, body = self._write(batch.endpoint, line["body"], name, int(batch.created))
            response = {"status_code": status, "request_id": f"req-{name}", "body": body}
            kept = _line(name, line["custom_id"], response, None)
            if status == 200:  # noqa: PLR2004  statuses speak for themselves
                batch.answered += 1
                batch.outputs.append(kept)
                batch.tokens = _added(batch.tokens, body.get("usage"))
            else:
                batch.failed += 1
                batch.errors.append(kept)

    def _finish(self, batch: Batch, status: Literal["completed", "expired", "cancelled"], moment: int) -> None:
        done = batch.answered + batch.failed
        content = b"" if batch.source is None else batch.source.content
        while batch.left:
            done += 1
            custom_id = json.loads(content[batch.left.pop()])["custom_id"]
            code, message = _LEFT[status]
            batch.errors.append(_line(f"{batch.id}-{done}", custom_id, None, {"code": code, "message": message}))
        batch.status = status
        if status == "completed":
            batch.stamps["finalizing_at"] = moment
        for kind, lines in (("output", batch.outputs), ("error", batch.errors)):
            if lines:
                try:
                    file = self._files.add(f"{batch.id}_{kind}.jsonl", "batch_output", b"".join(lines), moment)
                except ProviderError as error:
                    batch.status = "failed"
                    batch.faults = [_fault("out_of_storage", str(error), None, None)]
                    break
                batch.files[f"{kind}_file_id"] = file.id
        batch.stamps[f"{batch.status}_at"] = moment
        batch.outputs, batch.errors = [], []


def validate(content: bytes, endpoint: str) -> tuple[list[Json], list[slice], str | None]:
    """What is wrong with an input, where its requests are, and their model."""
    if len(content) > MAX_BYTES:
        return [_fault("file_too_large", f"The file has more than {MAX_BYTES} bytes.", None, "input_file_id")], [], None
    faults: list[Json] = []
    lines: list[slice] = []
    seen: set[str] = set()
    model: str | None = None
    for number, where in _lines(content):
        if len(lines) == MAX_LINES:
            message = f"The batch has more than {MAX_LINES} requests."
            return [_fault("too_many_tasks", message, None, "input_file_id")], [], None
        lines.append(where)
        line = _parsed(content[where])
        wrong = _wrong(line, endpoint, seen, model)
        if wrong is not None:
            faults.append({"code": wrong[0], "line": number, "message": wrong[1], "param": wrong[2]})
            if len(faults) == MAX_ERRORS:
                break
        elif line is not None:
            seen.add(line["custom_id"])
            model = model or line["body"].get("model")
    if not lines:
        faults.append(_fault("empty_file", "The file holds no request.", None, "input_file_id"))
    return faults, lines, model


def _lines(content: bytes) -> Iterator[tuple[int, slice]]:
    """The lines that are not blank: their number, from 1, and where they are."""
    number = start = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        number += 1
        if not content[start:end].isspace() and end > start:
            yield number, slice(start, end)
        start = end + 1


def _parsed(line: bytes) -> Json | None:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _wrong(line: Json | None, endpoint: str, seen: set[str], model: str | None) -> tuple[str, str, str | None] | None:
    """A line's code, message and parameter, if anything is wrong with it."""
    if line is None:
        return "invalid_json_line", "This line is not parseable as valid JSON.", None
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if not isinstance(line.get(name), kind):
            return "missing_required_parameter", f"Missing required parameter: '{name}'.", name
    if line["custom_id"] in seen:
        message = f"The custom_id '{line['custom_id']}' is used twice; it has to be unique within a batch."
        return "duplicate_custom_id", message, "custom_id"
    if line["method"] != "POST":
        return "invalid_method", f"The method has to be 'POST', not '{line['method']}'.", "method"
    if line["url"] != endpoint:
        message = f"The URL '{line['url']}' does not match the batch's endpoint '{endpoint}'."
        return "url_mismatch", message, "url"
    asked: Any = line["body"].get("model")
    if isinstance(asked, str) and asked.startswith("missing"):
        return "model_not_found", f"The model '{asked}' does not exist or is not supported by batches.", "body.model"
    if model is not None and asked != model:
        message = f"The model {asked!r} is not that of the lines before, '{model}'; a batch has one model."
        return "model_mismatch", message, "body.model"
    return None


def _fault(code: str, message: str, line: int | None, param: str | None) -> Json:
    return {"code": code, "line": line, "message": message, "param": param}


def _line(name: str, custom_id: str, response: Json | None, error: Json | None) -> bytes:
    line = {"id": f"batch_req_{name}", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(line).encode() + b"\n"


def _added(tokens: tuple[int, int], usage: dict[str, int] | None) -> tuple[int, int]:
    if usage is None:
        return tokens
    prompt = usage.get("prompt_tokens", usage.get("input_tokens", 0))
    answer = usage.get("completion_tokens", usage.get("output_tokens", 0))
    return tokens[0] + prompt, tokens[1] + answer
