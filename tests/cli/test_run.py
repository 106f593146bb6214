import io
import json
import logging
import os
import sys
from pathlib import Path

import pytest

from llm_api_client.api_client import client
from llm_api_client.cli import main

from .conftest import MODEL, ask, content_of, lines_of

# Runs that are cut short leave calls behind, in threads that do not outlive the process: a socket of theirs may be
# collected, in whatever test comes next, before anybody has closed it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def no_grace(monkeypatch):
    """Calls that hang are not waited for when the client is closed."""
    monkeypatch.setattr(client, "GRACE_SECONDS", 0)


@pytest.fixture
def run(provider, tmp_path):
    """Runs the command against the provider; the output is `out.jsonl`."""

    def _run(*arguments, output=None):
        output = output or str(tmp_path / "out.jsonl")
        return main(["run", *arguments, "-o", output, "--base-url", provider.base_url])

    return _run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


@pytest.fixture
def stdin(monkeypatch):
    def _stdin(data: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return _stdin


class TestRequests:
    def test_one_line_out_for_each_line_in(self, run, write, out, capsys):
        """Plain and OpenAI lines mix, and every line of the input has its line of the output, in order."""
        source = write(
            ask("one"),
            "",
            {"custom_id": "two", "method": "POST", "url": "/v1/chat/completions", "body": ask("two")},
            "not json",
            {"custom_id": "four", "url": "/v1/assistants", "method": "POST", "body": {}},
            ask("five [simulate: 400]", custom_id="five"),
            ask("six"),
        )
        assert run(source) == 1
        lines = lines_of(out)
        assert [line["custom_id"] for line in lines] == ["request-1", "two", "request-4", "four", "five", "request-7"]
        assert [content_of(lines[index]) for index in (0, 1, 5)] == [
            f"Simulated answer to: {word}" for word in ("one", "two", "six")
        ]
        assert [line["error"] and line["error"]["code"] for line in lines] == [
            None, None, "InvalidInputError", "InvalidInputError", "InvalidRequestError", None,
        ]  # fmt: skip
        assert lines[4]["response"]["status_code"] == 400
        assert lines[4]["response"]["body"]["error"]["message"] == "The request was refused as invalid."
        assert len({line["id"] for line in lines}) == 6
        shown = capsys.readouterr().err
        assert f"{source}, line 4: not JSON" in shown
        assert f'{source}, line 5: this "url" is not supported' in shown
        assert "3 of 6 answered, 3 failed:" in shown
        assert "2 InvalidInputError (first: line 4)" in shown
        assert "1 InvalidRequestError (first: line 6)" in shown
        assert f"Results: {out}" in shown

    def test_all_answered_is_status_0(self, run, write, out, capsys):
        """Where all is answered, the status is 0 and the summary has the tracker's totals."""
        assert run(write(ask(), ask())) == 0
        assert lines_of(out)[0]["response"]["status_code"] == 200
        assert lines_of(out)[0]["response"]["request_id"].startswith("req-sim-")
        shown = capsys.readouterr()
        assert "Number of responses: 2" in shown.err
        assert "2 of 2 answered." in shown.err
        assert shown.out == ""

    def test_model_fills_in(self, run, write, out, provider):
        """`--model` is for lines that name none, and for no others."""
        bare = {"messages": [{"role": "user", "content": "Hello"}]}
        assert run(write(bare, ask(model="openai/other"), {"body": bare | {"model": None}}), "--model", MODEL) == 0
        assert sorted(seen.body["model"] for seen in provider.requests) == ["gpt-4o-mini", "gpt-4o-mini", "other"]

    def test_one_bad_request_spoils_only_its_own_line(self, run, write, out):
        """A request that no provider could take has its reason in its line; the others are answered."""
        assert (
            run(write({"model": MODEL}, '{"model": "x", "messages": [{"role": "user", "content": "\\ud800"}]}', ask()))
            == 1
        )
        lines = lines_of(out)
        assert lines[0]["error"]["code"] == lines[1]["error"]["code"] == "InvalidInputError"
        assert lines[0]["response"] is None
        assert content_of(lines[2]).endswith("Hello")

    def test_a_file_without_requests_needs_no_provider(self, write, out, capsys):
        """Only faulty lines: each has its line in the output, and nothing is sent. No lines: nothing is wrong."""
        assert main(["run", write("x", "y"), "-o", str(out)]) == 1
        assert len(lines_of(out)) == 2
        assert main(["run", write("", name="empty.jsonl"), "-o", str(out), "--overwrite"]) == 0
        assert out.read_bytes() == b""

    def test_bom_and_windows_line_ends(self, run, tmp_path, out):
        """A byte order mark and CRLF, as Windows writes them, change nothing."""
        source = tmp_path / "windows.jsonl"
        source.write_bytes(b"\xef\xbb\xbf" + json.dumps(ask("é")).encode() + b"\r\n\r\n" + json.dumps(ask()).encode())
        assert run(str(source)) == 0
        assert [line["custom_id"] for line in lines_of(out)] == ["request-1", "request-3"]

    def test_a_file_that_is_not_utf_8_names_the_line(self, run, tmp_path, out, capsys):
        """A line of another encoding is no request: it is named with its cure, and spoils nothing else."""
        source = tmp_path / "latin.jsonl"
        source.write_bytes(json.dumps(ask()).encode() + b"\n\n" + '{"a": "é"}'.encode("latin-1"))
        assert run(str(source)) == 1
        assert "line 3: not UTF-8" in capsys.readouterr().err
        assert [line["error"] and line["error"]["code"] for line in lines_of(out)] == [None, "InvalidInputError"]

    def test_a_repeated_custom_id_is_a_warning(self, run, write, out, capsys):
        """Two lines of one custom_id are both answered, and the later one is named."""
        assert run(write(ask(custom_id="a"), ask(custom_id="a"))) == 0
        assert [line["custom_id"] for line in lines_of(out)] == ["a", "a"]
        assert "line 2: warning: its custom_id is that of line 1" in capsys.readouterr().err

    def test_many_faults_do_not_flood_the_terminal(self, run, write, capsys):
        """Of a file full of faults the first are shown, and the number of the others."""
        assert run(write(*["x"] * 100)) == 1
        shown = capsys.readouterr().err
        assert "likewise 80 further lines" in shown
        assert len(shown.splitlines()) < 30

    def test_standard_input_and_output(self, run, stdin, capsysbinary):
        """`-` reads from standard input and writes to standard output, which holds nothing but results."""
        stdin(json.dumps(ask("über")).encode())
        assert run("-", output="-") == 0
        lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
        assert [content_of(line) for line in lines] == ["Simulated answer to: über"]


class TestPrompts:
    def test_a_line_is_a_prompt(self, run, write, out, provider):
        """Each line that is not blank becomes a request with the system message and the parameters given."""
        source = write("Hello", "", "  Bye ", name="prompts.txt")
        params = ("--param", "temperature=0.2", "--param", "stop=me", "--param", 'logit_bias={"7": 1}')
        assert run("--prompts", source, "--model", MODEL, "--system", "Be brief.", *params) == 0
        assert [line["custom_id"] for line in lines_of(out)] == ["request-1", "request-3"]
        bodies = sorted((seen.body for seen in provider.requests), key=lambda body: body["messages"][1]["content"])
        assert [body["messages"][1]["content"] for body in bodies] == ["  Bye ", "Hello"]
        assert bodies[1]["messages"][0] == {"role": "system", "content": "Be brief."}
        assert bodies[1]["temperature"] == 0.2
        assert bodies[1]["stop"] == "me"
        assert bodies[1]["logit_bias"] == {"7": 1}

    def test_a_field_is_a_prompt(self, run, write, out, capsys):
        """`--prompt-field` takes that field of each line's object; a line without it is a fault."""
        source = write({"q": "one", "custom_id": "a"}, {"q": 3}, {"p": "x"}, "[]", {"q": "two"}, name="q.jsonl")
        assert run("--prompts", source, "--prompt-field", "q", "--model", MODEL) == 1
        lines = lines_of(out)
        assert [line["custom_id"] for line in lines] == ["a", "request-2", "request-3", "request-4", "request-5"]
        assert [line["error"] is None for line in lines] == [True, False, False, False, True]
        assert "the field 'q' is a number" in capsys.readouterr().err

    def test_prompts_from_standard_input(self, run, stdin, out):
        """`--prompts -` reads prompts from standard input."""
        stdin("Grüße\nHello".encode())
        assert run("--prompts", "-", "--model", MODEL) == 0
        assert content_of(lines_of(out)[0]) == "Simulated answer to: Grüße"

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["--prompts", "p.txt"], "--model"),
            (["--prompts", "p.jsonl", "--model", "m"], "--prompt-field"),
            (["r.jsonl", "--prompts", "p.txt"], "either"),
            ([], "either"),
            (["r.jsonl", "--system", "x"], "--system goes with --prompts"),
            (["r.jsonl", "--prompt-field", "x"], "--prompt-field goes with --prompts"),
            (["r.jsonl", "--param", "a=1"], "--param goes with --prompts"),
            (["--prompts", "p.txt", "--model", "m", "--param", "=1"], "NAME=VALUE"),
            (["--prompts", "p.txt", "--model", "m", "--param", "messages=[]"], "messages"),
        ],
    )
    def test_options_that_disagree(self, arguments, reason, out, capsys):
        """Options that make no sense together are wrong usage, and the error says which."""
        assert main(["run", *arguments, "-o", str(out)]) == 2
        shown = capsys.readouterr().err
        assert reason in shown
        assert shown.count("\n") == 1
        assert not out.exists()

    @pytest.mark.parametrize("param", ["api_key=sk-secret", 'extra_headers={"Authorization": "Bearer sk-secret"}'])
    def test_keys_are_no_parameters(self, param, out, capsys):
        """A key among the parameters is refused without being repeated."""
        assert main(["run", "--prompts", "p.txt", "--model", "m", "--param", param, "-o", str(out)]) == 2
        shown = capsys.readouterr().err
        assert "--api-key-env" in shown
        assert "sk-secret" not in shown


