"""Fine-tuning jobs: a file of examples, and later the name of a model. No I/O, and the time is an argument."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .files import Files, StoredFile, metadata_of, page
from .protocol import Json, ProviderError, check_model, tokens_of

LEAST_EXAMPLES = 10
DEFAULT_EPOCHS = 3
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(slots=True)
class Job:
    """One job, and how far it is.

    Attributes:
        id: Its id.
        request: What the client asked for.
        hyperparameters: As the client gave them, "auto" where it did not.
        metadata: What the client attached.
        training: The examples; None once they were looked at.
        created: When it was created, in seconds since the epoch.
        started: The same on the clock that does not go back.
        status: Where it stands.
        tokens: Tokens of all examples, once.
        finished: When it ended, in seconds since the epoch.
        error: Why it failed.
        result_files: Ids of what it wrote.
        events: What happened, the first first.
    """

    id: str
    request: Json
    hyperparameters: Json
    metadata: dict[str, str] | None
    training: StoredFile | None
    created: float
    started: float
    status: str = "validating_files"
    tokens: int = 0
    finished: int | None = None
    error: Json | None = None
    result_files: list[str] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How often the examples are gone through."""
        epochs = self.hyperparameters["n_epochs"]
        return epochs if isinstance(epochs, int) else DEFAULT_EPOCHS

    @property
    def fine_tuned_model(self) -> str:
        """The name of what comes out."""
        return f"ft:{self.request['model']}:simulated:{self.request.get('suffix') or ''}:{self.id}"

    def body(self) -> Json:
        """What is said of it."""
        done = self.status == "succeeded"
        return {
            "id": self.id,
            "object": "fine_tuning.job",
            "model": self.request["model"],
            "created_at": int(self.created),
            "finished_at": self.finished,
            "fine_tuned_model": self.fine_tuned_model if done else None,
            "organization_id": "org-simulated",
            "result_files": self.result_files,
            "status": self.status,
            "training_file": self.request["training_file"],
            "validation_file": self.request.get("validation_file"),
            "hyperparameters": self.hyperparameters,
            "trained_tokens": self.tokens * self.epochs if done else None,
            "error": self.error,
            "user_provided_suffix": self.request.get("suffix"),
            "seed": self.request.get("seed") or 0,
            "estimated_finish": None,
            "integrations": self.request.get("integrations") or [],
            "metadata": self.metadata,
            "method": self.request.get("method")
            or {"type": "supervised", "supervised": {"hyperparameters": self.hyperparameters}},
        }

    def happened(self, message: str, moment: float, level: str = "info") -> None:
        """Add an event."""
        event = {
            "id": f"ftevent-{self.id}-{len(self.events) + 1}",
            "object": "fine_tuning.job.event",
            "created_at": int(moment),
            "level": level,
            "message": message,
            "data": {},
            "type": "message",
        }
        self.events.append(event)


