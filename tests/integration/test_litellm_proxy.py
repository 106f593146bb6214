"""The client in front of a real LiteLLM Proxy, with a simulated provider behind it."""

import asyncio
import json

import pytest

from llm_api_client import RateLimit, errors
from llm_api_client.async_client import AsyncAPIClient

from .proxy import DEAR, KEY, LIMIT, WINDOW

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]

PREFIXES = ["openai/", "litellm_proxy/"]
both = pytest.mark.parametrize("prefix", PREFIXES)


def question(model, number=0, **more):
    text = f"Question {number}: " + "why " * (number % 7)
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def dumped(answer):
    """All of an answer but what is new with each call."""
    return {name: value for name, value in answer.model_dump().items() if name not in {"id", "created"}}


def test_two_hundred_good_and_bad(client, behind):
    """Each good request of a list has its answer in its slot, each bad one its reason, and nothing is asked twice."""
    models = ["openai/nonesuch" if number % 10 == 0 else "litellm_proxy/gpt-4o-mini" for number in range(200)]
    requests = [question(model, number) for number, model in enumerate(models)]
    answers = client.make_requests_with_retries(requests)
    assert [number for number, answer in enumerate(answers) if answer is None] == list(range(0, 200, 10))
    assert all(f"Question {n}:" in a.choices[0].message.content for n, a in enumerate(answers) if a is not None)
    assert [failure.index for failure in client.failures] == list(range(0, 200, 10))
    for failure in client.failures:
        assert type(failure.error) is errors.InvalidRequestError
        assert failure.error.status_code == 400
        assert "Invalid model name" in failure.error.message
    assert behind.counts.answered == behind.counts.received == 180
    assert client.tracker.num_api_calls == 180
    assert client.tracker.total_completion_tokens == sum(a.usage.completion_tokens for a in answers if a is not None)


def test_the_proxys_limit_is_waited_out(client, proxy, behind):
    """A client that does not know the proxy's limit is told by 429s when to come back: all is answered, none twice."""
    refusals = proxy.has_said("429 Too Many Requests")
    requests = [question("openai/limited", number) for number in range(3 * LIMIT)]
    answers = client.make_requests(requests)
    assert None not in answers
    assert behind.counts.received == 3 * LIMIT
    assert proxy.has_said("429 Too Many Requests") > refusals
    arrived = [seen.arrived for seen in behind.requests]
    assert arrived[-1] - arrived[0] >= WINDOW
    assert [entry["attempts"] for entry in client.history] == [1] * len(requests)


def test_a_model_with_limits_of_its_own_waits_alone(make, proxy, behind):
    """The proxy's 429s for one model do not hold up the requests of another."""
    client = make(model_limits={"openai/limited": RateLimit(requests_per_minute=1000)})
    models = ["openai/limited"] * (LIMIT + 2) + ["openai/gpt-4o-mini"] * 10
    requests = [question(model, number) for number, model in enumerate(models)]
    results = list(client.iter_requests(requests, max_workers=2))
    assert [result.error for result in results] == [None] * len(models)
    assert [result.request["model"] for result in results][-2:] == ["openai/limited"] * 2


@both
def test_both_lanes_give_the_same(make, behind, prefix):
    """What LiteLLM makes of the proxy's answers, the direct lane makes too: to the last field and the cost."""
    # The first has the price that is known here, the second another, and the third is known to the proxy alone.
    for model in ("gpt-4o-mini", "gpt-4o", "assistant"):
        requests = [question(prefix + model, number) for number in range(12)]
        litellm, direct = (
            make(transport=lane, max_workers=2).make_requests(requests) for lane in ("litellm", "direct")
        )
        assert [dumped(answer) for answer in direct] == [dumped(answer) for answer in litellm]
        costs = [[answer._hidden_params["response_cost"] for answer in lane] for lane in (litellm, direct)]
        assert costs[1] == pytest.approx(costs[0])
        assert min(costs[0]) > 0
    assert behind.counts.received == 72


