"""Many calls in flight at once, as a slow model and a high limit ask for: whether they keep the server busy, and cost.

A server that takes two seconds for each answer and limits nothing. With 1,000 calls in flight it can give 500 answers a
second at best, 3,000 of them in six seconds; connections, threads and tasks are made in that time, too. With 3,000 in
flight nothing is asked but that no call fails; what it costs in memory is told.

LiteLLM in a thread pool of the same size stands beside it, and async-batch-llm with as many calls at once. LiteLLM's own
connections are 100 at most, whatever the pool's size. From cold is a first batch without a warm-up: LiteLLM's import is
part of it, and so are the first calls, of which nothing is known yet. A client that has not finished after 30 s is stopped, and its
answers until then are counted by the server.
"""

from statistics import median
from typing import Any

from harness.envs import ASYNC_BATCH, PROJECT
from harness.figures import Outcome, Table, Target, spread
from harness.processes import Contestant, compete, server
from harness.rounds import Samples, in_turns
from harness.settings import Settings

LONG = False
TAKES = "4 minutes"
ROUNDS = 1
SIZES = (1_000, 3_000)
"""Calls in flight."""
SECONDS_PER_ANSWER = 2.0
BATCHES = 3
"""Requests for each call in flight."""
PATIENCE = 30.0
NONE = {"max_requests_per_minute": None, "max_tokens_per_minute": None}
OURS = "this library"
CONTESTANTS = [
    Contestant(OURS, PROJECT, "project", {"options": NONE}),
    Contestant("this library, from cold", PROJECT, "project", {"options": NONE, "warm_up": 0}),
    Contestant("LiteLLM in a thread pool", PROJECT, "litellm_threads", {"options": {"max_retries": 0}}),
    Contestant("async-batch-llm", ASYNC_BATCH, "async_batch"),
]


def run(settings: Settings) -> Outcome:
    """1,000 in flight, then 3,000."""
    outcome = Outcome()
    for concurrency in SIZES:

        def measure(contestant: Contestant, concurrency: int = concurrency) -> dict[str, Any]:
            return _measure(contestant, concurrency)

        samples = in_turns(CONTESTANTS, settings.rounds or ROUNDS, measure, settings, f"{concurrency:,} in flight")
        outcome.tables.append(_table(concurrency, samples))
        outcome.samples[f"{concurrency} in flight"] = samples
        ours = samples[OURS]
        failed, finished = sum(sample["failed"] for sample in ours), all(sample["finished"] for sample in ours)
        outcome.targets.append(
            Target(
                f"{concurrency:,} in flight: all answered in {PATIENCE:g} s, no failure",
                f"{failed:,} failed" + ("" if finished else ", stopped"),
                finished and failed == 0,
            )
        )
    shares = [sample["share"] for sample in outcome.samples["1000 in flight"][OURS]]
    memory = [sample["rss_mb"] for sample in outcome.samples["3000 in flight"][OURS]]
    outcome.targets += [
        Target(
            "1,000 in flight: at least 85 % of the ideal rate",
            f"{spread([100 * share for share in shares], 1)} %",
            median(shares) >= 0.85,
        ),
        Target("3,000 in flight: in less than 1 GB", f"{spread(memory)} MB", max(memory) < 1024),
    ]
    return outcome


def _measure(contestant: Contestant, concurrency: int) -> dict[str, Any]:
    count = BATCHES * concurrency
    with server(provider={"latency": SECONDS_PER_ANSWER, "keep": 0}) as running:
        report = compete(
            contestant, base_url=running.base_url, count=count, concurrency=concurrency, warm_up=64, seconds=PATIENCE
        )
    seen = running.seen
    ideal = concurrency / SECONDS_PER_ANSWER
    # One that was stopped has the answers that the server gave; what it had under way is no failure.
    failed = count - report["answered"] if report["finished"] else sum(seen["errors"].values())
    answered = report["answered"] if report["finished"] else seen["answered"]
    return {
        "per_second": answered / report["wall"],
        "share": answered / report["wall"] / ideal,
        "answered": answered,
        "finished": report["finished"],
        "failed": failed,
        "in_flight": seen["peak_in_flight"],
        "connections": seen["connections"],
        "threads": report["threads"],
        "cpu_ms": 1000 * report["cpu"] / max(1, answered),
        "rss_mb": report["rss_mb"],
        "wall": report["wall"],
    }


def _table(concurrency: int, samples: Samples) -> Table:
    rows = []
    for name, rounds in samples.items():
        stopped = "" if all(sample["finished"] for sample in rounds) else ", stopped"
        rows.append(
            [
                name,
                spread([sample["per_second"] for sample in rounds]),
                spread([100 * sample["share"] for sample in rounds], 1),
                spread([sample["wall"] for sample in rounds], 1) + stopped,
                spread([sample["failed"] for sample in rounds]),
                f"{max(sample['in_flight'] for sample in rounds):,}",
                f"{max(sample['threads'] for sample in rounds):,}",
                spread([sample["cpu_ms"] for sample in rounds], 2),
                spread([sample["rss_mb"] for sample in rounds]),
            ]
        )
    return Table(
        f"{BATCHES * concurrency:,} requests, {concurrency:,} in flight, answers in {SECONDS_PER_ANSWER:g} s: at best "
        f"{concurrency / SECONDS_PER_ANSWER:,.0f} a second",
        ["client", "answers/s", "% of the ideal", "seconds", "failed", "most in flight", "most threads",
         "CPU ms/answer", "max RSS MB"],
        rows,
        "Most in flight is what the server saw.",
    )  # fmt: skip
