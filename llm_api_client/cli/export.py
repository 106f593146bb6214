"""`llm-api-client export`: a checkpoint as a table for other programs."""

import argparse
import csv
import re
from codecs import getwriter
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from llm_api_client.cli.inputs import STANDARD
from llm_api_client.cli.outputs import check_output, opened_output
from llm_api_client.cli.parser import PROGRAM, Commands, UsageError, add_command
from llm_api_client.cli.summary import say
from llm_api_client.errors import CheckpointError
from llm_api_client.record.as_json import text_at_any_rate
from llm_api_client.record.table import COLUMNS, row_of

NAME = f"{PROGRAM} export"
STATES = ("answered", "failed", "possibly paid")
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
"""What a file's suffix says of its format."""
ROWS_AT_ONCE = 5_000
"""Rows of a Parquet file that are in memory at once, and stand in one row group."""

_PARQUET_TYPES = {
    "index": "int64",
    "attempts": "int64",
    "latency": "float64",
    "cost": "float64",
    "prompt_tokens": "int64",
    "completion_tokens": "int64",
    "total_tokens": "int64",
    "replayed": "bool",
    "occurrence": "int64",
}
"""All others but `created_at`, a time, are texts."""
# What spreadsheets take for the beginning of a formula, wide forms included; a plain number is none.
_FORMULA = re.compile(r"(?![+-]?(?:\d+\.?\d*|\.\d+)\Z)[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")

_DESCRIPTION = """\
Write what a checkpoint holds as a table: one row for each request, answered,
failed, or possibly paid (sent by a run that did not record its end).

The suffix of the output says its format:

  .jsonl    one JSON object a line; the only one with the whole answer, as
            "response" (.ndjson is the same)
  .csv      UTF-8, with a header
  .parquet  needs pyarrow: pip install pandas pyarrow

The checkpoint is only read, also while a run is writing to it."""
_EPILOG = f"""\
spreadsheets:
  A cell of a CSV file that begins with = + - or @ is a formula to a
  spreadsheet, and a model's answer may be one. Cells are written as they are,
  for that is what programs need, and a message says how many there are. Give
  --csv-safe where a spreadsheet will open the file: an apostrophe then stands
  before such texts. Plain numbers such as -1 are left alone.

examples:
  {NAME} labels.db -o labels.csv
  {NAME} labels.db -o failed.jsonl --only failed
  {NAME} labels.db -o - | jq -r .content

exit status:
  0 all written; 2 wrong usage, not a checkpoint, or the output cannot be
  written; 130 stopped by Ctrl-C, 143 by SIGTERM."""


def add_to(commands: Commands) -> None:
    """Add the command with all its options."""
    command = add_command(commands, "export", "write a checkpoint as a table", _DESCRIPTION, _EPILOG)
    command.set_defaults(execute=execute, command="export")
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="the checkpoint of a run")
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="file for the rows; - for standard output (required)"
    )
    command.add_argument("--overwrite", action="store_true", help="replace FILE if it exists (default: refuse)")
    command.add_argument(
        "--format",
        choices=sorted(set(FORMATS.values())),
        help="format of the rows (default: by the suffix of FILE; jsonl on standard output)",
    )
    command.add_argument(
        "--only",
        choices=[state.replace(" ", "-") for state in STATES],
        help="write the requests in this state alone (default: all)",
    )
    command.add_argument(
        "--csv-safe",
        action="store_true",
        help="put an apostrophe before texts that a spreadsheet would take for formulas (default: leave them alone)",
    )


