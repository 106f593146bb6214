"""What every contestant needs: its order, prompts, a meter, and a line of JSON for its report.

Runs in every environment, so it imports nothing but the standard library.
"""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.request import Request, urlopen

MODEL = "gpt-4o-mini"
WORDS = """
river stone amber quiet window market copper lantern winter garden silver bridge meadow harbor timber candle
velvet thunder saddle orchard marble feather canyon whistle ribbon ladder anchor pepper mirror blanket compass
kettle pillow hammer basket button carpet drawer engine forest glacier helmet island jacket kitten lemon magnet
needle ocean pocket quarry rocket spiral tunnel umbrella valley walnut yellow zipper barrel cactus dollar easel
"""


@dataclass(frozen=True)
class Order:
    """What a contestant is told.

    Attributes:
        base_url: The server's address.
        count: How many prompts.
        words: Words of each.
        concurrency: Most calls in flight.
        warm_up: Prompts sent before the meter runs.
        seconds: After this time it is over, whatever is under way.
        options: Options of the contestant's own.
    """

    base_url: str = ""
    count: int = 1_000
    words: int = 12
    concurrency: int = 32
    warm_up: int = 64
    seconds: float | None = None
    options: dict[str, Any] = field(default_factory=dict)


Perform = Callable[[list[str]], int]
"""Sends prompts, and returns how many were answered."""


def prompts(count: int, words: int, name: str) -> list[str]:
    """Distinct prompts; the same for the same arguments."""
    rng, vocabulary = Random(f"{name} {words}"), WORDS.split()
    return [f"{name} {number}: {' '.join(rng.choices(vocabulary, k=words - 2))}" for number in range(count)]


def messages(prompt: str) -> list[dict[str, str]]:
    """A prompt as a conversation of one turn."""
    return [{"role": "user", "content": prompt}]


class Meter:
    """Wall-clock and CPU time of this process from when it is made, and the most threads that there were."""

    def __init__(self) -> None:
        self.threads = threading.active_count()
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def read(self) -> dict[str, float]:
        """All of it, in seconds and MB."""
        cpu = time.process_time() - self._cpu
        wall = time.perf_counter() - self._wall
        return {"wall": wall, "cpu": cpu, "rss_mb": max_rss_mb(), "threads": self.threads}

    def watch_threads(self) -> None:
        """Look at the number of threads, ten times a second, until the process ends."""

        def look() -> None:
            while True:
                self.threads = max(self.threads, threading.active_count() - 2)  # this one, and the watchdog
                time.sleep(0.1)

        threading.Thread(target=look, daemon=True).start()


def max_rss_mb() -> float:
    """The most memory that this process ever had resident."""
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def report(**facts: Any) -> None:
    """Tell what was measured."""
    print("REPORT " + json.dumps(facts), flush=True)


def order() -> Order:
    """What this process was told."""
    return Order(**json.loads(sys.argv[1]))


def run(make: Callable[[Order], Perform]) -> None:
    """Make the contestant, warm it up, and measure it.

    Where the order names a time, the process reports and ends when that has passed: not every contestant can be
    stopped in another way, and it is the server that counts.
    """
    told = order()
    perform = make(told)
    if told.warm_up:
        perform(prompts(told.warm_up, told.words, "warm-up"))
        urlopen(Request(told.base_url.removesuffix("/v1") + "/simulator/reset", method="POST")).read()
    texts = prompts(told.count, told.words, "question")
    meter = Meter()
    if told.seconds:
        seconds = told.seconds
        meter.watch_threads()

        def end() -> None:
            time.sleep(seconds)
            report(finished=False, answered=None, **meter.read())
            os._exit(0)

        threading.Thread(target=end, daemon=True).start()
    answered = perform(texts)
    report(finished=True, answered=answered, **meter.read())
    sys.stdout.flush()
    os._exit(0)  # what a contestant does at its exit is not measured
