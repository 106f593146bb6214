"""The clients that people really use can talk to the provider."""

import os

import pytest

from .conftest import chat

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@pytest.fixture
def openai_client(start):
    """The official client, pointed at a provider."""
    openai = pytest.importorskip("openai")
    provider, _ = start()
    with openai.OpenAI(base_url=provider.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


def test_the_official_client(openai_client):
    """Chats, streams, embeddings, moderations, images and models come back as that client's objects."""
    answer = openai_client.chat.completions.create(**chat("One two"))
    assert answer.choices[0].message.content == "Simulated answer to: One two"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    stream = openai_client.chat.completions.create(**chat("One two", stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == answer.choices[0].message.content
    vectors = openai_client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=16)
    assert [len(item.embedding) for item in vectors.data] == [16, 16]
    assert openai_client.moderations.create(input="flag me").results[0].flagged
    assert openai_client.images.generate(prompt="a cat").data[0].url.endswith(".png")
    assert openai_client.models.retrieve("gpt-4o").id == "gpt-4o"
    assert len(list(openai_client.models.list())) > 1


def test_the_official_clients_errors(openai_client):
    """Faults become the exceptions that the official client has for them."""
    import openai

    for fault, error in {
        "429": openai.RateLimitError,
        "401": openai.AuthenticationError,
        "context": openai.BadRequestError,
        "503": openai.InternalServerError,
        "reset": openai.APIConnectionError,
    }.items():
        with pytest.raises(error):
            openai_client.chat.completions.create(**chat(), extra_headers={"x-simulate": fault})


@pytest.mark.filterwarnings("ignore")
def test_litellm(start):
    """LiteLLM gets answers, embeddings and its own exceptions."""
    litellm = pytest.importorskip("litellm")
    provider, _ = start()
    common = {"api_base": provider.base_url, "api_key": "sk-test", "max_retries": 0}
    answer = litellm.completion(**{**chat("One two"), "model": "openai/gpt-4o-mini"}, **common)
    assert answer.choices[0].message.content == "Simulated answer to: One two"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    vectors = litellm.embedding(model="openai/text-embedding-3-small", input=["a"], **common)
    assert len(vectors.data[0]["embedding"]) == 1536
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(**{**chat("[simulate: quota]"), "model": "openai/gpt-4o-mini"}, **common)
    assert provider.counts.received == 3
