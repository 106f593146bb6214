"""A checkpoint as a table for other programs."""

import csv
import errno
import io
import json
import sys
import tracemalloc
import types
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from llm_api_client import cli
from llm_api_client.cli import export as command
from llm_api_client.cli.parser import PROGRAM, Parser
from llm_api_client.errors import CheckpointError, ServerError
from llm_api_client.record.frame import results_to_frame
from llm_api_client.record.table import COLUMNS, row_of
from llm_api_client.records import Result, Usage
from llm_api_client.testing import ScriptedAnswer

from .conftest import lines_of

MOMENT = 1_893_553_445.25
RESPONSE = {"choices": [{"finish_reason": "stop", "message": {"content": "positive"}}], "id": "é \u2028"}


def stored(**more):
    """An answer's row as a checkpoint gives it."""
    known = {
        "state": "answered", "identity": "00ff" * 8, "occurrence": 0, "model": "m", "prompt": "Which label?",
        "content": "positive", "created_at": MOMENT, "attempts": 2, "latency": 0.5, "cost": 0.001, "prompt_tokens": 10,
        "completion_tokens": 5, "error_type": None, "error": None, "response": RESPONSE,
    }  # fmt: skip
    return known | more


NOTHING = dict.fromkeys(("content", "response", "prompt_tokens", "completion_tokens", "cost", "latency"))
FAILED = stored(state="failed", error_type="ServerError", error="busy, sorry", **NOTHING)
CLAIMED = stored(state="possibly paid", **NOTHING, attempts=None)
ROWS = [stored(), FAILED, stored(occurrence=1), CLAIMED]


@pytest.fixture
def checkpoint(monkeypatch, tmp_path):
    """A file, and a store that finds these rows in it."""
    module = types.ModuleType("store")
    module.rows = ROWS
    module.read_rows = lambda _: (row for row in module.rows)
    module.path = str(tmp_path / "labels.db")
    (tmp_path / "labels.db").write_bytes(b"kept")
    monkeypatch.setitem(sys.modules, "llm_api_client.record.store", module)
    return module


@pytest.fixture
def export(monkeypatch, checkpoint, tmp_path):
    """Runs the command, alone in its program; `output` is a name in the test's folder."""

    def alone():
        top = Parser(prog=PROGRAM)
        command.add_to(top.add_subparsers(required=True, parser_class=Parser))
        return top

    monkeypatch.setattr(cli, "parser", alone)

    def _export(*arguments, output="out.jsonl"):
        return cli.main(
            ["export", checkpoint.path, "-o", output if output == "-" else str(tmp_path / output), *arguments]
        )

    return _export


def cells_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class TestJSONLines:
    def test_each_line_is_a_row_with_the_whole_answer(self, export, tmp_path, capsys):
        """Each request is a JSON object with the table's columns, in order, and the answer as it was kept."""
        assert export() == 0
        lines = lines_of(tmp_path / "out.jsonl")
        assert [list(line) for line in lines] == [[*COLUMNS, "response"]] * 4
        assert lines[0]["response"] == RESPONSE
        assert lines[0]["created_at"] == "2030-01-02T03:04:05.250000+00:00"
        assert (lines[0]["total_tokens"], lines[0]["finish_reason"]) == (15, "stop")
        assert (lines[1]["error"], lines[1]["response"]) == ("busy, sorry", None)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err == f"4 rows (2 answered, 1 failed, 1 possibly paid): {tmp_path / 'out.jsonl'}\n"

    def test_a_line_is_a_line_to_every_reader(self, export, checkpoint, tmp_path):
        """What some readers take for line ends is escaped, half a character too, and all else is readable."""
        checkpoint.rows = [
            stored(content="é 漢\x85\u2028\u2029\n", response={"half": "\ud83d"}),
            stored(content="漢", response=None),
        ]
        assert export() == 0
        text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
        assert len(text.splitlines()) == 2
        assert '"content": "漢"' in text
        first = json.loads(text.splitlines()[0])
        assert (first["content"], first["response"]) == ("é 漢\x85\u2028\u2029\n", {"half": "\ud83d"})

    def test_standard_output_gets_lines(self, export, capsysbinary):
        """`-o -` writes JSON lines, and nothing else, to standard output; what is said goes to standard error."""
        assert export(output="-") == 0
        shown = capsysbinary.readouterr()
        assert [json.loads(line)["state"] for line in shown.out.splitlines()] == [row["state"] for row in ROWS]
        assert shown.err == b"4 rows (2 answered, 1 failed, 1 possibly paid): standard output\n"


