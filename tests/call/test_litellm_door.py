"""The door to LiteLLM: single attempts, own connections, nothing global changed, facts without network."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import openai
import pytest
import responses

from llm_api_client.call import litellm_door
from llm_api_client.call.answer import cost_of, usage_of
from llm_api_client.call.litellm_door import Facts, price
from llm_api_client.call.sender import Sender
from llm_api_client.errors import ClientClosedError
from llm_api_client.operations import CHAT
from llm_api_client.records import ModelFacts, Usage
from llm_api_client.simulator import SimulatedProvider

from .conftest import KEY
from .misbehaving import MisbehavingServer, Reply

OWN_ROUTES = ["openai", "hosted_vllm", "mistral", "deepseek", "openrouter", "together_ai", "xai", "fireworks_ai"]
"""Routes that the simulated provider can speak, with connections of the sender's own."""


def request(base_url: str, route: str = "openai", prompt: str = "Hi", **more):
    messages = [{"role": "user", "content": prompt}]
    return {"model": f"{route}/gpt-4o-mini", "messages": messages, "api_key": KEY, "api_base": base_url, **more}


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CALLED = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 0.5, "n": 2, "stop": ["x"], "seed": 0, "max_tokens": 5, "user": "me", "logprobs": True},
        {"response_format": {"type": "json_object"}, "extra_body": {"top_k": 3, "tools": [TOOL]}},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"extra_headers": {"x-mine": "yes"}, "extra_query": {"version": "2"}},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "text", "text": "here"}]},
                {"role": "assistant", "content": None, "tool_calls": [CALLED]},
                {"role": "tool", "tool_call_id": "c1", "content": "seen"},
            ]
        },
    ],
    ids=["plain", "parameters", "extra body", "stream", "extra headers", "messages"],
)
def test_what_is_sent_is_what_litellm_would_send(litellm, sender, server, more):
    """Going around the SDK's walk through the messages changes neither the body, the path nor the extra headers."""
    server.reply = Reply(200, ANSWER)
    asked = request(server.base_url, "openai", **more)
    with suppress(openai.OpenAIError):  # a stream, which this server cannot speak
        sender(asked, "openai")
    with suppress(openai.OpenAIError):
        litellm.completion(**asked, max_retries=0)
    ours, bare = server.hits
    assert ours.body == bare.body
    assert ours.path == bare.path
    assert ours.headers.get("x-mine") == bare.headers.get("x-mine")


@pytest.mark.parametrize("route", [*OWN_ROUTES, "perplexity", "custom_openai"])
@pytest.mark.parametrize("status", ["500", "429; retry-after=1", "503"])
def test_a_failing_call_is_one_request(sender, provider, route, status):
    """No inner retry reaches the provider, not even one that the request itself asks for."""
    prompt = f"[simulate: {status}]"
    with pytest.raises(openai.APIError):
        sender(request(provider.base_url, route, prompt, num_retries=3, max_retries=3), route)
    assert provider.counts.received == 1


def test_a_global_number_of_retries_is_overridden_and_kept(litellm, sender, provider, monkeypatch):
    """The user's own `litellm.num_retries` neither multiplies a call nor is lost by its failure, as LiteLLM would."""
    monkeypatch.setattr(litellm, "num_retries", 3)
    with pytest.raises(litellm.InternalServerError):
        sender(request(provider.base_url, prompt="[simulate: 500]"), "openai")
    assert provider.counts.received == 1
    assert litellm.num_retries == 3


CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}
ANSWER = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [CHOICE]}


def test_a_prefix_takes_no_parameter_away(litellm):
    """A model takes the same parameters whether or not its provider stands before it."""
    bare, prefixed = (Facts().facts(name, {}).supported_params for name in ("gpt-4o-mini", "openai/gpt-4o-mini"))
    assert bare == prefixed
    assert "user" in prefixed


@pytest.mark.parametrize("route", ["openai", "hosted_vllm"])
def test_more_than_a_hundred_calls_are_in_flight(sender, route):
    """160 threads have 160 calls in flight: the server answers none before 150 have come."""
    with MisbehavingServer() as server:
        server.reply = Reply(200, ANSWER, manner="gather", together=150)
        params = request(server.base_url, route, timeout=60.0)
        with ThreadPoolExecutor(160) as pool:
            answers = list(pool.map(lambda _: sender(params, route), range(160)))
    assert [answer.choices[0].message.content for answer in answers] == ["Hello"] * 160


