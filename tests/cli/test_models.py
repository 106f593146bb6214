"""Providers, models and prices on the terminal."""

import json
import subprocess
import sys

import pytest

from llm_api_client import cli
from llm_api_client.call.litellm_door import Table
from llm_api_client.catalog import Catalog
from llm_api_client.cli import models as command
from llm_api_client.cli.parser import PROGRAM, Parser

HEAD = ["model", "context", "output", "$/M", "in", "$/M", "out"]


@pytest.fixture(scope="module")
def catalog(litellm):
    return Catalog(Table())


@pytest.fixture
def models(monkeypatch, capsys):
    """Runs the command, alone in its program; returns its status, its output and what it said besides."""

    def alone():
        top = Parser(prog=PROGRAM)
        command.add_to(top.add_subparsers(required=True, parser_class=Parser))
        return top

    monkeypatch.setattr(cli, "parser", alone)

    def _models(*arguments):
        status = cli.main(["models", *arguments])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return _models


def names_in(table):
    """The names in a table of models: the first word of each line that does not go on with another's figures."""
    return [line.split()[0] for line in table.splitlines()[1:-2] if not line.startswith(" ")]


def test_without_arguments_it_lists_providers(models, catalog):
    """Each provider stands in a line with the number of its models, in order, and the last line has the sums."""
    status, out, err = models()
    head, *rows, empty, last = out.splitlines()
    assert (status, err, empty, head.split()) == (0, "", "", ["provider", "models"])
    assert {name: int(count.replace(",", "")) for name, count in map(str.split, rows)} == catalog.counts()
    assert [row.split()[0] for row in rows] == catalog.providers()
    assert last.startswith(f"{len(rows)} providers, {len(catalog.models()):,} models.")


def test_a_provider_s_models_have_their_figures(models, catalog):
    """Each model of a provider stands in a table, in order, with its sizes and its prices for a million tokens."""
    status, out, err = models("openai")
    assert (status, err) == (0, "")
    assert out.splitlines()[0].split() == HEAD
    assert names_in(out) == catalog.models("openai")
    rows = [line.split() for line in out.splitlines()]
    assert ["gpt-4o-mini", "128,000", "16,384", "0.15", "0.60"] in rows
    assert ["tts-1", "-", "-", "-", "-"] in rows
    assert out.splitlines()[-1] == f"{len(catalog.models('openai'))} models."


def test_every_table_fits_a_terminal_and_names_stay_whole(models, catalog):
    """A table of all models is at most 80 columns wide, and every name in it can be copied."""
    for arguments in ((), ("--search", "")):
        _, out, _ = models(*arguments)
        assert max(map(len, out.splitlines())) <= 80
    assert names_in(out) == catalog.models()
    assert any(line.startswith(" ") for line in out.splitlines())


@pytest.mark.parametrize("text", ["claude sonnet", "SONNET Claude", " claude  sonnet "])
def test_a_search_finds_all_words_in_any_order(models, catalog, text):
    """A model is found if each word is somewhere in its name, in upper or lower case, at all providers."""
    _, out, _ = models("--search", text)
    expected = [name for name in catalog.models() if "claude" in name.lower() and "sonnet" in name.lower()]
    assert names_in(out) == expected
    assert len({catalog.model_info(name).provider for name in expected}) > 1


def test_options_narrow_the_list_together(models, catalog):
    """Provider, mode and search hold at once, and a mode alone counts the models that have it."""
    _, out, _ = models("openai", "--mode", "embedding", "--search", "3")
    assert names_in(out) == ["text-embedding-3-large", "text-embedding-3-small"]
    _, out, _ = models("--mode", "embedding")
    assert f"{len(catalog.models(mode='embedding')):,} models." in out


def test_json_is_all_that_is_known(models, catalog):
    """`--json` prints the whole information of each model, or each provider with its number, and nothing else."""
    status, out, err = models("anthropic", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == [info.to_dict() for info in catalog.infos(catalog.models("anthropic"))]
    _, out, _ = models("--json")
    assert {row["provider"]: row["models"] for row in json.loads(out)} == catalog.counts()


def test_finding_nothing_is_status_1(models):
    """A search that finds nothing says so, in either form, and ends with status 1."""
    assert models("openai", "--search", "no such model") == (1, "0 models.\n", "")
    assert models("--search", "no such model", "--json") == (1, "[]\n", "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["opnai"], "no models of the provider 'opnai'; did you mean openai"),
        (["--mode", "embeddings"], "no models of the mode 'embeddings'; did you mean embedding?"),
        (["openai", "anthropic"], "unrecognized arguments"),
        (["--find", "x"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(models, arguments, reason):
    """A word that nobody knows ends with status 2 and one line, which has the word that may be meant."""
    status, out, err = models(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert reason in err


def test_a_reader_may_leave_early(models, monkeypatch):
    """Where whoever reads has seen enough, the command ends as it would have."""

    class Closed:
        def write(self, _):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert models("openai")[0] == 0


def test_help_is_plain_and_fits_a_terminal(models, monkeypatch):
    """Help has examples, is plain ASCII, and fits 80 columns even where the terminal is wider."""
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = models("--help")
    assert status == 0
    assert "examples:" in out
    assert "exit status:" in out
    assert out.isascii()
    assert max(map(len, out.splitlines())) <= 80


def test_nothing_slow_is_imported_before_it_works():
    """The command's module loads neither LiteLLM nor the catalog."""
    code = (
        "import sys, llm_api_client.cli.models; "
        "sys.exit(str({'litellm', 'openai', 'llm_api_client.catalog'} & set(sys.modules) or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
