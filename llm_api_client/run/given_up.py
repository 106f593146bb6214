"""What is said of requests that are given up, by why."""

# ruff: noqa: FBT001  as `GivenUp` has it

from collections.abc import Callable

from llm_api_client.errors import (
    BatchInterruptedError,
    BatchTimeoutError,
    CheckpointError,
    ClientClosedError,
    LLMAPIClientError,
)

GivenUp = Callable[[str, bool], LLMAPIClientError]
"""The error of a request that is given up. It takes what is said, with {} for the reason, and whether a call was under
way."""


def by_timeout(why: str) -> GivenUp:
    """The batch's time is over."""

    def error(said: str, in_flight: bool) -> LLMAPIClientError:
        return BatchTimeoutError(said.format(why), in_flight=in_flight)

    return error


def by_stop(stop: BaseException | None) -> GivenUp:
    """Something ended the batch, or, where it is None, the caller left its results."""
    if isinstance(stop, CheckpointError):
        return by_checkpoint(stop)
    if isinstance(stop, ClientClosedError):
        return by_close
    why = "the stream was left" if stop is None else f"the batch was stopped by {type(stop).__name__}"

    def error(said: str, in_flight: bool) -> LLMAPIClientError:
        return BatchInterruptedError(said.format(why), in_flight=in_flight)

    return error


def by_checkpoint(failure: CheckpointError) -> GivenUp:
    """The checkpoint cannot be written."""
    why = f"the checkpoint failed ({failure})"

    def error(said: str, in_flight: bool) -> LLMAPIClientError:
        return (
            BatchInterruptedError(said.format(why), in_flight=True) if in_flight else CheckpointError(said.format(why))
        )

    return error


def by_close(said: str, in_flight: bool) -> LLMAPIClientError:
    """The client is closed."""
    said = said.format("the client was closed")
    return BatchInterruptedError(said, in_flight=True) if in_flight else ClientClosedError(said)


def ended_by(raised: BaseException) -> LLMAPIClientError:
    """The call itself asked the program to end."""
    said = f"The call raised {type(raised).__name__}, which ends the batch; it may be billed."
    return BatchInterruptedError(said, in_flight=True)
