"""Documentation is executed: what a page shows happens, and what it names exists."""

import contextlib
import doctest
import importlib
import inspect
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest

import llm_api_client
from llm_api_client import APIClient, SimulatedProvider, cli, errors
from llm_api_client.call.failure import Failure
from llm_api_client.call.judge import Where, judge_answer, judge_failure
from llm_api_client.call.validation import validation
from llm_api_client.records import Kind
from llm_api_client.testing import ScriptedAnswer

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
NOT_RUN = re.compile(r"<!-- not run: .+ -->")
RUN = "python"
SHELL = "bash"
LANGUAGES = {RUN, SHELL, "text", "json"}
MOST_NOT_RUN = 3


def named(page):
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=named)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of its fence (from 1), and what stands before it."""

    language: str
    text: str
    line: int
    before: str
    follows_block: bool

    @property
    def is_run(self):
        """Whether the tests run it."""
        return self.language == RUN and not NOT_RUN.search(self.before)


def split(page):
    """A page's fenced blocks, and its lines outside of them."""
    blocks, prose, fence, began = [], [], None, 0
    since_block = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence is None and line.lstrip().startswith("```"):
            fence, began, body = line, number, []
        elif fence is not None and line.strip() == "```":
            before = next((text for text in reversed(prose) if text.strip()), "")
            follows = since_block is not None and not any(text.strip() for text in since_block)
            blocks.append(Block(fence.removeprefix("```"), "\n".join(body) + "\n", began, before, follows))
            fence, since_block = None, []
        elif fence is not None:
            body.append(line)
        else:
            prose.append(line)
            if since_block is not None:
                since_block.append(line)
    assert fence is None, f"{named(page)}:{began}: the fence is not closed"
    return blocks, prose


@pytest.fixture(scope="module")
def _served():
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture
def provider(_served, monkeypatch, tmp_path):
    """What a reader has: a key in the environment, and a provider behind it; here a simulated one."""
    import litellm

    _served.reset()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-documentation")
    monkeypatch.setenv("OPENAI_BASE_URL", _served.base_url)
    for variable in ("MAX_INPUT_TOKENS_OVERRIDE", "MAX_CONTEXT_TOKENS_FALLBACK"):
        monkeypatch.setenv(variable, "")  # so that it is put back, whatever an example makes of it
        monkeypatch.delenv(variable)
    monkeypatch.setattr(litellm, "success_callback", list(litellm.success_callback))
    monkeypatch.chdir(tmp_path)
    made, make = [], APIClient.__init__

    def make_and_note(client, *args, **options):
        made.append(client)
        make(client, *args, **options)

    monkeypatch.setattr(APIClient, "__init__", make_and_note)
    yield _served
    for client in made:  # examples leave clients open, as scripts do
        client.close()


def call_test(function):
    """Run a test function that an example defines, with the public fixture if it asks for it."""
    if "simulated_provider" in inspect.signature(function).parameters:
        with SimulatedProvider() as fresh:
            function(simulated_provider=fresh)
    else:
        function()


@every_page
def test_examples_do_what_they_show(page, provider):
    """A page's Python blocks run in order in one namespace, and print what the text right after them says."""
    namespace = {"__name__": "example"}
    printed = None
    for block in split(page)[0]:
        if printed is not None and block.language == "text" and block.follows_block:
            same = doctest.OutputChecker().check_output(block.text, printed, doctest.ELLIPSIS)
            assert same, f"{named(page)}:{block.line} shows\n{block.text}\nbut what is printed is\n{printed}"
        printed = None
        if not block.is_run:
            continue
        before = set(namespace)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile("\n" * block.line + block.text, str(page), "exec"), namespace)  # noqa: S102
            for name in namespace.keys() - before:
                if name.startswith("test_"):
                    call_test(namespace[name])
        printed = out.getvalue()
    assert provider.counts.unanswered == 0


def test_the_first_example_asks_for_every_prompt(provider, capsys):
    """The README's first example sends one call for each prompt, within its limits, and prints answer and cost."""
    first = split(ROOT / "README.md")[0][0]
    exec(compile(first.text, "README.md", "exec"), namespace := {})  # noqa: S102
    assert provider.counts.answered == len(namespace["prompts"]) == len(namespace["responses"])
    assert None not in namespace["responses"]
    assert "Total cost of API calls: $" in capsys.readouterr().out


