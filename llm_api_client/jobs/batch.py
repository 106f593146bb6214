"""A job of requests that a provider answers within a day, at half the price."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from llm_api_client.errors import APICallException, ConfigurationError, LLMAPIClientError, NotFoundError
from llm_api_client.jobs.account import Desk
from llm_api_client.jobs.answers import Reading
from llm_api_client.jobs.errors import JobNotDoneError, SubmissionError
from llm_api_client.jobs.lines import Asked, read_asked, read_came
from llm_api_client.jobs.parts import Part, Refused, State, as_kept, job_id
from llm_api_client.jobs.status import OVER, BatchStatus, status_of
from llm_api_client.jobs.waiting import wait_until_over
from llm_api_client.records import Attempt, Result
from llm_api_client.secrets import masked

_FILES = ("output_file_id", "error_file_id")


class Counts(Protocol):
    """Counts what is spent."""

    def record_start(self) -> None:
        """A request is taken up."""

    def record_attempt(self, attempt: Attempt) -> None:
        """A call has ended."""

    def record_end(self, *, succeeded: bool, sent: bool) -> None:
        """A request has ended."""


class BatchJob:
    """Requests that are at a provider, which answers them in its own time. Made by `submit_batch` and `batch`.

    What is known of it is kept at the provider: it is taken up again by its `id`, from any process that has the key.
    One thread at a time may use it.

    Attributes:
        requests: The requests as given, or None in a process that has not submitted them.
    """

    def __init__(
        self,
        desk: Desk,
        total: int,
        parts: Sequence[Part],
        refused: Mapping[int, Refused],
        *,
        tracker: Counts,
        record: Callable[[Result], None],
        requests: Sequence[Any] | None = None,
        path: str | os.PathLike[str] | None = None,
        fingerprint: str = "",
        window: str = "24h",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.requests = requests
        self._desk = desk
        self._total = total
        self._parts = parts
        self._refused = refused
        self._tracker = tracker
        self._record = record
        self._path = path
        self._fingerprint = fingerprint
        self._window = window
        self._metadata = metadata
        self._counted: set[int] = set()
        self._names: dict[int, str] = {index: each.name for index, each in refused.items() if each.name is not None}

    @property
    def id(self) -> str:
        """The name by which `client.batch` takes the job up again: how many requests, and the provider's batches."""
        return job_id(self._total, ((part.account.model, part.batch) for part in self._parts))

    @property
    def refused(self) -> dict[int, LLMAPIClientError]:
        """Why requests were not uploaded, by their positions."""
        return {index: each.error for index, each in self._refused.items()}

    def __len__(self) -> int:
        return self._total

    def __repr__(self) -> str:
        return f"<BatchJob {self.id}>"

    def resume(self) -> None:
        """Submit what is not at the provider yet. What has arrived, even if its answer was lost, is not sent twice.

        Raises:
            SubmissionError: It failed again, and a part of the job is at the provider.
            APICallException: It failed, and nothing is at the provider.
            ConfigurationError: What is to be submitted is not at hand, or the job's file cannot be written.
        """
        self._keep()
        for number, part in enumerate(self._parts, 1):
            if part.batch is not None:
                continue
            try:
                self._submit(part, f"part {number} of {len(self._parts)}")
            except APICallException as error:
                if not self._has_begun:
                    raise
                message = f"{error.message} {self._how_to_go_on(number)}"
                facts = {name: value for name, value in vars(error).items() if name != "message"}
                raise SubmissionError(message, job=self, **facts) from error
            except KeyboardInterrupt as stop:
                raise type(stop)(f"stopped while part {number} was submitted. {self._how_to_go_on(number)}") from None
            finally:
                self._keep()

    def status(self) -> BatchStatus:
        """How the job stands, asked of the provider.

        Raises:
            APICallException: The provider does not say.
        """
        self._look()
        return self._status()

    def wait(self, timeout: float | None = None, poll: float = 30.0) -> BatchStatus:
        """Wait until the job is over: completed, failed, expired or cancelled.

        Args:
            timeout: Longest time in seconds. Default None: for ever.
            poll: Seconds before the second look; later ones are further apart, up to a minute. Default 30.

        Raises:
            BatchTimeoutError: `timeout` ended first. The job goes on.
            KeyboardInterrupt: Ctrl-C, with a text that has the job's id. The job goes on.
            SubmissionError: A part of the job was never submitted, and everything else is over.
            APICallException: The provider does not know the job, or refuses the key.
        """

        def ask() -> BatchStatus:
            status = self.status()
            if status.unsubmitted and all(state in OVER for _, state in status.batches):
                message = f"{status.unsubmitted} parts of the job were never submitted; call resume() first."
                raise SubmissionError(message, job=self)
            return status

        return wait_until_over(self._desk, self.id, ask, timeout=timeout, poll=poll)

    def results(self, *, partial: bool = False) -> list[Result]:
        """What came of each request, in the order of the requests.

        A result's latency is that of its whole batch, and its cost is the price for batches. The first time that a
        request's result is given, it is counted in the client's tracker and history.

        Args:
            partial: Whether the results there are will do while the job goes on; the others' error is then a
                `JobNotDoneError`. Default False.

        Raises:
            JobNotDoneError: The job goes on.
            APICallException: The provider does not give the results.
        """
        self._look()
        status = self._status()
        if not partial and not status.is_over:
            message = f"The job is {status}. wait() for it, or take what there is with results(partial=True)."
            raise JobNotDoneError(message)
        for part in self._parts:
            if part.results is None and _is_over(part):
                part.results = self._fetch(part)
        found = {index: result for part in self._parts for index, result in (part.results or {}).items()}
        return [found.get(index) or self._without_answer(index) for index in range(self._total)]

    def cancel(self) -> BatchStatus:
        """Ask the provider to stop; what was answered by then is kept, and paid for. How the job stands then.

        Raises:
            APICallException: The provider does not.
        """
        self._look()
        for part in self._parts:
            if part.batch is not None and not _is_over(part) and _state(part) != "cancelling":
                part.said = part.account.call("cancel_batch", f"cancelling {part.batch}", batch_id=part.batch)
        return self._status()

    def names(self) -> list[str | None]:
        """The caller's own name of each request, as far as it is known once results were fetched."""
        return [self._names.get(index) for index in range(self._total)]

    @property
    def _has_begun(self) -> bool:
        return any(part.batch is not None for part in self._parts)

    def _status(self) -> BatchStatus:
        said = [part.said for part in self._parts if part.said is not None]
        unsubmitted = sum(part.batch is None for part in self._parts)
        return status_of(said, total=self._total, refused=len(self._refused), unsubmitted=unsubmitted)

    def _look(self) -> None:
        for part in self._parts:
            if part.batch is not None and not _is_over(part):
                part.said = part.account.call("retrieve_batch", f"asking for {part.batch}", batch_id=part.batch)

    def _submit(self, part: Part, which: str) -> None:
        def made() -> Any:
            batches = part.account.listed("list_batches", f"looking for the batch of {which}")
            return next((batch for batch in batches if batch.get("input_file_id") == part.file), None)

        found = None
        if part.file is None:
            if part.content is None:
                message = f"{which} was never uploaded; call submit_batch again, with the same requests and path"
                raise ConfigurationError(message)
            part.file = part.account.upload("requests.jsonl", part.content, "batch", f"uploading {which}")
            self._keep()
        else:
            found = made()  # It was tried before, and nobody knows how far it got.
        part.said = found or part.account.call(
            "create_batch", f"submitting {which}", made=made,
            input_file_id=part.file, endpoint=part.url, completion_window=self._window,
            metadata=None if self._metadata is None else dict(self._metadata),
        )  # fmt: skip
        part.batch, part.content = str(part.said["id"]), None

    def _how_to_go_on(self, number: int) -> str:
        return (
            f"{number - 1} of {len(self._parts)} parts are submitted, and nothing is lost: the job is {self.id}, and "
            "its resume() submits the rest."
        )

    def _keep(self) -> None:
        if self._path is not None:
            parts = [as_kept(part) for part in self._parts]
            State(self._total, self._fingerprint, parts, self._refused, self._window, self._metadata).write(self._path)

    def _fetch(self, part: Part) -> dict[int, Result]:
        """The results of a batch that is over."""
        said = part.said or {}
        if part.asked is None:
            part.asked = self._asked(part)
        reading = Reading(part.account, said, self._desk.clock.wall())
        results: dict[int, Result] = {}
        for which in _FILES:
            if not said.get(which):
                continue
            content = part.account.content(said[which], f"fetching the results of {part.batch}")
            for came in read_came(content):
                if came.index in results or not 0 <= came.index < self._total:
                    continue
                if came.name is not None:
                    self._names[came.index] = came.name
                result, attempt = reading.answer(came, self._request(part, came.index))
                results[came.index] = self._count(result, attempt)
        for line, (index, asked) in enumerate(part.asked.items(), 1):
            if asked.name is not None:
                self._names[index] = asked.name
            if index not in results:
                result = reading.end(index, self._request(part, index), reading.missing(line))
                results[index] = self._count(result, None)
        return results

    def _asked(self, part: Part) -> dict[int, Asked]:
        """The requests of a part that another process has submitted, out of the file at the provider."""
        file = str((part.said or {}).get("input_file_id"))
        try:
            content = part.account.content(file, f"fetching the requests of {part.batch}")
        except NotFoundError:
            return {}  # Deleted by now: the answers are there all the same, and say where they belong.
        return {asked.index: asked for asked in read_asked(content)}

    def _request(self, part: Part, index: int) -> Any:
        if self.requests is not None:
            return masked(self.requests[index])
        asked = (part.asked or {}).get(index)
        return None if asked is None else asked.body

    def _without_answer(self, index: int) -> Result:
        """The result of a request that no batch that is over has."""
        request = None if self.requests is None else masked(self.requests[index])
        now = self._desk.clock.wall()
        refused = self._refused.get(index)
        if refused is not None:
            return self._count(Result(index, request, None, refused.error, created_at=now, model=_model(request)), None)
        if all(_is_over(part) for part in self._parts):
            message = (
                "No batch of the job has this request: it was refused before it was uploaded, for a reason that was "
                "told when the job was submitted, or the job was submitted in part."
            )
            error: LLMAPIClientError = LLMAPIClientError(message, index=index)
            return self._count(Result(index, request, None, error, created_at=now, model=_model(request)), None)
        error = JobNotDoneError("The request's batch goes on at the provider; ask again later.", index=index)
        return Result(index, request, None, error, created_at=now, model=_model(request))

    def _count(self, result: Result, attempt: Attempt | None) -> Result:
        """Count a result in the tracker and the history, unless it was counted before."""
        if result.index in self._counted:
            return result
        self._counted.add(result.index)
        self._tracker.record_start()
        if attempt is not None:
            self._tracker.record_attempt(attempt)
        self._tracker.record_end(succeeded=result.error is None, sent=attempt is not None)
        self._record(result)
        return result


def _is_over(part: Part) -> bool:
    return _state(part) in OVER


def _state(part: Part) -> str | None:
    return None if part.said is None else str(part.said.get("status"))


def _model(request: Any) -> str | None:
    model = request.get("model") if isinstance(request, Mapping) else None
    return model if isinstance(model, str) else None
