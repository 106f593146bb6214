"""The part of a client that performs many requests: in slots of a list, or as a stream of results."""

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from operator import length_hint
from typing import Any

from llm_api_client.prepare.check import check_requests
from llm_api_client.record.history import History
from llm_api_client.records import Result
from llm_api_client.run.batch import Batch
from llm_api_client.run.collect import Slots, log_summary, stream
from llm_api_client.run.progress import Progress


class Batches:
    """Batches of requests, over whatever the client has built."""

    history: History
    failures: list[Result]
    _progress: bool | None
    _batch: Callable[..., Batch]
    _check_open: Callable[[], None]

    def make_requests(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        max_workers: int | None = None,
        endpoint: str = "chat",
        sanitize: bool = True,
        timeout: float | None = None,
        return_exceptions: bool = False,
        on_result: Callable[[Result], Any] | None = None,
        validate: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        max_cost: float | None = None,
    ) -> list[Any]:
        """Perform every request once, and return the answers in the order of the requests.

        A 429 is not an attempt: the request waits its turn again. All else that fails leaves None in its slot; the
        reason is in `failures`, in `history`, and, with `return_exceptions`, in the slot itself.

        Args:
            requests: One dict for each call, with `model`, `messages` and whatever else LiteLLM's `completion` takes;
                or, for another `endpoint`, what LiteLLM's function for that takes.
            max_workers: Most calls in flight at once in this batch. Left out, the client's.
            endpoint: What is asked for: "chat", "completion", "embeddings", "responses", "moderation", "image",
                "speech", "transcription" or "rerank". A request's own "endpoint" wins.
            sanitize: Whether to drop parameters that the model does not take, and to truncate the messages to its
                context window.
            timeout: Longest time for the whole batch in seconds. When it ends, nothing further is started, what was
                answered is kept, and calls in flight are not waited for.
            return_exceptions: Whether a failed slot holds the exception instead of None.
            on_result: Called in this thread with each `Result` as it ends. While it runs nothing new is started.
            validate: What an answer must be: a callable that takes its text, and returns a value or raises; a Pydantic
                model; or a JSON schema. The value is the result's `parsed`. What does not fit fails with
                `AnswerValidationError`, and is a failure that may pass. Models that keep to schemas are given it.
            checkpoint: File in which answers are kept, and found again. Left out, the client's.
            max_cost: US dollars that this batch may cost, within the client's own `max_cost`.

        Raises:
            InvalidInputError: `requests` is not a list of requests. A single bad request fails only its own slot.
            ConfigurationError: An option cannot be used as it is.
            CheckpointError: The checkpoint cannot be used; nothing was sent. One that fails later fails what is left.
            ClientClosedError: The client is closed.
            KeyboardInterrupt: Ctrl-C; what was answered until then, or within five seconds, is in `history` and in the
                checkpoint. A second Ctrl-C leaves at once.
        """
        return self._in_slots(
            requests,
            return_exceptions=return_exceptions,
            on_result=on_result,
            max_retries=0,
            max_workers=max_workers,
            endpoint=endpoint,
            sanitize=sanitize,
            timeout=timeout,
            validate=validate,
            checkpoint=checkpoint,
            max_cost=max_cost,
        )

    def make_requests_with_retries(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        max_retries: int = 2,
        max_workers: int | None = None,
        endpoint: str = "chat",
        sanitize: bool = True,
        timeout: float | None = None,
        return_exceptions: bool = False,
        on_result: Callable[[Result], Any] | None = None,
        validate: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        max_cost: float | None = None,
    ) -> list[Any]:
        """Perform every request, those that failed in a way that may pass up to `max_retries` times more.

        Retries wait as the client's `RetryPolicy` says, holding no thread, and are admitted by the limits again.
        Everything else is as in `make_requests`.
        """
        return self._in_slots(
            requests,
            return_exceptions=return_exceptions,
            on_result=on_result,
            max_retries=max_retries,
            max_workers=max_workers,
            endpoint=endpoint,
            sanitize=sanitize,
            timeout=timeout,
            validate=validate,
            checkpoint=checkpoint,
            max_cost=max_cost,
        )

    def iter_requests(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        ordered: bool = False,
        max_retries: int = 2,
        max_workers: int | None = None,
        endpoint: str = "chat",
        sanitize: bool = True,
        timeout: float | None = None,
        validate: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        max_cost: float | None = None,
    ) -> Generator[Result]:
        """Perform requests as they are read, and yield each one's `Result` when it ends. Memory stays flat.

        The input is read as the limits let requests go, so that it may be of any length. Calls under way go on while
        the caller works on a result, and no new one starts before the next result is asked for. Leaving the loop
        gives up what was not sent.

        Args:
            requests: As for `make_requests`, from any iterable, such as a generator.
            ordered: Whether results come in the order of the requests; then up to 10,000 wait for one that takes
                longer.
            max_retries: Further attempts for a request that failed in a way that may pass.
            max_workers: As for `make_requests`.
            endpoint: As for `make_requests`.
            sanitize: As for `make_requests`.
            timeout: Longest time in seconds. When it ends, what was read of the input has its results, the rest is not
                read, and `BatchTimeoutError` is raised.
            validate: As for `make_requests`.
            checkpoint: As for `make_requests`.
            max_cost: As for `make_requests`.

        Raises:
            BatchTimeoutError: After the last result, if `timeout` ended before the input did.
            CheckpointError: The checkpoint cannot be used; or, after the last result, not be written any further.
            KeyboardInterrupt: Ctrl-C, after the results that came until then or within five seconds.
            Exception: Whatever reading `requests` raises, after the results of those before.
        """
        self._check_open()
        return self._stream(
            check_requests(requests),
            length_hint(requests) or None,
            ordered=ordered,
            max_retries=max_retries,
            max_workers=max_workers,
            endpoint=endpoint,
            sanitize=sanitize,
            timeout=timeout,
            validate=validate,
            checkpoint=checkpoint,
            max_cost=max_cost,
        )

    def _stream(self, requests: Iterable[Any], total: int | None, **options: Any) -> Generator[Result]:
        progress = Progress(total, wanted=self._progress)
        keep = self.history.append if self.history.limit is not None else _forget
        batch = self._begun(self._batch(requests, progress, keep=keep, whole=False, **options))
        return stream(batch, progress.close)

    def _in_slots(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        return_exceptions: bool,
        on_result: Callable[[Result], Any] | None,
        **options: Any,
    ) -> list[Any]:
        self._check_open()
        requests = list(check_requests(requests))
        progress = Progress(len(requests), wanted=self._progress)
        slots = Slots(len(requests), return_exceptions=return_exceptions, on_result=on_result)
        try:
            slots.fill(self._begun(self._batch(requests, progress, keep=self.history.append, **options)))
        finally:
            progress.close()
            self.failures = slots.failures
            log_summary(len(requests), slots.failures)
        return slots.answers

    def _begun(self, batch: Batch) -> Batch:
        """A batch that is about to run in this thread. Who may have to interrupt it from another notes it here."""
        return batch


def _forget(_: Result) -> None:
    """Keep nothing of a result that its caller has."""
