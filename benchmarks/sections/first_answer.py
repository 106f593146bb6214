"""How long a fresh process takes to its first answer: what is felt at the prompt of a shell, and paid by every job.

From the start of the process to the end of its first call, against a server that answers at once. LiteLLM's import is
most of it; this library imports it when its client is made, and adds its own. The OpenAI SDK and async-batch-llm, which
do without LiteLLM, stand beside it.
"""

import subprocess
import time
from statistics import median
from typing import Any

from harness import envs
from harness.envs import ASYNC_BATCH, PROJECT
from harness.figures import Outcome, Table, Target, ratios, spread
from harness.processes import Contestant, environment, server
from harness.rounds import in_turns
from harness.settings import Settings

LONG = False
TAKES = "2 minutes"
ROUNDS = 5
MODEL = "gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "Say hello."}]

BASE = "LiteLLM"
OURS = "this library"
CONTESTANTS = [
    Contestant(BASE, PROJECT, f"import litellm; answer = litellm.completion({MODEL!r}, {MESSAGES!r})"),
    Contestant(
        OURS,
        PROJECT,
        "from llm_api_client import APIClient; "
        f"[answer] = APIClient(progress=False).make_requests([{{'model': {MODEL!r}, 'messages': {MESSAGES!r}}}])",
    ),
    Contestant(
        "OpenAI SDK",
        ASYNC_BATCH,
        f"import openai; answer = openai.OpenAI().chat.completions.create(model={MODEL!r}, messages={MESSAGES!r})",
    ),
    Contestant(
        "async-batch-llm",
        ASYNC_BATCH,
        "import asyncio, os; from async_batch_llm import llm, process_prompts; "
        f"batch = process_prompts(llm('openai-compatible:{MODEL}', base_url=os.environ['OPENAI_BASE_URL']), ['Hello.']); "
        "answer = asyncio.run(batch).results[0].success",
    ),
]


def run(settings: Settings) -> Outcome:
    """In turns, after one round that is not counted: it writes the bytecode."""
    rounds = settings.rounds or ROUNDS
    with server() as running:

        def measure(contestant: Contestant) -> dict[str, Any]:
            return _measure(contestant, running.base_url)

        in_turns(CONTESTANTS, 1, measure, settings, "warm-up")
        samples = in_turns(CONTESTANTS, rounds, measure, settings)
    times = {name: [sample["seconds"] for sample in some] for name, some in samples.items()}
    ours = ratios(times[OURS], times[BASE])
    return Outcome(
        tables=[
            Table(
                "From the start of a process to its first answer",
                ["", "seconds", "× LiteLLM"],
                [[name, spread(some, 2), spread(ratios(some, times[BASE]), 2)] for name, some in times.items()],
                f"Medians of {rounds} rounds, and their ranges.",
            )
        ],
        targets=[Target("at most 1.1 × LiteLLM's time", spread(ours, 2), median(ours) <= 1.1)],
        samples=samples,
    )


def _measure(contestant: Contestant, base_url: str) -> dict[str, Any]:
    # What a process does at its exit is not waited for.
    command = [
        envs.python(contestant.env), "-c", f"{contestant.script}; assert answer; print('answered', flush=True)"
    ]  # fmt: skip
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(base_url)
    ) as process:
        assert process.stdout is not None
        answered = any(line.strip() == "answered" for line in process.stdout)  # to that line, no further
        seconds = time.perf_counter() - started
        process.kill()
    if not answered:
        message = f"{contestant.name} had no answer"
        raise RuntimeError(message)
    return {"seconds": seconds}