def execute(options: argparse.Namespace) -> int:
    """Do it.

    Raises:
        UsageError: Something has to be put right first.
    """
    from llm_api_client.record.store import read_rows  # noqa: PLC0415  SQLite, slow for a help

    check_output(options.output, overwrite=options.overwrite, source=options.checkpoint)
    write = _writer(options)
    written: Counter[str] = Counter()
    try:
        with closing(read_rows(options.checkpoint)) as rows:
            # The first row is asked for while nothing is there to be spoilt: it tells whether this is a checkpoint.
            first = list(islice(rows, 1))
            with opened_output(options.output, overwrite=options.overwrite) as file:
                formulas = write(file, _counted(_chosen(chain(first, rows), options.only), written))
                file.flush()
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        message = f"cannot write {_shown(options.output)} any further: {error.strerror or error}"
        raise UsageError(message) from error
    _report(options.output, written, formulas)
    return 0


def _writer(options: argparse.Namespace) -> "Callable[[BinaryIO, Iterable[Mapping[str, Any]]], int]":
    """What writes rows in the format asked for, and returns how many cells of theirs are formulas to a spreadsheet."""
    chosen = options.format or _format_of(options.output)
    if options.csv_safe and chosen != "csv":
        raise UsageError("--csv-safe goes with CSV; no other format is taken for formulas")
    if chosen == "jsonl":
        return _write_json_lines
    if chosen == "csv":
        return lambda file, rows: _write_csv(file, rows, safe=options.csv_safe)
    if options.output == STANDARD:
        raise UsageError("Parquet needs a file that can be sought in; name one with -o FILE")
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415  slow, and optional
    except ImportError as missing:
        raise UsageError("Parquet needs pyarrow: pip install pandas pyarrow") from missing
    return _write_parquet


def _format_of(output: str) -> str:
    if output == STANDARD:
        return "jsonl"
    suffix = Path(output).suffix.lower()
    if suffix not in FORMATS:
        message = f"the suffix of {output} names no format; use one of {', '.join(FORMATS)}, or give --format"
        raise UsageError(message)
    return FORMATS[suffix]


def _chosen(rows: Iterable[dict[str, Any]], only: str | None) -> Iterator[dict[str, Any]]:
    return (row for row in rows if only is None or row["state"].replace(" ", "-") == only)


def _counted(rows: Iterable[dict[str, Any]], written: Counter[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield row
        written[row["state"]] += 1


def _report(output: str, written: Counter[str], formulas: int) -> None:
    states = ", ".join(f"{written[state]} {state}" for state in STATES)
    say(f"{written.total()} rows ({states}): {_shown(output)}")
    if formulas:
        say(f"{NAME}: warning: a spreadsheet would take {formulas} of the cells for formulas; see --csv-safe")


def _shown(output: str) -> str:
    return "standard output" if output == STANDARD else output


def _write_json_lines(file: BinaryIO, rows: Iterable[Mapping[str, Any]]) -> int:
    for row in rows:
        line = _plain(row_of(row)) | {"response": row["response"]}
        file.write(text_at_any_rate(line).encode() + b"\n")
    return 0


def _write_csv(file: BinaryIO, rows: Iterable[Mapping[str, Any]], *, safe: bool) -> int:
    formulas = 0
    # Lines end with CR and LF, as the format has it: line ends of either kind within a cell are then quoted.
    writer = csv.writer(getwriter("utf-8")(file))
    writer.writerow(COLUMNS)
    for row in rows:
        cells = list(_plain(row_of(row)).values())
        for column, cell in enumerate(cells):
            if isinstance(cell, str) and _FORMULA.match(cell):
                formulas += not safe
                cells[column] = f"'{cell}" if safe else cell
        writer.writerow(cells)
    return formulas


def _write_parquet(file: BinaryIO, rows: Iterable[Mapping[str, Any]]) -> int:
    import pyarrow as pa  # noqa: PLC0415  slow, and optional
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415  likewise

    kinds = {"created_at": pa.timestamp("ns", tz="UTC")}
    schema = pa.schema([(name, kinds.get(name, _PARQUET_TYPES.get(name, "string"))) for name in COLUMNS])
    rows = iter(rows)
    with ParquetWriter(file, schema) as writer:
        while group := [row_of(row) for row in islice(rows, ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return 0


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    moment = row["created_at"]
    return {**row, "created_at": None if moment is None else moment.isoformat()}