@both
def test_the_cost_is_the_proxys(client, prefix):
    """A name that only the proxy knows has no price here; its answers cost what the proxy says that they cost."""
    answers = client.make_requests([question(prefix + "assistant", number) for number in range(8)])
    told = [answer._hidden_params["additional_headers"]["llm_provider-x-litellm-response-cost"] for answer in answers]
    assert sorted(entry["cost"] for entry in client.history) == pytest.approx(sorted(map(float, told)))
    assert client.tracker.total_cost == pytest.approx(sum(map(float, told)))
    assert client.tracker.total_cost == pytest.approx(DEAR * client.tracker.total_completion_tokens)
    usage = client.get_usage()
    assert usage["unpriced_requests"] == 0
    assert usage["by_model"][prefix + "assistant"]["requests"] == 8
    assert usage["total_tokens"] == sum(answer.usage.total_tokens for answer in answers)


@both
def test_the_cost_of_a_stream_is_the_proxys(client, prefix):
    """It comes with the last piece, for no header can know it; whole or piece by piece, it is what the proxy says."""
    for model in ("gpt-4o", "assistant"):
        whole = client.chat("Tell me more", prefix + model, stream=True)
        assert whole.cost == pytest.approx(DEAR * whole.usage.completion_tokens)
        assert list(client.chat("Tell me more", prefix + model, stream=True, return_generator=True))
        assert client.history[-1]["cost"] == pytest.approx(whole.cost)


@both
def test_single_calls(client, prefix):
    """Chats, whole, streamed and piece by piece, and embeddings: with texts, tokens and cost."""
    assert client.chat("Hello", prefix + "canned").data == "Said by the proxy."
    whole = client.chat("Tell me more", prefix + "gpt-4o-mini")
    streamed = client.chat("Tell me more", prefix + "gpt-4o-mini", stream=True)
    assert whole.data == streamed.data == "Simulated answer to: Tell me more"
    assert whole.usage.tokens_total == streamed.usage.tokens_total > 0
    assert whole.cost == pytest.approx(streamed.cost)
    with client.chat("Tell me more", prefix + "gpt-4o-mini", stream=True, return_generator=True) as pieces:
        said = list(pieces)
    assert len(said) > 1
    assert "".join(said) == whole.data
    vectors = client.embeddings(["a", "b"], prefix + "text-embedding-3-small", dimensions=8)
    assert [len(vector) for vector in vectors.data] == [8, 8]
    assert vectors.cost > 0


@both
def test_a_wrong_key(make, proxy, behind, prefix):
    """It is refused by every way of asking, costs nothing, and ends a batch instead of being shown for each request."""
    client = make(api_key="sk-wrong-0123456789abcdefghij")
    for ask in (
        lambda: client.chat("Hello", prefix + "gpt-4o-mini"),
        lambda: list(client.chat("Hello", prefix + "gpt-4o-mini", stream=True, return_generator=True)),
        lambda: client.embeddings("Hello", prefix + "text-embedding-3-small"),
        lambda: client.post_request("chat/completions", question("gpt-4o-mini")),
        lambda: client.get("models"),
        client.get_user_info,
    ):
        with pytest.raises(errors.AuthenticationError) as refused:
            ask()
        assert refused.value.status_code == 401
        assert "sk-wrong" not in str(refused.value)
    refused_before = proxy.has_said("401 Unauthorized")
    requests = [question(prefix + "gpt-4o-mini", number) for number in range(50)]
    assert set(client.make_requests_with_retries(requests, max_workers=2)) == {None}
    assert 1 <= proxy.has_said("401 Unauthorized") - refused_before <= 2
    assert {type(failure.error) for failure in client.failures} == {errors.AuthenticationError}
    assert behind.counts.received == 0
    assert client.tracker.total_cost == 0


