import io
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.cli.outputs import OrderedLines, OutputError
from llm_api_client.cli.perform import Performance
from llm_api_client.errors import BatchInterruptedError
from llm_api_client.record.batch_file import Entry, Fault
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
        assert all(lines.has(line) == (line in come) for line in range(8))


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


def test_an_interrupted_run_writes_every_line():
    """After Ctrl-C each line of the input has its line: the answer, the reason, or that it was stopped."""

    class Stopped:
        failures = (Result(1, {}, error=BatchInterruptedError("No answer yet.", in_flight=True)),)

        def make_requests_with_retries(self, _requests, *, on_result, **_options):
            on_result(Result(2, {}, response=ScriptedAnswer(), attempts=1))
            raise KeyboardInterrupt

    file = Recorder()
    items = [Entry(1, "a", {}), Fault(2, "b", "wrong"), Entry(3, "c", {}), Entry(4, "d", {})]
    performance = Performance(items, OrderedLines(file))
    performance.write_faults()
    with pytest.raises(KeyboardInterrupt):
        performance.run(Stopped(), retries=0)
    written = file.getvalue().decode().splitlines()
    assert [line.partition('"custom_id": ')[2][:3] for line in written] == ['"a"', '"b"', '"c"', '"d"']
    assert ["BatchInterruptedError" in line for line in written] == [True, False, True, False]
    assert (performance.tally.answered, performance.tally.failed) == (1, 3)
