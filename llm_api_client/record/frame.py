"""Rows as a pandas DataFrame. pandas is imported when the first frame is made."""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from llm_api_client.errors import ConfigurationError
from llm_api_client.record.table import COLUMNS, rows_of
from llm_api_client.records import Result

if TYPE_CHECKING:
    import pandas as pd

_DTYPES = {
    "index": "Int64",
    "parsed": "object",
    "attempts": "Int64",
    "latency": "float64",
    "cost": "float64",
    "prompt_tokens": "Int64",
    "completion_tokens": "Int64",
    "total_tokens": "Int64",
    "replayed": "bool",
    "created_at": "datetime64[ns, UTC]",
    "occurrence": "Int64",
}
"""All other columns are texts: pandas' own "string", which is the same from version to version."""


def results_to_frame(
    source: "Iterable[Result | Mapping[str, Any]] | str | os.PathLike[str]",
) -> "pd.DataFrame":
    """What came of requests as a DataFrame, one row a request, with the columns of `record.table.COLUMNS`.

    Counts are nullable integers (`Int64`), `latency` (seconds) and `cost` (US dollars) floats, `replayed` is a bool,
    `created_at` a time in UTC, and texts are pandas' `string`. An unknown value is missing: `isna()` finds it. Without
    any results the frame is empty and has all its columns.

    Args:
        source: `client.history`, any other iterable of `Result`s, or the path of a checkpoint.

    Raises:
        ConfigurationError: pandas is not installed.
        CheckpointError: The path's file is not a checkpoint.
        InvalidInputError: The source holds something else than results.
    """
    try:
        import pandas as pd  # noqa: PLC0415  slow, and optional
    except ImportError as missing:
        message = "a DataFrame needs pandas: pip install pandas"
        raise ConfigurationError(message) from missing
    if isinstance(source, (str, os.PathLike)):
        from llm_api_client.record.store import read_rows  # noqa: PLC0415  SQLite is for those who have a checkpoint

        source = read_rows(source)
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for row in rows_of(source):
        for name, cell in row.items():
            columns[name].append(cell)
    # Each list goes as soon as its column is made: a million answers are in memory once, not twice.
    return pd.DataFrame({name: pd.Series(columns.pop(name), dtype=_DTYPES.get(name, "string")) for name in COLUMNS})
