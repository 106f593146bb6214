"""The clients that people really use can talk to the provider."""

import json
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


CHAT = "/v1/chat/completions"
REQUESTS = "".join(
    json.dumps({"custom_id": str(i), "method": "POST", "url": CHAT, "body": chat(f"Number {i}")}) + "\n"
    for i in range(3)
).encode()
EXAMPLES = (json.dumps({"messages": [{"role": "assistant", "content": "Yes."}]}).encode() + b"\n") * 10


def test_the_official_clients_jobs(openai_client):
    """Files, batches and fine-tuning jobs come back as the official client's objects, in its pages."""
    client = openai_client
    file = client.files.create(file=("a.jsonl", REQUESTS), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"a": "b"})
    assert batch.status == "validating"
    batch = client.batches.retrieve(batch.id)
    assert (batch.status, batch.request_counts.completed, batch.metadata) == ("completed", 3, {"a": "b"})
    assert len(client.files.content(batch.output_file_id).content.splitlines()) == 3
    assert client.files.content(file.id).content == REQUESTS
    assert [each.id for each in client.batches.list(limit=1)] == [batch.id]
    assert [each.id for each in client.files.list(limit=1)] == [batch.output_file_id, file.id]
    training = client.files.create(file=("b.jsonl", EXAMPLES), purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=training)
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.fine_tuned_model) == ("succeeded", f"ft:gpt-4o-mini:simulated::{job.id}")
    assert len(list(client.fine_tuning.jobs.list_events(job.id, limit=2))) == 6
    assert client.files.delete(training).deleted


def test_the_official_clients_media(openai_client):
    """Recordings, speech and responses come back as the official client's objects."""
    client = openai_client
    text = client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", bytes(100))).text
    assert text.startswith("Simulated transcript of a.mp3")
    assert client.audio.translations.create(model="whisper-1", file=("a.mp3", bytes(100))).text != text
    assert client.audio.speech.create(model="tts-1", input="Hello", voice="alloy").content.startswith(b"ID3")
    whole = client.responses.create(model="gpt-4o-mini", input="One two")
    assert whole.output_text == "Simulated answer to: One two"
    with client.responses.stream(model="gpt-4o-mini", input="One two") as stream:
        assert stream.until_done().get_final_response().output_text == whole.output_text


@pytest.mark.filterwarnings("ignore")
def test_litellms_jobs(start):
    """LiteLLM's functions for files, batches and fine-tuning reach the provider."""
    litellm = pytest.importorskip("litellm")
    quick, slow = (
        {"api_base": start(batch_seconds=seconds)[0].base_url, "api_key": "sk-test", "custom_llm_provider": "openai"}
        for seconds in (0.0, 1000.0)
    )

    def submit(common):
        file = litellm.create_file(file=("a.jsonl", REQUESTS), purpose="batch", **common)
        asked = {"completion_window": "24h", "endpoint": CHAT, "input_file_id": file.id}
        return litellm.create_batch(**asked, **common).id

    batch = litellm.retrieve_batch(batch_id=submit(quick), **quick)
    assert (batch.status, batch.request_counts.completed) == ("completed", 3)
    assert len(litellm.file_content(file_id=batch.output_file_id, **quick).content.splitlines()) == 3
    batch_id = submit(slow)
    assert litellm.retrieve_batch(batch_id=batch_id, **slow).status == "validating"
    assert litellm.cancel_batch(batch_id=batch_id, **slow).status == "cancelling"
    assert [each.status for each in litellm.list_batches(**slow).data] == ["cancelled"]
    training = litellm.create_file(file=("b.jsonl", EXAMPLES), purpose="fine-tune", **quick).id
    job = litellm.create_fine_tuning_job(model="gpt-4o-mini", training_file=training, **quick)
    job = litellm.retrieve_fine_tuning_job(fine_tuning_job_id=job.id, **quick)
    assert (job.status, job.fine_tuned_model) == ("succeeded", f"ft:gpt-4o-mini:simulated::{job.id}")


@pytest.mark.filterwarnings("ignore")
def test_litellms_media(start):
    """LiteLLM finds speech, recordings and images, and rerank for each of the ways that it asks for it."""
    litellm = pytest.importorskip("litellm")
    provider, _ = start()
    common = {"api_base": provider.base_url, "api_key": "sk-test"}
    speech = litellm.speech(model="openai/tts-1", input="Hello", voice="alloy", max_retries=0, **common)
    assert speech.content.startswith(b"ID3")
    file = ("a.mp3", bytes(100))
    text = litellm.transcription(model="openai/whisper-1", file=file, max_retries=0, **common).text
    assert text.startswith("Simulated transcript of a.mp3")
    assert litellm.image_generation(model="openai/dall-e-3", prompt="a cat", **common).data[0].url.endswith(".png")
    for name in ("cohere", "hosted_vllm", "litellm_proxy"):
        asked = {"query": "blue sky", "documents": ["a fox", "the sky"], "custom_llm_provider": name}
        answer = litellm.rerank(model="rerank-english-v3.0", **asked, **common)
        assert [result["index"] for result in answer.results] == [1, 0]
    assert [request.path for request in provider.requests][-3:] == ["/v1/v2/rerank", "/v1/rerank", "/v1/v1/rerank"]
