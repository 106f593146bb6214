"""How long it takes to cut a history of 100,000 tokens to half.

A conversation that has outgrown its model is cut before every call, so this is paid again and again. Two shapes: a
history of 400 turns, and one single message, which can only lose a part of itself. What is left is counted too: a cut
that leaves far less than the limit allows is quick and wrong.
"""

from statistics import median
from typing import Any

from harness.envs import NAMESAKE, PROJECT
from harness.figures import Outcome, Table, Target, ratios, spread
from harness.processes import Contestant, compete
from harness.rounds import in_turns
from harness.settings import Settings

LONG = False
TAKES = "2 minutes"
ROUNDS = 3
SHAPES = {"400 turns": (400, 238), "one message": (1, 97_600)}
"""Turns, and words in each: about 100,000 tokens in all."""

OURS = "this library"
OTHER = "llm-api-client 0.1.8"
CONTESTANTS = [Contestant(OURS, PROJECT, "truncation"), Contestant(OTHER, NAMESAKE, "truncation")]


def run(settings: Settings) -> Outcome:
    """Both shapes."""
    rounds = settings.rounds or ROUNDS
    outcome = Outcome()
    rows = []
    for shape, (turns, words) in SHAPES.items():

        def measure(contestant: Contestant, turns: int = turns, words: int = words) -> dict[str, Any]:
            report = compete(contestant, count=turns, words=words)
            return {
                "ms": 1000 * report["wall"],
                "cpu_ms": 1000 * report["cpu"],
                "tokens": report["tokens"],
                "left": report["left"] / report["limit"],
            }

        samples = in_turns(CONTESTANTS, rounds, measure, settings, shape)
        outcome.samples[shape] = samples
        for name, found in samples.items():
            times = [sample["ms"] for sample in found]
            rows.append(
                [
                    f"{name}, {shape}",
                    f"{found[0]['tokens']:,}",
                    spread(times),
                    spread([sample["cpu_ms"] for sample in found]),
                    spread(ratios(times, [sample["ms"] for sample in samples[OURS]]), 1),
                    f"{found[0]['left']:.1%}",
                ]
            )
        ours = [sample["ms"] for sample in samples[OURS]]
        outcome.targets.append(Target(f"{shape}: under 100 ms", f"{spread(ours)} ms", median(ours) < 100))
    outcome.tables.append(
        Table(
            "A history cut to half its tokens",
            ["", "tokens", "ms", "CPU ms", "× this library", "of the limit used"],
            rows,
            f"Medians of {rounds} rounds, and their ranges.",
        )
    )
    return outcome
