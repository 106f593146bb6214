"""The batch client, llm-api-client 0.1.x: a test for each row of its table."""

import inspect
import os
from importlib.metadata import metadata
from pathlib import Path

import litellm

import llm_api_client
from llm_api_client import APIClient, APIUsageTracker
from llm_api_client.testing import ScriptedAnswer, ScriptedError

from .conftest import KEY, MODEL, Crowd, ask

DOCS = Path(__file__).parents[2] / "docs"


def parameters(function):
    return inspect.signature(function).parameters


RATES = list(parameters(APIClient))[:3]


def test_distribution():
    """The distribution has the name by which it is installed."""
    assert metadata("llm-api-client")["Name"] == "llm-api-client"


def test_documentation():
    """The pages that stand for those of the document are there."""
    assert all((DOCS / page).is_file() for page in ("getting-started.md", "configuration.md", "api.md", "streams.md"))


def test_api_client():
    """`APIClient` is a public name of the package."""
    assert "APIClient" in llm_api_client.__all__
    assert inspect.isclass(llm_api_client.APIClient)


def test_no_arguments(make, provider):
    """A client that was made without arguments works."""
    made = APIClient()
    assert made.make_requests([ask()])[0]
    made.close()


def test_max_requests_per_minute(make):
    """It is the first argument, and 10,000 where it is left out."""
    assert RATES[0] == "max_requests_per_minute"
    assert make().max_requests_per_minute == 10_000
    assert make(600).max_requests_per_minute == 600


def test_max_tokens_per_minute(make):
    """It is the second argument, and 2,000,000 where it is left out."""
    assert RATES[1] == "max_tokens_per_minute"
    assert make().max_tokens_per_minute == 2_000_000
    assert make(600, 100_000).max_tokens_per_minute == 100_000


def test_max_workers(make):
    """It is the third argument, and as many as the requests a minute where it is left out."""
    assert RATES[2] == "max_workers"
    assert make(600).max_workers == 600
    assert make(600, 100_000, 50).max_workers == 50


def test_max_workers_without_a_limit(make):
    """Where there is no limit of requests, it is 20 for each CPU."""
    assert make(max_requests_per_minute=None).max_workers == 20 * os.cpu_count()


def test_make_requests(client, provider):
    """A list of dicts goes in, a list of answers comes out; each request is attempted once."""
    assert [answer.choices[0].message.content for answer in client.make_requests([ask("a"), ask("b")])] == [
        "Simulated answer to: a",
        "Simulated answer to: b",
    ]
    provider.next("500")
    assert client.make_requests([ask()]) == [None]


def test_make_requests_with_retries(client, provider):
    """The same, and what failed is attempted again."""
    provider.next("500", "500")
    assert client.make_requests_with_retries([ask("a")])[0].choices[0].message.content == "Simulated answer to: a"
    assert provider.counts.received == 3


def test_requests(client, provider):
    """A request is a dict of what OpenAI's chats take; its parameters are what is sent."""
    client.make_requests([ask("Hi!", temperature=0.7, max_tokens=150)])
    [seen] = provider.requests
    assert seen.body == ask("Hi!", temperature=0.7, max_tokens=150)


def test_max_workers_of_a_batch(scripted):
    """It bounds the calls in flight of this batch; left out, the client's bound holds."""
    client = scripted.client(max_workers=3, latency=10)
    client.make_requests([ask()] * 4, max_workers=2)
    client.make_requests([ask()] * 4)
    first = scripted.times[0]
    assert [round(at - first) for at in scripted.times] == [0, 0, 10, 10, 20, 20, 20, 30]
    for method in (APIClient.make_requests, APIClient.make_requests_with_retries):
        assert parameters(method)["max_workers"].default is None