class TestCSV:
    def test_rows_have_the_table_s_columns(self, export, tmp_path):
        """A header names the columns, an unknown value is an empty cell, and the answer's JSON is left out."""
        assert export(output="out.csv") == 0
        rows = cells_of(tmp_path / "out.csv")
        assert [list(row) for row in rows] == [list(COLUMNS)] * 4
        expected = {name: "" if cell is None else str(cell) for name, cell in row_of(ROWS[0]).items()}
        assert rows[0] == expected | {"created_at": "2030-01-02T03:04:05.250000+00:00"}
        assert (rows[1]["error"], rows[1]["cost"]) == ("busy, sorry", "")

    @pytest.mark.parametrize("text", ['a,"b"', "a\nb", "a\rb", "a\r\nb\r", "é 漢 🙂\x00", " a ", "'"])
    def test_texts_come_back_as_they_were(self, export, checkpoint, tmp_path, text):
        """Commas, quotes, line ends of all kinds and every language survive."""
        checkpoint.rows = [stored(content=text)]
        assert export(output="out.csv") == 0
        assert [row["content"] for row in cells_of(tmp_path / "out.csv")] == [text]

    FORMULAS = ("=1+1", "+a", "-a", "- a list", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "-1+1", "-.")

    def test_formulas_are_data_unless_told_otherwise(self, export, checkpoint, tmp_path, capsys):
        """Without `--csv-safe` each text is written as it is, and a warning counts what a spreadsheet would execute."""
        checkpoint.rows = [stored(content=text) for text in (*self.FORMULAS, "-1", "a=b")]
        assert export(output="out.csv") == 0
        assert [row["content"] for row in cells_of(tmp_path / "out.csv")] == [*self.FORMULAS, "-1", "a=b"]
        assert f"would take {len(self.FORMULAS)} of the cells for formulas; see --csv-safe" in capsys.readouterr().err

    def test_csv_safe_leaves_no_formula(self, export, checkpoint, tmp_path, capsys):
        """With `--csv-safe` an apostrophe stands before whatever begins like a formula, in every column of text."""
        checkpoint.rows = [stored(content=text, prompt=text, error=text) for text in self.FORMULAS]
        assert export("--csv-safe", output="out.csv") == 0
        for row, text in zip(cells_of(tmp_path / "out.csv"), self.FORMULAS, strict=True):
            assert row["content"] == row["prompt"] == row["error"] == f"'{text}"
        assert "warning" not in capsys.readouterr().err

    @pytest.mark.parametrize("text", ["-1", "+5", "-0.5", "-.5", "-5.", "1=1", "", "a-b", "'=1"])
    def test_csv_safe_changes_nothing_else(self, export, checkpoint, tmp_path, text):
        """Labels such as -1, and texts that begin like texts, stay as they are under `--csv-safe`."""
        checkpoint.rows = [stored(content=text)]
        assert export("--csv-safe", output="out.csv") == 0
        assert cells_of(tmp_path / "out.csv")[0]["content"] == text


