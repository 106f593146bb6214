"""Put the table of providers whose calls go without LiteLLM into transport.md. Run it after an update of LiteLLM.

Nothing of it is known beforehand: each provider that LiteLLM lists is asked, at an address on this machine.
"""
# ruff: noqa: INP001  a script

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litellm

from llm_api_client import SimulatedProvider
from llm_api_client.call.clients import Clients
from llm_api_client.call.sender import Sender
from llm_api_client.operations import operation_named

PAGE = Path(__file__).parent / "transport.md"
COLUMNS = {"chat": "Chats", "completion": "Completions", "embeddings": "Embeddings"}
_ASKED: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hello"}]},
    "completion": {"prompt": "Hello"},
    "embeddings": {"input": ["Hello"]},
}
_MARKED = re.compile(r"(<!-- routes -->\n).*?(<!-- end of routes -->)", re.DOTALL)


class _Counted(Sender):
    """A sender that counts how often it asks LiteLLM."""

    asked = 0

    def _by_litellm(self, *args: Any) -> Any:
        self.asked += 1
        return super()._by_litellm(*args)


@contextlib.contextmanager
def _callbacks_as_they_are() -> Iterator[None]:
    """Some of LiteLLM's routes add callbacks of their own; while there are any, all goes through LiteLLM."""
    lists = {name: value for name, value in vars(litellm).items() if "callback" in name and isinstance(value, list)}
    before = {name: list(value) for name, value in lists.items()}
    try:
        yield
    finally:
        for name, value in lists.items():
            value[:] = before[name]
            setattr(litellm, name, value)


def _is_direct(sender: _Counted, connections: Clients, provider: str, name: str, base_url: str) -> bool:
    """Whether a third call to a provider goes without LiteLLM."""
    operation = operation_named(name)
    params = {"model": f"{provider}/some-model", "api_key": "sk-made-up-0123456789", "api_base": base_url, "timeout": 5}
    if connections.of(params, provider, operation) is None:
        return False  # over connections of LiteLLM's own
    try:
        for _ in range(3):
            before = sender.asked
            sender({**params, **_ASKED[name]}, provider, operation=operation)
    except Exception:  # noqa: BLE001  what LiteLLM cannot do, or makes nothing of
        return False
    return sender.asked == before


def table() -> str:
    """A row for each provider of which anything goes without LiteLLM."""
    lines = ["| Provider | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    sender, connections = _Counted(litellm.completion, is_litellm=True), Clients()
    with SimulatedProvider() as provider, contextlib.closing(sender), contextlib.closing(connections):
        for name in sorted(str(getattr(listed, "value", listed)) for listed in litellm.provider_list):
            with _callbacks_as_they_are():
                went = [_is_direct(sender, connections, name, each, provider.base_url) for each in COLUMNS]
            if any(went):
                lines.append(f"| `{name}` | " + " | ".join("direct" if each else "LiteLLM" for each in went) + " |")
    return "\n".join(lines) + "\n"


def embedded(page: str) -> str:
    """The page with the table as it is now."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{table()}\n{found[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(embedded(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