@both
def test_a_failure_behind_the_proxy_is_tried_again(client, behind, prefix):
    """The provider's 500, 502 or hang-up is the proxy's 500, and may pass."""
    behind.next("500", "reset", None)
    assert client.chat("Hello", prefix + "gpt-4o-mini").data == "Simulated answer to: Hello"
    assert client.history[-1]["attempts"] == 3
    behind.next("500", "500")
    with pytest.raises(errors.ServerError) as failed:
        client.chat("Hello", prefix + "gpt-4o-mini", max_retries=1)
    assert failed.value.status_code == 500
    assert behind.counts.received == 5


def test_plain_http(client, behind):
    """Its own paths are asked as they are, and what they say is counted, priced and kept as every answer is."""
    models = {model["id"] for model in client.get("models")["data"]}
    assert models == {"canned", "gpt-4o-mini", "gpt-4o", "assistant", "limited", "text-embedding-3-small"}
    answer = client.post_request("chat/completions", question("gpt-4o-mini", 1))
    assert "Question 1:" in answer["choices"][0]["message"]["content"]
    assert client.tracker.total_completion_tokens == answer["usage"]["completion_tokens"]
    assert client.tracker.total_cost > 0
    behind.next("503")
    assert client.post_request("chat/completions", question("gpt-4o-mini"))["object"] == "chat.completion"
    with pytest.raises(errors.InvalidRequestError) as refused:
        client.post_request("chat/completions", question("nonesuch"))
    assert "Invalid model name" in json.loads(refused.value.response_body)["error"]["message"]
    refused_at = [entry["error"] for entry in client.history]
    assert refused_at[:-1] == [None] * 3
    with pytest.raises(errors.NotFoundError):
        client.get("nonesuch")


def test_a_proxy_without_a_database_says_so(client):
    """It keeps no accounts, and its own word for that is what is raised: no guess is made of whose key it is."""
    with pytest.raises(errors.ServerError) as failed:
        client.get_user_info()
    assert failed.value.status_code == 500
    assert "Database not connected" in failed.value.message
    assert KEY not in str(failed.value)
    assert client.tracker.total_cost == 0


def test_a_checkpoint_asks_once(make, behind, tmp_path):
    """A second run asks only what failed in the first, and a third asks nothing."""
    requests = [question("litellm_proxy/assistant", number) for number in range(20)]
    behind.next(None, "500", None, "500")
    first = make(checkpoint=tmp_path / "answers.db").make_requests(requests)
    assert first.count(None) == 2
    second = make(checkpoint=tmp_path / "answers.db")
    answers = second.make_requests(requests)
    assert None not in answers
    assert (behind.counts.received, second.tracker.num_replayed) == (22, 18)
    third = make(checkpoint=tmp_path / "answers.db")
    assert [dumped(answer) for answer in third.make_requests(requests)] == [dumped(answer) for answer in answers]
    assert (behind.counts.received, third.tracker.num_api_calls) == (22, 0)


def test_the_awaited_client(proxy, behind, litellm):
    """Its batches, chats, streams and plain HTTP are those of the other."""

    async def main():
        async with AsyncAPIClient(base_url=proxy.base_url, api_key=KEY, progress=False) as client:
            answers, chat, models = await asyncio.gather(
                client.make_requests([question("openai/assistant", number) for number in range(20)]),
                client.chat("Hello", "openai/gpt-4o-mini"),
                client.get("models"),
            )
            stream = await client.chat("Hello", "openai/gpt-4o-mini", stream=True, return_generator=True)
            pieces = [piece async for piece in stream]
            with pytest.raises(errors.InvalidRequestError):
                await client.chat("Hello", "openai/nonesuch")
            return answers, chat, models, pieces, client.tracker.total_cost

    answers, chat, models, pieces, cost = asyncio.run(main())
    assert None not in answers
    assert "".join(pieces) == chat.data == "Simulated answer to: Hello"
    assert len(models["data"]) == 6
    assert cost > 0
    assert behind.counts.answered == 22
