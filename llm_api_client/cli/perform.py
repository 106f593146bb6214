"""A list of entries through a client, and every line of the output written: what `run` and `demo` share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llm_api_client.cli.outputs import OrderedLines
from llm_api_client.cli.summary import Tally
from llm_api_client.errors import BatchInterruptedError, InvalidInputError
from llm_api_client.record.batch_file import Entry, Fault, failure_line, fault_line, result_line
from llm_api_client.records import Result

if TYPE_CHECKING:
    from llm_api_client.api_client import APIClient


class Performance:
    """One run: entries go to the client, faults straight to the output, and all of them into the tally."""

    def __init__(self, items: Sequence[Entry | Fault], lines: OrderedLines) -> None:
        self.tally = Tally()
        self._items = items
        self._lines = lines
        # Where each request, by its index in the client's batch, stands among the items.
        self._positions = [position for position, item in enumerate(items) if isinstance(item, Entry)]

    def write_faults(self) -> None:
        """Write the lines of the faults, which need no client.

        Raises:
            OutputError: The output cannot be written.
        """
        for position, item in enumerate(self._items):
            if isinstance(item, Fault):
                self._lines.put(position, fault_line(item))
                self.tally.count(item.line, InvalidInputError(item.message))

    def run(self, client: "APIClient", *, retries: int, sanitize: bool = True, timeout: float | None = None) -> None:
        """Send every entry, and write each result when it comes.

        Raises:
            KeyboardInterrupt: Ctrl-C; every line is written all the same.
            OutputError: The output cannot be written any further.
        """
        entries = [item for item in self._items if isinstance(item, Entry)]
        try:
            client.make_requests_with_retries(
                [entry.request for entry in entries],
                max_retries=retries,
                sanitize=sanitize,
                timeout=timeout,
                return_exceptions=True,
                on_result=self._take,
            )
        except KeyboardInterrupt:
            self._finish(client.failures)
            raise

    def _take(self, result: Result) -> None:
        position = self._positions[result.index]
        entry = self._items[position]
        if isinstance(entry, Entry) and not self._lines.has(position):
            self._lines.put(position, result_line(entry, result))
            self.tally.count(entry.line, result.error)

    def _finish(self, failures: Sequence[Result]) -> None:
        """Write the lines that are missing after an interruption, so that input and output stay side by side."""
        for result in failures:
            self._take(result)
        for position, item in enumerate(self._items):
            if not self._lines.has(position):
                error = BatchInterruptedError("The run was stopped before this request's end was recorded.")
                self._lines.put(position, failure_line(item, error))
                self.tally.count(item.line, error)
