"""The examples of the reference documents run here: nothing but import lines and constructors is written anew."""

import ast
import asyncio
import inspect

import pytest

from llm_api_client import APIClient, ModelInfo
from llm_api_client.responses import ChatResponse, CompletionResponse, EmbeddingResponse, ImageResponse

from .conftest import KEY

BATCH = """
from llm_api_client import APIClient

client = APIClient()

responses = client.make_requests([
    {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Say hello in one sentence."}],
    }
])

print(responses[0].choices[0].message.content)

responses = client.make_requests_with_retries([
    {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi!"}]}
], max_retries=2)

responses = client.make_requests([
    {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi!"}]}
], sanitize=False)
"""

CONTROL = """
from llm_api_client import APIClient

client = APIClient(max_requests_per_minute=600, max_tokens_per_minute=100_000, max_workers=50)
"""

CONCURRENT = """
import os
from llm_api_client import APIClient

client = APIClient(
    max_requests_per_minute=1000,
    max_tokens_per_minute=100000
)

prompts = [
    "Explain the theory of relativity in simple terms.",
    "Write a short poem about a cat.",
    "What is the capital of France?",
]

requests_data = [
    {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": prompt}],
    }
    for prompt in prompts
]

responses = client.make_requests(requests_data)

for i, response in enumerate(responses):
    if response:
        try:
            message_content = response.choices[0].message.content
            print(f"Response {i+1}: {message_content[:100]}...")
        except (AttributeError, IndexError, TypeError) as e:
            print(f"Response {i+1}: Could not parse response content. Error: {e}")
            print(f"Raw response: {response}")
    else:
        print(f"Response {i+1}: Request failed.")

print(client.tracker)
print(client.tracker.details)

print(f"Total cost: ${client.tracker.total_cost:.4f}")
print(f"Total prompt tokens: {client.tracker.total_prompt_tokens}")
print(f"Total completion tokens: {client.tracker.total_completion_tokens}")
print(f"Number of API calls: {client.tracker.num_api_calls}")
print(f"Mean response time: {client.tracker.mean_response_time:.2f}s")
"""

POST = """
from llm_api_client import AsyncAPIClient as APIClient

client = APIClient(
    base_url=base_url,
    api_key=api_key
)

response = await client.post_request(
    endpoint="chat/completions",
    payload={
        "model": "llama3-70b-8192",
        "messages": [{"role": "user", "content": "Hello, world!"}]
    }
)

await client.close()
"""

ASYNC_WITH = """
from llm_api_client import AsyncAPIClient as APIClient

async with APIClient(base_url, api_key) as client:
    response = await client.post_request(endpoint, payload)
"""

HANDLED = """
from llm_api_client import APICallException, AsyncAPIClient as APIClient

async with APIClient(base_url, api_key) as client:
    try:
        response = await client.post_request(endpoint, payload)
    except APICallException as e:
        if e.status_code == 429:
            print(f"Rate limited: {e.message}")
        elif e.status_code >= 500:
            print(f"Server error: {e.message}")
        else:
            print(f"API error: {e.message}")
"""

CLIENT = """
from llm_api_client import APIClient as Client

client = Client(
    api_key=api_key,
    base_url=base_url,
    request_timeout=15
)
"""

CHAT = """
response = client.chat(
    messages=[{"role": "user", "content": "Hello, world!"}],
    model="openai/gpt-4o-mini",
    temperature=0.7,
    max_tokens=500,
    stream=False,
    return_generator=False,
    **kwargs
)
"""

COMPLETION = """
response = client.completion(
    prompt="Once upon a time",
    model="anthropic/claude-3-haiku",
    temperature=0.7,
    max_tokens=500,
    stream=False,
    return_generator=False,
    **kwargs
)
"""

EMBEDDINGS = """
response = client.embeddings(
    text="This is a sample text to embed.",
    model="openai/text-embedding-3-small",
    **kwargs
)
"""

IMAGE = """
response = client.image(
    prompt="A futuristic city with flying cars and neon lights",
    model="openai/dall-e-3",
    size="1024x1024",
    **kwargs
)
"""

INFORMATION = """
providers = client.providers()
models = client.models()
openai_models = client.models(provider="openai")
model_info = client.model_info(provider="openai", model="gpt-4o-mini")
usage = client.get_usage()
user_info = client.get_user_info()
"""

CONTEXT_MANAGER = """
from llm_api_client import APIClient as Client

with Client(api_key=api_key) as client:
    response = client.chat(messages=[{"role": "user", "content": "Hello, world!"}])
"""

CLOSE = """
from llm_api_client import APIClient as Client

client = Client(api_key=api_key)
response = client.chat(messages=[{"role": "user", "content": "Hello, world!"}])
client.close()
"""