class TestFiles:
    def test_an_existing_output_is_left_alone(self, run, write, out, provider, capsys):
        """An output that exists is not touched without `--overwrite`, and nothing is sent; with it, it is replaced."""
        out.write_text("precious")
        assert run(write(ask())) == 2
        assert out.read_text() == "precious"
        assert "--overwrite" in capsys.readouterr().err
        assert provider.counts.received == 0
        assert run(write(ask()), "--overwrite") == 0
        assert len(lines_of(out)) == 1

    def test_the_input_is_never_the_output(self, run, write, tmp_path):
        """The input is not overwritten, by whatever name it goes."""
        source = write(ask())
        before = Path(source).read_bytes()
        (tmp_path / "link").symlink_to(source)
        assert run(source, "--overwrite", output=source) == 2
        assert run(source, "--overwrite", output=str(tmp_path / "link")) == 2
        assert Path(source).read_bytes() == before

    def test_what_cannot_be_opened(self, run, write, tmp_path, capsys):
        """A file that cannot be read or written is wrong usage, in one line, before anything is sent."""
        source = write(ask())
        assert run(str(tmp_path / "nowhere.jsonl")) == 2
        assert run(str(tmp_path)) == 2
        assert run(source, output=str(tmp_path)) == 2
        assert run(source, output=str(tmp_path / "no" / "folder.jsonl")) == 2
        assert run(source, "--no-checkpoint", output="/proc/nobody.jsonl") == 2
        assert all(
            line.startswith("llm-api-client run: error: cannot ") for line in capsys.readouterr().err.splitlines()
        )

    def test_special_files_are_no_treasure(self, run, write):
        """A device is written to without `--overwrite`."""
        assert run(write(ask()), output=os.devnull) == 0

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
    def test_a_full_disk_ends_the_run(self, run, write, capsys):
        """When results cannot be written any further, the run stops and says so, in one line."""
        assert run(write(ask(), ask()), output="/dev/full") == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("llm-api-client run: error: cannot write /dev/full any further: No space left")


