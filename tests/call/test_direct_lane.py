"""When a call goes without LiteLLM, when no longer, and what it must not do on that way."""

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import openai
import pytest

from llm_api_client.api_tracker import APIUsageTracker
from llm_api_client.call import litellm_door
from llm_api_client.call.direct import FRESH_SECONDS, LONGEST_PLAN, MOST_KINDS, Plans, Request, plain
from llm_api_client.call.failure import read_failure
from llm_api_client.call.likeness import Likenesses
from llm_api_client.call.sender import Sender
from llm_api_client.call.wire import Raw
from llm_api_client.errors import ClientClosedError, ConfigurationError
from llm_api_client.operations import CHAT
from llm_api_client.simulator import SimulatedProvider

from .conftest import KEY
from .raw import RawServer, Said, server_tls
from .test_direct_contract import answer, chat, http


class Counted:
    """A sender, how often it asked LiteLLM, and the time by which it takes plans for fresh."""

    def __init__(self, litellm: ModuleType, **options: Any) -> None:
        self.asked = 0
        self.now = 0.0
        self._litellm = litellm
        self.sender = Sender(self._completion, is_litellm=True, **options)
        if self.sender._plans is not None:
            self.sender._plans._now = lambda: self.now

    def _completion(self, **params: Any) -> Any:
        self.asked += 1
        return self._litellm.completion(**params)

    def __call__(self, base: str, route: str = "openai", prompt: str = "Hi", **more: Any) -> str:
        """Ask, and give the answer's text."""
        params = {name: value for name, value in chat(route, base, prompt, **more).items() if value is not None}
        return self.sender(params, route).choices[0].message.content

    def is_direct(self, base: str, **more: Any) -> bool:
        """Whether a call goes without LiteLLM."""
        before = self.asked
        self(base, **more)
        return self.asked == before


@pytest.fixture
def lane(litellm: ModuleType) -> Iterator[Counted]:
    lane = Counted(litellm)
    yield lane
    lane.sender.close()


@pytest.fixture
def raw() -> Iterator[RawServer]:
    with RawServer() as server:
        server.said = http(answer())
        yield server


def header(request: bytes, name: str) -> str | None:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return next(
        (value.strip() for key, _, value in (line.partition(":") for line in lines) if key.lower() == name), None
    )


def test_the_third_of_a_kind_goes_without_litellm(lane, raw):
    """Two requests of a kind show what LiteLLM does with it; all that follow do without."""
    assert [lane.is_direct(raw.base_url) for _ in range(5)] == [False, False, True, True, True]
    assert len(raw.requests) == 5


def test_another_key_server_model_or_parameter_is_another_kind(lane, raw):
    """Nothing that was learned of one kind is used for another."""
    for _ in range(3):
        lane(raw.base_url)
    with RawServer() as other:
        other.said = raw.said
        assert not lane.is_direct(other.base_url)
    for more in (
        {"api_key": "sk-other-0123456789"},
        {"temperature": 0.1},
        {"model": "openai/gpt-4o"},
        {"timeout": 9.0},
    ):
        assert not lane.is_direct(raw.base_url, **more)
        assert lane.is_direct(raw.base_url)


@pytest.mark.parametrize("transport", ["litellm", "auto", "direct"])
def test_the_lane_is_chosen(litellm, raw, transport, caplog):
    """LiteLLM is never left by "litellm"; "direct" is "auto" and says once per model what does not go directly."""
    lane = Counted(litellm, transport=transport)
    with caplog.at_level(logging.WARNING, "llm_api_client"):
        for _ in range(3):
            lane(raw.base_url)
        assert lane.is_direct(raw.base_url) == (transport != "litellm")
        for _ in range(2):
            assert not lane.is_direct(raw.base_url, metadata={"a": "b"})
    lane.sender.close()
    assert len(caplog.records) == (transport == "direct")
    assert KEY not in caplog.text


def test_an_unknown_lane_is_a_mistake(litellm):
    """Another word for a lane is refused when the client is made."""
    with pytest.raises(ConfigurationError, match="choose"):
        Sender(litellm.completion, is_litellm=True, transport="fast")  # type: ignore[arg-type]


def test_a_plan_is_looked_at_again_after_a_while(lane, raw):
    """When a plan is no longer fresh one call goes through LiteLLM, and if that sends the same, the others do not."""
    for _ in range(3):
        lane(raw.base_url)
    lane.now = FRESH_SECONDS + 1
    assert [lane.is_direct(raw.base_url) for _ in range(3)] == [False, True, True]