@pytest.fixture
def run(provider, monkeypatch):
    """Run an example, whose `await` may stand anywhere, and give back its names; clients are closed in the end."""
    made, make = [], APIClient.__init__

    def make_and_note(client, *args, **options):
        made.append(client)
        make(client, *args, **options)

    monkeypatch.setattr(APIClient, "__init__", make_and_note)

    def run(*examples, **names):
        given = {"base_url": provider.base_url, "api_key": KEY, "kwargs": {}, "endpoint": "chat/completions", **names}
        for example in examples:
            code = compile(example, "an example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            outcome = eval(code, given)  # noqa: S307  our own
            if inspect.iscoroutine(outcome):
                asyncio.run(outcome)
        return given

    yield run
    for client in made:
        client.close()


def test_batch_client(run, provider, capsys):
    """The batch client's quick start runs as it is, and prints the answer."""
    names = run(BATCH)
    assert capsys.readouterr().out == "Simulated answer to: Say hello in one sentence.\n"
    assert names["responses"][0].choices[0].message.content == "Simulated answer to: Hi!"
    assert provider.counts.answered == 3


def test_batch_client_with_limits(run):
    """A client with all three of its limits has them."""
    client = run(CONTROL)["client"]
    assert (client.max_requests_per_minute, client.max_tokens_per_minute, client.max_workers) == (600, 100_000, 50)


def test_batch_client_concurrently(run, capsys):
    """The batch client's usage runs as it is: each prompt is answered, and the tracker is printed in every way."""
    run(CONCURRENT)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Response 1: Simulated answer to: Explain the theory of relativity in simple terms...."
    assert [line.partition(":")[0] for line in said[:3]] == ["Response 1", "Response 2", "Response 3"]
    assert not any("failed" in line or "Could not" in line for line in said)
    assert said[-2:-1] == ["Number of API calls: 3"]
    assert said[-1].startswith("Mean response time: ")


def test_batch_client_without_an_answer(run, capsys):
    """A request that failed is told by the same loop, and the others are not touched."""
    run(CONCURRENT.replace("Write a short poem", "[simulate: 400] Write a short poem"))
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "Response 2: Request failed."
    assert said[2].startswith("Response 3: Simulated answer")


def test_http_client(run, provider):
    """The HTTP client posts, and gives the parsed JSON."""
    response = run(POST)["response"]
    assert response["choices"][0]["message"]["content"] == "Simulated answer to: Hello, world!"
    assert provider.requests[0].body["model"] == "llama3-70b-8192"


def test_http_client_with_its_own_base_url(run, provider):
    """A base URL without a version, as in the document, is used as it is."""
    run(POST, base_url=provider.base_url.removesuffix("/v1"))
    assert provider.requests[0].path == "/chat/completions"


def payload(text):
    return {
        "model": "llama3-70b-8192",
        "messages": [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text}],
    }


def test_http_client_as_a_context(run, provider):
    """`async with` a client and a payload with a system message."""
    assert run(ASYNC_WITH, payload=payload("Tell me about Groq."))["response"]["object"] == "chat.completion"
    assert provider.requests[0].body == payload("Tell me about Groq.")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("quota", "Rate limited: 429"),
        ("503", "Server error: 503"),
        ("404", "API error: 404"),
        ("html", "API error: 200"),
        ("reset", "API error: no answer"),
    ],
)
def test_http_client_handles_errors(run, capsys, monkeypatch, fault, said):
    """The document's handler tells failures apart by their status, whatever comes."""
    monkeypatch.setattr("random.random", lambda: 0.0)  # retries do not wait
    run(HANDLED, payload=payload(f"[simulate: {fault}]"))
    assert capsys.readouterr().out.startswith(said)


def test_neutral_client_chat(run):
    """A chat gives a `ChatResponse`."""
    response = run(CLIENT, CHAT)["response"]
    assert type(response) is ChatResponse
    assert response.data == "Simulated answer to: Hello, world!"


def test_neutral_client_completion(run, anthropic):
    """A completion of a model that only chats, of another provider, gives a `CompletionResponse`."""
    response = run(CLIENT, COMPLETION, base_url=anthropic)["response"]
    assert type(response) is CompletionResponse
    assert (response.data, response.provider) == ("there was a client.", "anthropic")


def test_neutral_client_embeddings(run):
    """Embeddings of one text are one vector."""
    response = run(CLIENT, EMBEDDINGS)["response"]
    assert type(response) is EmbeddingResponse
    assert len(response.data) == 1


def test_neutral_client_image(run, provider):
    """An image has an address."""
    response = run(CLIENT, IMAGE)["response"]
    assert type(response) is ImageResponse
    assert response.data[0].startswith("http")
    assert provider.requests[0].body["size"] == "1024x1024"


def test_neutral_client_information(run):
    """Providers, models, usage and account are asked for without a chat."""
    names = run(CLIENT, INFORMATION)
    assert "openai" in names["providers"]
    assert set(names["openai_models"]) < set(names["models"])
    assert isinstance(names["model_info"], ModelInfo)
    assert names["usage"]["total_requests"] == 0
    assert names["user_info"]["providers"]


@pytest.mark.parametrize("example", [CONTEXT_MANAGER, CLOSE], ids=["with", "close"])
def test_neutral_client_without_a_model(run, provider, example):
    """Two examples name no model, which their document says is required: so it is here, and nothing is sent."""
    with pytest.raises(TypeError, match="'model'"):
        run(example)
    names = run(example.replace('"}])', '"}], model="openai/gpt-4o-mini")'))
    assert names["response"].success
    assert provider.counts.received == 1
    with pytest.raises(RuntimeError, match="closed"):
        names["client"].chat("Hello again", "openai/gpt-4o-mini")
