"""Entries through a client, and every line of the output written: what `run` and `demo` share."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from llm_api_client.cli.outputs import Lines, uninterrupted
from llm_api_client.cli.summary import Remarks, Tally
from llm_api_client.errors import BatchTimeoutError, InvalidInputError
from llm_api_client.record.batch_file import Entry, Fault, failure_line, fault_line, result_line
from llm_api_client.records import Result

if TYPE_CHECKING:
    from llm_api_client.api_client import APIClient

IDS_COMPARED = 100_000
"""Lines whose custom_id is looked for among those before: a million of them would take a hundred megabytes."""


class Performance:
    """One run: entries go to the client, faults straight to the output, and all of them into the tally.

    Args:
        items: The entries and faults, read when the client can take one.
        remarks: Tells what is wrong with lines.
    """

    def __init__(self, items: Iterable[Entry | Fault], remarks: Remarks) -> None:
        self.tally = Tally()
        self._items: Iterator[tuple[int, Entry | Fault]] = enumerate(items)
        self._remarks = remarks
        # Requests that the client has, by their index in its stream: where they stand in the output, and what they are.
        self._under_way: dict[int, tuple[int, Entry]] = {}
        self._ids: dict[str, int] = {}
        # An interrupt finds here what has come out of the stream and is not written yet.
        self._taken: Result | None = None

    def has_requests(self) -> bool:
        """Whether there is anything to send. Reads as far as the first request."""
        read = []
        for position, item in self._items:
            read.append((position, item))
            if isinstance(item, Entry):
                break
        self._items = chain(read, self._items)
        return bool(read) and isinstance(read[-1][1], Entry)

    def run(
        self,
        client: "APIClient | None",
        lines: Lines,
        *,
        retries: int,
        sanitize: bool = True,
        timeout: float | None = None,
        ordered: bool = True,
        number: int | None = None,
    ) -> None:
        """Send every entry, and write each result when it comes. Without a client there are faults only.

        Args:
            client: Where to send it.
            lines: Where to write it.
            retries: Further attempts for what may pass.
            sanitize: Whether requests are made to fit their models.
            timeout: Longest time for all of it, in seconds.
            ordered: Whether results are wanted in the order of the input.
            number: Lines of the input, for the progress bar.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was answered by then is written, the rest of the input is not read.
            CheckpointError: The checkpoint cannot be written any further.
            OutputError: The output cannot be written any further.
        """
        requests = _Sized(self._requests(lines), number)
        try:
            if client is None:
                for _ in requests:
                    pass
                return
            stream = client.iter_requests(
                requests, max_retries=retries, sanitize=sanitize, timeout=timeout, ordered=ordered
            )
            try:
                self._take_all(stream, lines)
            except KeyboardInterrupt as stop:
                # It came while a line was written: the stream is told, and gives what it has.
                self._take(lines)
                self._take_all(chain([stream.throw(stop)], stream), lines)
                raise
        except BatchTimeoutError as late:
            self._fail_the_rest(lines, late)
        finally:
            self._remarks.close()

    def _requests(self, lines: Lines) -> Iterator[dict[str, Any]]:
        """The requests, as the client asks for them; what is none is dealt with by the way."""
        index = 0
        for position, item in self._items:
            self._compare_id(item)
            if isinstance(item, Fault):
                self._remarks.add(item.line, item.message)
                self._write_fault(position, item, lines)
                continue
            self._under_way[index] = position, item
            index += 1
            yield item.request

    def _compare_id(self, item: Entry | Fault) -> None:
        if len(self._ids) >= IDS_COMPARED and item.custom_id not in self._ids:
            return
        earlier = self._ids.setdefault(item.custom_id, item.line)
        if earlier != item.line:
            self._remarks.add(item.line, f"warning: its custom_id is that of line {earlier}")

    def _take_all(self, results: Iterable[Result], lines: Lines) -> None:
        for result in results:
            self._taken = result
            self._take(lines)

    def _take(self, lines: Lines) -> None:
        """Write the result that was taken from the stream, if that was not done."""
        with uninterrupted():
            result, self._taken = self._taken, None
            if result is not None:
                position, entry = self._under_way.pop(result.index)
                lines.put(position, result_line(entry, result))
                self.tally.count(entry.line, result.error)

    def _write_fault(self, position: int, fault: Fault, lines: Lines) -> None:
        lines.put(position, fault_line(fault))
        self.tally.count(fault.line, InvalidInputError(fault.message))

    def _fail_the_rest(self, lines: Lines, why: BatchTimeoutError) -> None:
        """Write a line for everything that was not read in time, so that input and output stay side by side."""
        for position, item in self._items:
            if isinstance(item, Fault):
                self._write_fault(position, item, lines)
            else:
                lines.put(position, failure_line(item, why))
                self.tally.count(item.line, why)


class _Sized:
    """An iterator that knows about how much is left, which is what a progress bar wants to know."""

    def __init__(self, items: Iterator[dict[str, Any]], number: int | None) -> None:
        self._items = items
        self._number = number

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._items

    def __length_hint__(self) -> int:
        return NotImplemented if self._number is None else self._number
