"""An environment of its own for LiteLLM's proxy, made once and kept between runs.

What the proxy needs shall not come into the environment that the library is tested in. Run as a program it makes the
environment, and says where it is.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

# Without prisma the proxy answers whatever needs a database by a page that says nothing.
_PACKAGES = (f"litellm[proxy]=={version('litellm')}", "prisma")
_NO_INDEX = re.compile(
    r"No matching distribution|Could not find a version|No solution found|Failed to fetch|Connection ?(error|refused)"
    r"|connection broken|NewConnectionError|name resolution|timed out",
    re.IGNORECASE,
)
_INSTALL_SECONDS = 900


class IndexUnreachableError(Exception):
    """The package index does not give the proxy."""


def proxy_python() -> Path:
    """The Python of an environment in which the LiteLLM Proxy is installed, of the version that is tested with.

    Raises:
        IndexUnreachableError: It is not there yet, and the package index cannot be reached or does not have it.
        RuntimeError: Installing it failed in another way.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-api-client-tests"
    home.mkdir(parents=True, exist_ok=True)
    place = home / f"proxy-{version('litellm')}-python-{sys.version_info.major}.{sys.version_info.minor}"
    python, whole = place / "bin" / "python", place / "whole"
    with (home / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once: the second finds what the first has made
        if not (whole.exists() and python.exists()):
            shutil.rmtree(place, ignore_errors=True)
            _make(place, python)
            whole.touch()
    return python


def _make(place: Path, python: Path) -> None:
    pip = [
        [sys.executable, "-m", "venv", str(place)],
        [str(python), "-m", "pip", "install", "--quiet", *_PACKAGES],
    ]
    uv = shutil.which("uv")
    quick = [
        [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(place)],
        [str(uv), "pip", "install", "--quiet", "--python", str(python), *_PACKAGES],
    ]
    # uv does not read pip's configuration: an index that only pip is told of is pip's to ask.
    if uv and not _complaint(quick):
        return
    shutil.rmtree(place, ignore_errors=True)
    if said := _complaint(pip):
        error = IndexUnreachableError if _NO_INDEX.search(said) else RuntimeError
        raise error(f"{' '.join(_PACKAGES)} cannot be installed: {said[-600:]}")


def _complaint(commands: list[list[str]]) -> str:
    """Run commands until one fails; what it said, or nothing."""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
        if done.returncode:
            return done.stderr.strip() or done.stdout.strip() or f"{command[0]} ended with {done.returncode}"
    return ""


if __name__ == "__main__":
    sys.stdout.write(f"{proxy_python()}\n")
