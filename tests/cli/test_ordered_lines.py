import io
import json
import signal
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.cli import perform
from llm_api_client.cli.outputs import Lines, OrderedLines, OutputError
from llm_api_client.cli.perform import Performance
from llm_api_client.cli.summary import Remarks
from llm_api_client.errors import BatchInterruptedError
from llm_api_client.record.batch_file import Entry, Fault, result_line
from llm_api_client.records import Result
from llm_api_client.testing import ScriptedAnswer


class Recorder(io.BytesIO):
    """A file that knows how much of it is safe."""

    flushed = 0

    def flush(self) -> None:
        """Remember how much there is."""
        self.flushed = len(self.getvalue())


@given(st.permutations(range(8)))
def test_lines_are_written_in_order_and_at_once(order):
    """In whatever order lines come, the file always holds exactly those that no missing one precedes, flushed."""
    file = Recorder()
    lines = OrderedLines(file)
    for number, position in enumerate(order, 1):
        lines.put(position, str(position))
        come = set(order[:number])
        expected = next((first for first in range(8) if first not in come), 8)
        assert file.getvalue() == b"".join(b"%d\n" % line for line in range(expected))
        assert file.flushed == len(file.getvalue())


def test_a_second_line_for_a_place_is_ignored():
    """A position is written once."""
    file = Recorder()
    lines = OrderedLines(file)
    for text in ("first", "second"):
        lines.put(1, text)
    lines.put(0, "zero")
    lines.put(0, "again")
    assert file.getvalue() == b"zero\nfirst\n"


def test_ctrl_c_waits_for_the_end_of_a_line():
    """Ctrl-C in the middle of a write is felt after it: no half line is ever left."""

    class Interrupted(Recorder):
        def write(self, data):
            signal.raise_signal(signal.SIGINT)
            return super().write(data)

    file = Interrupted()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        OrderedLines(file).put(0, "whole")
    assert file.getvalue() == b"whole\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_file_that_cannot_be_written():
    """What the system says about a failed write is passed on as an error of the output."""

    class Full(Recorder):
        def write(self, _data):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        OrderedLines(Full()).put(0, "line")


class Interrupted:
    """A client whose second result is followed by Ctrl-C, and that then brings what was under way."""

    def iter_requests(self, requests, **_options):
        """What the client would be asked for."""
        assert len(list(islice(requests, 3))) == 3
        yield Result(1, {}, response=ScriptedAnswer(), attempts=1)
        try:
            yield Result(0, {}, response=ScriptedAnswer(), attempts=1)
            raise KeyboardInterrupt
        finally:
            yield Result(2, {}, error=BatchInterruptedError("No answer yet.", in_flight=True))


def test_an_interrupted_run_writes_what_was_under_way():
    """After Ctrl-C what the client had has its line, an answer or the reason; the rest of the input is not read."""
    file = Recorder()
    items = iter([*(Entry(line, str(line), {}) for line in range(1, 4)), Fault(4, "4", "wrong"), Entry(5, "5", {})])
    performance = Performance(items, Remarks("run", "requests.jsonl"))
    with pytest.raises(KeyboardInterrupt):
        performance.run(Interrupted(), OrderedLines(file), retries=0)
    written = file.getvalue().decode().splitlines()
    assert ["BatchInterruptedError" in line for line in written] == [False, False, True]
    assert (performance.tally.answered, performance.tally.failed) == (2, 1)
    assert next(items).line == 4


def test_ctrl_c_while_a_line_is_written_brings_what_was_under_way_too():
    """The interrupt reaches the client wherever it came, so that calls under way are not left behind."""

    class InterruptedLines(OrderedLines):
        interrupted = False

        def put(self, position, line):
            super().put(position, line)
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt

    class Client:
        def iter_requests(self, requests, **_options):
            list(requests)
            try:
                yield Result(0, {}, response=ScriptedAnswer(), attempts=1)
            except KeyboardInterrupt:
                yield Result(1, {}, response=ScriptedAnswer(), attempts=1)
                raise

    file = Recorder()
    performance = Performance([Entry(1, "a", {}), Entry(2, "b", {})], Remarks("run", "requests.jsonl"))
    with pytest.raises(KeyboardInterrupt):
        performance.run(Client(), InterruptedLines(file), retries=0)
    assert file.getvalue().count(b"\n") == 2


@pytest.mark.parametrize("kind", [Lines, OrderedLines])
def test_a_result_that_was_taken_when_ctrl_c_came_is_written_once(kind, monkeypatch):
    """It is out of the stream, so that nobody else has it any more."""
    entries = [Entry(line, str(line), {}) for line in (1, 2)]
    stopped = []

    class Client:
        def iter_requests(self, requests, **_options):
            list(requests)
            try:
                yield Result(0, {}, response=ScriptedAnswer(), attempts=1)
            except KeyboardInterrupt:
                stopped.append(True)
                yield Result(1, {}, response=ScriptedAnswer(), attempts=1)
                raise

    def interrupted(*args):
        if not stopped:
            signal.raise_signal(signal.SIGINT)
        return result_line(*args)

    monkeypatch.setattr(perform, "result_line", interrupted)
    file = Recorder()
    performance = Performance(entries, Remarks("run", "in.jsonl"))
    with pytest.raises(KeyboardInterrupt):
        performance.run(Client(), kind(file), retries=0)
    assert [line["custom_id"] for line in map(json.loads, file.getvalue().splitlines())] == ["1", "2"]
    assert performance.tally.answered == 2


def test_lines_without_order_are_written_as_they_come():
    """Each line is in the file as soon as it is there."""
    file = Recorder()
    lines = Lines(file)
    lines.put(5, "five")
    assert file.getvalue() == b"five\n"
    lines.put(0, "zero")
    assert file.getvalue() == b"five\nzero\n"
    assert file.flushed == len(file.getvalue())
