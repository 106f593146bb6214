"""What a client says of its spending and of the account that pays."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from call.serving import Reply, Seen, Serving

from llm_api_client import APIClient, RateLimit, errors
from llm_api_client.api_client.account import variables_of
from llm_api_client.call import litellm_door
from llm_api_client.catalog import Catalog
from llm_api_client.testing import ScriptedCalls

KEY = "sk-made-up-0123456789abcdefghij"
ROW = {
    "key_name": "sk-...ghij", "key_alias": "labelling", "spend": 1.25, "max_budget": 10.0, "user_id": "ada",
    "models": ["gpt-4o"], "metadata": {"note": f"was {KEY}", "password": "hunter22"},
}  # fmt: skip
USER = {
    "user_id": "ada", "user_info": {"spend": 3.5, "max_budget": None}, "keys": [{"token": "0123abcd"}], "teams": [],
}  # fmt: skip


def requests(number: int, model: str = "gpt-4o-mini") -> list[dict[str, Any]]:
    return [{"model": model, "messages": [{"role": "user", "content": f"question {n}"}]} for n in range(number)]


@pytest.fixture
def serving() -> Iterator[Serving]:
    with Serving() as serving:
        yield serving


@pytest.fixture
def client(serving: Serving) -> Iterator[APIClient]:
    with APIClient(base_url=serving.base_url, api_key=KEY, progress=False) as client:
        yield client


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """An environment without keys, and what puts some in."""
    for name in list(os.environ):
        if name.endswith(("_KEY", "_TOKEN", "_CREDENTIALS")):
            monkeypatch.delenv(name)
    return monkeypatch.setenv


def test_usage_is_the_tracker_s_by_provider_and_model():
    """Totals, sums by provider and by model, and the limits with what of them is used, all agree."""
    client = APIClient(100, 1_000_000, api_call=ScriptedCalls(), progress=False, model_limits={"own": RateLimit(5)})
    client.make_requests([*requests(3, "a"), *requests(2, "b"), *requests(1, "own")])
    usage = client.get_usage()
    tracker = client.tracker
    assert (usage["total_requests"], usage["total_cost"]) == (6, tracker.total_cost)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] == tracker.total_prompt_tokens
    assert {name: each["requests"] for name, each in usage["by_model"].items()} == {"a": 3, "b": 2, "own": 1}
    for sums in (usage["by_model"], usage["by_provider"]):
        assert sum(each["requests"] for each in sums.values()) == usage["total_requests"]
        assert sum(each["tokens"] for each in sums.values()) == usage["total_tokens"]
        assert sum(each["cost"] for each in sums.values()) == pytest.approx(usage["total_cost"])
    limits = usage["limits"]
    assert (limits["requests_per_minute"], limits["tokens_per_minute"]) == (100, 1_000_000)
    assert limits["used"]["requests_per_minute"] == 5
    assert 0 < limits["used"]["tokens_per_minute"] < 1_000_000


def test_usage_before_the_first_call_is_nothing():
    """A new client has spent nothing, and without limits none is used."""
    with APIClient(None, None, api_call=ScriptedCalls(), progress=False) as client:
        usage = client.get_usage()
    assert (usage["total_requests"], usage["total_cost"], usage["by_model"], usage["by_provider"]) == (0, 0, {}, {})
    assert usage["limits"] == {"requests_per_minute": None, "tokens_per_minute": None, "used": {}}


def proxied(seen: Seen) -> Reply:
    if seen.headers.get("authorization") != f"Bearer {KEY}":
        return Reply({"error": {"message": "Authentication Error"}}, 401)
    answers = {"/key/info": {"key": KEY, "info": ROW}, "/user/info": USER}
    return Reply(answers[seen.path]) if seen.path in answers else Reply({"detail": "Not Found"}, 404)


def test_a_proxy_is_asked_for_its_key_and_user(client, serving):
    """What a LiteLLM Proxy keeps of the key and its user is told, without any secret, and leaves no history."""
    serving.otherwise = proxied
    info = client.get_user_info()
    assert (info["base_url"], info["spend"], info["max_budget"]) == (serving.base_url, 1.25, 10.0)
    assert info["key_info"]["key_alias"] == "labelling"
    assert info["user_info"] == {"spend": 3.5, "max_budget": None}
    assert [seen.path for seen in serving.seen] == ["/key/info", "/user/info"]
    assert KEY not in repr(info)
    assert "hunter22" not in repr(info)
    assert len(client.history) == 0
    assert client.tracker.num_unpriced_calls == 0


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_proxy_that_does_not_tell_of_the_user_tells_of_the_key(client, serving, status):
    """A key need not belong to a user, nor be allowed to ask."""
    serving.replies += [Reply({"key": KEY, "info": ROW}), Reply({"detail": "no"}, status)]
    info = client.get_user_info()
    assert (info["spend"], info["user_info"]) == (1.25, None)


def test_a_proxy_that_refuses_the_key_is_an_error(serving):
    """Who pays is not known then, and no guess is made."""
    serving.otherwise = proxied
    with (
        APIClient(base_url=serving.base_url, api_key="sk-wrong", progress=False) as client,
        pytest.raises(errors.AuthenticationError),
    ):
        client.get_user_info()
    with APIClient(base_url="http://127.0.0.1:1/v1", progress=False) as client, pytest.raises(errors.NetworkError):
        client.get_user_info()


@pytest.mark.parametrize(
    "reply", [Reply({"detail": "Not Found"}, 404), Reply({}, 405), Reply(b"<html>"), Reply([]), Reply({"info": 1})]
)
def test_any_other_server_has_no_account(client, serving, bare_environment, reply):
    """A server without a proxy's paths is none; then the keys of the environment are what is known."""
    bare_environment("OPENAI_API_KEY", KEY)
    serving.otherwise = lambda _: reply
    info = client.get_user_info()
    assert info.keys() == {"providers"}
    assert info["providers"]["openai"] == "***ghij"


