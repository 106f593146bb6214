"""Kill -9 at any moment: programs of their own, really killed, and run again until they are done."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest

WORKERS = 8
PROMPTS = 400

PROGRAM = f"""
import json, os, sys, time
from llm_api_client import APIClient, chat_requests
from llm_api_client.testing import ScriptedAnswer

sent = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def call(**params):
    prompt = params["messages"][-1]["content"]
    os.write(sent, (prompt + "\\n").encode())
    time.sleep(0.002 + int(prompt) % 7 / 1000)
    return ScriptedAnswer("answer to " + prompt)

client = APIClient(None, None, {WORKERS}, api_call=call)
print("ready", flush=True)
prompts = [str(number) for number in range({PROMPTS})]
if sys.argv[3] == "list":
    answers = client.make_requests(chat_requests(prompts, "m"), checkpoint=sys.argv[1], sanitize=False)
    texts = [answer.choices[0].message.content for answer in answers]
else:
    stream = client.iter_requests(chat_requests(prompts, "m"), checkpoint=sys.argv[1], sanitize=False, ordered=True)
    texts = [result.content for result in stream]
print(json.dumps(texts), flush=True)
"""


def run(tmp_path, how, kill_after=None):
    """Run the program; whether it was killed, and what it printed."""
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "labels.db"), str(tmp_path / "sent"), how]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "ready\n"
        if kill_after is not None:
            time.sleep(kill_after)
            program.send_signal(signal.SIGKILL)
        printed, said = program.communicate(timeout=60)
    assert program.returncode in (0, -signal.SIGKILL), said
    return program.returncode != 0, printed


def sent(tmp_path):
    path = tmp_path / "sent"
    return Counter(path.read_text().split()) if path.exists() else Counter()


@pytest.mark.parametrize("how", ["list", "stream"])
def test_killed_at_random_moments_and_run_again_nothing_is_lost(tmp_path, how):
    """The answers are complete and in order, no more is asked twice than was in flight, and the last run sends none."""
    random.seed(how)
    kills = 0
    for _ in range(3):
        killed, _ = run(tmp_path, how, kill_after=random.uniform(0.02, 0.25))
        kills += killed
    _, printed = run(tmp_path, how)
    assert json.loads(printed) == [f"answer to {number}" for number in range(PROMPTS)]
    times = sent(tmp_path)
    assert kills
    assert sum(times.values()) - PROMPTS <= kills * WORKERS
    _, again = run(tmp_path, how)
    assert again == printed
    assert sent(tmp_path) == times


def test_what_was_under_way_at_the_kill_is_shown_as_possibly_paid(tmp_path):
    """Whoever looks into the file after a kill finds the calls whose end nobody knows; the next run settles them."""
    run(tmp_path, "list", kill_after=0.15)
    connection = sqlite3.connect(tmp_path / "labels.db")
    try:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        [answered] = connection.execute("SELECT count(*) FROM answers").fetchone()
        [open_claims] = connection.execute("SELECT count(*) FROM possibly_paid").fetchone()
        asked = len(sent(tmp_path))
        assert answered <= asked <= answered + open_claims
        run(tmp_path, "list")
        assert connection.execute("SELECT count(*) FROM possibly_paid").fetchone() == (0,)
    finally:
        connection.close()