class Jobs:
    """The jobs there are. They get on when they are looked at, and are done `seconds` after they were created."""

    def __init__(self, files: Files, seconds: float) -> None:
        self._files = files
        self._seconds = seconds
        self._jobs: dict[str, Job] = {}
        self._underway: dict[str, Job] = {}

    def create(self, request: Json, now: float, created: float) -> Json:
        """Take a job.

        Raises:
            ProviderError: it lacks something, or there is no such file or model.
        """
        model = request.get("model")
        if not isinstance(model, str) or not model:
            raise ProviderError(400, "you must provide a model parameter", param="model")
        check_model(model)
        training = self._file(request, "training_file")
        if training is None:
            raise ProviderError(400, "Missing required parameter: 'training_file'.", param="training_file")
        self._file(request, "validation_file")
        number = len(self._jobs) + 1
        hyperparameters, metadata = _hyperparameters(request), metadata_of(request)
        job = Job(f"ftjob-sim{number}", request, hyperparameters, metadata, training, created, now)
        job.happened(f"Created fine-tuning job: {job.id}", created)
        job.happened(f"Validating training file: {training.id}", created)
        self._jobs[job.id] = self._underway[job.id] = job
        return job.body()

    def get(self, job_id: str) -> Json:
        """A job.

        Raises:
            ProviderError: there is none.
        """
        return self._find(job_id).body()

    def listed(self, query: Mapping[str, str]) -> Json:
        """A page of the jobs, the newest first."""
        return page([job.body() for job in self._jobs.values()], query, most=100, usual=20)

    def events(self, job_id: str, query: Mapping[str, str]) -> Json:
        """A page of what happened to a job, the latest first."""
        return page(self._find(job_id).events, query, most=100, usual=20)

    def cancel(self, job_id: str, created: float) -> Json:
        """Stop a job.

        Raises:
            ProviderError: there is none, or it has ended.
        """
        job = self._find(job_id)
        if job.status in ENDED:
            message = f"Job has already completed: {job_id} has the status '{job.status}'."
            raise ProviderError(400, message, code="invalid_status")
        job.status, job.finished = "cancelled", int(created)
        job.happened("The job was cancelled", created)
        self._underway.pop(job_id)
        return job.body()

    def settle(self, now: float) -> None:
        """Bring every job as far as its time has come."""
        for job in tuple(self._underway.values()):
            if job.training is not None:
                self._validate(job)
            end = job.created + self._seconds
            if job.status == "running" and now - job.started >= self._seconds:
                job.status, job.finished = "succeeded", int(end)
                self._write_metrics(job, int(end))
                job.happened(f"New fine-tuned model created: {job.fine_tuned_model}", end)
                job.happened("The job has successfully completed", end)
            if job.status in ENDED:
                del self._underway[job.id]

    def _find(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            message = f"Could not find fine tune: {job_id}"
            raise ProviderError(404, message, param="fine_tune_id", code="fine_tune_not_found")
        return job

    def _file(self, request: Json, name: str) -> StoredFile | None:
        file_id = request.get(name)
        if file_id is None:
            return None
        file = self._files.find(file_id)
        if file is None:
            raise ProviderError(400, f"invalid {name}: {file_id}", param=name)
        if file.purpose != "fine-tune":
            message = f"invalid {name}: {file_id} has the purpose '{file.purpose}'; it needs 'fine-tune'."
            raise ProviderError(400, message, param=name)
        return file

    def _validate(self, job: Job) -> None:
        assert job.training is not None  # noqa: S101  narrows the type
        job.tokens, wrong = examine(job.training.content)
        job.training = None
        if wrong is None:
            job.status = "running"
            job.happened("Files validated, moving job to queued state", job.created)
            job.happened("Fine-tuning job started", job.created)
            return
        code, message = wrong
        job.status, job.finished = "failed", int(job.created)
        job.error = {"code": code, "message": message, "param": "training_file"}
        job.happened(f"The job failed: {message}", job.created, "error")

    def _write_metrics(self, job: Job, moment: int) -> None:
        rows = [f"{epoch},{2 / (epoch + 1):.4f}\n" for epoch in range(1, min(job.epochs, 1000) + 1)]
        content = "".join(["step,train_loss\n", *rows]).encode()
        try:
            file = self._files.add("step_metrics.csv", "fine-tune-results", content, moment)
        except ProviderError as error:
            job.happened(f"The metrics were not kept: {error}", moment, "warn")
        else:
            job.result_files = [file.id]


def _hyperparameters(request: Json) -> Json:
    """Those of the request itself, or of its method."""
    given, param = request.get("hyperparameters"), "hyperparameters"
    method = request.get("method")
    if given is None and method is not None:
        param = "method"
        kind = method.get("type") if isinstance(method, dict) else None
        if not isinstance(kind, str) or not isinstance(method.get(kind) or {}, dict):
            raise ProviderError(400, "'method' is an object with a 'type', and settings under its name.", param=param)
        given = (method.get(kind) or {}).get("hyperparameters")
    if not isinstance(given or {}, dict):
        raise ProviderError(400, "'hyperparameters' has to be an object.", param=param)
    found = {name: (given or {}).get(name, "auto") for name in ("n_epochs", "batch_size", "learning_rate_multiplier")}
    epochs = found["n_epochs"]
    if epochs != "auto" and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
        raise ProviderError(400, "'n_epochs' has to be a whole number, at least 1, or 'auto'.", param=param)
    return found


def examine(content: bytes) -> tuple[int, tuple[str, str] | None]:
    """The tokens of a file of examples, and the code and the message of what is wrong with it, if anything is."""
    tokens = examples = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        wrong, size = _example(line)
        if wrong is not None:
            return 0, ("invalid_file_format", f"Invalid file format. Line {number}: {wrong}")
        examples += 1
        tokens += size
    if examples < LEAST_EXAMPLES:
        message = f"Training file has {examples} example(s), but must have at least {LEAST_EXAMPLES} examples"
        return 0, ("invalid_n_examples", message)
    return tokens, None


def _example(line: bytes) -> tuple[str | None, int]:
    """What is wrong with an example, and its tokens."""
    try:
        data: Any = json.loads(line)
        messages = data.get("messages") if isinstance(data, dict) else None
        if not isinstance(messages, list) or not messages:
            return "an example needs 'messages'.", 0
        if not all(isinstance(message, dict) and message.get("role") in ROLES for message in messages):
            return f"a message needs a 'role', one of {', '.join(ROLES)}.", 0
        if not any(message["role"] == "assistant" for message in messages):
            return "an example needs a message of the role 'assistant'.", 0
        return None, sum(tokens_of(message.get("content")) for message in messages)
    except (ValueError, RecursionError):
        return "this is not valid JSON.", 0
