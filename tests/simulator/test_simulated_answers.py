"""What the provider answers: OpenAI's shapes, and a usage that adds up."""

import base64
import json
from array import array

import pytest

from .conftest import chat


def test_an_answer_belongs_to_its_prompt(start):
    """Without an answer of its own, the provider quotes the beginning of the prompt."""
    _, client = start()
    for i in range(3):
        body = client.post("/chat/completions", json=chat(f"Prompt number {i}")).json()
        assert body["choices"][0]["message"]["content"] == f"Simulated answer to: Prompt number {i}"
        assert body["object"] == "chat.completion"
        assert body["model"] == "gpt-4o-mini"


@pytest.mark.parametrize(
    ("options", "asked", "text", "finish", "completion"),
    [
        ({"answer": "abcdefgh"}, {}, "abcdefgh", "stop", 2),
        ({"answer": lambda request: request["user"]}, {"user": "me"}, "me", "stop", 1),
        ({"answer": "abcdefghi", "answer_tokens": 2}, {}, "abcdefgh", "stop", 2),
        ({"answer": "abcd", "answer_tokens": 3}, {}, "abcd and so ", "stop", 3),
        ({"answer": "abcdefghi"}, {"max_tokens": 2}, "abcdefgh", "length", 2),
        ({"answer": "abcdefghi"}, {"max_completion_tokens": 1}, "abcd", "length", 1),
        ({"answer": "abcdefgh"}, {"max_tokens": 2, "n": 3}, "abcdefgh", "stop", 6),
        ({"answer": ""}, {}, "", "stop", 0),
    ],
)
def test_length_and_usage(start, options, asked, text, finish, completion):
    """The text is as long as it may be, the finish reason says why it ends, and the usage is its tokens."""
    _, client = start(**options)
    body = client.post("/chat/completions", json=chat("12345678", **asked)).json()
    assert len(body["choices"]) == asked.get("n", 1)
    for index, choice in enumerate(body["choices"]):
        assert (choice["index"], choice["message"]["content"], choice["finish_reason"]) == (index, text, finish)
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (6, completion)
    assert usage["total_tokens"] == 6 + completion


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_says_the_same_in_pieces(start, n):
    """The pieces of a stream join to the text, and the usage comes last if it was asked for."""
    _, client = start()
    prompt = "Tell me a story of more than a few words, in pieces"
    whole = client.post("/chat/completions", json=chat(prompt, n=n)).json()
    request = chat(prompt, n=n, stream=True, stream_options={"include_usage": True})
    response = client.post("/chat/completions", json=request)
    assert response.headers["content-type"] == "text/event-stream"
    *events, done = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert done == "[DONE]"
    chunks = [json.loads(event) for event in events]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    texts = [""] * n
    for chunk in chunks[:-1]:
        [choice] = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], whole["usage"])
    assert '"usage"' not in client.post("/chat/completions", json=chat(prompt, stream=True)).text


