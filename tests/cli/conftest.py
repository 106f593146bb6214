"""A provider, and files of requests, for the tests of commands."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_api_client.simulator import SimulatedProvider

MODEL = "openai/gpt-4o-mini"


@pytest.fixture
def provider() -> Iterator[SimulatedProvider]:
    """A provider without limits, each test's own: a run that is cut short may leave it a request that comes late."""
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the machine's is ever used."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes objects, or lines as they are, to a file, and returns its path."""

    def _write(*lines: dict[str, Any] | str, name: str = "requests.jsonl") -> str:
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (tmp_path / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return str(tmp_path / name)

    return _write


def ask(prompt: str = "Hello", **more: Any) -> dict[str, Any]:
    """A plain request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}], **more}


def lines_of(path: str | Path) -> list[dict[str, Any]]:
    """An output's lines."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n")[:-1]]


def content_of(line: dict[str, Any]) -> str:
    """The answer's text of an output's line."""
    text: str = line["response"]["body"]["choices"][0]["message"]["content"]
    return text
