"""Lines on logarithmic axes, as SVG: small, without any library, and readable on light and on dark ground."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

GREY = "#808080"
COLOURS = ("#2f81d6", "#d9730d", "#2e9e5b", "#a05bd0", "#c0392b")
"""Each with enough contrast to white and to black."""
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 230, 190, 46, 30, 34, 14


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: What it shows.
        unit: What the horizontal axis counts.
        lines: Points of each line, by its name; all above zero.
    """

    title: str
    unit: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def draw(title: str, panels: Sequence[Panel]) -> str:
    """Panels side by side under one title, with one vertical scale, and one legend for all."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    heights = [y for panel in panels for line in panel.lines.values() for _, y in line] or [1.0]
    low, high = floor(log10(min(heights))), max(ceil(log10(max(heights))), floor(log10(min(heights))) + 1)
    width = LEFT + len(panels) * (WIDTH + GAP)
    height = TOP + 18 + HEIGHT + BOTTOM + 22
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="11" fill="{GREY}">',
        f'<text x="{LEFT}" y="16" font-size="13">{escape(title)}</text>',
    ]
    top = TOP + 18
    for power in range(low, high + 1):
        y = top + HEIGHT * (high - power) / (high - low)
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{10.0**power:g}</text>')
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + number * (WIDTH + GAP), top, (low, high), colours)
    x = LEFT
    for name, colour in colours.items():
        parts.append(f'<rect x="{x}" y="{height - 13}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 19}" y="{height - 7}">{escape(name)}</text>')
        x += 34 + 6 * len(name)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, left: int, top: int, scale: tuple[int, int], colours: Mapping[str, str]) -> list[str]:
    low, high = scale
    sizes = [x for line in panel.lines.values() for x, _ in line] or [1.0]
    first, last = log10(min(sizes)), max(log10(max(sizes)), log10(min(sizes)) + 1)

    def across(x: float) -> float:
        return left + 8 + (WIDTH - 16) * (log10(x) - first) / (last - first)

    def down(y: float) -> float:
        return top + HEIGHT * (high - log10(y)) / (high - low)

    parts = [f'<text x="{left}" y="{top - 8}">{escape(panel.title)}</text>']
    for power in range(low, high + 1):
        y = f"{down(10.0**power):.1f}"
        parts.append(f'<path d="M{left} {y}h{WIDTH}" stroke="{GREY}" stroke-opacity=".3"/>')
    for size in dict.fromkeys(sorted(sizes)):
        label = f"{size / 1e6:g}M" if size >= 1e6 else f"{size / 1e3:g}k" if size >= 1e3 else f"{size:g}"
        parts.append(f'<text x="{across(size):.1f}" y="{top + HEIGHT + 14}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{left + WIDTH / 2:.0f}" y="{top + HEIGHT + 28}" text-anchor="middle">{panel.unit}</text>')
    for name, line in panel.lines.items():
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="2.5" fill="{colours[name]}">'
            f"<title>{escape(name)}: {x:,g} {panel.unit}, {y:.3g} ms</title></circle>"
            for x, y in line
        ]
    return parts