class TestCheckpoints:
    def test_run_again_nothing_is_sent_and_the_output_is_the_same(self, run, write, out, provider, capsys):
        """Answers are kept beside the output: the same command again asks nothing, and writes the same answers."""
        source = write(ask("one"), "no request", ask("two"))
        assert run(source) == 1
        first = lines_of(out)
        assert run(source) == 1
        for line in (first[0], first[2]):
            line["response"]["request_id"] = None  # It is none of the answer's own data.
        assert lines_of(out) == first
        assert provider.counts.received == 2
        assert "Answers from the checkpoint: 2" in capsys.readouterr().err

    def test_what_failed_and_what_is_new_is_asked(self, run, write, out, provider):
        """A second run asks the failures again, and what was put in."""
        provider.next("500")
        assert run(write(ask("one"), ask("two")), "--retries", "0", "--workers", "1") == 1
        assert run(write(ask("zero"), ask("one"), ask("two"))) == 0
        assert provider.counts.received == 4
        assert len(lines_of(out)) == 3

    def test_it_may_stand_elsewhere_or_not_be_kept(self, run, write, out, tmp_path):
        """`--checkpoint` names the file, `--no-checkpoint` keeps none; one excludes the other."""
        assert run(write(ask()), "--checkpoint", str(tmp_path / "kept.db")) == 0
        assert (tmp_path / "kept.db").exists()
        out.unlink()
        assert run(write(ask()), "--no-checkpoint") == 0
        assert not out.with_name("out.jsonl.db").exists()
        assert run(write(ask()), "--no-checkpoint", "--checkpoint", "x.db") == 2

    def test_a_file_that_is_no_checkpoint_is_left_alone(self, run, write, out, tmp_path, provider, capsys):
        """Before anything is sent, and before the output is touched."""
        (tmp_path / "notes.txt").write_text("notes " * 100)
        assert run(write(ask()), "--checkpoint", str(tmp_path / "notes.txt")) == 2
        assert "notes.txt" in capsys.readouterr().err.splitlines()[-1]
        assert provider.counts.received == 0
        assert not out.exists()

    def test_standard_output_has_none_unless_asked(self, run, write, tmp_path, capsysbinary):
        """Beside a pipe nobody looks for a file."""
        assert run(write(ask()), output="-") == 0
        assert not list(tmp_path.glob("*.db"))


