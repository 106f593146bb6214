"""Memory of a stream of a million requests: what it has resident at its end, beyond what it had near its beginning.

The calls return at once, so that only the engine's own memory is in the way.
"""

from typing import Any

from harness.envs import PROJECT
from harness.figures import Outcome, Table, Target, spread
from harness.processes import Contestant, compete
from harness.rounds import in_turns
from harness.settings import Settings

LONG = False
TAKES = "2 minutes"
COUNT = 1_000_000
STREAM = "iter_requests"
CONTESTANTS = [Contestant(STREAM, PROJECT, "stream")]


def run(settings: Settings) -> Outcome:
    """Once, or as often as is asked for."""

    def measure(contestant: Contestant) -> dict[str, Any]:
        report = compete(contestant, count=COUNT, concurrency=32, warm_up=5_000)
        return {
            "per_second": COUNT / report["wall"],
            "cpu_ms": 1000 * report["cpu"] / COUNT,
            "grown_mb": report["grown_mb"],
            "rss_mb": report["rss_mb"],
        }

    samples = in_turns(CONTESTANTS, settings.rounds or 1, measure, settings)
    grown = [sample["grown_mb"] for sample in samples[STREAM]]
    return Outcome(
        tables=[
            Table(
                f"{COUNT:,} requests of 12 words, 32 workers",
                ["", "requests/s", "CPU ms/request", "memory at the end, MB", "of it grown, MB"],
                [
                    [
                        name,
                        spread([s["per_second"] for s in some]),
                        spread([s["cpu_ms"] for s in some], 3),
                        spread([s["rss_mb"] for s in some], 1),
                        spread([s["grown_mb"] for s in some], 1),
                    ]
                    for name, some in samples.items()
                ],
                "Eight bytes a request are the tracker's response times, of which its percentiles are exact.",
            )
        ],
        targets=[Target("at most 10 MB of growth", f"{spread(grown, 1)} MB", max(grown) <= 10)],
        samples=samples,
    )