class TestParquet:
    def test_it_is_the_frame_of_the_checkpoint(self, export, checkpoint, tmp_path):
        """What pandas reads from the file is what `results_to_frame` gives, types included."""
        assert export(output="out.parquet") == 0
        frame = pd.read_parquet(tmp_path / "out.parquet")
        expected = results_to_frame(checkpoint.path)
        assert list(frame.columns) == list(COLUMNS)
        assert frame.created_at.dtype == expected.created_at.dtype
        assert frame.replayed.dtype == expected.replayed.dtype
        assert frame.parsed.isna().all()
        known = [name for name in COLUMNS if name != "parsed"]
        pd.testing.assert_frame_equal(frame[known].astype(expected.dtypes[known]), expected[known])

    def test_types_do_not_depend_on_the_rows(self, export, checkpoint, tmp_path):
        """A file of no rows, or of unknown values alone, has the types of any other: they can be joined."""
        from pyarrow.parquet import read_schema

        schemas = []
        for number, rows in enumerate(([], [CLAIMED], ROWS)):
            checkpoint.rows = rows
            assert export(output=f"{number}.parquet") == 0
            schemas.append(read_schema(tmp_path / f"{number}.parquet"))
        assert schemas[0].equals(schemas[1])
        assert schemas[0].equals(schemas[2])
        assert str(schemas[0].field("prompt_tokens").type) == "int64"
        assert str(schemas[0].field("created_at").type) == "timestamp[ns, tz=UTC]"

    def test_groups_follow_one_another(self, export, checkpoint, tmp_path, monkeypatch):
        """More rows than are held at once are written in groups, in order and without a gap."""
        from pyarrow.parquet import ParquetFile

        monkeypatch.setattr(command, "ROWS_AT_ONCE", 3)
        checkpoint.rows = [stored(occurrence=number) for number in range(7)]
        assert export(output="out.parquet") == 0
        with closing(ParquetFile(tmp_path / "out.parquet")) as file:
            assert file.num_row_groups == 3
            assert file.read()["occurrence"].to_pylist() == list(range(7))

    def test_missing_pyarrow_is_one_line(self, export, tmp_path, monkeypatch, capsys):
        """Where pyarrow is not installed, one line says how to install it, and no file is made."""
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        assert export(output="out.parquet") == 2
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1
        assert "pip install pandas pyarrow" in shown
        assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("state", "expected"), [("answered", [0, 1]), ("failed", [0]), ("possibly-paid", [0]), (None, [0, 0, 1, 0])]
)
def test_only_one_state(export, tmp_path, state, expected):
    """`--only` writes the rows of one state, in their order; without it all are written."""
    assert export(*(["--only", state] if state else [])) == 0
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["occurrence"] for line in lines] == expected
    assert {line["state"] for line in lines} == ({state.replace("-", " ")} if state else set(command.STATES))


