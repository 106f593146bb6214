"""Faults: what they are called, who chooses them, and that they really happen on the wire."""

from random import Random

import httpx
import pytest

from llm_api_client.simulator import SimulatedProvider
from llm_api_client.simulator.faults import NO_FAULT, Fault, FaultPlan, parse_fault

from .conftest import chat, eventually


def test_words_and_options_come_in_any_order():
    """A fault is a word and its options, whatever their order, case and spaces."""
    assert parse_fault(" latency=0.5 ; HTML;status=502 ") == Fault("html", 502, latency=0.5)
    assert parse_fault("") == parse_fault("answer") == NO_FAULT
    fault = parse_fault("429; retry-after=2")
    assert (fault.kind, fault.status, fault.code, fault.retry_after) == ("error", 429, "rate_limit_exceeded", 2.0)


@pytest.mark.parametrize(
    "text", ["nonsense", "503; hang", "99", "600", "latency=x", "latency=-1", "retry-after=", "a=1"]
)
def test_what_is_no_fault_is_said(text):
    """An unknown fault is an error that names it, not an ordinary answer."""
    with pytest.raises(ValueError, match="fault"):
        parse_fault(text)


def test_the_script_is_taken_whole_or_not_at_all():
    """A script with a mistake in it changes nothing."""
    plan = FaultPlan({}, Random(0))
    with pytest.raises(ValueError, match="nonsense"):
        plan.next("hang", "nonsense")
    assert plan.choose(None, "") == NO_FAULT


def test_who_asks_for_a_fault_comes_before_script_and_chance():
    """The header wins over the prompt, the prompt over the script, the script over chance."""
    plan = FaultPlan({"reset": 1.0}, Random(0))
    plan.next("hang", None)
    assert plan.choose("empty", "[simulate: html]").kind == "empty"
    assert plan.choose(None, "Please, [simulate: html]!").kind == "html"
    assert [plan.choose(None, "").kind for _ in range(3)] == ["hang", "answer", "reset"]


def test_chance_keeps_its_rates_and_repeats_itself_under_a_seed():
    """Each fault strikes its share of requests, and one seed gives one sequence."""
    rates = {"500|503": 0.2, "hang": 0.1}
    plans = [FaultPlan(rates, Random(7)) for _ in range(2)]
    first, second = ([plan.choose(None, "") for _ in range(4000)] for plan in plans)
    assert first == second
    share = {status: sum(f.kind == "error" and f.status == status for f in first) / 4000 for status in (500, 503)}
    assert share == pytest.approx({500: 0.1, 503: 0.1}, abs=0.02)
    assert sum(f.kind == "hang" for f in first) / 4000 == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        ("500", 500, None),
        ("502", 502, None),
        ("503", 503, None),
        ("401", 401, "invalid_api_key"),
        ("400", 400, None),
        ("418", 418, None),
        ("quota", 429, "insufficient_quota"),
        ("context", 400, "context_length_exceeded"),
        ("content-filter", 400, "content_policy_violation"),
    ],
)
@pytest.mark.parametrize("way", ["header", "prompt", "script"])
def test_an_error_on_request(start, words, status, code, way):
    """Each way of asking for an error gets that status, with a body in the provider's shape."""
    provider, client = start()
    headers = {"x-simulate": words} if way == "header" else {}
    prompt = f"Hello [simulate: {words}]" if way == "prompt" else "Hello"
    if way == "script":
        provider.next(words)
    response = client.post("/chat/completions", json=chat(prompt), headers=headers)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert provider.counts.errors == {status: 1}


def test_retry_after_is_whole_seconds_and_exact_milliseconds(start):
    """A 429 on request carries the wait it was given, rounded up where only seconds fit; without one, none."""
    _, client = start()
    headers = client.post("/chat/completions", json=chat("[simulate: 429; retry-after=1.2]")).headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1200")
    assert "retry-after" not in client.post("/chat/completions", json=chat("[simulate: 429]")).headers


