"""What `import llm_api_client` costs: in scripts, in tests, at the prompt of a shell.

Each import in an interpreter of its own, in turns, over the time that an empty one takes. LiteLLM stands beside it,
since this library imports it only when a client is made. Also looked at: that neither it nor anything else that is
slow has come along.
"""

import json
import os
import subprocess
import time
from statistics import median
from typing import Any

from harness import envs
from harness.envs import NAMESAKE, PROJECT
from harness.figures import Outcome, Table, Target, spread
from harness.processes import Contestant
from harness.rounds import in_turns
from harness.settings import Settings

LONG = False
TAKES = "2 minutes"
ROUNDS = 10
SLOW = ("litellm", "openai", "httpx", "pydantic", "numpy", "tiktoken", "tqdm")

EMPTY = "nothing"
OURS = "import llm_api_client"
CLIENT = "from llm_api_client import APIClient"
CONTESTANTS = [
    Contestant(EMPTY, PROJECT, "pass"),
    Contestant(OURS, PROJECT, OURS),
    Contestant(CLIENT, PROJECT, CLIENT),
    Contestant("import litellm", PROJECT, "import litellm"),
    Contestant("import llm_api_client, 0.1.8", NAMESAKE, OURS),
]


def run(settings: Settings) -> Outcome:
    """In turns, after one round that is not counted: it writes the bytecode."""
    in_turns(CONTESTANTS, 1, _measure, settings, "warm-up")
    rounds = settings.rounds or ROUNDS
    samples = in_turns(CONTESTANTS, rounds, _measure, settings)
    empty = median(sample["ms"] for sample in samples[EMPTY])
    least = min(sample["ms"] for sample in samples[EMPTY])
    rows = []
    for name, found in samples.items():
        times = [sample["ms"] for sample in found]
        over = ["", ""] if name == EMPTY else [f"{median(times) - empty:,.0f}", f"{min(times) - least:,.0f}"]
        rows.append([f"`{name}`" if name != EMPTY else name, spread(times), *over])
    over = median(sample["ms"] for sample in samples[OURS]) - empty
    slow = _slow_modules()
    return Outcome(
        tables=[
            Table(
                "Time of an interpreter that imports",
                ["", "ms", "over an empty one: median", "over an empty one: least"],
                rows,
                f"Medians of {rounds} rounds, and their ranges.",
            )
        ],
        targets=[
            Target("`import llm_api_client` under 100 ms over an empty interpreter", f"{over:,.0f} ms", over < 100),
            Target("it brings none of " + ", ".join(SLOW), ", ".join(slow) or "none", not slow),
        ],
        samples=samples,
    )


def _measure(contestant: Contestant) -> dict[str, Any]:
    command = [envs.python(contestant.env), "-c", contestant.script]
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return {"ms": 1000 * (time.perf_counter() - started)}


def _slow_modules() -> list[str]:
    ask = f"import json, sys, llm_api_client; print(json.dumps([n for n in {SLOW!r} if n in sys.modules]))"
    done = subprocess.run([envs.python(PROJECT), "-c", ask], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
