"""What is no chat, in batches over HTTP: answers, limits, failures, checkpoints, money and estimates."""

import importlib.util
import io
import json
import logging

import pytest

from llm_api_client import APIClient, RetryPolicy, SimulatedProvider, errors
from llm_api_client.cli import main
from llm_api_client.operations import OPERATIONS
from llm_api_client.record.table import rows_of

KEY = "sk-made-up-0123456789abcdefghij"
SOUND = b"RIFF" + bytes(200)
REQUESTS = {
    "chat": {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "a question"}]},
    "completion": {"model": "gpt-3.5-turbo-instruct", "prompt": "a beginning"},
    "embeddings": {"model": "openai/text-embedding-3-small", "input": ["a text", "another"]},
    "responses": {"model": "openai/gpt-4o-mini", "input": "a question"},
    "moderation": {"model": "openai/omni-moderation-latest", "input": "a text"},
    "image": {"model": "openai/dall-e-2", "prompt": "a picture", "size": "256x256"},
    "speech": {"model": "openai/tts-1", "input": "a text", "voice": "alloy"},
    "transcription": {"model": "openai/whisper-1", "file": ("talk.wav", SOUND)},
    "rerank": {"model": "hosted_vllm/reranker", "query": "a question", "documents": ["a text", "another"]},
}
TYPES = {
    "chat": "ModelResponse",
    "completion": "TextCompletionResponse",
    "embeddings": "EmbeddingResponse",
    "responses": "ResponsesAPIResponse",
    "moderation": "OpenAIModerationResponse",
    "image": "ImageResponse",
    "speech": "HttpxBinaryResponseContent",
    "transcription": "TranscriptionResponse",
    "rerank": "RerankResponse",
}
# LiteLLM needs a package for these, which is not its dependency.
PERFORMED = [name for name in REQUESTS if name != "responses" or importlib.util.find_spec("mcp")]
# Where a fault can be asked for, as the simulator reads it.
SAYS = {"embeddings": "input", "speech": "input", "moderation": "input", "responses": "input", "rerank": "query"}
every = pytest.mark.parametrize("name", PERFORMED)


@pytest.fixture(scope="module")
def running():
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture
def provider(running):
    running.reset()
    return running


@pytest.fixture
def make(provider, litellm):
    made = []

    def client(**options):
        given = {"base_url": provider.base_url, "api_key": KEY, "progress": False}
        made.append(APIClient(**{**given, "retry": RetryPolicy(initial_delay=0), **options}))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.fixture
def client(make):
    return make()


def as_json(response):
    return response.content if hasattr(response, "content") else response.model_dump(warnings=False)


def test_every_operation_is_tested():
    """No endpoint is left out here."""
    assert list(REQUESTS) == [operation.name for operation in OPERATIONS]


@every
def test_a_batch_asks_for_what_its_endpoint_says(client, provider, name):
    """`endpoint` makes a batch ask at its path, and the answer is LiteLLM's for it; the request stays as it was."""
    request = {**REQUESTS[name]}
    given = {**request}
    [answer] = client.make_requests([request], endpoint=name, return_exceptions=True)
    assert type(answer).__name__ == TYPES[name]
    path = next(operation.path for operation in OPERATIONS if operation.name == name)
    assert [seen.path for seen in provider.requests] == [path]
    assert "endpoint" not in provider.requests[0].body
    assert request == given


def test_endpoints_mix_in_one_batch(client):
    """A request's own endpoint wins, by name or path; answers stand where their requests do; bad ones alone fail."""
    requests = [
        {**REQUESTS[name], "endpoint": operation.path if number % 2 else name}
        for number, operation in enumerate(OPERATIONS)
        for name in [operation.name]
        if name in PERFORMED
    ]
    bad = [{**REQUESTS["chat"], "endpoint": "embedings"}, {"model": "m", "endpoint": "rerank", "query": "q"}]
    answers = client.make_requests_with_retries([bad[0], *requests, REQUESTS["chat"], bad[1]], return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == [
        "InvalidInputError", *[TYPES[name] for name in PERFORMED], "ModelResponse", "InvalidInputError",
    ]  # fmt: skip
    assert "it is like 'embeddings'" in str(answers[0])
    assert 'no "documents"' in str(answers[-1])


@every
def test_one_attempt_is_one_request(make, provider, name):
    """A 500 is seen once by the provider for each attempt: nothing retries behind the limits."""
    client = make()
    provider.next("500", "500")
    [failed] = client.make_requests([REQUESTS[name]], endpoint=name, return_exceptions=True)
    assert type(failed) is errors.ServerError
    assert (failed.status_code, provider.counts.received) == (500, 1)
    [answer] = client.make_requests_with_retries([REQUESTS[name]], endpoint=name)
    assert answer is not None
    assert provider.counts.received == 3


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("together_ai/m", "embeddings"), ("mistral/m", "embeddings"), ("fireworks_ai/m", "embeddings"),
        ("hosted_vllm/m", "embeddings"), ("nebius/m", "embeddings"), ("mistral/m", "moderation"),
        ("xinference/m", "image"), ("groq/m", "image"), ("hosted_vllm/m", "completion"), ("deepinfra/m", "completion"),
        ("deepinfra/m", "chat"), ("nvidia_nim/m", "chat"), ("hosted_vllm/m", "transcription"), ("jina_ai/m", "rerank"),
    ],
)  # fmt: skip
def test_one_attempt_is_one_request_on_other_routes(client, provider, model, name):
    """So it is on LiteLLM's routes to other providers, whose clients it makes in other ways."""
    provider.next(*["500"] * 3)
    [failed] = client.make_requests([{**REQUESTS[name], "model": model}], endpoint=name, return_exceptions=True)
    assert (type(failed), provider.counts.received) == (errors.ServerError, 1)


