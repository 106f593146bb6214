"""30,000 requests a minute from one process, for ten minutes: whether a high limit is used as fully as a low one.

The server admits 30,000 requests in any 60 seconds, strictly: one more, by its own clock and as the requests happen to
arrive, is a 429. Each request is up to 0.2 s under way before it arrives, and answered 0.3 s after that. The client is
told the same limit, and more prompts than it can send come as a stream. It is stopped when the time is over; answers
are counted by the server, every minute.
"""

import threading
from itertools import pairwise
from typing import Any

from harness.envs import PROJECT
from harness.figures import Outcome, Table, Target
from harness.processes import Contestant, Server, compete, server
from harness.settings import Settings

LONG = True
TAKES = "10 minutes, or as --minutes says"
MINUTES = 10.0
REQUESTS_PER_MINUTE = 30_000
NETWORK = {"window": 60.0, "arrival_jitter": 0.2, "latency": 0.3, "seed": 1, "keep": 0}
OURS = Contestant(
    "this library",
    PROJECT,
    "project",
    {
        "options": {
            "max_requests_per_minute": REQUESTS_PER_MINUTE,
            "max_tokens_per_minute": 2_000_000_000,
            "stream": True,
        }
    },
)
CONCURRENCY = 1_000


def run(settings: Settings) -> Outcome:
    """One run."""
    minutes = settings.minutes or MINUTES
    ride = _ride(minutes, settings)
    return Outcome(
        tables=[
            Table(
                f"{REQUESTS_PER_MINUTE:,} requests a minute, for {minutes:g} minutes",
                ["client", "share of the allowed rate", "answers", "429s", "failed", "fullest 60 s", "emptiest minute",
                 "most threads", "most in flight", "CPU ms per answer", "max RSS MB"],
                [
                    [
                        OURS.name,
                        f"{ride['share']:.1%}",
                        f"{ride['answered']:,}",
                        f"{ride['refused']:,}",
                        f"{ride['failed']:,}",
                        f"{ride['fullest']:,}",
                        f"{min(ride['by_minute'], default=0):,}",
                        f"{ride['threads']:,}",
                        f"{ride['in_flight']:,}",
                        f"{ride['cpu_ms']:.2f}",
                        f"{ride['rss_mb']:,.0f}",
                    ]
                ],
                "The fullest 60 s are those of the server's sliding window; the emptiest minute is one of those counted "
                "from the first request on. Memory includes the prompts.",
            )
        ],
        targets=[
            Target(f"97 % of {REQUESTS_PER_MINUTE:,} requests a minute used", f"{ride['share']:.1%}",
                   ride["share"] >= 0.97),
            Target("no 429", f"{ride['refused']:,}", ride["refused"] == 0),
        ],
        samples=ride,
    )  # fmt: skip


def _ride(minutes: float, settings: Settings) -> dict[str, Any]:
    with server(provider=NETWORK | {"requests_per_minute": REQUESTS_PER_MINUTE}) as running:
        over = threading.Event()
        answered: list[int] = []
        watch = threading.Thread(target=_watch, args=(running, over, answered, settings))
        watch.start()
        try:
            report = compete(
                OURS,
                base_url=running.base_url,
                count=int(REQUESTS_PER_MINUTE * (minutes + 1)),
                concurrency=CONCURRENCY,
                warm_up=0,
                seconds=minutes * 60,
            )
        finally:
            over.set()
            watch.join()
    seen = running.seen
    return {
        "share": seen["answered"] / (REQUESTS_PER_MINUTE * minutes),
        "answered": seen["answered"],
        "refused": seen["refused"],
        "failed": sum(seen["errors"].values()),
        "fullest": seen["worst_minute"],
        "by_minute": [after - before for before, after in pairwise([0, *answered])],
        "threads": report["threads"],
        "in_flight": seen["peak_in_flight"],
        "cpu_ms": 1000 * report["cpu"] / max(1, seen["answered"]),
        "rss_mb": report["rss_mb"],
    }


def _watch(running: Server, over: threading.Event, answered: list[int], settings: Settings) -> None:
    """The answers given when each minute is over, from the first request on."""
    while not running.counts()["received"]:
        if over.wait(0.1):
            return
    # A minute is counted when its last requests were answered.
    patience = 60.0 + NETWORK["arrival_jitter"] + NETWORK["latency"]
    while not over.wait(patience):
        answered.append(running.counts()["answered"])
        settings.log(f"minute {len(answered)}: {answered[-1]:,} answered in all")
        patience = 60.0
