"""OpenAI's own client against the simulated provider: what it sends is taken, and what it reads is right.

Its simplest calls are in `simulator/test_simulated_clients.py`.
"""

import asyncio
import io
import json
from types import ModuleType

import pytest
from pydantic import BaseModel

from llm_api_client import SimulatedProvider

KEY = "sk-made-up-0123456789abcdefghij"
MODEL = "gpt-4o-mini"
CHAT = "/v1/chat/completions"


@pytest.fixture
def openai() -> ModuleType:
    """The package of the official client, which comes with LiteLLM."""
    return pytest.importorskip("openai")


@pytest.fixture(scope="module")
def _served():
    with SimulatedProvider(api_keys=[KEY]) as provider:
        yield provider


@pytest.fixture
def provider(_served):
    _served.reset()
    return _served


@pytest.fixture
def client(openai, provider):
    """A client that tries nothing again."""
    with openai.OpenAI(base_url=provider.base_url, api_key=KEY, max_retries=0, timeout=5) as client:
        yield client


def said(text, role="user"):
    return [{"role": role, "content": text}]


def test_completions_whole_and_streamed(client):
    """A completion, several of them, and the pieces of one, with the usage that was asked for at the end."""
    whole = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon a time", n=2, max_tokens=5)
    assert [choice.finish_reason for choice in whole.choices] == ["length"] * 2
    assert (whole.object, whole.usage.completion_tokens) == ("text_completion", 10)
    asked = {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time"}
    text = client.completions.create(**asked).choices[0].text
    *pieces, last = client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    assert "".join(piece.choices[0].text for piece in pieces) == text
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert (last.choices, last.usage.total_tokens > 0) == ([], True)


def test_a_conversation_with_tools_arrives_as_it_was_sent(client, provider):
    """Tools, the calls of an assistant and a tool's result are taken, counted, and handed to the provider whole."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    messages = [
        *said("Weather in Ulm?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "25 degrees"},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=tools, tool_choice="auto")
    assert answer.choices[0].message.tool_calls is None
    body = provider.requests[-1].body
    assert (body["messages"], body["tools"], body["tool_choice"]) == (messages, tools, "auto")
    without = client.chat.completions.create(model=MODEL, messages=messages)
    assert answer.usage.prompt_tokens > without.usage.prompt_tokens


def test_an_answer_is_parsed(openai):
    """What the provider is told to answer is read by the client into a model of the caller's."""

    class Label(BaseModel):
        sentiment: str

    with (
        SimulatedProvider(answer='{"sentiment": "positive"}') as provider,
        openai.OpenAI(base_url=provider.base_url, api_key=KEY) as client,
    ):
        chat = client.chat.completions.parse(model=MODEL, messages=said("Good?"), response_format=Label)
        assert chat.choices[0].message.parsed == Label(sentiment="positive")
        response = client.responses.parse(model=MODEL, input="Good?", text_format=Label)
        assert response.output_parsed == Label(sentiment="positive")
        assert provider.requests[0].body["response_format"]["json_schema"]["name"] == "Label"


def test_a_stream_is_collected_by_the_clients_own_helper(client):
    """Its events end with the same answer as without a stream, usage included."""
    whole = client.chat.completions.create(model=MODEL, messages=said("One two three"))
    options = {"include_usage": True}
    with client.chat.completions.stream(model=MODEL, messages=said("One two three"), stream_options=options) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert len(pieces) > 1
    assert "".join(pieces) == final.choices[0].message.content == whole.choices[0].message.content
    assert final.usage.total_tokens == whole.usage.total_tokens


def test_embeddings_images_and_moderations(client):
    """Vectors are the same packed and plain, pictures come as bytes too, and each text is judged by itself."""
    asked = {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 4}
    packed = client.embeddings.create(**asked)  # this client asks for base64 unless told
    plain = client.embeddings.create(**asked, encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [4, 4]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    images = client.images.generate(model="dall-e-2", prompt="a cat", n=2, response_format="b64_json").data
    assert len(images) == 2
    assert images[0].b64_json.startswith("iVBOR")
    results = client.moderations.create(model="omni-moderation-latest", input=["hello", "flag me"]).results
    assert [result.flagged for result in results] == [False, True]


def test_the_key_is_asked_for_by_every_endpoint(openai, provider):
    """A key that is not known is a 401, wherever it is shown, and nothing is answered."""
    with openai.OpenAI(base_url=provider.base_url, api_key="sk-wrong", max_retries=2) as client:
        for ask in (
            lambda: client.chat.completions.create(model=MODEL, messages=said("Hello")),
            lambda: client.chat.completions.create(model=MODEL, messages=said("Hello"), stream=True),
            lambda: client.completions.create(model=MODEL, prompt="Hello"),
            lambda: client.responses.create(model=MODEL, input="Hello"),
            lambda: client.embeddings.create(model=MODEL, input="Hello"),
            lambda: client.audio.speech.create(model="tts-1", input="Hello", voice="alloy"),
            lambda: client.files.create(file=b"{}", purpose="batch"),
            client.models.list,
            client.batches.list,
            client.fine_tuning.jobs.list,
        ):
            with pytest.raises(openai.AuthenticationError) as refused:
                ask()
            assert (refused.value.status_code, refused.value.code) == (401, "invalid_api_key")
    assert provider.counts.answered == 0
    assert provider.counts.received == 10  # a 401 is not tried again


def test_what_does_not_exist_is_not_found(openai, client):
    """Models, files, batches and jobs that are not there are a 404 with the provider's code and words."""
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="missing-model", messages=said("Hello"))
    assert (missing.value.status_code, missing.value.code) == (404, "model_not_found")
    assert "missing-model" in missing.value.message
    for ask in (
        lambda: client.models.retrieve("missing-model"),
        lambda: client.files.retrieve("file-none"),
        lambda: client.files.content("file-none"),
        lambda: client.batches.retrieve("batch_none"),
        lambda: client.fine_tuning.jobs.retrieve("ftjob-none"),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()


def test_what_is_wrong_is_said(openai, client):
    """A request without what it needs is a 400 that names it."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=[])
    assert refused.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="a cat", n=1000)
    assert refused.value.param == "n"
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input=[{"content": "no role"}])
    assert refused.value.param == "input[0]"


def test_the_clients_own_retries_end_in_an_answer(openai, provider):
    """It waits as it is told to, marks what it tries again, and gives up with what came last."""
    with openai.OpenAI(base_url=provider.base_url, api_key=KEY, max_retries=2) as client:
        provider.next("429; retry-after=0.05", "503; retry-after=0.05", None)
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=said("Hello"))
        assert (raw.retries_taken, raw.parse().choices[0].finish_reason) == (2, "stop")
        assert raw.headers["x-request-id"] == raw.parse()._request_id
        counts = [request.headers["x-stainless-retry-count"] for request in provider.requests]
        assert counts == ["0", "1", "2"]
        provider.next(*["429; retry-after=0.05"] * 3)
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model=MODEL, messages=said("Hello"))
    assert refused.value.response.headers["retry-after-ms"] == "50"
    assert provider.counts.errors == {429: 4, 503: 1}


def test_the_limits_are_seen_by_the_client(openai):
    """Headers tell what is left, and beyond the limit comes a 429 that says how long it holds."""
    with (
        SimulatedProvider(requests_per_minute=2) as provider,
        openai.OpenAI(base_url=provider.base_url, api_key=KEY, max_retries=0) as client,
    ):
        ask = client.chat.completions.with_raw_response.create
        left = [ask(model=MODEL, messages=said("Hello")).headers["x-ratelimit-remaining-requests"] for _ in range(2)]
        assert left == ["1", "0"]
        with pytest.raises(openai.RateLimitError) as refused:
            ask(model=MODEL, messages=said("Hello"))
    assert 0 < float(refused.value.response.headers["retry-after"]) <= 60


def test_a_silent_provider_is_a_timeout(openai, client):
    """A request that is never answered ends by the client's own timeout, and one that breaks off is told apart."""
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.1).chat.completions.create(model=MODEL, messages=said("Hello [simulate: hang]"))
    with pytest.raises(openai.APIConnectionError) as broken:
        client.chat.completions.create(model=MODEL, messages=said("Hello [simulate: reset]"))
    assert not isinstance(broken.value, openai.APITimeoutError)


def test_sounds(client):
    """Transcripts come with times and as subtitles, speech is written as it comes."""
    sound = ("a.mp3", io.BytesIO(bytes(32_000)))
    verbose = client.audio.transcriptions.create(model="whisper-1", file=sound, response_format="verbose_json")
    assert verbose.segments[0].text.strip() in verbose.text
    assert verbose.duration > 0
    sound[1].seek(0)
    titles = client.audio.transcriptions.create(model="whisper-1", file=sound, response_format="srt")
    assert "-->" in titles
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", input="Hello there", voice="alloy", response_format="wav"
    ) as speech:
        assert b"".join(speech.iter_bytes())[:4] == b"RIFF"