@every_page
def test_every_block_says_what_it_is(page):
    """A block begins at the margin and names a language that these tests know, so that none escapes them."""
    for block in split(page)[0]:
        assert block.language in LANGUAGES, f"{named(page)}:{block.line}: {block.language!r}"


def test_few_blocks_are_not_run():
    """What is shown and not run is marked with the reason, and rare."""
    blocks = [block for page in PAGES for block in split(page)[0] if block.language == RUN]
    assert len([block for block in blocks if not block.is_run]) <= MOST_NOT_RUN
    marks = sum(len(NOT_RUN.findall(page.read_text(encoding="utf-8"))) for page in PAGES)
    assert marks == len([block for block in blocks if not block.is_run])


def commands_in(text):
    """The arguments of every call of `llm-api-client` in a piece of shell."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        call = []
        for word in [*words, ";"]:
            if set(word) <= set("|&;<>()"):
                if call and Path(call[0]).name == "llm-api-client":
                    yield call[1:]
                call = []
            else:
                call.append(word)


@every_page
def test_commands_are_ones_that_exist(page):
    """Every `llm-api-client …` in a block of shell, and every one in the running text, is parsed by the real parser."""
    blocks, prose = split(page)
    shown = [block.text for block in blocks if block.language == SHELL]
    inline = re.findall(r"`(llm-api-client [a-z]+[^`|…]*)`", "\n".join(prose))
    for arguments in (call for text in [*shown, *inline] for call in commands_in(text)):
        if arguments == ["run"]:  # the command's name in a sentence; it takes no less than two arguments
            continue
        code = 0
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                cli.parser().parse_args(arguments)
            except SystemExit as end:
                code = end.code
        assert code == 0, f"{named(page)}: llm-api-client {shlex.join(arguments)}: {said.getvalue()}"


def test_commands_are_found_wherever_they_stand():
    """Pipes, continued lines and paths before the program hide no command."""
    text = "zcat x.gz | llm-api-client run - \\\n  -o - | gzip > y && .venv/bin/llm-api-client demo"
    assert list(commands_in(text)) == [["run", "-", "-o", "-"], ["demo"]]


def slug(heading):
    """A heading's anchor, as Python-Markdown makes it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading)
    ascii_only = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower())


def anchors(page):
    return {slug(line.lstrip("#")) for line in split(page)[1] if re.match(r"#{1,6} ", line)}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=named)
def test_links_lead_somewhere(page):
    """Every relative link names a file that is there, and every anchor a heading of that file."""
    for target in re.findall(r"\]\(([^)\s]+)\)", "\n".join(split(page)[1])):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), f"{named(page)} links to {target}"
        assert not anchor or anchor in anchors(file), f"{named(page)} links to {target}"


def test_the_site_has_every_page():
    """The navigation names every page of docs/ once, and pages included from elsewhere exist."""
    configuration = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert sorted(re.findall(r": (\S+\.md)$", configuration, re.MULTILINE)) == sorted(
        page.name for page in DOCS.glob("*.md")
    )
    for page in DOCS.glob("*.md"):
        for source, section in re.findall(r'^--8<-- "([^":]+):?(\w*)"', page.read_text(encoding="utf-8"), re.MULTILINE):
            text = (ROOT / source).read_text(encoding="utf-8")
            assert not section or (f"[start:{section}]" in text and f"[end:{section}]" in text)


def test_the_site_needs_no_network():
    """The site's theme loads no fonts, and its configuration names no other host."""
    configuration = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in configuration
    assert "://" not in configuration


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="argparse lays its help out anew; the page shows the older one")
def test_help_texts_are_the_real_ones():
    """The help texts on the command line's page are what the commands print at 80 columns."""
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert page.count("<!-- help:") == page.count("<!-- end of help -->") == 1 + len(commands())
    assert all(f"<!-- help: {command} -->" in page for command in commands())
    embedded = runpy.run_path(str(DOCS / "embed_help.py"))["embedded"]
    assert embedded(page) == page, "run: python docs/embed_help.py"


def commands():
    usage = next(action for action in cli.parser()._actions if action.choices)
    return list(usage.choices)