class TestKeys:
    def test_a_server_on_this_machine_needs_no_key(self, run, write, provider):
        """Without any key, openai/… requests to a server on this machine carry one that says so."""
        assert run(write(ask())) == 0
        assert provider.requests[0].headers["authorization"] == "Bearer none"

    def test_the_environment_has_the_key(self, run, write, provider, monkeypatch):
        """The provider's own variable is used as LiteLLM does, and `--api-key-env` names another."""
        monkeypatch.setenv("OPENAI_API_KEY", "sk-own")
        monkeypatch.setenv("OTHER", " sk-other\n")
        assert run(write(ask())) == 0
        assert run(write(ask()), "--api-key-env", "OTHER", "--overwrite", "--no-checkpoint") == 0
        keys = [seen.headers["authorization"] for seen in provider.requests]
        assert keys == ["Bearer sk-own", "Bearer sk-other"]

    def test_a_variable_that_is_not_there(self, run, write, capsys, out):
        """A variable that is missing is wrong usage; its name, which may be the key itself, is not repeated."""
        assert run(write(ask()), "--api-key-env", "sk-oops") == 2
        assert "sk-oops" not in capsys.readouterr().err
        assert not out.exists()

    def test_a_refused_key_leaves_an_output(self, run, write, out, provider, capsys, monkeypatch):
        """When the key is refused, every line has its error, the cure is shown, and the key is nowhere."""
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890abcdef1234")
        provider.next(*["401"] * 20)
        assert run(write(*[ask()] * 20), "--workers", "1") == 1
        assert {line["error"]["code"] for line in lines_of(out)} == {"AuthenticationError"}
        assert [line["response"] is not None for line in lines_of(out)].count(True) == provider.counts.received == 1
        shown = capsys.readouterr().err
        assert "20 AuthenticationError (first: line 1)" in shown
        assert "--api-key-env" in shown
        assert "1234567890" not in shown + out.read_text()