@pytest.mark.parametrize(("route", "calls"), [("openai", 300), ("hosted_vllm", 1_000)])
def test_connections_are_kept_and_used_again(sender, route, calls):
    """A thousand calls open no more connections than there are threads, on either way out, and none is mixed up."""
    with SimulatedProvider() as provider:

        def ask(number: int) -> str:
            return sender(request(provider.base_url, route, f"{number}"), route).choices[0].message.content

        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(ask, range(calls)))
        assert answers == [f"Simulated answer to: {number}" for number in range(calls)]
        assert provider.counts.received == calls
        assert provider.counts.connections <= 2 * 40


@pytest.mark.parametrize("route", ["openai", "hosted_vllm"])
def test_each_request_s_own_key_and_base_url_are_used(sender, route):
    """Connections are shared, keys and addresses are not."""
    with SimulatedProvider() as one, SimulatedProvider() as two:
        for key, provider in (("sk-first-key", one), ("sk-second-key", two), ("sk-third-key", one)):
            sender(request(provider.base_url, route) | {"api_key": key}, route)
        sender(request("", route) | {"api_base": None, "base_url": two.base_url}, route)
        seen = [[seen.headers["authorization"] for seen in provider.requests] for provider in (one, two)]
    assert seen == [["Bearer sk-first-key", "Bearer sk-third-key"], ["Bearer sk-second-key", f"Bearer {KEY}"]]


def test_keys_and_addresses_of_the_environment_are_used(sender, provider, monkeypatch):
    """What LiteLLM reads from the environment holds for own connections too."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    monkeypatch.setenv("OPENAI_ORGANIZATION", "org-of-the-environment")
    params = request(provider.base_url)
    del params["api_key"], params["api_base"]
    sender(params, "openai")
    headers = provider.requests[0].headers
    assert headers["authorization"] == "Bearer sk-of-the-environment"
    assert headers["openai-organization"] == "org-of-the-environment"
    assert len(sender._clients._made) == 1


@pytest.mark.parametrize("route", ["openai", "hosted_vllm"])
def test_options_of_one_call_reach_the_wire(sender, provider, route):
    """Extra headers and an organization are sent, and neither sticks to the next call."""
    sender(request(provider.base_url, route, extra_headers={"x-mine": "yes"}, organization="org-mine"), route)
    sender(request(provider.base_url, route), route)
    first, second = (seen.headers for seen in provider.requests)
    assert first["x-mine"] == "yes"
    assert "x-mine" not in second
    if route == "openai":
        assert first["openai-organization"] == "org-mine"
        assert "openai-organization" not in second


def test_cookies_are_not_carried_from_one_key_to_another(sender, server):
    """A cookie that a provider sets is never sent back: the connections serve many keys."""
    server.reply = Reply(200, ANSWER, {"set-cookie": "who=first; Path=/"})
    for _ in range(2):
        sender(request(server.base_url, "hosted_vllm"), "hosted_vllm")
    assert [hit.headers.get("cookie") for hit in server.hits] == [None, None]


@pytest.mark.parametrize("route", ["openai", "hosted_vllm", "gemini", "anthropic"])
def test_each_call_has_its_own_timeout(litellm, sender, server, route):
    """The timeout of a call holds on every route, those included on which LiteLLM drops it."""
    server.reply = Reply(manner="hang")
    base = server.base_url.removesuffix("/v1") if route in {"gemini", "anthropic"} else server.base_url
    with pytest.raises(litellm.Timeout):
        sender(request(base, route, timeout=0.1), route)
    assert len(server.hits) == 1


def test_a_client_of_the_user_s_own_is_used(sender, provider):
    """`client=` in a request wins over the sender's connections."""
    with openai.OpenAI(api_key="sk-of-the-client", base_url=provider.base_url) as own:
        sender(request("http://nowhere.invalid/v1", client=own), "openai")
    assert provider.requests[0].headers["authorization"] == "Bearer sk-of-the-client"
    assert sender._clients._http is None


@pytest.mark.parametrize(
    ("setting", "value"), [("force_ipv4", True), ("client_session", "a session"), ("network_mock", True)]
)
def test_connections_that_the_user_sets_up_are_left_to_litellm(litellm, sender, provider, monkeypatch, setting, value):
    """Settings that own connections would swallow leave the call to LiteLLM's own."""
    monkeypatch.setattr(litellm, setting, value, raising=False)
    assert sender._clients.of(request(provider.base_url), "openai", CHAT) is None
    assert sender._clients.of(request(provider.base_url), "hosted_vllm", CHAT) is None


def test_ssl_verify_of_one_call_is_left_to_litellm(litellm, sender, provider):
    """A call with its own idea of certificates does not get the shared connections."""
    params = request(provider.base_url, ssl_verify=False)
    assert sender._clients.of(params, "openai", CHAT) is None
    assert sender(params, "openai").choices


