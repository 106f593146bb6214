"""How a batch's results reach the caller: each in its slot of a list, or one after another."""

import copy
import logging
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from llm_api_client.errors import LLMAPIClientError
from llm_api_client.records import Result
from llm_api_client.run.batch import Batch
from llm_api_client.run.given_up import by_stop

logger = logging.getLogger(__name__)


class Slots:
    """The answers of a list of requests, each where its request stands.

    Args:
        number: Requests of the batch.
        return_exceptions: Whether a failed slot holds the exception instead of None.
        on_result: Called with each result as it ends.
    """

    def __init__(
        self, number: int, *, return_exceptions: bool, on_result: Callable[[Result], None] | None = None
    ) -> None:
        self.answers: list[Any] = [None] * number
        self.failures: list[Result] = []
        self._return_exceptions = return_exceptions
        self._on_result = on_result

    def fill(self, batch: Batch) -> None:
        """Run the batch. What stops it is raised once every slot has its end."""
        try:
            self._take(batch.results())
        except BaseException as stop:
            self._on_result = None  # It may be what raised.
            try:
                if isinstance(stop, KeyboardInterrupt):
                    self._take(batch.last_calls())
            finally:
                self._take(batch.give_up(by_stop(stop)))
            raise
        finally:
            batch.close()
            self.failures.sort(key=lambda result: result.index)

    def _take(self, results: Iterator[Result]) -> None:
        for result in results:
            if result.error is None:
                self.answers[result.index] = result.response
            else:
                self.answers[result.index] = result.error if self._return_exceptions else None
                self.failures.append(result)
            if self._on_result is not None:
                self._on_result(result)


def only_result(batch: Batch) -> Result:
    """Run the batch of one request, and return its result.

    Raises:
        LLMAPIClientError: It failed.
    """
    results: list[Result] = []
    Slots(1, return_exceptions=True, on_result=results.append).fill(batch)
    [result] = results
    if result.error is not None:
        raise raised(result.error) from result.error.__cause__
    return result


def raised(error: LLMAPIClientError) -> LLMAPIClientError:
    """A result's error, to be raised outside of a batch.

    It is a copy: the history keeps that one, and would keep with it all frames that it is raised through.
    """
    alone = copy.copy(error)
    alone.index = None
    return alone


def stream(batch: Batch, close: Callable[[], None]) -> Generator[Result]:
    """The batch's results as they end. Leaving early gives up what was not sent; `close` is called at the end."""
    results = _results(batch, close)
    # A generator that was never begun has no end either, and would keep the checkpoint open.
    next(results)
    return results


def _results(batch: Batch, close: Callable[[], None]) -> Generator[Result]:
    stop: BaseException | None = None
    try:
        yield Result(-1, None)
        yield from batch.results()
    except KeyboardInterrupt as interrupt:
        stop = interrupt
        yield from batch.last_calls()
        yield from batch.give_up(by_stop(interrupt))
        raise
    except BaseException as raised:
        stop = raised
        raise
    finally:
        # What the caller did not wait for has its end in the tracker and the checkpoint at least.
        deque(batch.give_up(by_stop(stop)), maxlen=0)
        batch.close()
        close()


def log_summary(number: int, failures: Sequence[Result]) -> None:
    """One line that says how many failed and why, with the first of them by name."""
    if not failures:
        return
    kinds = Counter(type(result.error).__name__ for result in failures)
    reasons = ", ".join(f"{count} {name}" for name, count in kinds.most_common())
    logger.error("%d of %d requests failed: %s. First: %s", len(failures), number, reasons, failures[0].error)