def test_the_reference_has_every_public_name():
    """Every name in `llm_api_client.__all__` stands in the reference, and everything in the reference is there."""
    named_there = re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {f"llm_api_client.{name}" for name in llm_api_client.__all__} <= set(named_there)
    for path in named_there:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def rows_of_table(page, head):
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(head))
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def error_classes():
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: cls for name, cls in found if cls.__module__ == errors.__name__}


def test_the_table_of_errors_is_the_tree_of_errors():
    """The table has exactly the classes of errors.py, each with its parent and the first sentence of its docstring."""
    table = {row[0].strip("`"): (row[1].strip("`"), row[2]) for row in rows_of_table(DOCS / "failures.md", "| Class |")}
    assert table == {
        name: (cls.__bases__[0].__name__, cls.__doc__.strip().partition("\n")[0])
        for name, cls in error_classes().items()
    }


def test_the_table_of_attributes_is_complete():
    """Every attribute of an error is in the table, with the classes that have it."""
    table = {
        (name.strip("` "), cls.strip("` "))
        for name, classes, _ in rows_of_table(DOCS / "failures.md", "| Attribute |")
        for cls in classes.split(",")
    }
    has = {name: set(vars(cls("x"))) for name, cls in error_classes().items()}
    inherited = {
        name: set().union(*(has.get(base.__name__, set()) for base in cls.__mro__[1:]))
        for name, cls in error_classes().items()
    }
    assert table == {(attribute, name) for name in has for attribute in has[name] - inherited[name]}


WHERE = Where("gpt-4o-mini")
ENDS = {
    "AuthenticationError": Failure("", "", status=401),
    "InvalidRequestError": Failure("", "", status=400),
    "ContextWindowExceededError": Failure("", "", status=400, code=frozenset({"context_length_exceeded"})),
    "ContentRefusedError": Failure("", "", status=400, code=frozenset({"content_policy_violation"})),
    "NotFoundError": Failure("", "", status=404),
    "RateLimitError": Failure("", "", status=429),
    "QuotaExceededError": Failure("", "", status=429, code=frozenset({"insufficient_quota"})),
    "ServerError": Failure("", "", status=503),
    "NetworkError": Failure("", "", network=True),
    "RequestTimeoutError": Failure("", "", timed_out=True),
}
TRIED_AGAIN = {Kind.TRANSIENT: "yes", Kind.RATE_LIMITED: "waits", Kind.INVALID: "at once"}


def test_the_table_says_truly_what_is_tried_again():
    """A failure is tried again just where the table says so; what was refused before it was sent never is."""
    table = {row[0].strip("`"): row[3] for row in rows_of_table(DOCS / "failures.md", "| Class |")}
    verdicts = {name: judge_failure(failure, WHERE) for name, failure in ENDS.items()}
    verdicts["MalformedResponseError"] = judge_answer(None, WHERE)
    verdicts["AnswerValidationError"], _ = validation(int).judge(ScriptedAnswer("no number"))
    for name, verdict in verdicts.items():
        assert type(verdict.error).__name__ == name
        assert table.pop(name) == TRIED_AGAIN.get(verdict.kind, "no"), name
    assert table.pop("RateLimitTimeoutError") == "no"
    assert table.pop("LLMAPIClientError") == table.pop("APICallException") == ""
    assert set(table.values()) == {"no"}
    assert not any(issubclass(getattr(errors, name), errors.APICallException) for name in table)


def test_the_design_names_every_part_of_the_package():
    """The design's table of places has every module and folder of the package, and no other."""
    package = Path(llm_api_client.__file__).parent
    parts = {f"{path.name}/" if path.is_dir() else path.name for path in package.iterdir() if path.name[0] != "_"}
    places = {row[0].strip("`") for row in rows_of_table(DOCS / "design.md", "| | |")}
    assert places == {part for part in parts if part != "py.typed"} | {"__init__.py"}


def test_the_readme_has_the_test_command_where_ci_takes_it_from():
    """CI runs the README's own test command, which is one line."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    extraction = next(line for line in script.splitlines() if line.startswith("test_command="))
    found = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", f'{extraction}\nprintf "%s" "$test_command"'],
        capture_output=True, text=True, cwd=ROOT, check=True, env={"PATH": os.environ["PATH"]},
    ).stdout  # fmt: skip
    assert found == "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest"