def test_what_litellm_answers_otherwise_by_now_is_learned_anew(lane, raw, litellm, monkeypatch):
    """A price that changes holds from the next look on."""

    def cost() -> float:
        return lane.sender(chat("openai", raw.base_url), "openai")._hidden_params["response_cost"]

    for _ in range(3):
        before = cost()
    entry = litellm.model_cost["gpt-4o-mini"]
    monkeypatch.setitem(
        litellm.model_cost, "gpt-4o-mini", entry | {"input_cost_per_token": entry["input_cost_per_token"] * 2}
    )
    litellm.utils._invalidate_model_cost_lowercase_map()
    lane.now = FRESH_SECONDS + 1
    after = [cost() for _ in range(4)]
    assert lane.is_direct(raw.base_url)
    monkeypatch.undo()
    litellm.utils._invalidate_model_cost_lowercase_map()
    assert after[0] > before
    assert after == [after[0]] * 4


@pytest.mark.parametrize(
    ("route", "name"),
    [("openai", "OPENAI_API_KEY"), ("hosted_vllm", "HOSTED_VLLM_API_KEY"), ("mistral", "MISTRAL_API_KEY")],
)
def test_a_key_that_changes_in_the_environment_is_used_at_once(lane, raw, monkeypatch, route, name):
    """The next call carries the new key, however fresh the plan is."""
    for key in ("sk-first-0123456789", "sk-second-0123456789"):
        monkeypatch.setenv(name, key)
        for _ in range(4):
            lane(raw.base_url, route=route, api_key=None)
            assert header(raw.requests[-1], "authorization") == f"Bearer {key}"
        assert lane.is_direct(raw.base_url, route=route, api_key=None)


@pytest.mark.parametrize(("setting", "key"), [("api_key", "sk-a-0123456789"), ("openai_key", "sk-b-0123456789")])
def test_a_key_among_litellm_s_settings_is_used_at_once(lane, raw, litellm, monkeypatch, setting, key):
    """So is one that is set on LiteLLM's module."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    for _ in range(3):
        lane(raw.base_url, api_key=None)
    monkeypatch.setattr(litellm, setting, key)
    lane(raw.base_url, api_key=None)
    expected = lane.sender._clients.of({"api_base": raw.base_url}, "openai", CHAT).api_key
    assert header(raw.requests[-1], "authorization") == f"Bearer {expected}" == f"Bearer {key}"


def test_headers_that_litellm_is_told_to_send_are_sent_at_once(lane, raw, litellm, monkeypatch):
    """`litellm.headers`, set in the middle of a run, is in the next request."""
    for _ in range(3):
        lane(raw.base_url)
    monkeypatch.setattr(litellm, "headers", {"x-mine": "yes"})
    for _ in range(4):
        lane(raw.base_url)
        assert header(raw.requests[-1], "x-mine") == "yes"


def test_a_setting_that_is_changed_in_its_place_is_seen(lane, raw, litellm, monkeypatch):
    """So is one whose dict or list stays the same object."""
    monkeypatch.setattr(litellm, "headers", {"x-mine": "yes"})
    for _ in range(3):
        lane(raw.base_url)
    litellm.headers["x-mine"] = "no"
    lane(raw.base_url)
    assert header(raw.requests[-1], "x-mine") == "no"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_makes_a_plan_unlearned(lane, raw, status):
    """After a key or an address was refused LiteLLM is watched twice again."""
    for _ in range(3):
        lane(raw.base_url)
    raw.said = http({"error": {"message": "no"}}, status)
    with pytest.raises(Exception, match="no"):
        lane(raw.base_url)
    raw.said = http(answer())
    assert [lane.is_direct(raw.base_url) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("status", [429, 500, 400])
def test_a_busy_server_does_not_cost_the_lane(lane, raw, status):
    """An error that says nothing of how it was asked leaves the plan as it is."""
    for _ in range(3):
        lane(raw.base_url)
    raw.said = http({"error": {"message": "no"}}, status)
    with pytest.raises(Exception, match="no"):
        lane(raw.base_url)
    raw.said = http(answer())
    assert lane.is_direct(raw.base_url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("success_callback", [lambda *_: None]),
        ("success_callback", ["some-logger"]),
        ("success_callback", [[].append]),
        ("callbacks", [object()]),
        ("cache", object()),
        ("pre_call_rules", [lambda _: True]),
        ("post_call_rules", [lambda _: True]),
        ("model_alias_map", {"a": "b"}),
        ("modify_params", True),
    ],
)
def test_what_the_user_sets_up_in_the_middle_of_a_run_is_not_passed_by(lane, raw, litellm, monkeypatch, name, value):
    """Callbacks, a cache and rules that come later are LiteLLM's to serve from the next call on."""
    for _ in range(3):
        lane(raw.base_url)
    assert litellm_door.only_sends()
    monkeypatch.setattr(litellm, name, value)
    assert not litellm_door.only_sends()
    monkeypatch.undo()
    assert lane.is_direct(raw.base_url)


