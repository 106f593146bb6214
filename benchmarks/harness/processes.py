"""Starts the server and the contestants, each in a process of its own, and reads what they report."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from harness import envs

HERE = Path(__file__).resolve().parents[1]
NOWHERE = "http://127.0.0.1:9/v1"
PATIENCE = 900.0
"""Seconds that a contestant may take beyond its own time."""

_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or LiteLLM fetches its table of prices when it is imported
    "LITELLM_LOG": "ERROR",
    "NO_PROXY": "127.0.0.1,localhost",
    "OPENAI_API_KEY": "no-key-is-needed-here",
    "PYTHONHASHSEED": "0",
}


@dataclass(frozen=True)
class Contestant:
    """Who takes part.

    Attributes:
        name: Its name in the tables.
        env: Its environment.
        script: Its module in `benchmarks/contestants/`.
        order: What it is told beside what all are told.
    """

    name: str
    env: str
    script: str
    order: Mapping[str, Any] = field(default_factory=dict)


class Server:
    """A server that runs."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.seen: dict[str, Any] = {}
        """What it saw, once it has stopped."""

    def counts(self) -> dict[str, Any]:
        """What it has seen so far."""
        with urlopen(self.base_url.removesuffix("/v1") + "/simulator/counts", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def server(**order: Any) -> Iterator[Server]:
    """A simulated provider; see `harness/serve.py` for what it can be told."""
    command = [envs.python(envs.PROJECT), str(HERE / "harness" / "serve.py"), json.dumps(order)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    try:
        running = Server(process.stdout.readline().strip())
        if not running.base_url:
            raise RuntimeError("the simulated provider did not start")
        yield running
        process.terminate()
        output, _ = process.communicate(timeout=30)
        running.seen = json.loads(output.splitlines()[-1])
    finally:
        process.kill()
        process.wait()


def compete(contestant: Contestant, **order: Any) -> dict[str, Any]:
    """Run a contestant to its end, and return its report.

    Raises:
        RuntimeError: It ended without one.
    """
    told = {**order, **contestant.order}
    command = [
        envs.python(contestant.env), str(HERE / "contestants" / f"{contestant.script}.py"), json.dumps(told)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as elsewhere:  # where no checkout can be imported by chance
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=elsewhere,
            env=environment(told.get("base_url", NOWHERE)),
            timeout=PATIENCE + (told.get("seconds") or 0),
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    if not lines:
        message = f"{contestant.name} ended with status {done.returncode} and no report:\n{done.stderr[-3000:]}"
        raise RuntimeError(message)
    report: dict[str, Any] = json.loads(lines[-1].removeprefix("REPORT "))
    return report


def environment(base_url: str = NOWHERE) -> dict[str, str]:
    """The variables of a process.

    The address is among them: some take it from there alone, and nobody shall ask a real provider by mistake.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONSTARTUP"}}
    return inherited | _ENVIRONMENT | dict.fromkeys(("OPENAI_BASE_URL", "OPENAI_API_BASE"), base_url)