def test_completions(start):
    """The older endpoint answers prompts with texts, whole and streamed."""
    _, client = start()
    request = {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time"}
    body = client.post("/completions", json=request).json()
    assert body["object"] == "text_completion"
    assert body["choices"][0]["text"] == "Simulated answer to: Once upon a time"
    events = client.post("/completions", json={**request, "stream": True}).text.split("\n\n")[:-2]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == body["choices"][0]["text"]


def test_embeddings(start):
    """Equal inputs get equal vectors of length one, different inputs different ones, in either encoding."""
    _, client = start()

    def embed(given, **more):
        request = {"model": "text-embedding-3-small", "input": given, **more}
        body = client.post("/embeddings", json=request).json()
        assert [item["index"] for item in body["data"]] == list(range(len(body["data"])))
        return [item["embedding"] for item in body["data"]], body["usage"]

    [one], usage = embed("abcdefgh")
    assert (len(one), usage) == (1536, {"prompt_tokens": 2, "total_tokens": 2})
    assert sum(value * value for value in one) == pytest.approx(1.0)
    [same, other], _ = embed(["abcdefgh", "b"])
    assert same == one
    assert other != one
    [short], _ = embed([1, 2, 3], dimensions=8)
    assert len(short) == 8
    [packed], _ = embed("abcdefgh", encoding_format="base64")
    assert array("f", base64.b64decode(packed)).tolist() == one


def test_moderations_and_images(start):
    """Moderation flags what asks to be flagged; an image's address leads to an image."""
    _, client = start()
    results = client.post("/moderations", json={"input": ["fine", "please flag me"]}).json()["results"]
    assert [result["flagged"] for result in results] == [False, True]
    request = {"prompt": "a cat", "n": 2}
    images = client.post("/images/generations", json=request).json()["data"]
    assert len(images) == 2
    assert client.get(images[0]["url"]).content.startswith(b"\x89PNG")
    [image] = client.post("/images/generations", json={"prompt": "a cat", "response_format": "b64_json"}).json()["data"]
    assert base64.b64decode(image["b64_json"]).startswith(b"\x89PNG")


def test_models_exist_unless_they_are_missing(start):
    """Any model exists, but for those whose name begins with "missing"."""
    _, client = start()
    assert "gpt-4o-mini" in {model["id"] for model in client.get("/models").json()["data"]}
    assert client.get("/models/anything").json()["id"] == "anything"
    for response in (
        client.get("/models/missing-1"),
        client.post("/chat/completions", json={**chat(), "model": "missing-1"}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/chat/completions", b"{", 400),
        ("POST", "/chat/completions", b"[1]", 400),
        ("POST", "/chat/completions", b"[" * 100_000, 400),
        ("POST", "/chat/completions", b'{"messages": [{"role": "user"}]}', 400),
        ("POST", "/chat/completions", b'{"model": "m"}', 400),
        ("POST", "/chat/completions", b'{"model": "m", "messages": ["x"]}', 400),
        ("POST", "/chat/completions", b'{"model": "m", "messages": [{"role": "user"}], "max_tokens": 0}', 400),
        ("POST", "/embeddings", b'{"model": "m"}', 400),
        ("POST", "/nowhere", b"{}", 404),
        ("GET", "/nowhere", b"", 404),
        ("GET", "/chat/completions", b"", 405),
        ("DELETE", "/models/x", b"", 405),
        ("POST", "/models", b"{}", 405),
    ],
)
def test_bad_requests_are_refused_in_shape(start, method, path, content, status):
    """What is wrong with a request is said in OpenAI's shape, and the connection stays good."""
    provider, client = start()
    response = client.request(method, path, content=content)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert client.post("/chat/completions", json=chat()).status_code == 200
    assert provider.counts.connections == 1


def test_an_answer_function_that_fails_spoils_only_its_answer(start):
    """What the answer function raises is a 500 that says so."""
    _, client = start(answer=lambda request: request["nothing"])
    response = client.post("/chat/completions", json=chat())
    assert response.status_code == 500
    assert "KeyError('nothing')" in response.json()["error"]["message"]


def test_keys(start):
    """A missing or wrong key is a 401 that never repeats the whole key; without a list any key will do."""
    provider, client = start(api_keys={"sk-right"})
    wrong = client.post("/chat/completions", json=chat(), headers={"authorization": "Bearer sk-wrong"})
    assert wrong.json()["error"]["message"] == "Incorrect API key provided: sk-wr***."
    for header in ("Bearer ab", "Bearer", "Basic sk-right", "sk-right", ""):
        response = client.post("/chat/completions", json=chat(), headers={"authorization": header})
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    right = client.post("/chat/completions", json=chat(), headers={"authorization": "Bearer sk-right"})
    assert right.status_code == 200
    assert provider.counts.errors == {401: 6}
    assert "sk-right" not in repr(provider.requests)