def test_what_a_cache_leaves_behind_that_is_not_there_changes_nothing(litellm, monkeypatch):
    """LiteLLM's Gemini route adds a cache's callbacks; without a cache they do nothing, and calls go on directly."""
    for name in ("success_callback", "input_callback", "_async_success_callback"):
        monkeypatch.setattr(litellm, name, ["cache"])
    assert litellm_door.only_sends()
    monkeypatch.setattr(litellm, "cache", object())
    assert not litellm_door.only_sends()


def test_a_callback_of_the_user_s_hears_of_each_call(lane, raw, litellm, monkeypatch):
    """A callback that is added in the middle of a run hears of every call from then on."""
    for _ in range(3):
        lane(raw.base_url)
    heard = threading.Semaphore(0)
    monkeypatch.setattr(litellm, "success_callback", [])
    litellm_door.append_success_callback(lambda *_: heard.release())
    for _ in range(3):
        lane(raw.base_url)
        assert heard.acquire(timeout=5)


def test_this_library_s_own_callback_leaves_the_lane(lane, raw, litellm, monkeypatch):
    """A tracker that counts calls made outside of clients leaves theirs as fast as they are, and counts none."""
    monkeypatch.setattr(litellm, "success_callback", [])
    tracker = APIUsageTracker()
    tracker.set_up_litellm_cost_tracking()
    assert [lane.is_direct(raw.base_url) for _ in range(4)] == [False, False, True, True]
    assert tracker.num_api_calls == 0


def test_another_completion_is_called_at_once(litellm, raw):
    """What replaces `litellm.completion` in a client is called for each request."""
    replaced = False
    sender = Sender(litellm.completion, is_litellm=True, is_replaced=lambda: replaced)
    for _ in range(3):
        sender(chat("openai", raw.base_url), "openai")
    replaced = True
    assert sender._watched(chat("openai", raw.base_url), "openai", CHAT, litellm.completion) is None
    sender.close()


def test_a_header_that_differs_each_time_is_never_repeated(lane, raw, litellm, monkeypatch):
    """Where LiteLLM sends another header with each request, as for idempotency, all requests go through it."""
    numbers = iter(range(100))
    monkeypatch.setattr(openai.OpenAI, "_idempotency_key", lambda _: f"key-{next(numbers)}")
    monkeypatch.setattr(openai.OpenAI, "_idempotency_header", "Idempotency-Key", raising=False)
    create = litellm_door.openai_client

    def client(*args: Any) -> Any:
        made = create(*args)
        made._idempotency_header = "Idempotency-Key"
        return made

    monkeypatch.setattr(litellm_door, "openai_client", client)
    for _ in range(5):
        lane(raw.base_url)
    keys = [header(request, "idempotency-key") for request in raw.requests]
    assert None not in keys
    assert len(set(keys)) == 5


def test_no_key_is_in_a_repr(lane, raw):
    """What the lane keeps shows neither keys nor headers nor bodies."""
    for _ in range(3):
        lane(raw.base_url, extra_headers={"x-token": KEY})
    plans = lane.sender._plans
    around = lane.sender._watch.look()
    request = plans.request(chat("openai", raw.base_url, extra_headers={"x-token": KEY}), "openai", around=around)
    plan = plans.of(request)
    for shown in (around, request, plan, plan.sent, plan.likenesses, plans, lane.sender, plans._plans):
        assert KEY not in repr(shown)
    assert KEY.encode() not in b"".join(plans._plans)
    assert KEY.encode() in plan.sent.head