@pytest.mark.parametrize(
    ("output", "arguments", "begins"),
    [
        ("o.jsonl", [], b'{"index": null'), ("o.NDJSON", [], b'{"index": null'), ("o.csv", [], b"index,model"),
        ("o.parquet", [], b"PAR1"), ("o.txt", ["--format", "csv"], b"index,model"),
        ("o.csv", ["--format", "jsonl"], b'{"index": null'),
    ],
)  # fmt: skip
def test_the_suffix_is_the_format_unless_told_otherwise(export, tmp_path, output, arguments, begins):
    """The suffix, in either case, says the format; `--format` overrules it."""
    assert export(*arguments, output=output) == 0
    assert (tmp_path / output).read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("output", "arguments", "reason"),
    [
        ("out", [], "names no format; use one of .jsonl"),
        ("out.db", [], "names no format"),
        ("labels.db", ["--format", "csv", "--overwrite"], "is the input itself"),
        ("out.jsonl", ["--csv-safe"], "--csv-safe goes with CSV"),
        ("-", ["--format", "parquet"], "Parquet needs a file"),
        ("nowhere/out.csv", [], "there is no folder"),
        ("out.csv", ["--only", "lost"], "invalid choice"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(export, checkpoint, tmp_path, capsys, output, arguments, reason):
    """What makes no sense ends with status 2 and one line, makes no file, and leaves the checkpoint alone."""
    assert export(*arguments, output=output) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("llm-api-client export: error: ")
    assert shown.err.count("\n") == 1
    assert reason in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["labels.db"]
    assert (tmp_path / "labels.db").read_bytes() == b"kept"


def test_an_existing_file_is_replaced_only_on_demand(export, tmp_path):
    """A file that exists is left alone, and replaced with `--overwrite`."""
    (tmp_path / "out.jsonl").write_text("precious")
    assert export() == 2
    assert (tmp_path / "out.jsonl").read_text() == "precious"
    assert export("--overwrite") == 0
    assert len(lines_of(tmp_path / "out.jsonl")) == 4


def test_what_is_not_a_checkpoint_spoils_no_output(export, checkpoint, tmp_path, capsys):
    """A file that is no checkpoint is status 2 with its reason, before the output is touched."""

    def refuse(_):
        raise CheckpointError("labels.db is not a checkpoint")
        yield

    checkpoint.read_rows = refuse
    (tmp_path / "out.jsonl").write_text("precious")
    assert export("--overwrite") == 2
    assert capsys.readouterr().err == "llm-api-client export: error: labels.db is not a checkpoint\n"
    assert (tmp_path / "out.jsonl").read_text() == "precious"


class TestRealCheckpoints:
    @pytest.fixture
    def checkpoint(self, tmp_path):
        """A checkpoint of an answer, a failure and a claim."""
        from llm_api_client.record.store import Store

        path = tmp_path / "labels.db"
        store = Store.open(path)
        run = store.run()
        keys = [run.key(bytes(16)) for _ in range(3)]
        run.write([(key, "m", "Which label?") for key in keys], [])
        answer = Result(0, None, ScriptedAnswer("positive"), attempts=1, usage=Usage(10, 5), created_at=1.0, model="m")
        run.write([], [(keys[0], answer), (keys[1], Result(1, None, error=ServerError("busy"), created_at=2.0))])
        run.close()
        store.close()
        return types.SimpleNamespace(path=str(path))

    @pytest.mark.parametrize("output", ["out.jsonl", "out.csv", "out.parquet"])
    def test_all_that_is_kept_is_written(self, export, checkpoint, tmp_path, capsys, output):
        """Each request of a checkpoint has its row in every format, and the checkpoint is as it was."""
        before = Path(checkpoint.path).read_bytes()
        assert export(output=output) == 0
        assert "3 rows (1 answered, 1 failed, 1 possibly paid)" in capsys.readouterr().err
        read = {"out.jsonl": lines_of, "out.csv": cells_of}.get(
            output, lambda path: pd.read_parquet(path).to_dict("records")
        )
        rows = read(tmp_path / output)
        assert [(row["state"], row["prompt"]) for row in rows] == [(state, "Which label?") for state in command.STATES]
        assert (rows[0]["content"], int(rows[0]["total_tokens"]), rows[1]["error"]) == ("positive", 15, "busy")
        assert Path(checkpoint.path).read_bytes() == before

    @pytest.mark.parametrize("content", [None, b"no checkpoint " * 100])
    def test_what_is_no_checkpoint_is_refused(self, export, checkpoint, tmp_path, capsys, content):
        """A missing file, or one of another kind, is status 2 with one line that names it, and no output is made."""
        Path(checkpoint.path).unlink()
        if content is not None:
            Path(checkpoint.path).write_bytes(content)
        assert export() == 2
        shown = capsys.readouterr().err
        assert "labels.db" in shown
        assert shown.count("\n") == 1
        assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet"])
def test_a_full_disk_is_said(export, capsys, format_):
    """An output that cannot be written to its end is status 2, with one line that says why."""
    assert export("--format", format_, output="/dev/full") == 2
    shown = capsys.readouterr().err
    assert "cannot write /dev/full" in shown
    assert "No space left on device" in shown
    assert shown.count("\n") == 1


def test_what_standard_output_holds_back_is_not_lost_in_silence(export, monkeypatch, capsys):
    """Lines that wait in a buffer are handed on before the command says that all is written."""

    class Full(io.BytesIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=Full()))
    assert export(output="-") == 2
    assert capsys.readouterr().err.endswith("cannot write standard output any further: No space left on device\n")


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_memory_does_not_grow_with_the_rows(checkpoint, format_):
    """However many rows there are, only a few are in memory."""
    write = {"jsonl": command._write_json_lines, "csv": lambda file, rows: command._write_csv(file, rows, safe=True)}

    def rows():
        for _ in range(2_000):
            yield stored(content="x" * 10_000)

    class Nowhere(io.RawIOBase):
        def write(self, data):
            return len(data)

    tracemalloc.start()
    try:
        write[format_](Nowhere(), rows())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_help_is_plain_and_fits_a_terminal(export, capsys, monkeypatch):
    """Help has examples, is plain ASCII, and fits 80 columns even where the terminal is wider."""
    monkeypatch.setenv("COLUMNS", "200")
    assert export("--help") == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "exit status:" in shown
    assert shown.isascii()
    assert max(map(len, shown.splitlines())) <= 80
