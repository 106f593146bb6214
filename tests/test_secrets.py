"""Keys are never shown: not in errors, causes, tracebacks, history or logs."""

import logging
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_api_client import APIClient
from llm_api_client.call.failure import read_failure, scrub
from llm_api_client.call.judge import Where, judge_failure
from llm_api_client.call.sender import Sender
from llm_api_client.secrets import MASK, SHORTEST, is_secret_name, masked, scrubbed, scrubbed_data, secrets_in
from llm_api_client.simulator import SimulatedProvider

SECRET_NAMES = (
    "api_key", "API_KEY", "apikey", "api-key", "x-api-key", "X-Api-Key", "OPENAI_API_KEY", "Authorization",
    "authorization", "proxy-authorization", "azure_ad_token", "aws_secret_access_key", "aws_access_key_id",
    "aws_session_token", "vertex_credentials", "client_secret", "password", "token", "hf_token", "access_token",
    "Cookie", "set-cookie", "private_key", "Ocp-Apim-Subscription-Key", "x-auth-token", "api_keys",
)  # fmt: skip
PLAIN_NAMES = (
    "max_tokens", "max_completion_tokens", "token_count", "logit_bias", "stop_token", "tokens", "prompt_tokens",
    "tokenizer", "model", "messages", "key", "keyword", "monkey", "top_logprobs", "min_tokens", "pad_token_id",
    "author", "secretary", "user", 7, None,
)  # fmt: skip

# Begun with a sign that no source line quoted by a traceback has.
secrets = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=SHORTEST, max_size=40).map(
    lambda text: chr(167) + text
)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets_are_known(name):
    """Parameters and headers that hold keys are known by name, in every spelling."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_names_of_plain_parameters_are_no_secrets(name):
    """What only speaks of tokens, keys or bias is shown."""
    assert not is_secret_name(name)


def test_a_request_is_masked_wherever_secrets_stand():
    """Keys, headers and nested credentials are masked, all else is as given, and the request is not touched."""
    request = {
        "model": "m",
        "messages": [{"role": "user", "content": "my api_key is a word"}],
        "max_tokens": 5,
        "api_key": "sk-1",
        "extra_headers": {"Authorization": "Bearer x", "x-trace": "1"},
        "vertex_credentials": {"type": "service_account", "private_key": "abc"},
        "tools": [{"type": "mcp", "headers": {"authorization": "Bearer y"}}],
        "api_base": None,
    }
    before = repr(request)
    shown = masked(request)
    assert repr(request) == before
    assert shown == {
        **request,
        "api_key": MASK,
        "extra_headers": {"Authorization": MASK, "x-trace": "1"},
        "vertex_credentials": MASK,
        "tools": [{"type": "mcp", "headers": {"authorization": MASK}}],
    }


def test_a_schema_that_speaks_of_a_password_is_shown():
    """Inside a tool's schema, an object under a secret's name is a description, not a secret."""
    parameters = {"type": "object", "properties": {"password": {"type": "string"}, "token": {"type": "string"}}}
    request = {"tools": [{"type": "function", "function": {"name": "log_in", "parameters": parameters}}]}
    assert masked(request) == request


def test_a_copy_shares_no_container():
    """Changing a masked copy never changes the request."""
    request = {"messages": [{"content": ["a"]}], "extra_headers": {}}
    shown = masked(request)
    shown["messages"][0]["content"].append("b")
    shown["extra_headers"]["x"] = 1
    assert request == {"messages": [{"content": ["a"]}], "extra_headers": {}}


def test_an_address_with_a_password_or_key_is_masked():
    """Secrets within an address are not shown, the address is; a message is shown as it is."""
    said = "is https://me:hidden-word@host wrong?"
    request = {
        "api_base": "https://me:hidden-word@host/v1?key=0123456789&x=1",
        "api_key": "repeated-secret",
        "extra_body": {"url": "https://host/repeated-secret"},
        "messages": [{"role": "user", "content": said}],
    }
    shown = masked(request)
    assert shown["api_base"] == f"https://{MASK}@host/v1?key={MASK}&x=1"
    assert shown["extra_body"] == {"url": f"https://host/{MASK}"}
    assert shown["messages"][0]["content"] == said


def test_a_circle_ends():
    """A request that contains itself does not stop the masking."""
    circle = {"model": "m"}
    circle["metadata"] = circle
    masked(circle)
    secrets_in(circle)
    scrubbed_data(circle)


def test_every_secret_of_a_request_is_found():
    """Secrets are found in lists and headers, with and without their scheme."""
    request = {
        "api_key": "key-one",
        "extra_headers": {"Authorization": "Basic key-two", "x-api-key": b"key-three"},
        "tools": [{"headers": {"Authorization": "Bearer key-four"}}],
        "max_tokens": 5,
        "user": "somebody",
    }
    found = secrets_in(request)
    assert {"key-one", "key-two", "key-three", "key-four"} <= found
    assert "somebody" not in found


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdefghij0123456789",
        "sk-ant-api03-abcdefghij0123456789",
        "gsk_abcdefghij0123456789abcd",
        "xai-abcdefghij0123456789",
        "hf_abcdefghij0123456789",
        "AIzaSyA-abcdefghij0123456789abcdefghij012",
        "AKIAABCDEFGHIJKLMNOP",
    ],
)
def test_what_looks_like_a_key_is_taken_out_of_any_text(key):
    """The keys of known providers are recognised without being told."""
    assert scrubbed(f"bad key {key}, try again") == f"bad key {MASK}, try again"
    assert key not in scrubbed(f"Authorization: Bearer {key}")
    assert key not in scrubbed(f"https://host/v1?key={key}&x=1")


def test_ordinary_texts_are_left_alone():
    """Words that only begin like a key stay."""
    text = "The task-list of sk-learn, pk-1 and a bearer of news; Bearer auth; risk-assessment-of-many-things"
    assert scrubbed(text, ["x", ""]) == text


@given(st.text(max_size=60), secrets, st.text(max_size=60))
@example("a", "key'with\"quotes\\", "b")
@example("", "schlüssel-schlüssel", "")
def test_a_given_secret_never_survives(before, secret, after):
    """Whatever stands around it, and written as `repr` or JSON would, a known secret is gone."""
    assert secret not in scrubbed(f"{before}{secret}{after}", [secret]).replace(MASK, "")
    shown = scrubbed(repr({"k": secret}), [secret])
    assert repr(secret)[1:-1] not in shown.replace(MASK, "")


@given(st.recursive(secrets.map(str), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_data_without_secrets_is_returned_itself(data):
    """Nothing is copied where there is nothing to hide, so that other people's objects stay theirs."""
    if scrubbed(repr(data)) == repr(data) and masked(data) == data:
        assert scrubbed_data(data) is data