def test_memory_is_bounded(lane, raw):
    """Kinds of requests and of answers are forgotten when there are too many, and single large ones are not kept."""
    plans = Plans(lambda *_: None, dict)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    for number in range(MOST_KINDS + 10):
        request = Request.of(chat("openai", raw.base_url, temperature=number), "openai")
        plans.learn(request, None, raw.base_url, [], body)
        assert len(plans._plans) <= MOST_KINDS
    request = Request.of(chat("openai", raw.base_url), "openai")
    long = json.dumps(json.loads(body) | {"long": "x" * LONGEST_PLAN}).encode()
    plans.learn(request, None, raw.base_url, [], long)
    assert request.kind not in plans._plans


def test_a_long_prompt_does_not_count_as_a_long_plan(lane, raw):
    """Only what the requests of a kind share is kept of them."""
    assert [lane.is_direct(raw.base_url, prompt="x" * 2 * LONGEST_PLAN) for _ in range(3)] == [False, False, True]


def test_a_change_of_surroundings_forgets_what_was_learned():
    """What was learned before a change is not found after it, not even by a request that began before."""
    plans = Plans(lambda *_: None, dict)
    params = chat("openai", "http://127.0.0.1:1/v1")
    body = json.dumps({"model": "m", "messages": params["messages"]}).encode()
    early = plans.request(params, "openai", around="one")
    for _ in range(2):
        plans.learn(early, None, "http://127.0.0.1:1/v1", [], body)
    assert plans.of(early) is not None
    late = plans.request(params, "openai", around="two")
    for _ in range(2):
        plans.learn(early, None, "http://127.0.0.1:1/v1", [], body)
    assert plans.of(late) is None


@pytest.mark.parametrize(
    "more",
    [
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"timeout": 0},
        {"timeout": -1.0},
        {"model": None},
        {"messages": None},
        {"messages": ()},
    ],
)
def test_what_sockets_or_plans_cannot_take_is_no_request_of_the_lane(more):
    """A timeout that no socket takes, or a request without a model or messages, is left to LiteLLM."""
    assert Request.of(chat("openai", "http://127.0.0.1:1/v1") | more, "openai") is None


def test_pictures_are_of_one_kind_if_they_are_named_alike():
    """The type of a picture belongs to a request's kind, its bytes do not."""

    def kind(url: str) -> bytes:
        content = [{"type": "image_url", "image_url": {"url": url}}]
        return Request.of({"model": "m", "messages": [{"role": "user", "content": content}]}, None).kind

    data = "data:image/png;base64,"
    assert kind(f"{data}AAAA") == kind(f"{data}BBBB") != kind("data:image/gif;base64,AAAA")
    assert kind("https://a/b.png") == kind("https://c/d.png") != kind("https://c/d.pdf")
    assert kind("https://c/d.pdf") != kind("gs://c/d.pdf")


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "deflate"])
def test_an_encoding_that_nobody_asked_for_is_left_to_litellm(encoding):
    """The lane reads gzip, and nothing else."""
    assert plain(Raw(200, [("content-encoding", encoding)], b"x")) is None


def test_many_threads_learn_and_refresh_without_mixing_anything(litellm):
    """32 threads, three kinds of requests and plans that go stale all the time: each call has its own answer, once."""
    lane = Counted(litellm)
    clock = iter(range(10**9))
    lane.sender._plans._now = lambda: float(next(clock)) * 7.0
    with SimulatedProvider() as provider:

        def ask(number: int) -> tuple[str, int]:
            more = {"seed": number + 1, "user": f"user {number}"} if number % 3 else {"temperature": 0.5}
            response = lane.sender(chat("openai", provider.base_url, f"number {number}", **more), "openai")
            return response.choices[0].message.content, response.usage.prompt_tokens

        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(ask, range(600)))
        assert [content for content, _ in answers] == [f"Simulated answer to: number {number}" for number in range(600)]
        assert provider.counts.received == 600
        bodies = {seen.body["messages"][0]["content"]: seen.body for seen in provider.requests}
        assert all(bodies[f"number {n}"].get("user") == (f"user {n}" if n % 3 else None) for n in range(600))
        assert provider.counts.connections <= 32 * 2 + 4
    lane.sender.close()
    assert 0 < lane.asked < 400


