"""What a client does when it is told to wait.

Two servers, 400 distinct prompts, 32 in flight, answers in 20 ms. The stubborn one refuses every 20th distinct prompt
with a 429 and `Retry-After: 3` until those three seconds have passed. The limited one admits 200 requests in any five
seconds, which no client was told. Counted: requests sent, 429s, requests for a prompt that were sent before its own
Retry-After was over, and what became of the prompts. A client that has not finished after 60 s is stopped.

The two ask for opposite things. A real provider's 429 speaks for the whole account, so the considerate answer is to
pause everything, which the limited server rewards; on the stubborn one, where a 429 concerns a single prompt, whoever
pauses everything waits in vain.
"""

from typing import Any

from harness.envs import ASYNC_BATCH, NAMESAKE, PROJECT
from harness.figures import Outcome, Table, Target, spread
from harness.processes import Contestant, compete, server
from harness.rounds import Samples, in_turns
from harness.settings import Settings

LONG = False
TAKES = "5 minutes"
ROUNDS = 1
COUNT = 400
SECONDS = 60.0
NONE = {"max_requests_per_minute": None, "max_tokens_per_minute": None}
TUNED = {"rate_limit": {"cooldown_seconds": 1.0, "slow_start_items": 0}}
SERVERS: dict[str, dict[str, Any]] = {
    "every 20th prompt is refused for 3 s": {
        "provider": {"latency": 0.02}, "stubborn": {"every": 20, "retry_after": 3.0}
    },
    "200 requests in any 5 s": {"provider": {"latency": 0.02, "requests_per_minute": 200, "window": 5.0}},
}  # fmt: skip
OURS = "this library"
CONTESTANTS = [
    Contestant(OURS, PROJECT, "project", {"options": NONE}),
    Contestant("litellm.batch_completion", PROJECT, "litellm_batch"),
    Contestant("llm-api-client 0.1.8, 2 retries", NAMESAKE, "namesake", {"options": NONE | {"max_retries": 2}}),
    Contestant("async-batch-llm, its defaults", ASYNC_BATCH, "async_batch"),
    Contestant("async-batch-llm, cooldown 1 s, no slow start", ASYNC_BATCH, "async_batch", {"options": TUNED}),
]


def run(settings: Settings) -> Outcome:
    """Both servers."""
    outcome = Outcome()
    for weather, order in SERVERS.items():

        def measure(contestant: Contestant, order: dict[str, Any] = order) -> dict[str, Any]:
            with server(**order) as running:
                # Nothing is warmed up where it would use up a part of the limit.
                warm_up = 64 if "stubborn" in order else 0
                report = compete(
                    contestant,
                    base_url=running.base_url,
                    count=COUNT,
                    concurrency=32,
                    warm_up=warm_up,
                    seconds=SECONDS,
                )
            seen = running.seen
            return {
                "wall": report["wall"],
                "finished": report["finished"],
                "answered": seen["answered"],
                "received": seen["received"],
                "refused": seen.get("stubborn_refused", seen["refused"]),
                "early": seen.get("early"),
                "cpu_ms": 1000 * report["cpu"] / max(1, seen["answered"]),
            }

        samples = in_turns(CONTESTANTS, settings.rounds or ROUNDS, measure, settings, weather)
        outcome.tables.append(_table(weather, samples))
        ours = samples[OURS]
        outcome.targets.append(
            Target(
                f"{weather}: every prompt answered",
                f"{min(sample['answered'] for sample in ours):,} of {COUNT:,}",
                all(sample["answered"] == COUNT for sample in ours),
            )
        )
        outcome.samples[weather] = samples
    early = max(sample["early"] for sample in outcome.samples["every 20th prompt is refused for 3 s"][OURS])
    outcome.targets.append(Target("nothing sent before its Retry-After was over", f"{early:,}", early == 0))
    return outcome


def _table(weather: str, samples: Samples) -> Table:
    rows = []
    for name, rounds in samples.items():
        early = [sample["early"] for sample in rounds if sample["early"] is not None]
        stopped = "" if all(sample["finished"] for sample in rounds) else ", stopped"
        rows.append(
            [
                name,
                spread([sample["answered"] for sample in rounds]),
                spread([sample["received"] for sample in rounds]),
                spread([sample["refused"] for sample in rounds]),
                spread(early) if early else "–",
                spread([sample["wall"] for sample in rounds], 1) + stopped,
            ]
        )
    return Table(
        f"{COUNT:,} prompts, {weather}",
        ["client", "answered", "requests sent", "429s", "sent too early", "seconds"],
        rows,
    )