def test_sanitize(client, provider, monkeypatch):
    """It is on unless it is switched off; then the request is sent as it is."""
    for method in (APIClient.make_requests, APIClient.make_requests_with_retries):
        assert parameters(method)["sanitize"].default is True
    monkeypatch.setenv("MAX_INPUT_TOKENS_OVERRIDE", "200")
    long = ask("word " * 1_000)
    client.make_requests([long], sanitize=False)
    client.make_requests([long], sanitize=True)
    sent = [seen.body["messages"][0]["content"] for seen in provider.requests]
    assert sent[0] == long["messages"][0]["content"]
    assert len(sent[1]) < len(sent[0])


def test_timeout(scripted):
    """It bounds the whole batch, and is none unless it is given; the batch returns when it is over."""
    for method in (APIClient.make_requests, APIClient.make_requests_with_retries):
        assert parameters(method)["timeout"].default is None
    client = scripted.client(latency=10)
    assert [bool(answer) for answer in client.make_requests([ask()] * 6, max_workers=2, timeout=25)] == [
        True, True, True, True, False, False,
    ]  # fmt: skip
    assert scripted.clock.now() == 25
    scripted.clock.advance(10)


def test_max_retries(client, provider):
    """Further attempts for a request that failed, 2 unless it is given."""
    assert parameters(APIClient.make_requests_with_retries)["max_retries"].default == 2
    provider.next(*["500"] * 4)
    assert client.make_requests_with_retries([ask()], max_retries=3) == [None]
    assert provider.counts.received == 4


def test_length_and_order(client):
    """Answers are as many as requests, each where its request stands, and None where one failed."""
    texts = ["a", "[simulate: 400]", "c", "d"]
    answers = client.make_requests([ask(text) for text in texts])
    assert [answer and answer.choices[0].message.content for answer in answers] == [
        "Simulated answer to: a", None, "Simulated answer to: c", "Simulated answer to: d",
    ]  # fmt: skip


def test_a_failed_request(client):
    """It is None in the list; the reason is in `failures`, in the history, and in the slot if that is asked for."""
    assert client.make_requests([ask("[simulate: 400]")]) == [None]
    assert client.failures[0].error.status_code == 400
    assert "400" in client.history[0]["error"]
    [slot] = client.make_requests([ask("[simulate: 400]")], return_exceptions=True)
    assert slot.status_code == 400


def test_an_answer(client):
    """It is LiteLLM's `ModelResponse`, shaped as OpenAI's is."""
    [answer] = client.make_requests([ask("Say hello.")])
    assert isinstance(answer, litellm.ModelResponse)
    assert answer.choices[0].message.content == "Simulated answer to: Say hello."


def test_through_litellm(make):
    """A request is performed by LiteLLM's `completion`, by whichever provider it knows, unless it is told otherwise."""
    assert make().api_call is litellm.completion


def test_concurrency(make):
    """Requests are under way at the same time, each in a thread."""
    crowd = Crowd(5)
    assert None not in make(api_call=crowd).make_requests([ask()] * 5)
    assert crowd.peak == 5


def test_requests_per_minute(scripted):
    """No 60 seconds carry more calls than the limit."""
    scripted.client(3, None).make_requests([ask()] * 7)
    times = scripted.times
    assert len(times) == 7
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[3:], strict=False))


def test_tokens_per_minute(scripted):
    """No 60 seconds carry more tokens than the limit, those of the answers included."""
    script = [ScriptedAnswer(prompt_tokens=10, completion_tokens=400)] * 3
    client = scripted.client(None, 1_000, script=script)
    assert None not in client.make_requests([ask(max_tokens=400)] * 3)
    first, _, third = scripted.times
    assert third - first >= 60


def test_retries(scripted):
    """What failed and may pass is tried again, by itself; what would fail again is not."""
    client = scripted.client(script=[ScriptedError(503), "better"])
    assert client.make_requests_with_retries([ask()])[0].choices[0].message.content == "better"
    client = scripted.client(script=[ScriptedError(400)])
    assert client.make_requests_with_retries([ask()]) == [None]
    assert len(scripted.times) == 1