def test_closing_ends_calls_that_are_under_way(litellm, raw):
    """`close` wakes a call that waits for its answer; it fails as a network error does, and no later call goes out.

    LiteLLM has no part in that: the program may be about to end, and what is then imported may never come back.
    """
    lane = Counted(litellm)
    for _ in range(3):
        lane(raw.base_url, timeout=30.0)
    raw.said, before, asked = Said(b"", "hang"), len(raw.requests), lane.asked
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lane, raw.base_url, timeout=30.0)
        while len(raw.requests) == before:
            threading.Event().wait(0.001)
        lane.sender.close()
        failed = call.exception(5)
    assert failed is not None
    assert read_failure(failed, 0.0).network
    with pytest.raises(ClientClosedError):
        lane(raw.base_url, timeout=30.0)
    assert (len(raw.requests), lane.asked) == (before + 1, asked)


def test_an_idle_connection_that_the_server_closed_costs_no_call(lane, raw):
    """The next call goes out once, on a new connection, and without LiteLLM."""
    for _ in range(3):
        lane(raw.base_url)
    raw.close_connections()
    before = len(raw.requests)
    assert lane.is_direct(raw.base_url)
    assert len(raw.requests) == before + 1


def test_a_request_is_reported_as_sent_once_it_leaves(lane, raw):
    """On a new connection and on a kept one `on_sent` is called once, before the server has the request."""
    for _ in range(3):
        lane(raw.base_url)
    for _ in range(2):
        before, at = len(raw.requests), []
        lane.sender(
            chat("openai", raw.base_url), "openai", lambda before=before, at=at: at.append(len(raw.requests) == before)
        )
        assert at == [True]
        raw.close_connections()


@pytest.mark.parametrize("how", ["SSL_CERT_FILE", "ssl_verify"])
def test_a_certificate_authority_of_one_s_own_is_trusted(litellm, certificate, monkeypatch, how):
    """A custom authority, by the environment or by LiteLLM's setting, holds for the direct lane."""
    if how == "SSL_CERT_FILE":
        monkeypatch.setenv(how, str(certificate))
    else:
        monkeypatch.setattr(litellm, how, str(certificate))
    lane = Counted(litellm)
    with RawServer(server_tls(certificate)) as server:
        server.said = http(answer())
        assert [lane.is_direct(server.base_url) for _ in range(4)] == [False, False, True, True]
        # LiteLLM's connection and the lane's.
        assert len(server.connections) == 2
    lane.sender.close()


def test_a_certificate_that_is_not_trusted_is_refused(litellm, certificate, monkeypatch):
    """Trust that LiteLLM's connections have by a setting of one call does not reach the lane, which sends nothing."""
    lane = Counted(litellm)
    with RawServer(server_tls(certificate)) as server:
        server.said = http(answer())
        with pytest.raises(openai.APIError):
            lane(server.base_url)
        assert server.requests == []
        for _ in range(4):
            assert not lane.is_direct(server.base_url, route="hosted_vllm", ssl_verify=False)
    lane.sender.close()


def test_proxies_are_litellm_s_affair(litellm, raw, monkeypatch):
    """With a proxy for a server its calls go through LiteLLM, which asks it; without one for it they need not."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, raw.base_url.removesuffix("/v1"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    lane = Counted(litellm)
    for _ in range(4):
        assert not lane.is_direct("http://provider.invalid/v1")
    assert raw.requests[-1].startswith(b"POST http://provider.invalid/v1/chat/completions")
    lane.sender.close()
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    lane = Counted(litellm)
    assert [lane.is_direct(raw.base_url) for _ in range(3)] == [False, False, True]
    lane.sender.close()


def test_a_proxy_that_comes_in_the_middle_of_a_run_is_used(lane, raw, monkeypatch):
    """The environment is looked at for each call."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for _ in range(3):
        lane(raw.base_url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert [lane.is_direct(raw.base_url) for _ in range(4)] == [False] * 4


def test_what_cannot_be_made_of_an_answer_is_left_to_litellm(lane, raw, monkeypatch):
    """A failure while an answer is made leaves it to LiteLLM, without a second request."""
    for _ in range(3):
        lane(raw.base_url)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Likenesses, "_filled", fail)
    assert not lane.is_direct(raw.base_url)
    assert len(raw.requests) == 4


def test_what_cannot_be_learned_costs_nobody_the_answer(lane, raw, monkeypatch):
    """A failure while watching leaves the answer, which was paid for, as it is."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Plans, "learn", fail)
    assert [lane(raw.base_url) for _ in range(3)] == ["Hello"] * 3