def test_a_moderation_names_the_model_alone(client, provider):
    """The provider's name before the model is not sent, which OpenAI would not know."""
    client.make_requests([REQUESTS["moderation"]], endpoint="moderation")
    assert provider.requests[0].body["model"] == "omni-moderation-latest"


@every
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("401", errors.AuthenticationError), ("404", errors.NotFoundError), ("400", errors.InvalidRequestError),
        ("quota", errors.QuotaExceededError),
    ],
)  # fmt: skip
def test_failures_are_judged_as_for_chats(client, provider, name, fault, kind):
    """What a provider refuses means the same for every endpoint, and is asked once."""
    provider.next(fault)
    [failed] = client.make_requests_with_retries([REQUESTS[name]], endpoint=name, return_exceptions=True)
    assert type(failed) is kind
    assert provider.counts.received == 1
    assert KEY not in str(failed)


@every
def test_a_refusal_by_the_rate_waits_as_it_is_told(make, provider, name):
    """A 429 is no attempt, and waits as long as the provider says."""
    client = make(max_delay_seconds=1)
    provider.next("429; retry-after=30")
    [failed] = client.make_requests([REQUESTS[name]], endpoint=name, return_exceptions=True)
    assert type(failed) is errors.RateLimitTimeoutError
    assert failed.status_code == 429
    assert type(failed.__cause__) is errors.RateLimitError
    assert failed.__cause__.retry_after == pytest.approx(30)
    assert client.history[0]["attempts"] == 0


def test_strict_limits_see_no_refusal(make):
    """Within the provider's own limits a mixed batch is refused nothing; what generates nothing reserves no answer."""
    requests = [
        {**REQUESTS[name], "endpoint": name} for name in PERFORMED if name not in {"chat", "completion", "responses"}
    ]
    with SimulatedProvider(requests_per_minute=300, tokens_per_minute=3_000) as strict:
        client = make(base_url=strict.base_url, max_requests_per_minute=300, max_tokens_per_minute=3_000)
        answers = client.make_requests(requests * 4)
        assert None not in answers
        assert strict.counts.refused == 0
        assert client.queue_status()["rate_limits"]["tokens_per_minute"]["current"] < 400


@every
def test_what_is_kept_is_not_asked_again(make, provider, tmp_path, name):
    """An answer of any kind is in the checkpoint, and comes out of it equal, though the parameters' order differs."""
    client = make(checkpoint=tmp_path / "kept.db")
    [first] = client.make_requests([REQUESTS[name]], endpoint=name)
    client.close()
    again = make(checkpoint=tmp_path / "kept.db")
    [replayed] = again.make_requests([dict(reversed(REQUESTS[name].items()))], endpoint=name)
    assert type(replayed) is type(first)
    assert as_json(replayed) == as_json(first)
    assert provider.counts.received == 1
    assert again.tracker.num_api_calls == 0


def test_one_prompt_for_two_endpoints_is_two_requests(make, provider, tmp_path):
    """A completion's prompt is no image's: the endpoint is part of what a checkpoint knows a request by."""
    client = make(checkpoint=tmp_path / "kept.db")
    request = {"model": "openai/m", "prompt": "a picture"}
    client.make_requests([request], endpoint="image", sanitize=False)
    client.make_requests([request], endpoint="completion", sanitize=False)
    assert provider.counts.received == 2


def test_a_file_is_known_by_its_name_and_content(make, provider, tmp_path):
    """A sound is found again at another path, as a path, a file or a pair; by another name it is another."""
    client = make(checkpoint=tmp_path / "kept.db")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "talk.wav").write_bytes(SOUND)
    with (tmp_path / "b" / "talk.wav").open("rb") as opened:
        for file in (tmp_path / "a" / "talk.wav", str(tmp_path / "b" / "talk.wav"), opened, ("talk.wav", SOUND)):
            client.make_requests([{"model": "openai/whisper-1", "file": file}], endpoint="transcription")
    assert provider.counts.received == 1
    client.make_requests([{"model": "openai/whisper-1", "file": ("other.wav", SOUND)}], endpoint="transcription")
    assert provider.counts.received == 2


