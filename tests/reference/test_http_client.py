"""The async HTTP client, CustomGroqChat: a test for each row of its table."""

import asyncio
import inspect
import json
import re
import time
import tomllib
from pathlib import Path

import pytest

import llm_api_client
from llm_api_client import APICallException, AsyncAPIClient, RetryPolicy
from llm_api_client.errors import AdmissionTimeoutError, InvalidInputError, MalformedResponseError, NetworkError

from .conftest import KEY, ask

CHAT = "chat/completions"


@pytest.fixture
def post(provider):
    """Post a chat by a client of its own, with any option, and return what comes of it."""

    def post(text="Hello!", *, endpoint=CHAT, base_url=provider.base_url, max_retries=0, **options):
        async def main():
            async with AsyncAPIClient(base_url, KEY, retry=RetryPolicy(initial_delay=0), **options) as client:
                return await client.post_request(endpoint, ask(text), max_retries=max_retries)

        return asyncio.run(main())

    return post


@pytest.fixture
def failed(post):
    """The exception that comes of a fault."""

    def failed(fault, **how):
        with pytest.raises(APICallException) as raised:
            post(f"[simulate: {fault}]", **how)
        return raised.value

    return failed


def test_api_client(post):
    """A client is made of a base URL and a key, and is awaited; its name is public."""
    assert "AsyncAPIClient" in llm_api_client.__all__
    assert post()["object"] == "chat.completion"


def test_base_url(provider, post):
    """Requests go below it; it is the first argument, and may be given by its name."""
    post()
    assert provider.requests[0].path == "/v1/chat/completions"
    assert repr(AsyncAPIClient(base_url=provider.base_url, api_key=KEY)).startswith("<AsyncAPIClient")


def test_api_key(provider):
    """It is the second argument, or has its name, and goes out with each request."""

    async def main():
        for client in (AsyncAPIClient(provider.base_url, KEY), AsyncAPIClient(base_url=provider.base_url, api_key=KEY)):
            await client.post_request(CHAT, ask())
            await client.close()

    asyncio.run(main())
    assert [seen.headers["authorization"] for seen in provider.requests] == [f"Bearer {KEY}"] * 2


def test_post_request(provider, post):
    """It takes an endpoint and a payload, in this order, is awaited, and posts."""
    assert inspect.iscoroutinefunction(AsyncAPIClient.post_request)
    assert list(inspect.signature(AsyncAPIClient.post_request).parameters)[1:3] == ["endpoint", "payload"]
    post()
    assert provider.requests[0].method == "POST"


@pytest.mark.parametrize("slash", ["", "/"])
def test_endpoint(provider, post, slash):
    """A path below the base URL; slashes where they meet do not double."""
    post(endpoint=slash + CHAT, base_url=provider.base_url + slash)
    assert provider.requests[0].path == "/v1/chat/completions"


def test_payload(provider, post):
    """It is sent as it is."""
    post("Hi!")
    assert provider.requests[0].body == ask("Hi!")


def test_answer(post):
    """It is the JSON that came, as a dict."""
    answer = post("Hi!")
    assert type(answer) is dict
    assert answer["choices"][0]["message"]["content"] == "Simulated answer to: Hi!"
    assert json.loads(json.dumps(answer)) == answer


def test_close(provider):
    """It is awaited; calling twice, or without a request before, is harmless."""

    async def main():
        client = AsyncAPIClient(provider.base_url, KEY)
        await client.close()
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.post_request(CHAT, ask())

    asyncio.run(main())
    assert provider.counts.received == 0


def test_async_with(provider):
    """`async with` gives the client, and closes it at the end."""

    async def main():
        async with AsyncAPIClient(provider.base_url, KEY) as client:
            assert isinstance(client, AsyncAPIClient)
            await client.post_request(CHAT, ask())
        with pytest.raises(RuntimeError, match="closed"):
            await client.post_request(CHAT, ask())

    asyncio.run(main())


def test_get_session(post):
    """There is no session to take out; a request makes its connection when it needs one."""
    assert not hasattr(AsyncAPIClient, "_get_session")
    assert post()


def test_pooling(provider):
    """A client keeps its connections: requests one after another go over one."""
    before = provider.counts.connections

    async def main():
        async with AsyncAPIClient(provider.base_url, KEY) as client:
            for _ in range(4):
                await client.post_request(CHAT, ask())

    asyncio.run(main())
    assert provider.counts.connections - before == 1


