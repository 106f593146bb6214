"""The contract between the lanes over routes that LiteLLM sends by OpenAI's SDK, and the page that lists them all."""

import runpy
from pathlib import Path

import pytest

from llm_api_client.call.clients import SDK_CHATS

from .test_direct_contract import BY_LITELLM, DIRECT, MODELS, lanes, raw_server

__all__ = ["lanes", "raw_server"]

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("route", sorted(SDK_CHATS))
def test_chats_by_the_sdk_are_the_same_without_litellm(lanes, raw_server, monkeypatch, route):
    """Providers that speak OpenAI's language, at addresses of their own, get the same and give the same either way."""
    monkeypatch.setitem(MODELS, route, f"{route}/some-model")
    for case in ("ok", "unknown fields", "two choices"):
        assert lanes.compare(raw_server, route, DIRECT[case])
    for case in ("no usage", "401", "429", "500", "page", "cut"):
        assert not lanes.compare(raw_server, route, BY_LITELLM[case])


@pytest.mark.parametrize("route", ["deepinfra", "nvidia_nim", "zai"])
def test_keys_of_the_environment_are_used(lanes, raw_server, monkeypatch, route):
    """A key that only LiteLLM knows where to find is sent, and the next one at once."""
    monkeypatch.setitem(MODELS, route, f"{route}/some-model")
    raw_server.said = DIRECT["ok"]
    for key in ("sk-first-0123456789", "sk-second-0123456789"):
        monkeypatch.setenv(f"{route.upper()}_API_KEY", key)
        for _ in range(4):
            params = {"model": f"{route}/some-model", "messages": [{"role": "user", "content": "Hi"}], "timeout": 5.0}
            lanes.fast(params | {"api_base": raw_server.base_url}, route)
            assert f"Bearer {key}".encode() in raw_server.requests[-1]


def test_the_page_lists_what_goes_directly():
    """The table in the documentation is what is so with this LiteLLM."""
    page = (DOCS / "transport.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(DOCS / "embed_routes.py"))["embedded"](page) == page
