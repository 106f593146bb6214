"""Environments for the contestants, made when they are first needed and kept in `benchmarks/.envs/`.

Contestants cannot share one: two of them are imported under the same name, and they want different versions of the
OpenAI SDK. LiteLLM is pinned to one version wherever calls go through it, so that a ratio is not a comparison of two of
its releases.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(__file__).resolve().parents[1] / ".envs"
LITELLM = "litellm==1.106.2"

PROJECT = "project"
NAMESAKE = "namesake"
ASYNC_BATCH = "async-batch-llm"
CURATOR = "curator"

REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    PROJECT: ("-e", str(ROOT), LITELLM),
    # Its requirement on pyrate-limiter is open, and its calls are those of version 4.
    NAMESAKE: ("llm-api-client==0.1.8", LITELLM, "pyrate-limiter==4.5.1"),
    ASYNC_BATCH: ("async-batch-llm[openai]==0.28.0",),
    # It sends by itself, and asks its own version of LiteLLM for prices alone.
    CURATOR: ("bespokelabs-curator==0.1.31",),
}
PACKAGES: Mapping[str, tuple[str, ...]] = {
    PROJECT: ("llm-api-client", "litellm", "openai", "httpx", "tiktoken"),
    NAMESAKE: ("llm-api-client", "litellm", "openai", "httpx", "tiktoken", "pyrate-limiter"),
    ASYNC_BATCH: ("async-batch-llm", "openai", "pydantic"),
    CURATOR: ("bespokelabs-curator", "aiohttp", "litellm"),
}
"""Packages of each environment whose versions are worth telling."""

_ASK_VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


@cache
def python(name: str) -> str:
    """The interpreter of an environment, which is made, or made anew, if what it should hold has changed.

    Looked at once in a run: an environment must not change while it is measured.
    """
    home = HOME / name
    interpreter = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, wanted = home / "holds.txt", _fingerprint(name)
    if not (interpreter.exists() and stamp.exists() and stamp.read_text() == wanted):
        print(f"making the environment {name!r} …", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        _make(home, interpreter, REQUIREMENTS[name])
        stamp.write_text(wanted)
    return str(interpreter)


def versions(name: str) -> dict[str, str]:
    """Versions of the packages that matter in an environment."""
    done = subprocess.run(
        [python(name), "-c", _ASK_VERSIONS, *PACKAGES[name]], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _fingerprint(name: str) -> str:
    parts = [sys.version, *REQUIREMENTS[name]]
    if name == PROJECT:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        parts += [project["version"], *project["dependencies"]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _make(home: Path, interpreter: Path, requirements: tuple[str, ...]) -> None:
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    uv = shutil.which("uv", path=beside)
    if uv:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(home)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(interpreter)]
    else:
        venv.create(home, with_pip=True)
        install = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *requirements], check=True)