def test_nothing_blocks(provider):
    """While a request is under way, the loop goes on, and further requests are under way too."""
    provider.next("hang", "hang")

    async def main():
        async with AsyncAPIClient(provider.base_url, KEY) as client:
            tasks = [asyncio.create_task(client.post_request(CHAT, ask(), timeout=1, max_retries=0)) for _ in "ab"]
            give_up_at = time.monotonic() + 5
            while provider.counts.in_flight < 2:
                assert time.monotonic() < give_up_at
                await asyncio.sleep(0.001)
            assert await client.post_request(CHAT, ask())
            assert not any(task.done() for task in tasks)
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


def test_json(provider, post):
    """Payloads go out as JSON, and what JSON cannot say is refused unsent."""
    post()
    assert provider.requests[0].body == ask()
    with pytest.raises(InvalidInputError):
        post(object())
    assert provider.counts.received == 1


def test_authorization_header(provider, post):
    """It is `Bearer` and the key."""
    post()
    assert provider.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_content_type_header(provider, post):
    """It says that the payload is JSON."""
    post()
    assert provider.requests[0].headers["content-type"] == "application/json"


def test_api_call_exception(failed):
    """Whatever fails on the way or at the server is raised as one, by a public name."""
    assert "APICallException" in llm_api_client.__all__
    for fault in ("400", "500", "html", "reset"):
        assert isinstance(failed(fault), APICallException)


def test_message(failed):
    """It says what was wrong, and never the key."""
    error = failed("404")
    assert error.message == str(error)
    assert "404" in error.message
    assert KEY not in error.message


def test_status_code(failed):
    """It is the server's status and always an int, so that it can be compared: 0 where there was no answer."""
    assert [failed(fault).status_code for fault in ("400", "503", "html", "reset")] == [400, 503, 200, 0]
    assert APICallException("nothing is known").status_code == 0


def test_refused_requests(failed):
    """A status of 4xx is raised, each with the class of its meaning."""
    names = [type(failed(fault)).__name__ for fault in ("400", "401", "404")]
    assert names == ["InvalidRequestError", "AuthenticationError", "NotFoundError"]


def test_server_errors(provider, failed, post):
    """A status of 5xx is raised after the attempts that may help; `post_request` makes two more unless told not to."""
    assert failed("500", max_retries=2).status_code == 500
    assert provider.counts.received == 3
    assert inspect.signature(AsyncAPIClient.post_request).parameters["max_retries"].default == 2


def test_json_errors(failed):
    """An answer that is no JSON is raised, with the status that it had."""
    for fault in ("html", "bad-json"):
        error = failed(fault)
        assert type(error) is MalformedResponseError
        assert error.status_code == 200


def test_network_errors(failed):
    """Where the network fails, that is raised, and no status is made up."""
    error = failed("reset")
    assert type(error) is NetworkError
    assert error.status_code == 0


def test_too_many_requests(provider, post):
    """A 429 is waited out; where that takes longer than it may, it is raised with its status."""
    provider.next("429; retry-after=0.02")
    assert post()["object"] == "chat.completion"
    provider.next("429; retry-after=30")
    with pytest.raises(APICallException) as raised:
        post(max_delay_seconds=5)
    assert (raised.value.status_code, raised.value.retry_after) == (429, 30)


def test_spent_quota(failed):
    """A 429 that no waiting helps is raised at once, with its status."""
    assert failed("quota").status_code == 429


def test_rate_limiting(provider):
    """The client has limits of its own, so that most 429s do not come about."""

    async def main():
        async with AsyncAPIClient(provider.base_url, KEY, max_requests_per_minute=2, max_delay_seconds=1) as client:
            asked = (client.post_request(CHAT, ask()) for _ in range(3))
            return await asyncio.gather(*asked, return_exceptions=True)

    outcomes = asyncio.run(main())
    assert sum(isinstance(outcome, AdmissionTimeoutError) for outcome in outcomes) == 1
    assert provider.counts.received == 2


def test_dependencies():
    """HTTP goes by `httpx`; this library asks for no `aiohttp` of its own."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.match(r"[\w.-]+", each)[0] for each in project["dependencies"]}
    assert "httpx" in needed
    assert "aiohttp" not in needed
