import argparse
import gc
import inspect
import os
import re
import signal
import subprocess
import sys

import pytest

from llm_api_client import APIClient, SimulatedProvider, __version__
from llm_api_client.cli import console, main, parser

COMMANDS = ("run", "estimate", "export", "models", "simulate", "demo")


def command(name: str) -> argparse.ArgumentParser:
    subparsers = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    found: argparse.ArgumentParser = subparsers.choices[name]
    return found


def actions(name: str) -> list[argparse.Action]:
    return [action for action in command(name)._actions if action.dest != "help"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    """Every option says what it means, and unless it has to be given, what holds without it."""
    for action in actions(name):
        assert action.help, action.dest
        if action.option_strings and not action.required:
            assert "default:" in action.help, action.dest


@pytest.mark.parametrize("name", COMMANDS)
def test_every_time_says_that_it_is_in_seconds(name):
    """An option that takes a time shows its unit."""
    for action in actions(name):
        if action.type is not None and "seconds" in action.type.__name__:
            assert action.metavar == "SECONDS", action.dest


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)])
def test_help_fits_a_terminal(arguments, capsys, monkeypatch):
    """Help has examples, is plain ASCII, and fits 80 columns even where the terminal is wider."""
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*arguments, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "exit status:" in shown
    assert shown.isascii()
    assert max(map(len, shown.splitlines())) <= 80


def test_help_names_every_option(capsys):
    """The help of each command shows all of its options."""
    for name in COMMANDS:
        main([name, "--help"])
        shown = capsys.readouterr().out
        for action in actions(name):
            assert all(option in shown for option in action.option_strings)


def test_version(capsys):
    """`--version` tells the installed version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"llm-api-client {__version__}\n"


def test_defaults_are_those_of_the_library():
    """What the help gives as the default is what the library does without the option."""
    client = inspect.signature(APIClient).parameters
    batch = inspect.signature(APIClient.make_requests_with_retries).parameters
    run = command("run")
    assert run.get_default("rpm") == client["max_requests_per_minute"].default
    assert run.get_default("tpm") == client["max_tokens_per_minute"].default
    assert run.get_default("max_delay") == client["max_delay_seconds"].default
    assert run.get_default("retries") == batch["max_retries"].default
    assert (
        command("simulate").get_default("window") == inspect.signature(SimulatedProvider).parameters["window"].default
    )


def test_no_key_is_taken_on_the_command_line():
    """There is no option for a key, and the help says why."""
    assert "--api-key" not in [option for action in actions("run") for option in action.option_strings]
    assert "There is no --api-key" in (command("run").epilog or "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "in.jsonl"],
        ["run", "in.jsonl", "-o", "out", "--rpm", "-1"],
        ["run", "in.jsonl", "-o", "out", "--rpm", "many"],
        ["run", "in.jsonl", "-o", "out", "--tpm", "1.5"],
        ["run", "in.jsonl", "-o", "out", "--workers", "0"],
        ["run", "in.jsonl", "-o", "out", "--retries", "-1"],
        ["run", "in.jsonl", "-o", "out", "--timeout", "0"],
        ["run", "in.jsonl", "-o", "out", "--timeout", "nan"],
        ["run", "in.jsonl", "-o", "out", "--max-delay", "soon"],
        ["run", "in.jsonl", "-o", "out", "--request-timeout", "inf"],
        ["run", "in.jsonl", "-o", "out", "--api-key", "sk-secret"],
        ["simulate", "--port", "70000"],
        ["simulate", "--error-rate", "2"],
        ["simulate", "--latency", "-1"],
        ["simulate", "--error-rate", "0.6", "--hang-rate", "0.6"],
        ["demo", "--requests", "0"],
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments, capsys):
    """A value that cannot be used ends the command with status 2 and one line that says so."""
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"llm-api-client( run| estimate| export| models| simulate| demo)?: error: [^\n]+\n", shown.err)


def test_the_environment_is_set_only_where_no_network_is_needed(monkeypatch):
    """The program keeps LiteLLM from the network where none is needed; `main` touches nothing."""
    name = "LITELLM_LOCAL_MODEL_COST_MAP"
    monkeypatch.delenv(name)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    assert main(["demo", "--help"]) == 0
    for command_name, expected in (
        ("run", None),
        ("estimate", "True"),
        ("models", "True"),
        ("simulate", "True"),
        ("demo", "True"),
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(sys, "argv", ["llm-api-client", command_name, "--help"])
        with pytest.raises(SystemExit):
            console()
        assert os.environ.get(name) == expected


def test_the_program_s_end_does_not_look_for_garbage():
    """What LiteLLM has imported would take the interpreter a second to look through, for nothing."""
    code = (
        "import atexit, gc, sys; from llm_api_client.cli import console; sys.argv = ['llm-api-client', '--help']; "
        "atexit.register(lambda: print(gc.get_freeze_count() > len(gc.get_objects()), file=sys.stderr)); console()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "True\n"


def test_help_imports_nothing_slow():
    """Help comes without importing LiteLLM, asyncio or anything else that takes its time."""
    code = (
        "import sys; from llm_api_client.cli import main; "
        "[main([*c, '--help']) for c in ([], ['run'], ['estimate'], ['export'], ['models'], ['simulate'], ['demo'])]; "
        "slow = set('litellm openai asyncio tqdm pydantic httpx tiktoken sqlite3 pandas pyarrow'.split()); "
        "slow &= set(sys.modules); "
        "sys.exit(str(slow) if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
