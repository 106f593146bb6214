"""What this library's own machinery costs: the calls return at once, and no LiteLLM and no network are in the way.

CPU for each request at 32 workers, with limits and sanitizing on and off, beside a plain thread pool that makes the
same calls. Sanitizing and limits on tokens need the length of every prompt, which is LiteLLM's tokenizer at work.

Memory for each request of a batch of 100,000, beyond the caller's own dicts: while the first 32 calls hang and all
others wait, as Python counts it and as the system does, and when all were answered, the answers and `client.history`
included.
"""

from statistics import median
from typing import Any

from harness.envs import PROJECT
from harness.figures import Outcome, Table, Target, spread
from harness.processes import Contestant, compete
from harness.rounds import in_turns
from harness.settings import Settings

LONG = False
TAKES = "3 minutes"
ROUNDS = 3
COUNT = 20_000
QUEUED = 100_000
HIGH = {"max_requests_per_minute": 1_000_000_000, "max_tokens_per_minute": 1_000_000_000_000}
NONE = {"max_requests_per_minute": None, "max_tokens_per_minute": None}
REQUESTS_ONLY = {"max_requests_per_minute": 1_000_000_000, "max_tokens_per_minute": None}

PLAIN = "a plain thread pool"
ALL_ON = "limits on, sanitizing on"
CONTESTANTS = [
    Contestant(PLAIN, PROJECT, "engine", {"options": {"plain": True}}),
    Contestant("limits off, sanitizing off", PROJECT, "engine", {"options": NONE | {"sanitize": False}}),
    Contestant("limits off, sanitizing on", PROJECT, "engine", {"options": NONE}),
    Contestant("limit on requests only, sanitizing off", PROJECT, "engine",
               {"options": REQUESTS_ONLY | {"sanitize": False}}),
    Contestant("limits on, sanitizing off", PROJECT, "engine", {"options": HIGH | {"sanitize": False}}),
    Contestant(ALL_ON, PROJECT, "engine", {"options": HIGH}),
]  # fmt: skip
BY_PYTHON, BY_SYSTEM = "counted by Python", "counted by the system"
MEMORY = [
    Contestant(BY_PYTHON, PROJECT, "queue_memory", {"options": HIGH | {"trace": True}}),
    Contestant(BY_SYSTEM, PROJECT, "queue_memory", {"options": HIGH}),
]


def run(settings: Settings) -> Outcome:
    """CPU, then memory."""

    def measure(contestant: Contestant) -> dict[str, Any]:
        report = compete(contestant, count=COUNT, concurrency=32, warm_up=200)
        return {
            "cpu_ms": 1000 * report["cpu"] / COUNT,
            "per_second": COUNT / report["wall"],
            "rss_mb": report["rss_mb"],
        }

    def weigh(contestant: Contestant) -> dict[str, Any]:
        report = compete(contestant, count=QUEUED, concurrency=32, warm_up=200)
        return {"queued": report["queued"], "kept": report["kept"]}

    rounds = settings.rounds or ROUNDS
    cpu = in_turns(CONTESTANTS, rounds, measure, settings)
    memory = in_turns(MEMORY, min(rounds, 2), weigh, settings, "memory")
    cost = [sample["cpu_ms"] for sample in cpu[ALL_ON]]
    queued = [sample["queued"] for sample in memory[BY_PYTHON]]
    return Outcome(
        tables=[
            Table(
                f"{COUNT:,} requests of 12 words, 32 workers",
                ["", "CPU ms/request", "requests/s"],
                [
                    [name, spread([s["cpu_ms"] for s in samples], 3), spread([s["per_second"] for s in samples])]
                    for name, samples in cpu.items()
                ],
                f"Medians of {rounds} rounds, and their ranges.",
            ),
            Table(
                f"{QUEUED:,} requests: bytes for each, beyond the caller's dicts",
                ["", "while it waits", "when it was answered"],
                [
                    [name, spread([s["queued"] for s in samples]), spread([s["kept"] for s in samples])]
                    for name, samples in memory.items()
                ],
            ),
        ],
        targets=[
            Target("at most 0.2 ms of CPU for each request, all on", f"{spread(cost, 3)} ms", median(cost) <= 0.2),
            Target("at most 1 KB for each request that waits", f"{spread(queued)} bytes", median(queued) <= 1024),
        ],
        samples={"cpu": cpu, "memory": memory},
    )
