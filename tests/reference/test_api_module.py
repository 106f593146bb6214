"""The API module, LionAGI's: a test for each row of its table."""

import dataclasses
import inspect

import pytest

from llm_api_client import APIClient, RetryPolicy, service
from llm_api_client.errors import (
    APICallException,
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    NotFoundError,
    ServerError,
)
from llm_api_client.service import (
    CHAT_SCHEMA,
    BaseService,
    CachedGet,
    Endpoint,
    HTTPDoor,
    RateLimiter,
    Schema,
    SimpleRateLimiter,
    StatusTracker,
    chat_payload,
    create_payload,
    endpoint_from_url,
    fine_tuning_payload,
    retry,
    upload_file_with_retry,
)
from llm_api_client.testing import FakeClock

from .conftest import KEY, MODEL, ask

CHAT = "chat/completions"
AT_ONCE = RetryPolicy(initial_delay=0)


class Chats(BaseService):
    """A service with two endpoints."""

    endpoints = (
        Endpoint(CHAT, max_requests=100, max_tokens=50_000, schema=CHAT_SCHEMA, config={"model": MODEL}),
        Endpoint("models", method="GET"),
    )


class Embedder(BaseService):
    """Another one."""

    endpoints = (Endpoint("embeddings", config={"model": "text-embedding-3-small"}),)


@pytest.fixture
def serve(provider):
    """Make a service of the provider; close it in the end."""
    made = []

    def serve(cls=Chats, **options):
        made.append(cls(KEY, base_url=provider.base_url, retry=AT_ONCE, **options))
        return made[-1]

    yield serve
    for each in made:
        each.close()


@pytest.fixture
def door():
    door = HTTPDoor(timeout=5)
    yield door
    door.close()


def test_utilities():
    """They are functions and classes that are of use by themselves: none of them needs a client or a service."""
    for utility in (endpoint_from_url, retry, upload_file_with_retry, CachedGet):
        assert utility.__name__ in service.__all__
        assert not any(name in inspect.signature(utility).parameters for name in ("client", "service"))
    assert APIClient.__name__ not in vars(service)


def test_making_api_calls(make, provider, serve):
    """A call goes to any endpoint of any server: once by a client, or as one of a service's endpoints."""
    client = make(base_url=provider.base_url, api_key=KEY)
    assert client.post_request(CHAT, ask())["object"] == "chat.completion"
    assert client.get("models")["object"] == "list"
    assert serve().call(CHAT, {"messages": ask()["messages"]})["object"] == "chat.completion"


def test_handling_errors(serve):
    """A failure is raised with the class that says what it means, and what the server answered."""
    for fault, kind in (("401", AuthenticationError), ("404", NotFoundError), ("500", ServerError)):
        with pytest.raises(APICallException) as raised:
            serve().call(CHAT, {"messages": ask(f"[simulate: {fault}]")["messages"]}, max_retries=0)
        assert type(raised.value) is kind
        assert "error" in raised.value.response_body


def test_information_from_urls():
    """`endpoint_from_url` is what an address asks for."""
    assert endpoint_from_url("https://api.openai.com/v1/chat/completions?x=1") == CHAT
    assert endpoint_from_url("https://api.openai.com/") == ""


def test_retrying():
    """`retry` calls again what may pass, after a wait that grows, and raises the last failure."""
    clock = FakeClock()
    outcomes = [ServerError("down", retry_after=7.0), ServerError("down"), None]

    def call():
        if failure := outcomes.pop(0):
            raise failure
        return "an answer"

    assert retry(call, max_retries=2, clock=clock) == "an answer"
    assert clock.now() >= 7
    outcomes[:] = [ServerError("first"), ServerError("last")]
    with pytest.raises(ServerError, match="last"):
        retry(call, max_retries=1, clock=clock)


def test_uploading(provider, tmp_path):
    """`upload_file_with_retry` sends a file as a form, and again where that failed."""
    (tmp_path / "lines.jsonl").write_text("{}\n")
    provider.next("503")
    uploaded = upload_file_with_retry(
        f"{provider.base_url}/files", tmp_path / "lines.jsonl", purpose="batch", api_key=KEY, policy=AT_ONCE
    )
    assert uploaded["filename"] == "lines.jsonl"
    assert [seen.status for seen in provider.requests] == [503, 200]
    assert inspect.signature(upload_file_with_retry).parameters["retries"].default == 3


def test_caching(provider, door):
    """`CachedGet` asks once for what was answered, ten minutes long, and keeps no failure."""
    clock = FakeClock()
    get = CachedGet(door, api_key=KEY, clock=clock)
    address = f"{provider.base_url}/models"
    assert get(address) == get(address)
    assert provider.counts.received == 1
    clock.advance(600)
    get(address)
    assert provider.counts.received == 2
    for _ in range(2):
        with pytest.raises(NotFoundError):
            get(f"{provider.base_url}/nothing")
    assert provider.counts.received == 4