def test_a_response_refers_to_what_was_said(client, provider):
    """Instructions and messages are taken; an answer that is cut off says why."""
    answer = client.responses.create(
        model=MODEL, instructions="Be brief.", input=said("One two three"), max_output_tokens=2, metadata={"a": "b"}
    )
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (answer.usage.output_tokens, answer.metadata) == (2, {"a": "b"})
    assert provider.requests[-1].body["instructions"] == "Be brief."
    kinds = [event.type for event in client.responses.create(model=MODEL, input="Hello", stream=True)]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_a_batch_is_cancelled_and_a_bad_one_fails(openai):
    """A batch under way can be stopped, once; one whose file is wrong names the line."""
    line = {"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": MODEL, "messages": said("Hello")}}
    with (
        SimulatedProvider(batch_seconds=1000) as provider,
        openai.OpenAI(base_url=provider.base_url, api_key=KEY, max_retries=0) as client,
    ):

        def submit(*lines):
            content = "".join(f"{each}\n" for each in lines).encode()
            file = client.files.create(file=("a.jsonl", content), purpose="batch")
            return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")

        batch = client.batches.cancel(submit(json.dumps(line)).id)
        assert batch.status == "cancelling"
        assert client.batches.retrieve(batch.id).status == "cancelled"
    with (
        SimulatedProvider() as provider,
        openai.OpenAI(base_url=provider.base_url, api_key=KEY, max_retries=0) as client,
    ):
        batch = client.batches.retrieve(submit(json.dumps(line), "no JSON").id)
        assert batch.status == "failed"
        assert batch.errors.data[0].line == 2


