"""Results as a DataFrame."""

import subprocess
import sys
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from llm_api_client.errors import CheckpointError, ConfigurationError, InvalidInputError, RateLimitError
from llm_api_client.record.frame import results_to_frame
from llm_api_client.record.history import History
from llm_api_client.record.store import Store
from llm_api_client.record.table import COLUMNS, rows_of
from llm_api_client.records import Result

from .test_table import MOMENT, REQUEST, answered, stored

DTYPES = {
    "index": "Int64", "model": "string", "prompt": "string", "content": "string", "parsed": "object",
    "error_type": "string", "error": "string", "attempts": "Int64", "latency": "float64", "cost": "float64",
    "prompt_tokens": "Int64", "completion_tokens": "Int64", "total_tokens": "Int64", "finish_reason": "string",
    "replayed": "bool", "created_at": "datetime64[ns, UTC]", "state": "string", "identity": "string",
    "occurrence": "Int64",
}  # fmt: skip
FAILED = Result(1, REQUEST, error=RateLimitError("slow down"), created_at=1.0)


@pytest.fixture
def store(monkeypatch):
    """A checkpoint's module whose every file holds these rows; says which were asked for."""
    module, asked = types.ModuleType("store"), []
    module.rows = []
    module.read_rows = lambda path: asked.append(path) or iter(module.rows)
    module.asked = asked
    monkeypatch.setitem(sys.modules, "llm_api_client.record.store", module)
    return module


@pytest.mark.parametrize("results", [[], [answered()], [FAILED], [answered(), FAILED], [stored(), answered()]])
def test_columns_and_their_types_are_always_the_same(results):
    """Whatever is known of however many results, none included, columns, order and types are the documented ones."""
    frame = results_to_frame(results)
    assert list(frame.columns) == list(COLUMNS)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert len(frame) == len(results)


def test_cells_are_those_of_the_rows():
    """Each row of the frame is the result's row; what is unknown is missing."""
    results = [answered(0, parsed={"label": "positive"}), FAILED, stored(occurrence=3)]
    frame = results_to_frame(results)
    for row, (_, cells) in zip(rows_of(results), frame.iterrows(), strict=True):
        for name, expected in row.items():
            assert cells[name] == expected if expected is not None else pd.isna(cells[name])
    assert frame.created_at[0].to_pydatetime() == MOMENT
    assert frame.cost.sum() == pytest.approx(0.002)


def test_the_history_is_a_source():
    """`client.history` gives the frame of the results in it."""
    history = History()
    for result in (answered(), FAILED):
        history.append(result)
    pd.testing.assert_frame_equal(results_to_frame(history), results_to_frame([answered(), FAILED]))


def test_a_path_is_a_checkpoint(store, tmp_path):
    """A path, as text or as a Path, is read as a checkpoint."""
    store.rows = [stored(), stored(state="failed", error_type="ServerError", error="busy", content=None)]
    paths = [tmp_path / "labels.db", str(tmp_path / "labels.db")]
    for path in paths:
        frame = results_to_frame(path)
        assert list(frame.state) == ["answered", "failed"]
        assert not frame.replayed.any()
    assert store.asked == paths


def test_a_checkpoint_gives_the_rows_of_the_results_in_it(tmp_path):
    """What a run kept is read as the results it had, but for what a checkpoint does not keep, even while it is open."""
    store = Store.open(tmp_path / "labels.db")
    run = store.run()
    keys = [run.key(bytes(16)), run.key(bytes(16)), run.key(bytes([1] * 16))]
    run.write([(key, "m", "Which label?") for key in keys], [])
    run.write([], [(keys[0], answered()), (keys[1], replace(FAILED, model="m", created_at=MOMENT.timestamp() + 1))])
    frame = results_to_frame(tmp_path / "labels.db")
    run.close()
    store.close()
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    by_key = frame.sort_values(["identity", "occurrence"], ignore_index=True)
    assert list(by_key.state) == ["answered", "failed", "possibly paid"]
    assert list(by_key.occurrence) == [0, 1, 0]
    kept = list(set(COLUMNS) - {"index", "identity", "occurrence"})
    expected = results_to_frame([answered(), replace(FAILED, model="m", created_at=MOMENT.timestamp() + 1)])
    pd.testing.assert_frame_equal(by_key[kept][:2], expected[kept])
    assert (by_key.model[2], by_key.prompt[2]) == ("m", "Which label?")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    """A path at which there is none, or another kind of file, is refused; none is made."""
    (tmp_path / "notes.txt").write_text("no checkpoint " * 100)
    for name in ("missing.db", "notes.txt"):
        with pytest.raises(CheckpointError, match=name):
            results_to_frame(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_anything_may_have_been_parsed():
    """What `validate` returned is a cell as it is, be it a list, an array or an object."""
    parsed = [[1, 2], np.array([1, 2]), np.array([3, 4]), object(), None]
    frame = results_to_frame([answered(parsed=value) for value in parsed])
    assert all(cell is value for cell, value in zip(frame.parsed, parsed, strict=True))


def test_other_things_are_refused():
    """A list of answers is refused with its position, as rows refuse it."""
    with pytest.raises(InvalidInputError, match=r"^request 0: .*client\.history"):
        results_to_frame([None])


def test_missing_pandas_is_said_with_the_cure(monkeypatch):
    """Where pandas is not installed, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigurationError, match=r"pip install pandas"):
        results_to_frame([])


def test_pandas_is_imported_only_for_a_frame():
    """Importing the function imports neither pandas nor SQLite."""
    code = (
        "import sys; import llm_api_client.record.frame; "
        "slow = {'pandas', 'numpy', 'sqlite3'} & set(sys.modules); sys.exit(str(slow) if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