def test_base_service():
    """It is the base of services, and none by itself: without address and endpoints there is nothing to call."""
    assert issubclass(Chats, BaseService)
    with pytest.raises(ConfigurationError, match="base_url"):
        BaseService(KEY)
    with pytest.raises(ConfigurationError, match="endpoints"):
        BaseService(KEY, base_url="http://127.0.0.1:1")


def test_initialization_of_endpoints(serve):
    """A service has its endpoints when it is made, each with a limiter of its own."""
    one, other = serve(), serve()
    assert [endpoint.path for endpoint in one.endpoints] == [CHAT, "models"]
    assert one.endpoint(CHAT).limiter is not other.endpoint(CHAT).limiter
    with pytest.raises(InvalidInputError, match="no endpoint 'chats'"):
        one.endpoint("chats")


def test_service_calls(serve, provider):
    """`call` makes one, `call_many` many, in the order of the payloads; both fill in the endpoint's defaults."""
    payloads = [{"messages": ask(text)["messages"]} for text in ("a", "b")]
    assert serve().call(CHAT, payloads[0])["choices"][0]["message"]["content"] == "Simulated answer to: a"
    answers = serve().call_many(CHAT, payloads)
    assert [answer["choices"][0]["message"]["content"][-1] for answer in answers] == ["a", "b"]
    assert {seen.body["model"] for seen in provider.requests} == {MODEL}


def test_service_status(serve, provider):
    """`status_tracker` tracks the calls of the service."""
    made = serve()
    provider.next("500", "400")
    made.call_many(CHAT, [{"messages": ask()["messages"]}] * 2, max_workers=1)
    status = made.status_tracker
    assert isinstance(status, StatusTracker)
    assert (status.num_tasks_succeeded, status.num_tasks_failed, status.num_api_errors) == (1, 1, 2)


def test_one_interface(serve):
    """Services differ in what they say of themselves, and are called alike."""
    payloads = {Chats: {"messages": ask()["messages"]}, Embedder: {"input": "a text"}}
    for cls, payload in payloads.items():
        made = serve(cls)
        assert made.call(made.endpoints[0], payload)["usage"]["prompt_tokens"] > 0
        assert made.status_tracker.num_tasks_succeeded == 1


def test_endpoint():
    """`Endpoint` is one endpoint: its path, limits and parameters."""
    endpoint = Endpoint(CHAT, max_requests=10)
    assert (endpoint.path, endpoint.max_requests) == (CHAT, 10)
    with pytest.raises(ConfigurationError):
        Endpoint("")


def test_endpoint_rate_limiter(serve):
    """It has a rate limiter, which its service's calls go through."""
    made = serve()
    limiter = made.endpoint(CHAT).limiter
    assert isinstance(limiter, RateLimiter)
    made.call(CHAT, {"messages": ask()["messages"]})
    assert limiter.available_request_capacity == 99
    assert limiter.available_token_capacity < 50_000


def test_endpoint_max_requests():
    """So many requests in an interval; None, unless it is given, is no limit."""
    assert Endpoint(CHAT).max_requests is None
    limiter = Endpoint(CHAT, max_requests=1, clock=FakeClock()).limiter
    assert limiter.request_permission()
    assert not limiter.request_permission()


def test_endpoint_max_tokens():
    """So many tokens in an interval; None, unless it is given, is no limit."""
    assert Endpoint(CHAT).max_tokens is None
    limiter = Endpoint(CHAT, max_tokens=1_000, interval=3_600, clock=FakeClock()).limiter
    assert limiter.request_permission(900)
    assert not limiter.request_permission(200)


def test_endpoint_config():
    """Its parameters have defaults, which a call's own win over."""
    endpoint = Endpoint(CHAT, config={"model": MODEL, "temperature": 0})
    assert endpoint.payload(temperature=1) == {"model": MODEL, "temperature": 1}
    assert endpoint.payload() == {"model": MODEL, "temperature": 0}


def test_payload_package():
    """Payloads are made by functions; `create_payload` makes one of any kind."""
    made = create_payload("Hello", input_key="text", required=("target",), optional=("formal",), target="de")
    assert made == {"text": "Hello", "target": "de"}


def test_payload_of_a_chat():
    """`chat_payload` makes a chat's, of messages, defaults, and what is said for this call."""
    messages = ask()["messages"]
    made = chat_payload(messages, {"model": MODEL, "temperature": 1}, temperature=0)
    assert made == {"messages": messages, "model": MODEL, "temperature": 0}


