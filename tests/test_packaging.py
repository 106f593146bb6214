"""What the package is from outside, and the laws of its source that a program can see."""

import ast
import importlib
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import llm_api_client

ROOT = Path(__file__).parent.parent
PACKAGE = Path(llm_api_client.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SLOW = {"litellm", "numpy", "tqdm", "openai", "httpx", "tiktoken", "asyncio"}
MOST_LINES = 400

STATE = {
    ("call/connections.py", "_current"): "which call each thread has under way",
    ("record/cache_file.py", "_registry"): "caches' files that are open: a forked child leaves them to its parent",
    ("call/litellm_door/library.py", "_held"): "settings of LiteLLM that calls under way hold",
    ("call/litellm_door/library.py", "_settings_lock"): "guards the one above",
    ("record/store.py", "_registry"): "checkpoints that are open, since a file opened twice is one store",
}
"""All of the package's state that belongs to no object."""


def named(path):
    return path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).as_posix()


every_source = pytest.mark.parametrize("path", SOURCES, ids=named)


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def loaded_by(statement):
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import llm_api_client", "from llm_api_client.errors import LLMAPIClientError"])
def test_the_import_is_quick(statement):
    """Importing the package, or its errors, loads nothing that is slow."""
    assert loaded_by(statement) & SLOW <= loaded_by("pass") & SLOW


def test_public_names_are_sorted_and_load():
    """Each name in `__all__` is there when it is asked for, and the list is sorted."""
    assert llm_api_client.__all__ == sorted(llm_api_client.__all__)
    for name in llm_api_client.__all__:
        assert getattr(llm_api_client, name).__name__ == name


def test_dir_shows_the_public_names_only():
    """What completion offers is what users may use."""
    assert dir(llm_api_client) == sorted([*llm_api_client.__all__, "__version__"])


def test_type_checkers_see_what_is_loaded():
    """The imports for type checkers name the same things from the same modules as the lazy ones."""
    seen = {
        alias.name: node.module.removeprefix("llm_api_client.")
        for node in ast.walk(parsed(PACKAGE / "__init__.py"))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("llm_api_client.")
        for alias in node.names
        if alias.asname == alias.name
    }
    assert seen == llm_api_client._HOMES
    assert sorted(seen) == llm_api_client.__all__


def test_an_unknown_name_is_an_attribute_error():
    """A name that does not exist fails as it does for any module."""
    with pytest.raises(AttributeError, match="module 'llm_api_client' has no attribute 'nonsense'"):
        _ = llm_api_client.nonsense


def test_the_package_is_typed():
    """The marker is there that makes type checkers read the annotations."""
    assert (PACKAGE / "py.typed").is_file()


def test_the_version_comes_from_the_metadata():
    """The version stands in pyproject.toml alone."""
    assert llm_api_client.__version__ == metadata.version("llm-api-client") == PYPROJECT["project"]["version"]


def test_the_changelog_has_the_version():
    """The version at hand has its entry."""
    assert f"\n## [{llm_api_client.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_console_script_resolves():
    """The program's entry point is something that can be called."""
    (script,) = metadata.entry_points(group="console_scripts", name="llm-api-client")
    assert callable(script.load())


def test_all_is_every_extra():
    """The extra `all` has the packages of every other extra."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert set(packages_of("all")) == {package for extra in extras if extra != "all" for package in packages_of(extra)}


def packages_of(extra):
    for requirement in PYPROJECT["project"]["optional-dependencies"][extra]:
        if requirement.startswith("llm-api-client["):
            for other in requirement.partition("[")[2].rstrip("]").split(","):
                yield from packages_of(other)
        else:
            yield requirement


def imports_of(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
            "import_module",
            "__import__",
        ):
            yield from (arg.value.partition(".")[0] for arg in node.args if isinstance(arg, ast.Constant))


def test_one_package_imports_litellm():
    """There is one door to LiteLLM, and it is opened inside functions only."""
    door = "call/litellm_door/"
    importing = {path for path in SOURCES if not {"litellm", "openai"}.isdisjoint(imports_of(path))}
    assert {path for path in importing if not named(path).startswith(door)} == set()
    at_the_top = [ast.unparse(node) for path in importing for node in parsed(path).body]
    assert importing
    assert not [
        line
        for line in at_the_top
        if line.startswith(("import litellm", "from litellm ", "from litellm.", "import openai"))
    ]


def test_one_module_opens_sqlite():
    """Checkpoints are opened in one place; another only knows SQLite's errors by their codes."""
    assert [named(path) for path in SOURCES if "sqlite3.connect" in path.read_text(encoding="utf-8")] == [
        "record/database.py"
    ]


@every_source
def test_files_are_short(path):
    """A file of more than 400 lines is two."""
    assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES


@every_source
def test_only_commands_print(path):
    """Standard output is the user's; commands alone write to it."""
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if getattr(call.func, "id", None) == "print"]
    assert not prints or path.is_relative_to(PACKAGE / "cli")


def assigned_at_the_top(tree):
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def is_constant(name):
    """By convention: `LIMIT`, `_LIMIT`, a type such as `Decision`, and `__all__`."""
    return name.strip("_")[:1].isupper() or name == "__all__"


@every_source
def test_no_state_belongs_to_a_module(path):
    """A module's own names are constants, types and its logger; all other state belongs to an object, or is named."""
    tree = parsed(path)
    found = {name for name in assigned_at_the_top(tree) if not is_constant(name) and name != "logger"}
    assert found == {name for where, name in STATE if where == named(path)}
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))


MUTATORS = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popleft", "remove", "setdefault", "update"}


@every_source
def test_constants_are_constant(path):
    """What a module calls a constant, its code does not change."""
    tree = parsed(path)
    constants = set(filter(is_constant, assigned_at_the_top(tree)))
    for node in ast.walk(tree):
        changed = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            changed = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            changed = node.func.value
        assert getattr(changed, "id", None) not in constants, f"{named(path)}:{node.lineno}"


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_every_test_states_its_law(path):
    """A test's docstring says which law it holds."""
    silent = [
        node.name
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent


def test_modules_say_what_they_are():
    """Every module of the package begins with a docstring."""
    assert not [named(path) for path in SOURCES if not ast.get_docstring(parsed(path))]


def test_every_module_can_be_imported():
    """No module waits for a missing package to be found broken."""
    for path in SOURCES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            importlib.import_module(".".join(part for part in parts if part != "__init__"))