def test_a_proxy_of_the_environment_is_used(litellm, server, monkeypatch):
    """`HTTP_PROXY` holds for own connections as for LiteLLM's."""
    server.reply = Reply(503, {"error": {"message": "I am the proxy"}})
    monkeypatch.setenv("HTTP_PROXY", server.base_url.removesuffix("/v1"))
    monkeypatch.setenv("http_proxy", server.base_url.removesuffix("/v1"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    sender = Sender(litellm.completion, is_litellm=True)
    with pytest.raises(litellm.ServiceUnavailableError, match="I am the proxy"):
        sender(request("http://provider.invalid/v1"), "openai")
    sender.close()
    assert server.hits[0].path == "http://provider.invalid/v1/chat/completions"


@pytest.mark.parametrize(
    "semi_private",
    [
        "litellm.llms.openai.common_utils.get_openai_credentials",
        "litellm.llms.custom_httpx.http_handler.get_ssl_configuration",
        "litellm.llms.custom_httpx.http_handler.get_default_headers",
        "litellm.llms.custom_httpx.http_handler.HTTPHandler",
    ],
)
def test_calls_go_without_what_litellm_does_not_promise(litellm, provider, monkeypatch, semi_private):
    """Another version of LiteLLM, without a semi-private name that is used here, still answers, retries off."""
    module, _, name = semi_private.rpartition(".")
    monkeypatch.delattr(sys.modules[module], name)
    sender = Sender(litellm.completion, is_litellm=True)
    route = "openai" if "openai" in module else "hosted_vllm"
    assert sender._clients.of(request(provider.base_url, route), route, CHAT) is None
    assert sender(request(provider.base_url), "openai").choices
    with pytest.raises(litellm.InternalServerError):
        sender(request(provider.base_url, prompt="[simulate: 500]"), "openai")
    assert provider.counts.received == 2
    sender.close()


def test_no_call_is_sent_after_the_end(litellm, sender, provider):
    """After `close` nothing goes out, over nobody's connections."""
    sender(request(provider.base_url), "openai")
    sender.close()
    sender.close()
    with pytest.raises(ClientClosedError):
        sender(request(provider.base_url), "openai")
    assert provider.counts.received == 1


def test_closing_closes_every_socket(litellm, provider):
    """No connection outlives `close`."""
    sender = Sender(litellm.completion, is_litellm=True)
    before = _sockets()
    for route in ("openai", "hosted_vllm"):
        sender(request(provider.base_url, route), route)
    assert _sockets() > before
    sender.close()
    assert _sockets() <= before


def _sockets() -> int:
    """Connections of this process that are open at both ends; a closed one's other half takes a moment longer."""
    links = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.add(str(entry.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return sum(f"socket:[{row[9]}]" in links and row[3] == established for row in rows)


@pytest.mark.parametrize("route", ["openai", "hosted_vllm"])
def test_a_streamed_answer_is_collected_with_the_provider_s_own_count(sender, provider, route):
    """With `stream=True` the whole answer comes back, with the tokens that the provider counted."""
    whole = sender(request(provider.base_url, route), route)
    streamed = sender(request(provider.base_url, route, stream=True), route)
    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert usage_of(streamed) == usage_of(whole)
    assert provider.requests[1].body["stream_options"] == {"include_usage": True}
    costs = [cost_of(answer, f"{route}/gpt-4o-mini", usage_of(answer), price) for answer in (whole, streamed)]
    assert costs[0] == costs[1]
    assert (costs[1] is None) == (route == "hosted_vllm")


def test_a_request_s_own_stream_options_are_kept(sender, provider):
    """What the request says of its stream is sent as it is."""
    sender(request(provider.base_url, stream=True, stream_options={"include_usage": False}), "openai")
    assert provider.requests[0].body["stream_options"] == {"include_usage": False}


def test_another_callable_gets_the_request_and_is_told_not_to_retry():
    """A custom callable gets the parameters, retries off, and nothing of LiteLLM's."""
    seen = {}
    Sender(lambda **params: seen.update(params), is_litellm=False)({"model": "m", "num_retries": 3}, "openai")
    assert seen == {"model": "m", "max_retries": 0, "num_retries": 0}


GLOBALS = (
    "callbacks", "success_callback", "failure_callback", "input_callback", "suppress_debug_info", "drop_params",
    "num_retries", "client_session", "api_key", "modify_params", "disable_hf_tokenizer_download", "request_timeout",
)  # fmt: skip


def snapshot(litellm):
    loggers = {name: logging.getLogger(name) for name in ("", "LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "httpx")}
    settings = {name: getattr(litellm, name) for name in GLOBALS}
    settings = {name: list(value) if isinstance(value, list) else value for name, value in settings.items()}
    logs = {name: (list(logger.handlers), logger.level, logger.propagate) for name, logger in loggers.items()}
    return settings, logs, dict(os.environ), len(litellm.model_cost)


def test_nothing_global_is_changed_and_nothing_is_printed(litellm, sender, provider, capfd):
    """After answers and faults, LiteLLM's settings, loggers and the environment are as before; stdout is empty."""
    before = snapshot(litellm)
    sender(request(provider.base_url), "openai")
    sender(request(provider.base_url, stream=True), "openai")
    for route in ("openai", "hosted_vllm"):
        for fault in ("500", "401", "html", "reset"):
            with pytest.raises(openai.APIError):
                sender(request(provider.base_url, route, f"[simulate: {fault}]"), route)
    with pytest.raises(litellm.BadRequestError):
        sender({"model": "unknown-thing", "messages": [{"role": "user", "content": "Hi"}]}, None)
    assert Facts().facts("unknown-thing", {}) == ModelFacts("unknown-thing")
    assert Facts().max_input_tokens("unknown-thing") is None
    assert price("unknown-thing", Usage(1, 1)) is None
    assert snapshot(litellm) == before
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("own", [True, False])
def test_the_user_s_own_settings_come_back_after_overlapping_calls(litellm, monkeypatch, own):
    """The last of many overlapping calls puts the user's value back, whichever it was."""
    monkeypatch.setattr(litellm, "suppress_debug_info", own)
    together, seen = threading.Barrier(20), []

    def call(**_: object) -> object:
        together.wait(5)
        seen.append(litellm.suppress_debug_info)
        together.wait(5)
        return object()

    sender = Sender(call, is_litellm=True)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: sender({"model": "m"}, None), range(20)))
    assert seen == [True] * 20
    assert litellm.suppress_debug_info is own
    assert not litellm_door.library._held["suppress_debug_info"].holders


def test_ctrl_c_leaves_no_setting_held():
    """An interrupt in the midst of holding a setting leaves it to whoever comes next."""

    class Interrupted:
        thing = False

        def __setattr__(self, name: str, value: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), litellm_door.library._settings(Interrupted(), thing=True):
        pass
    assert not litellm_door.library._held["thing"].holders


def test_a_setting_that_the_user_changes_meanwhile_stays_the_user_s(litellm, monkeypatch):
    """A number of retries set during a call is not undone at its end."""
    monkeypatch.setattr(litellm, "num_retries", None)
    Sender(lambda **_: setattr(litellm, "num_retries", 5), is_litellm=True)({"model": "m"}, None)
    assert litellm.num_retries == 5


def test_importing_the_package_imports_nothing_slow():
    """`import llm_api_client`, and its client's module, load neither LiteLLM nor an HTTP library."""
    slow = "{'litellm', 'openai', 'httpx', 'numpy', 'tiktoken', 'pydantic'}"
    code = f"import sys, llm_api_client, llm_api_client.api_client; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_streamed_answer_that_reports_no_tokens_downloads_no_tokenizer(litellm, sender, provider, monkeypatch):
    """LiteLLM, which counts what the provider did not, does so with what is on the machine."""
    params = request(provider.base_url, "hosted_vllm", "[simulate: no-usage] Hi", stream=True)
    params["model"] = "hosted_vllm/llama-3.3-70b"
    asked_for, resolve = [], socket.getaddrinfo

    def loopback_only(host, *arguments, **options):
        if host != "127.0.0.1":
            asked_for.append(host)
            message = f"a test must not touch the network: {host}"
            raise AssertionError(message)
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", loopback_only)
    with responses.RequestsMock():
        assert sender(params, "hosted_vllm").choices[0].message.content.startswith("Simulated answer")
    assert asked_for == []


def test_a_request_is_reported_as_sent_once_it_leaves(sender, provider):
    """On a new connection and on one that stands, `on_sent` is called before the provider has the request."""

    def reported_at():
        reported = []
        sender(request(provider.base_url), "openai", lambda: reported.append(time.monotonic()))
        return reported[0]

    for _ in range(3):
        assert reported_at() <= provider.requests[-1].arrived


def test_what_does_not_leave_is_not_reported(sender):
    """A refused connection has sent nothing."""
    reported = []
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(Exception, match="Connection error"):
            sender(request(url), "openai", lambda: reported.append(1))
    assert reported == []