def test_payload_of_a_fine_tuning():
    """`fine_tuning_payload` makes one that starts a fine-tuning, of an uploaded file's id."""
    made = fine_tuning_payload("file-abc123", {"model": MODEL}, suffix="mine")
    assert made == {"training_file": "file-abc123", "model": MODEL, "suffix": "mine"}


def test_payload_schema():
    """What is required must be there, what is optional may, 0 and False included, and no other name passes."""
    schema = Schema(required=("messages", "model"), optional=("temperature", "stream"))
    messages = ask()["messages"]
    made = chat_payload(messages, {"model": MODEL}, schema, temperature=0, stream=False)
    assert (made["temperature"], made["stream"]) == (0, False)
    with pytest.raises(InvalidInputError, match="model"):
        chat_payload(messages, None, schema)
    with pytest.raises(InvalidInputError, match="top_p"):
        chat_payload(messages, {"model": MODEL}, schema, top_p=1)


def test_rate_limiter():
    """`RateLimiter` is abstract; a limiter of one's own needs four parts of it."""
    with pytest.raises(TypeError, match="abstract"):
        RateLimiter(1, 1)
    assert RateLimiter.__abstractmethods__ == {
        "acquire", "available_request_capacity", "available_token_capacity", "try_acquire",
    }  # fmt: skip
    assert issubclass(SimpleRateLimiter, RateLimiter)


def test_request_capacity():
    """Requests that have gone are missing for an interval, and then are there again."""
    limiter = SimpleRateLimiter(2, None, clock=(clock := FakeClock()))
    assert [limiter.request_permission() for _ in range(3)] == [True, True, False]
    assert limiter.available_request_capacity == 0
    clock.advance(61)
    assert limiter.available_request_capacity == 2


def test_token_capacity():
    """So are their tokens, and never do they fall below none; what was reserved in vain comes back at once."""
    limiter = SimpleRateLimiter(None, 1_000, clock=(clock := FakeClock()))
    reservation = limiter.acquire(800)
    assert not limiter.request_permission(300)
    reservation.settle(100)
    assert limiter.available_token_capacity == 900
    clock.advance(61)
    assert limiter.available_token_capacity == 1_000


def test_interval():
    """It is 60 seconds unless it is given; nothing runs in the background to keep it."""
    assert SimpleRateLimiter(1).interval == 60
    limiter = SimpleRateLimiter(1, interval=5, clock=(clock := FakeClock()))
    limiter.acquire().settle()
    limiter.acquire()
    assert 5 <= clock.now() < 6


def test_status_tracker():
    """It is a dataclass of counts, all 0 at first."""
    assert dataclasses.is_dataclass(StatusTracker)
    assert set(dataclasses.asdict(StatusTracker()).values()) == {0}


def test_tasks_started(client):
    """`num_tasks_started` counts requests that were taken up."""
    client.make_requests([ask()] * 3)
    assert client.tracker.status.num_tasks_started == 3


def test_tasks_in_progress(make):
    """`num_tasks_in_progress` counts those of them that have not ended."""
    seen = []
    made = make(api_call=lambda **_: seen.append(made.tracker.status.num_tasks_in_progress))
    made.make_requests([ask()])
    assert seen == [1]
    assert made.tracker.status.num_tasks_in_progress == 0


def test_tasks_succeeded(client):
    """`num_tasks_succeeded` counts those that ended with an answer."""
    client.make_requests([ask(), ask("[simulate: 400]")])
    assert client.tracker.status.num_tasks_succeeded == 1


def test_tasks_failed(client):
    """`num_tasks_failed` counts those that ended without one."""
    client.make_requests([ask(), ask("[simulate: 400]"), ask("[simulate: 500]")])
    assert client.tracker.status.num_tasks_failed == 2


def test_types_of_errors(make, provider):
    """Failed calls are counted by kind: refused for the rate, refused otherwise, and without an answer."""
    client = make()
    provider.next("429; retry-after=0.01", "400", "reset")
    client.make_requests([ask()] * 2, max_workers=1)
    status = client.tracker.status
    assert (status.num_rate_limit_errors, status.num_api_errors, status.num_other_errors) == (1, 1, 1)


def test_parts_together(serve, provider):
    """A service is made of the parts: its endpoint's payload, limiter and config, the key, and the counts."""
    made = serve()
    payload = made.endpoint(CHAT).payload(messages=ask()["messages"], temperature=0)
    made.call(CHAT, payload)
    assert provider.requests[0].body == payload
    assert made.endpoint(CHAT).limiter.status()["requests"]["display"] == "1/100"
    assert made.status_tracker.num_tasks_succeeded == 1