class TestRunning:
    def test_retries(self, run, write, out, provider):
        """A failure that may pass is tried again as often as `--retries` allows."""
        provider.next("500", "500")
        assert run(write(ask()), "--retries", "0") == 1
        assert lines_of(out)[0]["response"]["status_code"] == 500
        assert run(write(ask()), "--retries", "1", "--overwrite") == 0

    def test_the_whole_run_has_a_timeout(self, run, write, out, capsys, no_grace):
        """`--timeout` ends the run: what was answered is there, and the rest says why it is not."""
        assert run(write(ask(), ask("[simulate: hang]"), ask()), "--timeout", "2") == 1
        lines = lines_of(out)
        assert [line["error"] and line["error"]["code"] for line in lines] == [None, "BatchTimeoutError", None]
        assert "Raise --timeout." in capsys.readouterr().err

    def test_what_was_not_read_in_time_has_its_line_too(self, run, write, out, provider, no_grace):
        """After the timeout, input and output still stand side by side, without a request being sent."""
        source = write(*[ask("[simulate: hang]")] * 3, *[ask()] * 40, "no request")
        assert run(source, "--timeout", "1", "--workers", "2") == 1
        codes = [line["error"]["code"] for line in lines_of(out)]
        assert codes == ["BatchTimeoutError"] * 43 + ["InvalidInputError"]
        assert provider.counts.received < 6

    def test_money_has_a_bound(self, run, write, out, provider, capsys):
        """`--max-cost` stops before it is passed; what is left says so, and is asked by the next run."""
        source = write(*[ask(f"question {number}", max_tokens=1_000) for number in range(20)])
        assert run(source, "--max-cost", "0.00065", "--workers", "1") == 1
        codes = [line["error"] and line["error"]["code"] for line in lines_of(out)]
        assert set(codes) == {None, "BudgetExceededError"}
        assert "Raise --max-cost" in capsys.readouterr().err
        assert run(source, "--max-cost", "1") == 0
        assert provider.counts.answered == 20

    def test_lines_in_the_order_of_their_ends(self, run, write, out):
        """With `--unordered` no line waits for a slower one before it."""
        source = write(ask("[simulate: latency=1]", custom_id="slow"), ask("quick", custom_id="quick"))
        assert run(source, "--unordered") == 0
        assert [line["custom_id"] for line in lines_of(out)] == ["quick", "slow"]

    def test_one_call_has_a_timeout(self, run, write, out):
        """`--request-timeout` ends a call that is not answered."""
        assert run(write(ask("[simulate: hang]")), "--request-timeout", "0.3", "--retries", "0") == 1
        assert lines_of(out)[0]["error"]["code"] == "RequestTimeoutError"

    def test_limits_and_waiting(self, run, write, out):
        """`--rpm` is a limit, `--max-delay` the longest wait for it, and `none` or 0 no limit at all."""
        source = write(*[ask()] * 3)
        assert run(source, "--rpm", "1", "--max-delay", "0.1") == 1
        codes = [line["error"] and line["error"]["code"] for line in lines_of(out)]
        assert codes == [None, "AdmissionTimeoutError", "AdmissionTimeoutError"]
        assert run(source, "--rpm", "0", "--tpm", "none", "--max-delay", "none", "--workers", "3", "--overwrite") == 0

    def test_requests_as_they_are(self, run, write, provider):
        """`--no-sanitize` sends what sanitizing would drop."""
        odd = ask(model="openai/o1", temperature=0.5)
        assert run(write(odd)) == 0
        assert run(write(odd), "--no-sanitize", "--overwrite") in {0, 1}
        assert "temperature" not in provider.requests[0].body

    def test_a_progress_bar_on_request(self, run, write, capsys):
        """Away from a terminal there is no bar, unless `--progress` asks for one."""
        source = write(ask())
        assert run(source) == 0
        assert "100%" not in capsys.readouterr().err
        assert run(source, "--progress", "--overwrite") == 0
        assert "100%" in capsys.readouterr().err

    def test_nothing_of_prompts_and_answers_is_shown(self, run, write, capsys, out):
        """Neither prompts nor answers nor a provider's words, which may quote them, reach the terminal."""
        secret = "Rosebud"
        run(
            write(ask(secret), ask(f"{secret} [simulate: 400]"), ask(f"{secret} [simulate: bad-json]")),
            "--retries",
            "0",
        )
        shown = capsys.readouterr()
        assert secret not in shown.err + shown.out
        assert secret in out.read_text()

    def test_the_library_s_warnings_are_shown(self, run, write, capsys):
        """A warning of the library's is the program's, and its logger is left as it was."""
        logger = logging.getLogger("llm_api_client")
        before = (logger.handlers[:], logger.propagate)
        assert run(write(ask(model="openai/o1", temperature=0.5))) == 0
        assert "llm-api-client run: warning: " in capsys.readouterr().err
        assert (logger.handlers, logger.propagate) == before