def test_a_fine_tuned_model_answers(client):
    """The name that a job ends with is a model's, and checkpoints and events are listed."""
    examples = (json.dumps({"messages": said("Yes.", "assistant")}) + "\n").encode() * 10
    file = client.files.create(file=("a.jsonl", examples), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=file.id, suffix="mine")
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.error is None or job.error.code is None) == ("succeeded", True)
    answer = client.chat.completions.create(model=job.fine_tuned_model, messages=said("Hello"))
    assert answer.model == job.fine_tuned_model
    assert [each.id for each in client.fine_tuning.jobs.list()] == [job.id]


def test_the_asynchronous_client(openai, provider):
    """Its calls, streams and pages are those of the other, many at a time."""

    async def main():
        async with openai.AsyncOpenAI(base_url=provider.base_url, api_key=KEY, max_retries=0) as client:
            ask = client.chat.completions.create
            answers = await asyncio.gather(*(ask(model=MODEL, messages=said(f"Number {n}")) for n in range(20)))
            stream = await ask(model=MODEL, messages=said("Hello"), stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            models = [model.id async for model in await client.models.list()]
            response = await client.responses.create(model=MODEL, input="Hello")
            vectors = await client.embeddings.create(model="text-embedding-3-small", input="Hello")
            file = await client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
            kept = (await client.files.content(file.id)).content
            with pytest.raises(openai.RateLimitError):
                await ask(model=MODEL, messages=said("Hello [simulate: 429]"))
            return answers, "".join(pieces), models, response.output_text, vectors, kept

    answers, streamed, models, text, vectors, kept = asyncio.run(main())
    assert [answer.choices[0].message.content for answer in answers] == [
        f"Simulated answer to: Number {n}" for n in range(20)
    ]
    assert streamed == text == "Simulated answer to: Hello"
    assert MODEL in models
    assert len(vectors.data[0].embedding) == 1536
    assert kept == b"{}\n"
