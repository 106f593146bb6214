"""What keeping every answer costs: a stream of requests with a checkpoint and without, and the size of the file.

40 calls in flight, of 30 ms each: about 1,300 answers a second, 400 characters long. Then the same requests once more,
which the checkpoint answers.
"""

from statistics import median
from typing import Any

from harness.envs import PROJECT
from harness.figures import Outcome, Table, Target, spread
from harness.processes import Contestant, compete
from harness.rounds import in_turns
from harness.settings import Settings

LONG = False
ROUNDS = 5
COUNT = 10_000
WITHOUT, WITH = "without a checkpoint", "with a checkpoint"
CONTESTANTS = [
    Contestant(WITHOUT, PROJECT, "stream", {"options": {"latency": 0.03}}),
    Contestant(WITH, PROJECT, "stream", {"options": {"latency": 0.03, "checkpoint": True}}),
]


def run(settings: Settings) -> Outcome:
    """Both in turns."""

    def measure(contestant: Contestant) -> dict[str, Any]:
        report = compete(contestant, count=COUNT, concurrency=40, words=50, warm_up=200)
        return {
            "per_second": COUNT / report["wall"],
            "cpu_ms": 1000 * report["cpu"] / COUNT,
            "bytes": report.get("bytes"),
            "replayed": report.get("replayed_per_second"),
        }

    rounds = settings.rounds or ROUNDS
    samples = in_turns(CONTESTANTS, rounds, measure, settings)
    ratios = [
        kept["per_second"] / bare["per_second"] for kept, bare in zip(samples[WITH], samples[WITHOUT], strict=True)
    ]
    size = [sample["bytes"] for sample in samples[WITH]]
    replayed = [sample["replayed"] for sample in samples[WITH]]
    return Outcome(
        tables=[
            Table(
                f"{COUNT:,} requests of 50 words, 40 calls of 30 ms in flight",
                ["", "answers/s", "CPU ms/request"],
                [
                    [name, spread([s["per_second"] for s in some]), spread([s["cpu_ms"] for s in some], 3)]
                    for name, some in samples.items()
                ],
                f"Medians of {rounds} rounds, and their ranges. Run again, the checkpoint gave {spread(replayed)} "
                "answers a second.",
            )
        ],
        targets=[
            Target(
                "at least 0.90 of the speed without, at 1,000 answers a second",
                spread(ratios, 3),
                median(ratios) >= 0.9,
            ),
            Target(
                "less than 600 bytes in the file for each answer, beyond its own JSON",
                f"{spread(size)} bytes",
                median(size) < 600,
            ),
        ],
        samples=samples,
    )
