"""The table of the reference documents: every row is held by a test, and every test has its row."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference-map.md"
SECTION = re.compile(r"^Held by `tests/reference/(test_\w+\.py)`\.$")
ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$")
MODULES = sorted(path.name for path in HERE.glob("test_*.py") if path.name not in {"test_map.py", "test_examples.py"})


def rows() -> dict[str, list[tuple[str, list[str]]]]:
    """By module, the id and the other cells of each row."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    module = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            module = None
        elif section := SECTION.match(line):
            module = section[1]
            found[module] = []
        elif row := ROW.match(line):
            assert module is not None, f"a row that no module holds: {line}"
            found[module].append((row[1], [cell.strip() for cell in row[2].split("|")]))
    return found


def defined_in(module: str) -> list[str]:
    tree = ast.parse((HERE / module).read_text(encoding="utf-8"))
    defined = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [node.name for node in defined if node.name.startswith("test_")]


def test_every_document_has_its_table():
    """There is a table for each module of tests, and a module for each table: one for each of the four documents."""
    assert sorted(rows()) == MODULES
    assert len(MODULES) == 4


@pytest.mark.parametrize("module", MODULES)
def test_rows_and_tests_are_the_same(module):
    """Each row names a test of its module and each test a row, in the same order, each once."""
    ids = [f"test_{name}" for name, _ in rows()[module]]
    assert ids == defined_in(module)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("module", MODULES)
def test_rows_are_whole(module):
    """A row says what is there and what serves it here; only its note may be empty."""
    for name, cells in rows()[module]:
        assert len(cells) == 3, name
        assert all(cells[:2]), name


def test_no_line_of_a_table_escapes():
    """Every line of a table is its head, the line below that, or a row with an id."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    heads = [line for line in lines if line == "| Row | There | Here | Note |"]
    assert len(heads) == len(MODULES)
    assert [line for line in lines if not ROW.match(line) and line not in heads] == ["|---|---|---|---|"] * len(heads)