def test_garbled_answers(start):
    """Half a JSON, a page, nothing, and a cut connection arrive as such."""
    provider, client = start()
    half = client.post("/chat/completions", json=chat("[simulate: bad-json]"))
    assert (half.status_code, half.headers["content-type"]) == (200, "application/json")
    with pytest.raises(ValueError, match="line 1"):
        half.json()
    page = client.post("/chat/completions", json=chat("[simulate: html]"))
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!DOCTYPE html>")
    assert client.post("/chat/completions", json=chat("[simulate: html; status=502]")).status_code == 502
    empty = client.post("/chat/completions", json=chat("[simulate: empty]"))
    assert (empty.status_code, empty.content) == (200, b"")
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/chat/completions", json=chat("[simulate: cut]"))
    with (
        pytest.raises(httpx.RemoteProtocolError),
        client.stream("POST", "/chat/completions", json=chat("[simulate: cut]", stream=True)) as stream,
    ):
        stream.read()
    eventually(lambda: provider.counts.unanswered == 2)
    assert provider.counts.answered == 3


@pytest.mark.parametrize("stream", [False, True])
def test_incomplete_answers(start, stream):
    """No usage, no choices and no content are missing, and the rest is there; streams too."""
    _, client = start()
    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}

    def text(fault: str) -> str:
        return client.post("/chat/completions", json=chat("hi", **more), headers={"x-simulate": fault}).text

    assert '"total_tokens"' in text("answer")
    assert '"total_tokens"' not in text("no-usage")
    assert '"finish_reason": "stop"' in text("no-usage")
    assert "Simulated" not in text("no-choices")
    assert '"choices": []' in text("no-choices")
    assert "Simulated" not in text("no-content")
    assert '"role": "assistant"' in text("no-content")


def test_a_reset_resets_the_connection(start):
    """The client sees its connection reset, not closed."""
    provider, client = start()
    with pytest.raises(httpx.ReadError, match="reset"):
        client.post("/chat/completions", json=chat("[simulate: reset]"))
    eventually(lambda: provider.counts.unanswered == 1)


def test_a_hang_lasts_until_the_client_leaves(start):
    """A hanging request is in flight until its client gives up, and then unanswered."""
    provider, client = start()
    with pytest.raises(httpx.ReadTimeout):
        client.post("/chat/completions", json=chat("[simulate: hang]"), timeout=0.05)
    eventually(lambda: provider.counts.in_flight == 0)
    assert (provider.counts.unanswered, provider.requests[0].status) == (1, None)


def test_a_latency_on_request(start):
    """A request chooses how long its own answer takes, errors included."""
    _, client = start(latency=30.0)
    assert client.post("/chat/completions", json=chat("[simulate: latency=0.05]")).elapsed.total_seconds() >= 0.05
    assert client.post("/chat/completions", json=chat("[simulate: 500; latency=0]")).status_code == 500


def test_an_unknown_fault_is_the_clients_mistake(start):
    """A request for a fault that does not exist is a 400 that says what there is."""
    _, client = start()
    response = client.post("/chat/completions", json=chat(), headers={"x-simulate": "nonsense"})
    assert response.status_code == 400
    assert "'nonsense' is no fault" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("option", "statuses"),
    [("error_rate", {500, 502, 503}), ("rate_limit_rate", {429}), ("bad_json_rate", {200}), ("html_rate", {200})],
)
def test_faults_by_rate(start, option, statuses):
    """A rate of one strikes every request with that fault and with no other."""
    provider, client = start(**{option: 1.0}, seed=1)
    responses = [client.post("/chat/completions", json=chat()) for _ in range(20)]
    assert {response.status_code for response in responses} == statuses
    if option == "rate_limit_rate":
        assert {response.headers["retry-after"] for response in responses} == {"1"}
        assert provider.counts.refused == 0


@pytest.mark.parametrize(
    "options",
    [
        {"error_rate": 1.5},
        {"error_rate": -0.1},
        {"error_rate": float("nan")},
        {"error_rate": 0.6, "hang_rate": 0.6},
        {"host": "0.0.0.0"},
        {"host": "example.com"},
        {"window": 0},
        {"latency": -1},
        {"batch_seconds": -1},
        {"jitter": float("inf")},
        {"requests_per_minute": 0},
        {"tokens_per_minute": 1.5},
        {"answer_tokens": 0},
        {"port": 70_000},
        {"keep": -1},
        {"api_keys": "sk-one"},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    """A bad option raises ValueError that names it."""
    with pytest.raises(ValueError, match=r"rate|host|api_keys|" + "|".join(options)):
        SimulatedProvider(**options)
