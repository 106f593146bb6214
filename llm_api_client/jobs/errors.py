"""What may go wrong with a job that a single call does not know."""

from typing import Any

from llm_api_client.errors import APICallException, LLMAPIClientError


class SubmissionError(APICallException):
    """A part of a job is at the provider, and the rest did not get there.

    The failure is the `__cause__`, and its status, provider and Retry-After are this error's.

    Attributes:
        job: The job as far as it got: `job.resume()` submits the rest, and nothing twice.
    """

    def __init__(self, message: str, *, job: Any = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.job = job

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data; the job by its id."""
        return {**super().to_dict(), "job": getattr(self.job, "id", None)}

    def __reduce__(self) -> tuple[Any, ...]:
        # A job holds a key and cannot be taken to another process; its id, which the message has, can.
        rebuild, (cls, message, state) = super().__reduce__()
        return rebuild, (cls, message, {**state, "job": None})


class JobNotDoneError(LLMAPIClientError):
    """The job goes on at the provider, and what was asked of it is not there yet; ask again later."""