def test_an_open_file_is_sent_whole_at_every_attempt(client, provider):
    """A file is read once, so that an attempt after a failure sends the same."""
    provider.next("500")
    request = {"model": "openai/whisper-1", "file": io.BytesIO(SOUND)}
    [answer] = client.make_requests_with_retries([request], endpoint="transcription")
    assert answer.text
    first, second = (seen.body["file"] for seen in provider.requests)
    assert first == second


def test_bytes_are_masked_in_the_history(client):
    """The history and its rows say how large a file was, and not what is in it; JSON can carry them."""
    client.make_requests([{**REQUESTS["transcription"], "file": SOUND}], endpoint="transcription")
    [entry] = client.history
    assert entry["request"]["file"] == f"<{len(SOUND)} bytes>"
    assert "Simulated transcript" in entry["content"]
    json.dumps(entry["request"])


@pytest.mark.parametrize(
    ("name", "prompt"),
    [("completion", "a beginning"), ("embeddings", "a text"), ("image", "a picture"), ("rerank", "a question")],
)
def test_rows_have_the_beginning_of_the_prompt(client, name, prompt):
    """A row of the table shows what was asked, whatever the endpoint calls it."""
    client.make_requests([REQUESTS[name]], endpoint=name)
    [row] = rows_of(client.history)
    assert (row["prompt"], row["model"], row["error"]) == (prompt, REQUESTS[name]["model"], None)


@pytest.mark.parametrize("name", ["embeddings", "completion", "responses"])
def test_money_bounds_what_is_priced_by_tokens(make, provider, name):
    """Under a `max_cost` what tokens price goes as far as the money does."""
    if name not in PERFORMED:
        pytest.skip("LiteLLM needs mcp for it")
    bound = {} if name == "embeddings" else {"max_output_tokens" if name == "responses" else "max_tokens": 10}
    [answer] = make(max_cost=1.0).make_requests([{**REQUESTS[name], **bound}], endpoint=name)
    assert answer is not None
    [refused] = make(max_cost=1e-12).make_requests([{**REQUESTS[name], **bound}], endpoint=name, return_exceptions=True)
    assert type(refused) is errors.BudgetExceededError
    assert provider.counts.received == 1


@pytest.mark.parametrize("name", ["image", "speech", "transcription", "rerank"])
def test_money_refuses_what_tokens_do_not_price(make, provider, name):
    """Under a `max_cost` what cannot be priced before is not sent, and says so, unless the caller lets it."""
    [refused] = make(max_cost=1.0).make_requests([REQUESTS[name]], endpoint=name, return_exceptions=True)
    assert type(refused) is errors.BudgetExceededError
    assert f"What {name} by" in str(refused)
    assert "allow_unpriced=True" in str(refused)
    assert provider.counts.received == 0
    assert make(max_cost=1.0, allow_unpriced=True).make_requests([REQUESTS[name]], endpoint=name)[0] is not None


@every
def test_requests_are_estimated(client, provider, name):
    """What a request would cost and use is told for every endpoint, and nothing is sent."""
    estimate = client.estimate([{**REQUESTS[name], "endpoint": name}])
    assert (estimate.requests, estimate.refused) == (1, 0)
    assert (estimate.prompt_tokens > 0) is (name != "transcription")
    priced = name in {"chat", "completion", "embeddings", "responses", "moderation"}
    assert (estimate.total.unpriced == 0) is priced
    if name not in {"chat", "completion", "responses"}:
        assert estimate.total.answer_tokens_high == 0
    assert str(estimate)
    assert provider.counts.received == 0


def test_the_batch_file_s_url_is_the_endpoint(provider, tmp_path, monkeypatch):
    """`run` takes lines of OpenAI's Batch API for other endpoints, and writes their answers."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    body = {"model": "openai/text-embedding-3-small", "input": "a text"}
    lines = [{"custom_id": "e", "method": "POST", "url": "/v1/embeddings", "body": body}, REQUESTS["chat"]]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "out.jsonl"
    assert main(["run", str(tmp_path / "in.jsonl"), "-o", str(out), "--base-url", provider.base_url]) == 0
    first, second = (json.loads(line)["response"]["body"] for line in out.read_text().splitlines())
    assert len(first["data"][0]["embedding"]) == 1_536
    assert second["choices"][0]["message"]["content"]


def test_nothing_is_said_of_ordinary_requests(client, caplog):
    """No warning is logged for requests that are as they should be."""
    with caplog.at_level(logging.WARNING, "llm_api_client"):
        client.make_requests([{**REQUESTS[name], "endpoint": name} for name in PERFORMED if name != "rerank"])
    assert not caplog.records
