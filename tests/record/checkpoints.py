"""What the tests of the checkpoint have in common."""

import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

from llm_api_client.errors import ServerError
from llm_api_client.record.store import Store
from llm_api_client.records import Key, Result, Usage

ROOT = Path(__file__).parents[2]


def key(number=0, occurrence=0):
    """A key of its own for each number."""
    return Key(number.to_bytes(16, "big"), occurrence)


def claim(key):
    """A claim of that key."""
    return key, "m", f"prompt {key.identity[-1]}"


def answer(text="yes", tokens=5):
    """An answer in plain data, in the form of a chat completion."""
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens},
    }


def answered(response=None, at=1_000.0, **changes):
    """An answer as the engine records it."""
    facts = {"attempts": 1, "latency": 0.5, "cost": 0.25, "usage": Usage(3, 5), "model": "m"}
    return Result(7, {"model": "m"}, answer() if response is None else response, created_at=at, **(facts | changes))


def failed(error=None, at=1_000.0, **changes):
    """A failure as the engine records it."""
    facts = {"attempts": 3, "latency": 0.5, "model": "m"}
    return Result(7, {"model": "m"}, error=error or ServerError("broken"), created_at=at, **(facts | changes))


@contextmanager
def opened(path, *args, **kwargs):
    """A run of a store, both closed at the end."""
    store = Store.open(path, *args, **kwargs)
    try:
        with closing(store.run()) as run:
            yield run
    finally:
        store.close()


def asked(path, question, *args):
    """What any SQLite tool reads."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question, args).fetchall()


def changed(path, statement, *args):
    """The file changed by any SQLite tool."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statement) if not args else connection.execute(statement, args)
        connection.commit()


def process(code, *args, **options):
    """A Python of its own with these helpers at hand, its input and output as pipes."""
    code = f"import os, sys\nfrom tests.record.checkpoints import *\npath = sys.argv[1]\n{code}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], cwd=ROOT, **(pipes | options))


def output_of(code, *args):
    """What such a process prints, which must end well."""
    out, err = process(code, *args).communicate(timeout=60)
    assert not err
    return out.strip()
