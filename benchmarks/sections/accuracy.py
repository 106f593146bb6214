"""How much of an allowed rate is used, and whether it is ever exceeded.

The server admits 600 requests, or 100,000 tokens, in any 60 seconds, strictly: one more, by its own clock and as the
requests happen to arrive, is a 429. Each request is up to 0.2 s under way before it arrives, and answered 0.3 s after
that. Clients are told the same limit and have more prompts than they can send. A perfect client gets all of the
allowed rate and no 429 at all.

Each client has a server of its own, and all run side by side in the same minutes, since ten minutes do not get shorter
by taking turns; together they are far from using up the processor. A client is stopped when the time is over; answers
are counted by the server.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness.envs import ASYNC_BATCH, NAMESAKE, PROJECT
from harness.figures import Outcome, Table, Target
from harness.processes import Contestant, compete, server
from harness.settings import Settings

LONG = True
TAKES = "10 minutes, or as --minutes says"
MINUTES = 10.0
REQUESTS_PER_MINUTE = 600
TOKENS_PER_MINUTE = 100_000
ANSWER_TOKENS = (20, 600)
NETWORK = {"window": 60.0, "arrival_jitter": 0.2, "latency": 0.3, "seed": 1, "keep": 100_000}

_ESTIMATOR = {"characters_per_token": 4.0, "expected_output_tokens": sum(ANSWER_TOKENS) // 2}
REQUESTS = [
    Contestant(
        "this library", PROJECT, "project", {"options": {"max_requests_per_minute": 600, "max_tokens_per_minute": None}}
    ),
    Contestant(
        "llm-api-client 0.1.8",
        NAMESAKE,
        "namesake",
        {"options": {"max_requests_per_minute": 600, "max_tokens_per_minute": None}},
    ),
    Contestant("async-batch-llm", ASYNC_BATCH, "async_batch", {"options": {"max_requests_per_minute": 600}}),
    Contestant(
        "async-batch-llm, quota_burst_seconds=1",
        ASYNC_BATCH,
        "async_batch",
        {"options": {"max_requests_per_minute": 600, "quota_burst_seconds": 1.0}},
    ),
]
TOKENS = [
    Contestant(
        "this library",
        PROJECT,
        "project",
        {"options": {"max_requests_per_minute": None, "max_tokens_per_minute": 100_000}},
    ),
    Contestant(
        "llm-api-client 0.1.8",
        NAMESAKE,
        "namesake",
        {"options": {"max_requests_per_minute": None, "max_tokens_per_minute": 100_000}},
    ),
    Contestant(
        "async-batch-llm, quota_burst_seconds=1, told the mean length of an answer",
        ASYNC_BATCH,
        "async_batch",
        {"options": {"max_tokens_per_minute": 100_000, "quota_burst_seconds": 1.0, "token_estimator": _ESTIMATOR}},
    ),
]


def run(settings: Settings) -> Outcome:
    """All of them at once."""
    minutes = settings.minutes or MINUTES
    settings.log(f"{len(REQUESTS) + len(TOKENS)} clients side by side for {minutes:g} minutes")
    with ThreadPoolExecutor(len(REQUESTS) + len(TOKENS)) as pool:
        by_requests = [pool.submit(_ride, contestant, minutes, tokens=False) for contestant in REQUESTS]
        by_tokens = [pool.submit(_ride, contestant, minutes, tokens=True) for contestant in TOKENS]
    rides = [future.result() for future in by_requests]
    token_rides = [future.result() for future in by_tokens]
    return Outcome(
        tables=[
            _table(f"{REQUESTS_PER_MINUTE} requests a minute, for {minutes:g} minutes", REQUESTS, rides),
            _table(
                f"{TOKENS_PER_MINUTE:,} tokens a minute, for {minutes:g} minutes; answers of {ANSWER_TOKENS[0]} to "
                f"{ANSWER_TOKENS[1]} tokens, unknown before",
                TOKENS,
                token_rides,
            ),
        ],
        targets=[
            *_targets(f"{REQUESTS_PER_MINUTE} requests a minute", rides[0]),
            *_targets(f"{TOKENS_PER_MINUTE:,} tokens a minute", token_rides[0]),
        ],
        samples={
            "requests": {c.name: ride for c, ride in zip(REQUESTS, rides, strict=True)},
            "tokens": {c.name: ride for c, ride in zip(TOKENS, token_rides, strict=True)},
        },
    )


def _ride(contestant: Contestant, minutes: float, *, tokens: bool) -> dict[str, Any]:
    limit = {"tokens_per_minute": TOKENS_PER_MINUTE} if tokens else {"requests_per_minute": REQUESTS_PER_MINUTE}
    with server(provider=NETWORK | limit, timeline=True, answer_tokens=ANSWER_TOKENS if tokens else None) as running:
        report = compete(
            contestant,
            base_url=running.base_url,
            count=int(REQUESTS_PER_MINUTE * (minutes + 2)),
            concurrency=64,
            warm_up=0,
            seconds=minutes * 60,
        )
    seen = running.seen
    unit = "tokens" if tokens else "answers"
    allowed = TOKENS_PER_MINUTE if tokens else REQUESTS_PER_MINUTE
    by_minute = seen["per_minute"][unit]
    return {
        "share": sum(by_minute) / (allowed * minutes),
        "answered": seen["answered"],
        "received": seen["received"],
        "refused": seen["refused"],
        "fullest": seen["worst_minute_tokens" if tokens else "worst_minute"],
        # The last minute is one only if it was whole.
        "emptiest": min(by_minute[: int(minutes)] or [0]) if len(by_minute) >= int(minutes) else 0,
        "by_minute": by_minute,
        "threads": report["threads"],
        "in_flight": seen["peak_in_flight"],
        "cpu_ms": 1000 * report["cpu"] / max(1, seen["answered"]),
        "cpu_seconds": report["cpu"],
        "rss_mb": report["rss_mb"],
    }


def _table(title: str, contestants: list[Contestant], rides: list[dict[str, Any]]) -> Table:
    return Table(
        title,
        ["client", "share of the allowed rate", "answers", "429s", "fullest 60 s", "emptiest minute", "most threads",
         "most in flight", "CPU ms per answer"],
        [
            [
                contestant.name,
                f"{ride['share']:.1%}",
                f"{ride['answered']:,}",
                f"{ride['refused']:,}",
                f"{ride['fullest']:,}",
                f"{ride['emptiest']:,}",
                f"{ride['threads']:.0f}",
                f"{ride['in_flight']:,}",
                f"{ride['cpu_ms']:.1f}",
            ]
            for contestant, ride in zip(contestants, rides, strict=True)
        ],
        "The fullest 60 s are those of the server's sliding window; the emptiest minute is one of those counted from "
        "the first request on. CPU counts everything from the first request to the end, waiting included.",
    )  # fmt: skip


def _targets(limit: str, ride: dict[str, Any]) -> list[Target]:
    return [
        Target(f"no 429 at {limit}", f"{ride['refused']:,}", ride["refused"] == 0),
        Target(f"95 % of {limit} used", f"{ride['share']:.1%}", ride["share"] >= 0.95),
    ]
