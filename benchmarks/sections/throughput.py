"""What this library costs beside calling LiteLLM by hand, and beside others, when nothing holds them back.

32 calls in flight, a server that answers at once and limits nothing, distinct prompts of 12 and of 2,000 words. All the
time that passes is then the client's own, in one process and under one interpreter lock, so that requests a second are
the reciprocal of CPU time. With a real provider every contestant here waits for answers most of the time.

"LiteLLM in a thread pool" is `litellm.completion` in a plain `ThreadPoolExecutor(32)`: what anybody would write. With
`transport="litellm"` this library sends every request through LiteLLM as well, so its ratio to that is what its checks,
limits, tokens, history and tracker cost. By itself it takes the direct lane for all requests but the first of a kind.
The floor is what that lane is built on, the standard library's `http.client`, in 32 threads: JSON out, JSON in, nothing
else. Whoever is quick gets more prompts, so that each is measured for a second or more.
"""

from statistics import median
from typing import Any

from harness.envs import ASYNC_BATCH, CURATOR, NAMESAKE, PROJECT
from harness.figures import Outcome, Table, Target, ratios, spread
from harness.processes import Contestant, compete, server
from harness.rounds import Samples, in_turns
from harness.settings import Settings

LONG = False
TAKES = "8 minutes"
ROUNDS = 3
COUNT = 1_000
MANY = 4_000
LEAST = {12: 5.0, 2_000: 4.0}
"""How many times as fast as bare LiteLLM this library is to be, by words of a prompt."""
HIGH = {"max_requests_per_minute": 10_000_000, "max_tokens_per_minute": 2_000_000_000}
NONE = {"max_requests_per_minute": None, "max_tokens_per_minute": None}

BASE = "LiteLLM in a thread pool"
OURS = "this library, limits on"
OURS_FREE = "this library, limits off"
BY_LITELLM = 'this library, `transport="litellm"`, limits on'
FLOOR = "floor: http.client"
CONTESTANTS = [
    Contestant(BASE, PROJECT, "litellm_threads", {"options": {"max_retries": 0}}),
    Contestant(OURS, PROJECT, "project", {"options": HIGH, "count": MANY}),
    Contestant(OURS_FREE, PROJECT, "project", {"options": NONE, "count": MANY}),
    Contestant(BY_LITELLM, PROJECT, "project", {"options": HIGH | {"transport": "litellm"}}),
    Contestant("litellm.batch_completion", PROJECT, "litellm_batch"),
    Contestant("llm-api-client 0.1.8, limits on", NAMESAKE, "namesake", {"options": HIGH}),
    Contestant("bespokelabs-curator, limits on", CURATOR, "curator", {"count": 1_500}),
    Contestant("async-batch-llm", ASYNC_BATCH, "async_batch", {"count": 1_500}),
    Contestant(
        "OpenAI SDK in a thread pool", ASYNC_BATCH, "openai_threads", {"options": {"max_retries": 0}, "count": 1_500}
    ),
    Contestant(FLOOR, PROJECT, "floor", {"count": 2 * MANY}),
]


def run(settings: Settings) -> Outcome:
    """Both sizes, one after the other."""
    outcome = Outcome()
    for words in LEAST:

        def measure(contestant: Contestant, words: int = words) -> dict[str, Any]:
            count = contestant.order.get("count", COUNT)
            with server() as running:
                report = compete(contestant, base_url=running.base_url, count=count, words=words, concurrency=32)
            if report["answered"] != count:
                message = f"{contestant.name}: {report['answered']} of {count} answered"
                raise RuntimeError(message)
            return {
                "per_second": count / report["wall"], "cpu_ms": 1000 * report["cpu"] / count, "rss_mb": report["rss_mb"]
            }  # fmt: skip

        samples = in_turns(CONTESTANTS, settings.rounds or ROUNDS, measure, settings, f"{words} words")
        outcome.tables.append(_table(words, samples))
        outcome.targets += [
            _target(words, OURS, LEAST[words], samples),
            _target_of_floor(words, samples),
            _target(words, BY_LITELLM, 0.95, samples),
        ]
        outcome.samples[f"{words} words"] = samples
    return outcome


def _table(words: int, samples: Samples) -> Table:
    rows = []
    for name, rounds in samples.items():
        speed = _speed(rounds)
        cpu = _cpu(rounds)
        base_speed, base_cpu, floor_cpu = _speed(samples[BASE]), _cpu(samples[BASE]), _cpu(samples[FLOOR])
        rows.append(
            [
                name,
                spread(speed),
                spread(ratios(speed, base_speed), 2),
                spread(cpu, 2),
                spread(ratios(cpu, base_cpu), 2),
                f"{median(ratios(floor_cpu, cpu)):.0%}",
                f"{max(sample['rss_mb'] for sample in rounds):,.0f}",
            ]
        )
    number = len(samples[BASE])
    return Table(
        f"Prompts of {words:,} words, 32 in flight",
        ["client", "requests/s", "× LiteLLM", "CPU ms/request", "× LiteLLM", "of the floor", "max RSS MB"],
        rows,
        f"Medians of {number} rounds, and their ranges. Ratios are to LiteLLM in a thread pool in the same round. Of the "
        f"floor is the floor's CPU time over the client's, since the floor may be waiting for the server. {COUNT:,} to "
        f"{2 * MANY:,} prompts, more for those that are quick.",
    )


def _target(words: int, name: str, least: float, samples: Samples) -> Target:
    speed = ratios(_speed(samples[name]), _speed(samples[BASE]))
    wanted = f"{name}, {words:,} words: at least {least:g} × LiteLLM's speed"
    return Target(wanted, spread(speed, 2), median(speed) >= least)


def _target_of_floor(words: int, samples: Samples) -> Target:
    share = ratios(_cpu(samples[FLOOR]), _cpu(samples[OURS_FREE]))
    return Target(f"{OURS_FREE}, {words:,} words: at least 0.7 of the floor", spread(share, 2), median(share) >= 0.7)


def _speed(rounds: list[dict[str, Any]]) -> list[float]:
    return [sample["per_second"] for sample in rounds]


def _cpu(rounds: list[dict[str, Any]]) -> list[float]:
    return [sample["cpu_ms"] for sample in rounds]
