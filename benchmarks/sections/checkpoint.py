"""What keeping every answer costs: a stream of requests with a checkpoint and without, and the size of the file.

First 40 calls in flight, of 40 ms each, without LiteLLM and HTTP: about 1,000 answers a second, 400 characters long.
Then the same requests once more, which the checkpoint answers.

Then 32 calls in flight against a server that answers at once, with limits and sanitizing on: as fast as this library can
go, so that whatever the checkpoint does is felt.
"""

from statistics import median
from typing import Any

from harness.envs import PROJECT
from harness.figures import Outcome, Table, Target, ratios, spread
from harness.processes import Contestant, compete, server
from harness.rounds import Samples, in_turns
from harness.settings import Settings

LONG = False
TAKES = "3 minutes"
ROUNDS = 3
COUNT = 10_000
HTTP_COUNT = 5_000
WITHOUT, WITH = "without a checkpoint", "with a checkpoint"
CONTESTANTS = [
    Contestant(WITHOUT, PROJECT, "stream", {"options": {"latency": 0.04}}),
    Contestant(WITH, PROJECT, "stream", {"options": {"latency": 0.04, "checkpoint": True}}),
]
HIGH = {"max_requests_per_minute": 10_000_000, "max_tokens_per_minute": 2_000_000_000}
OVER_HTTP = [
    Contestant(WITHOUT, PROJECT, "project", {"options": HIGH}),
    Contestant(WITH, PROJECT, "project", {"options": HIGH | {"checkpoint": True}}),
]


def run(settings: Settings) -> Outcome:
    """Both in turns; calls that only wait, then calls over HTTP."""

    def measure(contestant: Contestant) -> dict[str, Any]:
        report = compete(contestant, count=COUNT, concurrency=40, words=50, warm_up=200)
        return {
            "per_second": COUNT / report["wall"],
            "cpu_ms": 1000 * report["cpu"] / COUNT,
            "bytes": report.get("bytes"),
            "replayed": report.get("replayed_per_second"),
        }

    def measure_over_http(contestant: Contestant) -> dict[str, Any]:
        with server() as running:
            report = compete(contestant, base_url=running.base_url, count=HTTP_COUNT, concurrency=32)
        if report["answered"] != HTTP_COUNT:
            message = f"{contestant.name}: {report['answered']} of {HTTP_COUNT} answered"
            raise RuntimeError(message)
        return {"per_second": HTTP_COUNT / report["wall"], "cpu_ms": 1000 * report["cpu"] / HTTP_COUNT}

    rounds = settings.rounds or ROUNDS
    waiting = in_turns(CONTESTANTS, rounds, measure, settings)
    over_http = in_turns(OVER_HTTP, rounds, measure_over_http, settings, "over HTTP")
    size = [sample["bytes"] for sample in waiting[WITH]]
    replayed = [sample["replayed"] for sample in waiting[WITH]]
    medians = f"Medians of {rounds} rounds, and their ranges."
    return Outcome(
        tables=[
            _table(
                f"{COUNT:,} requests of 50 words, 40 calls of 40 ms in flight",
                waiting,
                f"{medians} Run again, the checkpoint gave {spread(replayed)} answers a second.",
            ),
            _table(f"{HTTP_COUNT:,} requests of 12 words over HTTP, 32 in flight", over_http, medians),
        ],
        targets=[
            _target("at least 0.90 of the speed without, at 1,000 answers a second", waiting, 0.9),
            _target("at least 0.85 of the speed without, over HTTP at full speed", over_http, 0.85),
            Target(
                "less than 600 bytes in the file for each answer, beyond its own JSON",
                f"{spread(size)} bytes",
                median(size) < 600,
            ),
        ],
        samples={"waiting": waiting, "over HTTP": over_http},
    )


def _table(title: str, samples: Samples, note: str) -> Table:
    rows = [
        [name, spread([s["per_second"] for s in some]), spread([s["cpu_ms"] for s in some], 3)]
        for name, some in samples.items()
    ]
    return Table(title, ["", "answers/s", "CPU ms/request"], rows, note)


def _target(wanted: str, samples: Samples, least: float) -> Target:
    kept, bare = ([sample["per_second"] for sample in samples[name]] for name in (WITH, WITHOUT))
    share = ratios(kept, bare)
    return Target(wanted, spread(share, 3), median(share) >= least)
