"""`llm-api-client estimate`: files in, what they would cost out."""

import inspect
import json
import socket
import subprocess
import sys

import pytest

from llm_api_client import APIClient
from llm_api_client.cli import estimate as command
from llm_api_client.cli import main
from llm_api_client.cli.parser import Parser
from llm_api_client.run.estimate import ASSUMED_ANSWER_TOKENS

from .conftest import MODEL, ask

pytestmark = pytest.mark.usefixtures("litellm")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*arguments: object, **_: object) -> None:
        message = f"nothing is to be asked of the network: {arguments}"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_file_s_cost_and_time(write, capsys):
    """All that could be sent is status 0: what it costs and how long the limits take is on standard output."""
    source = write(*[ask(max_tokens=1_000_000 // 100)] * 100)
    assert main(["estimate", source, "--rpm", "10", "--tpm", "none"]) == 0
    shown = capsys.readouterr()
    assert "Cost: from $0.0002 to $0.60." in shown.out
    assert "Time: 9 min" in shown.out
    assert shown.err == ""


def test_json_names_lines(write, capsys):
    """`--json` is one JSON object, in which requests are named as in their file."""
    source = write(ask(), "", "not json", {"model": MODEL}, ask("word " * 200_000))
    assert main(["estimate", source, "--json"]) == 1
    shown = capsys.readouterr()
    data = json.loads(shown.out)
    assert data["total"]["requests"] == 2
    assert data["by_model"][MODEL]["truncated"] == 1
    assert data["no_requests"] == [{"line": 3, "message": "not JSON: Expecting value at column 1"}]
    assert [(refusal["line"], refusal["code"]) for refusal in data["refusals"]] == [(4, "InvalidInputError")]
    assert [cut["line"] for cut in data["cuts"]] == [5]
    assert f"{source}, line 3: not JSON" in shown.err


def test_what_could_not_be_sent_is_status_1(write, capsys):
    """A request that would be refused, or a line that is none, is named by its line; the rest is estimated."""
    assert main(["estimate", write("", ask(), {"model": MODEL}, "no")]) == 1
    shown = capsys.readouterr().out
    assert "1 request would fail before being sent:\n  line 3: the request has no" in shown
    assert "Lines that are no requests: 1." in shown
    assert main(["estimate", write("no")]) == 1
    assert main(["estimate", write(ask("word " * 50)), "--tpm", "10"]) == 1


def test_prompts_are_made_into_requests(write, capsys):
    """Plain prompts are taken as `run` takes them, with their parameters, and count their system message."""
    source = write({"q": "Hello"}, {"q": "Hello"}, name="prompts.jsonl")
    options = ["estimate", "--prompts", source, "--prompt-field", "q", "--model", MODEL, "--json"]
    found = []
    for more in ([], ["--system", "Be brief.", "--param", "max_tokens=7"]):
        assert main([*options, *more]) == 0
        found.append(json.loads(capsys.readouterr().out)["total"])
    assert found[0]["answer_tokens_high"] == 2 * ASSUMED_ANSWER_TOKENS
    assert found[1]["answer_tokens_high"] == 14
    assert found[1]["prompt_tokens"] > found[0]["prompt_tokens"]


def test_options_reach_the_estimate(write, capsys):
    """The assumed answer, the server and the wish to send as it is each change what they are about."""
    source = write(ask(temperature=0.5, seed=1), {**ask(logprobs=True), "model": "claude-sonnet-4-5"})

    def told(*options):
        assert main(["estimate", source, "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    assert told("--answer-tokens", "70")["total"]["answer_tokens_high"] == 140
    assert told()["by_model"]["claude-sonnet-4-5"]["dropped"] == {"logprobs": 1}
    assert told("--no-sanitize")["by_model"]["claude-sonnet-4-5"]["dropped"] == {}
    assert told("--rpm", "0", "--tpm", "0")["seconds_high"] is None
    assert told("--base-url", "https://api.groq.com/openai/v1")["total"]["unpriced"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nowhere.jsonl"],
        ["--prompts", "p.txt"],
        ["a.jsonl", "--system", "x"],
        ["a.jsonl", "--base-url", "localhost"],
        ["a.jsonl", "--answer-tokens", "0"],
        ["a.jsonl", "--rpm", "many"],
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments, capsys):
    """What cannot be used ends the command with status 2 and one line that says so."""
    assert main(["estimate", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("llm-api-client estimate: error: ")


def test_the_help_fits_a_terminal(capsys, monkeypatch):
    """Help has examples, is plain ASCII, fits 80 columns, and says of every option what holds without it."""
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["estimate", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "exit status:" in shown
    assert shown.isascii()
    assert max(map(len, shown.splitlines())) <= 80


def test_defaults_are_those_of_the_library():
    """What the help gives as the default is what the library does without the option."""
    top = Parser(prog="x")
    command.add_to(top.add_subparsers())
    options = top.parse_args(["estimate", "a.jsonl"])
    client = inspect.signature(APIClient).parameters
    assert options.rpm == client["max_requests_per_minute"].default
    assert options.tpm == client["max_tokens_per_minute"].default
    assert options.answer_tokens == ASSUMED_ANSWER_TOKENS


def test_the_command_imports_nothing_slow():
    """Until it begins its work nothing slow is imported, so that help is quick."""
    code = (
        "import sys, llm_api_client.cli.estimate; "
        "slow = {'litellm', 'openai', 'asyncio', 'tqdm', 'pydantic', 'httpx', 'tiktoken'} & set(sys.modules); "
        "sys.exit(str(slow) if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