def test_without_a_base_url_nothing_is_sent(bare_environment):
    """Every provider has its masked key or None, by LiteLLM's names; of short keys nothing is shown."""
    bare_environment("OPENAI_API_KEY", KEY)
    bare_environment("GROQ_API_KEY", "gsk-12345678")
    bare_environment("MISTRAL_API_KEY", "1234567890abc")
    bare_environment("ANTHROPIC_API_KEY", "")
    bare_environment("GOOGLE_API_KEY", KEY)
    with APIClient(progress=False) as client:
        info = client.get_user_info()
    providers = info["providers"]
    known = {name: key for name, key in providers.items() if key is not None}
    assert set(known) >= {"openai", "groq", "mistral", "gemini"}
    assert (known["openai"], known["groq"], known["mistral"]) == ("***ghij", "***", "***0abc")
    assert providers["anthropic"] is None
    assert set(providers) == set(client.providers())
    assert KEY not in repr(info)


def test_a_closed_client_asks_nobody(client, serving):
    """After `close()` it is refused."""
    client.close()
    with pytest.raises(errors.ClientClosedError):
        client.get_user_info()
    assert not serving.seen


def test_the_variables_are_those_that_litellm_reads(litellm, bare_environment):
    """Where LiteLLM says which variable has a provider's key, it is among those that are looked at here."""
    checked = 0
    for provider in Catalog(litellm_door.Table()).providers():
        if provider in {"chatgpt", "github_copilot"}:  # LiteLLM would log in
            continue
        missing = litellm.validate_environment(f"{provider}/some-model")["missing_keys"]
        keys = {name for name in missing if name.endswith(("_KEY", "_TOKEN"))}
        assert not keys or keys & set(variables_of(provider)), f"{provider}: {keys}"
        checked += bool(keys)
    assert checked > 20