def test_sanitizing(client, provider):
    """Parameters that the model does not take are left out, and those of the call itself are kept."""
    client.make_requests([ask(model="o3-mini", temperature=0.5, api_key="sk-other-0123456789abcdef")])
    [seen] = provider.requests
    assert "temperature" not in seen.body
    assert seen.headers["authorization"] == "Bearer sk-other-0123456789abcdef"


def test_truncation(client, provider, monkeypatch):
    """Messages are cut to what the model takes: the oldest turns go, the newest stays."""
    monkeypatch.setenv("MAX_INPUT_TOKENS_OVERRIDE", "300")
    turns = [{"role": role, "content": f"turn {n} " + "word " * 60} for n in range(5) for role in ("user", "assistant")]
    client.make_requests([{"model": MODEL, "messages": [*turns, {"role": "user", "content": "the newest"}]}])
    sent = provider.requests[0].body["messages"]
    assert 1 < len(sent) < 11
    assert sent[-1]["content"] == "the newest"
    assert "turn 0" not in str(sent)


def test_keys_from_the_environment(client, provider):
    """The provider's own variable, such as OPENAI_API_KEY, has the key."""
    client.make_requests([ask()])
    assert provider.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_usage_tracker(client):
    """`APIUsageTracker` is public, and `client.tracker` is one."""
    assert "APIUsageTracker" in llm_api_client.__all__
    assert isinstance(client.tracker, APIUsageTracker)


def test_tracker_over_all_calls(client):
    """The tracker adds up all calls of the client."""
    client.make_requests([ask()] * 2)
    client.make_requests_with_retries([ask()])
    assert client.tracker.num_api_calls == 3


def test_tracker_as_text(scripted):
    """Its text has a line for the cost, for tokens either way, and for the number of responses."""
    client = scripted.client(script=[ScriptedAnswer(cost=1.5, prompt_tokens=7, completion_tokens=3)])
    client.make_requests([ask()])
    assert str(client.tracker).splitlines()[:4] == [
        "Total cost of API calls: $1.50",
        "Total prompt tokens: 7",
        "Total completion tokens: 3",
        "Number of responses: 1",
    ]


def test_tracker_details(client):
    """They are a dict with the totals, for programs."""
    client.make_requests([ask()])
    details = client.tracker.details
    assert isinstance(details, dict)
    assert {name: details[name] for name in ("total_cost", "num_api_calls", "mean_response_time")} == {
        "total_cost": client.tracker.total_cost,
        "num_api_calls": 1,
        "mean_response_time": client.tracker.mean_response_time,
    }


def test_total_cost(scripted):
    """US dollars of all calls."""
    client = scripted.client(script=[ScriptedAnswer(cost=0.5), ScriptedAnswer(cost=0.25)])
    client.make_requests([ask()] * 2)
    assert client.tracker.total_cost == 0.75


def test_total_prompt_tokens(scripted):
    """Tokens of all prompts."""
    client = scripted.client(script=[ScriptedAnswer(prompt_tokens=7), ScriptedAnswer(prompt_tokens=8)])
    client.make_requests([ask()] * 2)
    assert client.tracker.total_prompt_tokens == 15


def test_total_completion_tokens(scripted):
    """Tokens of all answers."""
    client = scripted.client(script=[ScriptedAnswer(completion_tokens=4), ScriptedAnswer(completion_tokens=5)])
    client.make_requests([ask()] * 2)
    assert client.tracker.total_completion_tokens == 9


def test_num_api_calls(client):
    """Calls that were answered; those that failed are counted in `tracker.status`."""
    client.make_requests([ask(), ask("[simulate: 400]")])
    assert client.tracker.num_api_calls == 1
    assert client.tracker.status.num_api_errors == 1


def test_mean_response_time(scripted):
    """Seconds; None before the first answer."""
    client = scripted.client(latency=2)
    assert client.tracker.mean_response_time is None
    client.make_requests([ask()] * 2)
    assert client.tracker.mean_response_time == 2
