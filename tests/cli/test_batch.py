import io
import json
import sys

import pytest

from llm_api_client.cli import main
from llm_api_client.simulator import SimulatedProvider

from .conftest import MODEL, ask, content_of, lines_of


@pytest.fixture
def batch(provider, capsys):
    """Runs one of the commands against the provider; gives its status, and what it printed."""

    def _batch(*arguments, base_url=provider.base_url):
        status = main(["batch", *map(str, arguments), "--base-url", base_url])
        said = capsys.readouterr()
        return status, said.out.strip(), said.err

    return _batch


def test_a_file_goes_and_its_answers_come_back(batch, write, tmp_path):
    """Submitted and fetched: each line of the input has its line of the output, in order, by its own name."""
    source = write(
        ask("one"),
        {"custom_id": "two", "method": "POST", "url": "/v1/chat/completions", "body": ask("two")},
        "",
        ask("three [simulate: 400]", custom_id="three"),
        ask("four", custom_id="same"),
        ask("five", custom_id="same"),
    )
    code, job, err = batch("submit", source, "--max-requests", 2)
    assert (code, job.count("batch_sim")) == (0, 3), err
    assert "Submitted: 5 of 5 requests" in err
    code, out, _ = batch("status", job)
    assert code == 0
    assert out.startswith("completed: 4 of 5 answered, 1 failed")
    code, _, err = batch("fetch", job, "-o", tmp_path / "out.jsonl")
    assert code == 1
    assert "4 of 5 answered, 1 failed" in err
    assert "Total cost: $0.0000" in err
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["custom_id"] for line in lines] == ["request-1", "two", "three", "same", "same"]
    assert [content_of(lines[i]) for i in (0, 1, 3, 4)] == [
        f"Simulated answer to: {word}" for word in ("one", "two", "four", "five")
    ]
    assert (lines[2]["response"]["status_code"], lines[2]["error"]["code"]) == (400, "InvalidRequestError")
    assert all(line["response"]["request_id"] for line in lines)


def test_bad_lines_spoil_nothing_else(batch, write, tmp_path):
    """Lines that cannot be sent are reported by their numbers, and have their reasons in the output."""
    source = write(ask("one"), "not json", ask("two", model="anthropic/claude-3-haiku-20240307"), ask("three"))
    code, _, err = batch("submit", source)
    assert code == 1
    assert "line 2: not JSON" in err
    assert "line 3: " in err
    assert "Submitted: 2 of 4" in err
    assert batch("fetch", f"{source}.job", "-o", tmp_path / "out.jsonl")[0] == 1
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["error"] and line["error"]["code"] for line in lines] == [
        None, "InvalidInputError", "InvalidInputError", None,
    ]  # fmt: skip
    assert "not JSON" in lines[1]["error"]["message"]


def test_the_same_command_submits_nothing_twice(batch, write, provider):
    """A file keeps the job, so that the same command again names the same job; other requests need another file."""
    source = write(ask("one"))
    first, second = batch("submit", source), batch("submit", source)
    assert first[:2] == second[:2]
    assert sum(seen.path == "/v1/batches" for seen in provider.requests if seen.method == "POST") == 1
    write(ask("two"))
    code, out, err = batch("submit", source)
    assert (code, out) == (2, "")
    assert "keeps a job of other requests" in err
    assert batch("submit", source, "--state", f"{source}.other")[0] == 0


def test_prompts_are_requests_too(batch, tmp_path, monkeypatch):
    """Plain prompts, also from standard input, as for other commands."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    code, job, _ = batch("submit", "--prompts", "-", "--model", MODEL, "--param", "max_tokens=50")
    assert code == 0
    assert batch("fetch", job, "-o", tmp_path / "out.jsonl", "--wait")[0] == 0
    assert list(map(content_of, lines_of(tmp_path / "out.jsonl"))) == [
        f"Simulated answer to: {w}" for w in ("one", "two")
    ]
    assert not list(tmp_path.glob("*.job"))


def test_status_as_json(batch, write):
    """For programs: all that is known, as plain data."""
    _, job, _ = batch("submit", write(ask("one")))
    code, out, _ = batch("status", job, "--json")
    told = json.loads(out)
    assert (code, told["state"], told["total"], told["is_over"]) == (0, "completed", 1, True)


def test_what_is_not_done_is_not_fetched(batch, write, tmp_path):
    """A job that goes on is not fetched, unless in part or after waiting; it can be cancelled."""
    with SimulatedProvider(batch_seconds=60) as slow:
        source = write(ask("one"))
        _, job, _ = batch("submit", source, base_url=slow.base_url)
        out = tmp_path / "out.jsonl"
        for more in ((), ("--wait", "--timeout", "0.2", "--poll", "0.1")):
            code, _, err = batch("fetch", job, "-o", out, *more, base_url=slow.base_url)
            assert code == 1
            assert "validating" in err
            assert not out.exists()
        assert batch("fetch", job, "-o", out, "--partial", base_url=slow.base_url)[0] == 1
        assert lines_of(out)[0]["error"]["code"] == "JobNotDoneError"
        code, told, _ = batch("cancel", f"{source}.job", base_url=slow.base_url)
        assert code == 0
        assert told.startswith("cancel")


def test_nothing_is_overwritten_and_mistakes_are_one_line(batch, write, tmp_path):
    """Wrong usage ends with status 2 and one line, before anything is sent."""
    source = write(ask("one"))
    _, job, _ = batch("submit", source)
    (tmp_path / "out.jsonl").write_text("mine")
    for arguments, told in (
        (("fetch", job, "-o", tmp_path / "out.jsonl"), "exists"),
        (("status", "nonsense"), "no id of a job"),
        (("submit", source, "--endpoint", "image"), "batches take"),
        (("submit", tmp_path / "none"), "cannot read"),
        (("submit", write("x", name="bad")), "has no requests"),
        (("submit", source, "--api-key-env", "NOT_THERE"), "environment variable"),
    ):
        code, out, err = batch(*arguments)
        assert (code, out) == (2, ""), arguments
        assert told in err.splitlines()[-1]
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_a_refusal_of_the_provider_is_said(batch, write, monkeypatch, tmp_path):
    """A wrong key, and a job that is somebody else's, end with status 1 and the reason; keys are not shown."""
    key = "sk-wrong-key-0123456789-0123456789"
    monkeypatch.setenv("MY_KEY", key)
    with SimulatedProvider(api_keys={"sk-right"}) as strict:
        code, out, err = batch("submit", write(ask("one")), "--api-key-env", "MY_KEY", base_url=strict.base_url)
    assert (code, out) == (1, "")
    assert "401" in err
    assert "run the same command again" in err
    assert key not in err
    code, _, err = batch("status", "1~openai%2Fgpt-4o-mini,batch_none")
    assert code == 1
    assert "Check the id" in err