@given(secrets)
def test_no_exception_tells_a_secret(secret):
    """`str`, `repr` and the formatted traceback of an error and all its causes are free of the key."""
    request = {"api_key": secret}
    caught = ValueError(f"failed with {secret}")
    caught.body = {"detail": f"{secret}!"}
    caught.add_note(f"the key was {secret}")
    caught.__cause__ = KeyError({"api_key": secret, "nested": [f"in {secret}"]}, secret.encode())
    verdict = judge_failure(read_failure(caught, 0.0), Where("m"), secrets_in(request))
    scrub(caught, secrets_in(request))
    verdict.error.__cause__ = caught
    shown = "".join(traceback.format_exception(verdict.error))
    shown += repr([caught, caught.__cause__, caught.body, verdict, verdict.error.to_dict()])
    for written in (secret, repr(secret)[1:-1], repr(secret.encode())[2:-1]):
        assert written not in shown.replace(MASK, "")


@pytest.mark.parametrize("echo", ["body", "raised"])
def test_nothing_that_a_client_shows_holds_a_key(litellm, caplog, echo):
    """History, failures, errors, tracebacks and the log of a failed batch are free of every key of the request."""
    key, header = "my-very-own-key-123", "my-header-secret-456"

    def fail(**params: object) -> None:
        message = f"refused {params['api_key']} and {params['extra_headers']}"
        raise ValueError(message)

    request = {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hi"}],
        "api_key": key,
        "extra_headers": {"Authorization": f"Bearer {header}", "x-simulate": f"418; {key}={header}"},
    }
    caplog.set_level(logging.DEBUG)
    with SimulatedProvider() as provider:
        api_call = fail if echo == "raised" else None
        with APIClient(api_call=api_call, base_url=provider.base_url, progress=False) as client:
            [error] = client.make_requests([request], return_exceptions=True)
            shown = [str(client.history[0]), repr(client.failures), str(client), str(client.details)]
    shown += [str(error), repr(error), str(error.to_dict()), *traceback.format_exception(error)]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("llm_api_client")]
    for secret in (key, header):
        assert secret not in "".join(shown + ours)
    assert MASK in error.message
    assert request["api_key"] == key


def test_a_key_of_the_environment_is_not_shown_either(monkeypatch):
    """A key that no request carries, but LiteLLM finds in the environment, is taken out of what it raises."""
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", "environment-key-789")

    def fail(**_: object) -> None:
        message = "401 for environment-key-789"
        raise PermissionError(message)

    with pytest.raises(PermissionError) as caught:
        Sender(fail, is_litellm=True)({"model": "m"}, None)
    assert str(caught.value) == f"401 for {MASK}"
