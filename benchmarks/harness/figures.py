"""Samples to figures: medians, ranges, and ratios of contestants in the same round."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Table:
    """A table of a section, as it is shown.

    Attributes:
        title: What it is about.
        columns: Heads.
        rows: Cells.
        note: What has to be known to read it.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass
class Target:
    """Something that this project has set itself, and what was measured.

    Attributes:
        wanted: What is wanted.
        measured: What was found.
        met: Whether that is enough.
    """

    wanted: str
    measured: str
    met: bool


@dataclass
class Outcome:
    """What a section found.

    Attributes:
        tables: To be shown.
        targets: To be met.
        samples: The single measurements behind the tables, by contestant.
        pictures: SVG of what is drawn, by the name of its file in `docs/`.
    """

    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median and range: "310 (290–325)"; without a range where there is one value."""
    middle = f"{median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each round's value over the same round's base: what slows a whole round down cancels out."""
    return [value / other for value, other in zip(values, base, strict=True)]


def markdown(table: Table) -> str:
    """A table as markdown: text to the left, figures to the right."""
    lines = [f"**{table.title}**", ""]
    lines.append("| " + " | ".join(table.columns) + " |")
    lines.append("|---" + "|--:" * (len(table.columns) - 1) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    if table.note:
        lines += ["", table.note]
    return "\n".join(lines)
