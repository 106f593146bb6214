"""Keys of services: where they come from, when they are asked for, and that they are never shown."""

import logging

import pytest

from llm_api_client.errors import AuthenticationError, ConfigurationError

from .conftest import KEY, Reply, Translator, translate


def test_the_key_comes_from_the_environment(make, server, monkeypatch):
    """Without a key the one of `key_variable` goes out; without that the service says what is missing."""
    server.reply = translate
    monkeypatch.setenv("TRANSLATOR_API_KEY", "from-the-environment")
    make(api_key=None).call("translate", {"text": "Hello"})
    assert server.hits[0].headers["authorization"] == "Bearer from-the-environment"
    monkeypatch.delenv("TRANSLATOR_API_KEY")
    with pytest.raises(ConfigurationError, match="set TRANSLATOR_API_KEY"):
        make(api_key=None)


def test_an_api_without_keys(make, server):
    """A class that names no variable needs no key, and none is sent."""

    class Open(Translator):
        key_variable = None

    server.reply = translate
    make(Open, api_key=None).call("translate", {"text": "Hello"})
    assert "authorization" not in server.hits[0].headers


def test_a_key_that_wears_out_is_asked_for_again(make, server):
    """A callable gives another key when one was refused, and the call goes again with it."""
    keys = iter(["worn-out-key", "fresh-key"])
    server.reply = lambda hit: translate(hit) if "fresh" in hit.headers["authorization"] else Reply({}, 401)
    assert make(api_key=lambda: next(keys)).call("translate", {"text": "Hello"}, max_retries=0)
    assert len(server.hits) == 2


def test_a_key_that_could_not_be_had_is_asked_for_again(make, server):
    """A callable that fails fails the call, and not those after it: it is asked again."""
    keys = iter([None, "late-key"])
    server.reply = translate
    service = make(api_key=lambda: next(keys))
    with pytest.raises(ConfigurationError, match="api_key gave None"):
        service.call("translate", {"text": "Hello"})
    assert service.call("translate", {"text": "Hello"})
    assert server.hits[0].headers["authorization"] == "Bearer late-key"


def test_the_key_is_never_shown(make, server, caplog):
    """Neither logs, errors, what is behind them, results nor reprs have the key, even where the server repeats it."""
    caplog.set_level(logging.DEBUG)
    server.reply = Reply({"error": {"message": f"{KEY} is refused"}}, 401)
    service = make()
    with pytest.raises(AuthenticationError) as raised:
        service.call("translate", {"text": "Hello"})
    service.call_many("translate", [{"text": "Hello"}] * 2)
    error = raised.value
    shown = [caplog.text, repr(service), repr(service.endpoints), repr(service.failures), repr(error.to_dict())]
    shown += [str(error), repr(error.__cause__), repr(vars(error.__cause__))]
    assert not [text for text in shown if KEY in text]
