"""The commands as programs of their own: exit codes, signals, and what is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import ask, lines_of

PROGRAM = [sys.executable, "-m", "llm_api_client.cli"]


def start(*arguments: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return subprocess.Popen(
        [*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_until(condition: Callable[[], bool], program: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


@pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="Ctrl-C is ignored in the background")
def test_ctrl_c_keeps_what_was_answered(provider, write, tmp_path):
    """Ctrl-C in the middle: answers are on disk before it and after it, the status is 130, nothing is a traceback."""
    source = write(*[ask()] * 3, ask("[simulate: hang]"), *[ask()] * 2, ask("[simulate: hang]"), ask())
    output = tmp_path / "out.jsonl"
    with start("run", source, "-o", str(output), "--base-url", provider.base_url, "--rpm", "none") as program:
        wait_until(lambda: output.exists() and output.read_bytes().count(b"\n") == 3, program)
        wait_until(lambda: provider.counts.answered == 6, program)
        time.sleep(0.2)
        program.send_signal(signal.SIGINT)
        shown, said = program.communicate(timeout=20)
    assert program.returncode == 130
    codes = [line["error"] and line["error"]["code"] for line in lines_of(output)]
    assert codes == [None] * 3 + ["BatchInterruptedError"] + [None] * 2 + ["BatchInterruptedError", None]
    assert "Traceback" not in said
    assert "6 of 8 answered, 2 failed" in said
    resume = f"stopped; what was answered until then is kept in {output}.db: to go on, run the same command again"
    assert said.endswith(f"\nllm-api-client run: {resume}\n")
    assert shown == ""


def test_sigterm_is_a_stop_like_ctrl_c_and_can_be_resumed(provider, write, tmp_path):
    """A scheduler's SIGTERM has the status 143; calls under way are kept, and the next run asks only the rest."""
    source = write(*[ask(f"question {number}") for number in range(30)])
    output = tmp_path / "out.jsonl"
    command = ("run", source, "-o", str(output), "--base-url", provider.base_url, "--rpm", "120")
    with start(*command) as program:
        wait_until(lambda: provider.counts.answered >= 4, program)
        program.terminate()
        _, said = program.communicate(timeout=20)
    assert program.returncode == 143, said
    assert "run the same command again" in said.splitlines()[-1]
    answered = provider.counts.answered
    assert answered < 30
    with start(*command[:-1], "none") as program:
        _, said = program.communicate(timeout=60)
    assert program.returncode == 0, said
    assert provider.counts.received == 30
    assert f"checkpoint: {answered}" in said
    assert [line["custom_id"] for line in lines_of(output)] == [f"request-{number}" for number in range(1, 31)]


def test_a_second_ctrl_c_leaves_at_once(provider, write, tmp_path):
    """Whoever does not want to wait for the calls under way says so again."""
    output = tmp_path / "out.jsonl"
    source = write(*[ask("[simulate: hang]")] * 3)
    with start("run", source, "-o", str(output), "--base-url", provider.base_url) as program:
        wait_until(lambda: provider.counts.received == 3, program)
        program.send_signal(signal.SIGINT)
        assert program.stderr is not None
        assert "Ctrl-C again" in program.stderr.readline()
        began = time.monotonic()
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=20)
    assert program.returncode == 130
    assert time.monotonic() - began < 4
    assert "Traceback" not in said


def test_a_pipe_and_its_status(provider, write):
    """As part of a pipe the program writes results alone to standard output; some failures are status 1."""
    source = write(ask("one"), ask("[simulate: 400]"))
    with start("run", source, "-o", "-", "--base-url", provider.base_url) as program:
        shown, said = program.communicate(timeout=60)
    assert program.returncode == 1, said
    assert [json.loads(line)["error"] is None for line in shown.splitlines()] == [True, False]


def test_nobody_reads_the_pipe(write):
    """When the reader of a pipe goes away, the program says so in one line, without a traceback."""
    with start("run", write("no request"), "-o", "-") as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        said = program.stderr.read()
        program.wait(timeout=60)
    assert program.returncode == 2
    assert said.endswith("llm-api-client run: error: cannot write - any further: Broken pipe; the run was stopped\n")
    assert "Exception" not in said


def test_simulate_serves_until_sigterm():
    """`simulate` tells its address, serves, and at SIGTERM tells what it saw; the status is 0."""
    with start("simulate", "--port", "0", "--latency", "0", "--error-rate", "0") as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("Serving on http://127.0.0.1:")
        program.send_signal(signal.SIGTERM)
        shown, said = program.communicate(timeout=20)
    assert program.returncode == 0
    assert "The provider saw 0 requests" in shown
    assert said == ""


def test_help_is_quick_and_the_status_of_wrong_usage_is_2(tmp_path):
    """Help is status 0, a missing file status 2 and one line."""
    done = subprocess.run([*PROGRAM, "run", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    missing = str(Path(tmp_path) / "missing.jsonl")
    done = subprocess.run([*PROGRAM, "run", missing, "-o", "-"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"llm-api-client run: error: cannot read {missing}: No such file or directory\n"
