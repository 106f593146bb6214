"""What this library costs beside calling LiteLLM by hand, and beside others, when nothing holds them back.

32 calls in flight, a server that answers at once and limits nothing, distinct prompts of 12 and of 2,000 words. All the
time that passes is then the client's own, in one process and under one interpreter lock, so that requests a second are
the reciprocal of CPU time. With a real provider every contestant here waits for answers most of the time.

"LiteLLM in a thread pool" is `litellm.completion` in a plain `ThreadPoolExecutor(32)`: what anybody would write. This
library goes through LiteLLM as well, so its ratio to that is what its checks, limits, tokens, history and tracker cost.
The floor is the standard library's `http.client` in 32 threads: JSON out, JSON in, nothing else.
"""

from statistics import median
from typing import Any

from harness.envs import ASYNC_BATCH, NAMESAKE, PROJECT
from harness.figures import Outcome, Table, Target, ratios, spread
from harness.processes import Contestant, compete, server
from harness.rounds import Samples, in_turns
from harness.settings import Settings

LONG = False
ROUNDS = 5
COUNT = 1_000
SIZES = (12, 2_000)
HIGH = {"max_requests_per_minute": 10_000_000, "max_tokens_per_minute": 2_000_000_000}
NONE = {"max_requests_per_minute": None, "max_tokens_per_minute": None}

BASE = "LiteLLM in a thread pool"
OURS = "this library, limits on"
OURS_FREE = "this library, limits off"
CONTESTANTS = [
    Contestant(BASE, PROJECT, "litellm_threads", {"options": {"max_retries": 0}}),
    Contestant(OURS, PROJECT, "project", {"options": HIGH}),
    Contestant(OURS_FREE, PROJECT, "project", {"options": NONE}),
    Contestant("litellm.batch_completion", PROJECT, "litellm_batch"),
    Contestant("llm-api-client 0.1.8, limits on", NAMESAKE, "namesake", {"options": HIGH}),
    Contestant("async-batch-llm", ASYNC_BATCH, "async_batch"),
    Contestant("floor: http.client", PROJECT, "floor"),
]


def run(settings: Settings) -> Outcome:
    """Both sizes, one after the other."""
    outcome = Outcome()
    for words in SIZES:

        def measure(contestant: Contestant, words: int = words) -> dict[str, Any]:
            with server() as running:
                report = compete(contestant, base_url=running.base_url, count=COUNT, words=words, concurrency=32)
            if report["answered"] != COUNT:
                message = f"{contestant.name}: {report['answered']} of {COUNT} answered"
                raise RuntimeError(message)
            return {
                "per_second": COUNT / report["wall"], "cpu_ms": 1000 * report["cpu"] / COUNT, "rss_mb": report["rss_mb"]
            }  # fmt: skip

        samples = in_turns(CONTESTANTS, settings.rounds or ROUNDS, measure, settings, f"{words} words")
        outcome.tables.append(_table(words, samples))
        outcome.targets += [_target(words, name, samples) for name in (OURS, OURS_FREE)]
        outcome.samples[f"{words} words"] = samples
    return outcome


def _table(words: int, samples: Samples) -> Table:
    rows = []
    for name, rounds in samples.items():
        speed = [sample["per_second"] for sample in rounds]
        cpu = [sample["cpu_ms"] for sample in rounds]
        base_speed = [sample["per_second"] for sample in samples[BASE]]
        base_cpu = [sample["cpu_ms"] for sample in samples[BASE]]
        rows.append(
            [
                name,
                spread(speed),
                spread(ratios(speed, base_speed), 2),
                spread(cpu, 2),
                spread(ratios(cpu, base_cpu), 2),
                f"{max(sample['rss_mb'] for sample in rounds):,.0f}",
            ]
        )
    number = len(samples[BASE])
    return Table(
        f"{COUNT:,} prompts of {words:,} words, 32 in flight",
        ["client", "requests/s", "× LiteLLM", "CPU ms/request", "× LiteLLM", "max RSS MB"],
        rows,
        f"Medians of {number} rounds, and their ranges. Ratios are to LiteLLM in a thread pool in the same round.",
    )


def _target(words: int, name: str, samples: Samples) -> Target:
    speed = ratios(
        [sample["per_second"] for sample in samples[name]], [sample["per_second"] for sample in samples[BASE]]
    )
    return Target(f"{name}, {words:,} words: at least 0.95 × LiteLLM's speed", spread(speed, 3), median(speed) >= 0.95)
