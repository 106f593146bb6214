"""Contestants in turns: A B C A B C …, so that whatever else the machine does falls on all of them alike."""

from collections.abc import Callable, Sequence
from typing import Any

from harness.processes import Contestant
from harness.settings import Settings

Samples = dict[str, list[dict[str, Any]]]


def in_turns(
    contestants: Sequence[Contestant],
    rounds: int,
    measure: Callable[[Contestant], dict[str, Any]],
    settings: Settings,
    what: str = "",
) -> Samples:
    """What `measure` reports of every contestant in every round."""
    samples: Samples = {contestant.name: [] for contestant in contestants}
    for number in range(1, rounds + 1):
        for contestant in contestants:
            sample = measure(contestant)
            samples[contestant.name].append(sample)
            figures = ", ".join(f"{name} {value:,.3g}" for name, value in sample.items() if isinstance(value, float))
            settings.log(f"{what} {number}/{rounds} {contestant.name}: {figures}")
    return samples
