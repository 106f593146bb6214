"""An estimate in words and columns, for people. Pure."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_api_client.run.estimate import Estimate, ModelEstimate

FEW = 20
"""Requests, and models, that are named one by one where something is to be said of them; of others there is the
number."""

COLUMNS = 80

_MODEL_COLUMNS = 8
"""The least that is shown of a model's name."""

Row = tuple[str, ...]

_HEAD: Row = ("model", "requests", "prompt tokens", "least", "most", "least", "most")


def report(estimate: "Estimate", place: Callable[[int], str]) -> str:
    """All of an estimate, at most 80 columns wide; `place` names a request by its position."""
    return "\n".join([*_table(estimate), "", *_sums(estimate), *problems(estimate, place)])


def problems(estimate: "Estimate", place: Callable[[int], str]) -> tuple[str, ...]:
    """What would not go as it was asked for, or is not known, each in a few lines."""
    total = estimate.total
    found = []
    if estimate.refused:
        named = [f"{place(error.index or 0)}: {error.message}" for error in estimate.refusals]
        head = f"{_number(estimate.refused, 'request')} would fail before being sent"
        found.append(_listed(head, named, estimate.refused))
    if total.truncated:
        named = [f"{place(cut.index)}: from {cut.tokens:,} to {cut.left:,} tokens" for cut in estimate.cuts]
        found.append(_listed(f"{_number(total.truncated, 'prompt')} would be cut to fit", named, total.truncated))
    if total.dropped:
        losing = [(model, sums.dropped) for model, sums in estimate.by_model.items() if sums.dropped]
        named = [f"{model}: {_counted(dropped)}" for model, dropped in losing[:FEW]]
        found.append(_listed("Parameters would be dropped that the model does not take", named, len(losing)))
    if total.unpriced:
        found.append(f"Price not known, so in no sum: {_whose(estimate, lambda sums: sums.unpriced)}.")
    if total.zero_priced:
        found.append(f"$0 to LiteLLM, so free or not known: {_whose(estimate, lambda sums: sums.zero_priced)}.")
    if total.estimated:
        why = "images, sounds, files, or no tokenizer on this machine"
        found.append(f"Prompt tokens are an estimate ({why}): {_whose(estimate, lambda sums: sums.estimated)}.")
    return tuple(map(_wrapped, found))


def _sums(estimate: "Estimate") -> list[str]:
    total = estimate.total
    if total.cost_low is None or total.cost_high is None:
        cost = "not known"
    else:
        cost = _range(_dollars(total.cost_low), _dollars(total.cost_high))
        cost += ", as far as prices are known" if total.unpriced else ""
    if estimate.seconds_low is None or estimate.seconds_high is None:
        time = "without limits, as fast as answers come"
    else:
        time = f"{_range(_duration(estimate.seconds_low), _duration(estimate.seconds_high))}, by the limits alone"
    most = "at most max_tokens"
    if total.assumed:
        sets = "request that sets" if total.assumed == 1 else "requests that set"
        most += f", or an assumed {estimate.answer_tokens:,} for the {total.assumed:,} {sets} none"
    lines = (f"Cost: {cost}.", f"Time: {time}.", f"Answers, in tokens: at least 1, {most}.")
    return list(map(_wrapped, lines))


def _table(estimate: "Estimate") -> list[str]:
    largest = sorted(estimate.by_model.items(), key=lambda item: -item[1].requests)
    rows = [_row(model, sums) for model, sums in largest[:FEW]]
    if len(largest) > FEW:
        rows.append(_row(f"{len(largest) - FEW:,} others", reduce(add, (sums for _, sums in largest[FEW:]))))
    if len(rows) != 1:
        rows.append(_row("all", estimate.total))
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    widths[0] = max(min(widths[0], COLUMNS - sum(widths[1:]) - 2 * len(widths[1:])), _MODEL_COLUMNS)
    # Its two heads stand above two columns each.
    over = (widths[0], widths[1], widths[2], widths[3] + 2 + widths[4], widths[5] + 2 + widths[6])
    return [
        _aligned(("", "", "", "answer tokens", "cost"), over),
        *(_aligned((_shortened(row[0], widths[0]), *row[1:]), widths) for row in (_HEAD, *rows)),
    ]


def _row(name: str, sums: "ModelEstimate") -> Row:
    counts = (sums.requests, sums.prompt_tokens, sums.answer_tokens_low, sums.answer_tokens_high)
    if sums.cost_low is None or sums.cost_high is None:
        return (name, *map(_count, counts), "-", "-")
    return (name, *map(_count, counts), _dollars(sums.cost_low), _dollars(sums.cost_high))


def _aligned(row: Row, widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return "  ".join([f"{first[0]:<{first[1]}}", *(f"{text:>{width}}" for text, width in others)])


def _shortened(name: str, width: int) -> str:
    """A model's name without its middle: its provider and its version are at the ends."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def _whose(estimate: "Estimate", count: "Callable[[ModelEstimate], int]") -> str:
    counts = [(model, count(sums)) for model, sums in estimate.by_model.items() if count(sums)]
    named = ", ".join(f"{_number(n, 'request')} to {model}" for model, n in counts[:FEW])
    return named if len(counts) <= FEW else f"{named}, and others to {_number(len(counts) - FEW, 'further model')}"


def _counted(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({_number(count, 'request')})" for name, count in sorted(dropped.items()))


def _listed(head: str, named: Sequence[str], count: int) -> str:
    more = [f"and {count - len(named):,} more"] if count > len(named) else []
    return "\n".join([f"{head}:", *(f"  {text}" for text in (*named, *more))])


def _wrapped(text: str) -> str:
    """Each line of at most 80 columns, what it goes on with indented further."""
    lines = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        lines.append(fill(line, COLUMNS, subsequent_indent=f"{indent}  ", break_on_hyphens=False))
    return "\n".join(lines)


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _count(number: int) -> str:
    """A number of at most nine characters or so: large sums are not read digit by digit."""
    if number < 10_000_000:  # noqa: PLR2004  that has nine
        return f"{number:,}"
    return f"{number / 1e6:,.{0 if number >= 1e9 else 1}f}M"  # noqa: PLR2004  likewise


def _range(low: str, high: str) -> str:
    return low if low == high else f"from {low} to {high}"


def _dollars(amount: float) -> str:
    """An amount with as much after its point as matters."""
    if 0 < amount < 0.01:  # noqa: PLR2004  a cent
        return f"${max(amount, 0.0001):.4f}"
    return f"${amount:,.{0 if amount >= 10_000 else 2}f}"  # noqa: PLR2004


def _duration(seconds: float) -> str:
    """The two largest units of a time."""
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= length or (unit == "s" and not parts):
            parts.append(f"{left // length:,} {unit}")
        left %= length
    return " ".join(parts[:2])
