import re
import socket

import pytest

from llm_api_client.cli import main
from llm_api_client.cli.demo_prompts import tasks
from llm_api_client.cli.simulate import described
from llm_api_client.simulator import Counts, SimulatedProvider

from .conftest import lines_of


def test_every_option_of_the_provider_reaches_it(monkeypatch, capsys):
    """What the command line says is what the simulated provider is made with, and its end is told."""
    made = []

    class Recorded(SimulatedProvider):
        def __init__(self, **options):
            made.append(options)
            super().__init__(**options)

        def serve_forever(self, on_ready=None):
            on_ready("http://127.0.0.1:1/v1")

    monkeypatch.setattr("llm_api_client.simulator.SimulatedProvider", Recorded)
    given = {
        "port": 8123, "rpm": 5, "tpm": 6, "window": 7.0, "latency": 0.5, "jitter": 0.25, "arrival-jitter": 0.125,
        "error-rate": 0.1, "rate-limit-rate": 0.11, "hang-rate": 0.12, "reset-rate": 0.13, "bad-json-rate": 0.14,
        "html-rate": 0.15, "answer": "Yes", "answer-tokens": 3, "seed": 9, "batch-seconds": 0.75,
    }  # fmt: skip
    arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    assert main(["simulate", *arguments, "--charge-max-tokens"]) == 0
    renamed = {"rpm": "requests_per_minute", "tpm": "tokens_per_minute"}
    expected = {renamed.get(name, name.replace("-", "_")): value for name, value in given.items()}
    assert made == [expected | {"charge_max_tokens": True, "host": "127.0.0.1", "keep": 0}]
    shown = capsys.readouterr().out
    assert "Serving on http://127.0.0.1:1/v1" in shown
    assert "--base-url http://127.0.0.1:1/v1" in shown
    assert "The provider saw 0 requests" in shown


def test_a_port_that_is_taken(capsys):
    """A port that is in use is wrong usage, and the cure is named."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["simulate", "--port", str(taken.getsockname()[1])]) == 2
    shown = capsys.readouterr().err
    assert "is in use; choose another with --port" in shown
    assert shown.count("\n") == 1


def test_counts_in_words():
    """What a provider saw is told in whole: the numbers add up to those received."""
    counts = Counts(received=10, answered=4, refused=1, errors={500: 2, 404: 1}, unanswered=1, in_flight=1)
    assert described(counts).startswith(
        "The provider saw 10 requests: 4 answered, 1 refused by the limits (429), 3 errors (1 of 404, 2 of 500), "
        "2 without an answer."
    )


def test_the_demo_shows_the_whole_library(tmp_path, capsys):
    """The demo labels all its texts within the limits, without a 429, and says where the results are."""
    output = tmp_path / "demo.jsonl"
    arguments = ["--requests", "40", "--rpm", "2400", "--error-rate", "0.1", "-o", str(output)]
    assert main(["demo", *arguments]) == 0
    shown = capsys.readouterr().err
    assert "Number of responses: 40" in shown
    assert "40 of 40 answered." in shown
    assert re.search(r"40 answered, 0 refused by the limits \(429\), [1-9]\d* errors", shown)
    assert "For example:" in shown
    assert f"Results: {output}" in shown
    labels = [line["response"]["body"]["choices"][0]["message"]["content"] for line in lines_of(output)]
    assert labels == [task.label for task in tasks(40)]
    assert main(["demo", *arguments]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_the_demo_s_results_go_to_a_folder_of_their_own(tmp_path, capsys, monkeypatch):
    """Without `-o` the demo writes into a new temporary folder, and a bar is shown on request."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["demo", "--requests", "1", "--error-rate", "0", "--progress"]) == 0
    (written,) = tmp_path.glob("llm-api-client-demo-*/responses.jsonl")
    shown = capsys.readouterr().err
    assert f"Results: {written}" in shown
    assert "100%" in shown


@pytest.mark.parametrize("number", [1, 240])
def test_prompts_are_varied_and_repeatable(number):
    """The demo's prompts are the same each time, nearly all different, and none has two labels."""
    made = tasks(number)
    assert made == tasks(number)
    assert len({task.prompt for task in made}) > 0.95 * number
    assert len({task.prompt for task in made}) == len(set(made))
