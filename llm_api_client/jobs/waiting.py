"""Waiting for a job at a provider, for as long as it takes."""

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from llm_api_client.errors import BatchTimeoutError, NetworkError, RateLimitError, ServerError
from llm_api_client.jobs.account import Desk

logger = logging.getLogger(__name__)

MOST_SECONDS = 60.0
"""Longest pause between two looks, unless the first is longer."""

_GROWTH = 1.5
_PASSES = (NetworkError, RateLimitError, ServerError)


class Standing(Protocol):
    """How a job stands."""

    @property
    def state(self) -> str:
        """In one word."""

    @property
    def is_over(self) -> bool:
        """Whether nothing changes any more."""


S = TypeVar("S", bound=Standing)


def wait_until_over(desk: Desk, job: str, ask: Callable[[], S], *, timeout: float | None, poll: float) -> S:
    """Ask how a job stands until it is over.

    Args:
        desk: Tells the time, and waits.
        job: The job's id, for messages.
        ask: Says how it stands. What may pass of its failures is waited out.
        timeout: Longest time in seconds; None waits for ever.
        poll: Seconds before the second look; later ones are further apart, up to a minute.

    Raises:
        BatchTimeoutError: `timeout` ended first; the job goes on.
        KeyboardInterrupt: Ctrl-C, with a text that says how to take the job up again; the job goes on.
        APICallException: The provider does not say how it stands, and will not.
    """
    began, pause, state = desk.clock.now(), poll, "not known"
    try:
        while True:
            try:
                standing = ask()
            except _PASSES as error:
                logger.warning("The job %s goes on, unseen for now: %s", job, error.message)
            else:
                if standing.is_over:
                    return standing
                state = standing.state
            left = float("inf") if timeout is None else began + timeout - desk.clock.now()
            if left <= 0:
                message = f"After {timeout:g} s the job is {state}; it goes on at the provider. Its id: {job}"
                raise BatchTimeoutError(message, in_flight=True)
            desk.sleep(min(pause, left))
            pause = max(poll, min(pause * _GROWTH, MOST_SECONDS))
    except KeyboardInterrupt as stop:
        message = f"stopped waiting; the job goes on at the provider, and can be taken up again by its id: {job}"
        raise type(stop)(message) from None
