"""Responses and rerank: their shapes, their usage, and what is wrong with a request."""

import json

import pytest

DOCUMENTS = ["a red fox", "the blue sky is blue", {"text": "blue"}, "nothing"]


def rerank(client, path="/rerank", **more):
    return client.post(path, json={"model": "rerank-1", "query": "Blue sky", "documents": DOCUMENTS, **more})


def test_documents_come_in_the_order_of_their_relevance(start):
    """The most words in common come first, equal scores in the order of the documents, with the units billed."""
    provider, client = start()
    body = rerank(client).json()
    assert [result["index"] for result in body["results"]] == [1, 2, 0, 3]
    scores = [result["relevance_score"] for result in body["results"]]
    assert scores == [0.5, 0.5, 0.0, 0.0]
    assert body["meta"]["billed_units"] == {"search_units": 1}
    assert body["usage"]["total_tokens"] == 2 + 3 + 5 + 1 + 2 == provider.counts.worst_minute_tokens
    assert "document" not in body["results"][0]
    body = rerank(client, top_n=1, return_documents=True).json()
    assert body["results"] == [{"index": 1, "relevance_score": 0.5, "document": {"text": "the blue sky is blue"}}]
    assert rerank(client, documents=["a"] * 101).json()["meta"]["billed_units"] == {"search_units": 2}


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/v1/v1/rerank", "/v1/v2/rerank", "/rerank"])
def test_paths_of_rerank(start, path):
    """Clients ask for rerank at several paths, with and without the version of the base."""
    provider, client = start()
    assert rerank(client, provider.base_url.removesuffix("/v1") + path).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"model": None}, "model"),
        ({"query": ""}, "query"),
        ({"query": ["a"]}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a", 1]}, "documents[1]"),
        ({"documents": [{"title": "a"}]}, "documents[0]"),
        ({"top_n": 0}, "top_n"),
    ],
)
def test_bad_rerank_is_refused(start, wrong, param):
    """What is wrong with a request is a 400 that names it."""
    _, client = start()
    response = rerank(client, **wrong)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def respond(client, given="12345678", **more):
    return client.post("/responses", json={"model": "gpt-4o-mini", "input": given, **more})


def test_a_response_has_its_text_and_usage(start):
    """A response says the text of its message, and counts input, instructions and output."""
    provider, client = start(answer="abcdefgh")
    body = respond(client, instructions="1234").json()
    assert (body["object"], body["status"], body["id"][:5]) == ("response", "completed", "resp_")
    [item] = body["output"]
    [content] = item["content"]
    assert (item["type"], item["role"], content["type"], content["text"]) == (
        "message", "assistant", "output_text", "abcdefgh",
    )  # fmt: skip
    usage = body["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (6 + 5, 2, 13)
    assert provider.counts.worst_minute_tokens == 13


def test_what_a_response_answers(start):
    """Of a list of messages the last of the user is answered, however its content is written."""
    _, client = start()
    turns = [
        {"role": "user", "content": "First"},
        {"type": "message", "role": "assistant", "content": "Yes?"},
        {"role": "user", "content": [{"type": "input_text", "text": "Second"}]},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
    ]
    body = respond(client, turns).json()
    assert body["output"][0]["content"][0]["text"] == "Simulated answer to: Second"
    assert respond(client, [{"role": "user", "content": "[simulate: 418]"}]).status_code == 418


def test_a_response_that_is_cut_says_so(start):
    """Beyond its most tokens a response is incomplete, and says why."""
    _, client = start(answer="abcdefgh")
    body = respond(client, max_output_tokens=1).json()
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (body["output"][0]["content"][0]["text"], body["usage"]["output_tokens"]) == ("abcd", 1)


def test_a_streamed_response_says_the_same(start):
    """The events begin and end a response, and the pieces between join to its text."""
    _, client = start(answer="A text of more than a few words, in pieces")
    whole = respond(client).json()
    response = respond(client, stream=True)
    assert response.headers["content-type"] == "text/event-stream"
    events = []
    for block in response.text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == whole["output"][0]["content"][0]["text"]
    assert events[-1]["response"]["usage"] == whole["usage"]


@pytest.mark.parametrize("given", ["", None, [], [1], [{"content": "a"}], 5])
def test_a_bad_input_is_refused(start, given):
    """What is no input is a 400."""
    _, client = start()
    response = respond(client, given)
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith("input")


def test_what_a_fault_takes_away(start):
    """A response without its choices has no output, and one without content an empty message."""
    _, client = start()
    assert respond(client, "[simulate: no-choices]").json()["output"] == []
    assert respond(client, "[simulate: no-content]").json()["output"][0]["content"] == []
    assert "usage" not in respond(client, "[simulate: no-usage]").json()
    assert rerank(client, query="[simulate: no-choices]").json()["results"] == []
