"""What single calls give: each kind out of LiteLLM's answer, and of what is none."""

from types import SimpleNamespace

import pytest

from llm_api_client.errors import MalformedResponseError
from llm_api_client.records import Result, Usage
from llm_api_client.responses import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    EmbeddingResponse,
    ImageResponse,
    ModerationResponse,
    RerankResponse,
    Response,
    ResponsesResponse,
    SpeechResponse,
    TranscriptionResponse,
)

KINDS = [
    ChatResponse, CompletionResponse, EmbeddingResponse, ImageResponse, ModerationResponse, RerankResponse,
    ResponsesResponse, SpeechResponse, TranscriptionResponse,
]  # fmt: skip


def result(response, **more):
    given = {"model": "m", "provider": "openai", "cost": 0.5, "latency": 2.0, "created_at": 9.0, "usage": Usage(3, 4)}
    return Result(0, {}, response, **{**given, **more})


def thing(**attributes):
    return SimpleNamespace(**attributes)


def test_every_field_is_there():
    """An answer has data, model, provider, usage with cost and time, the raw answer, an id, cost and a message."""
    raw = thing(text="hello", _hidden_params={"additional_headers": {"llm_provider-x-request-id": "req-7"}})
    answer = TranscriptionResponse.of(result(raw))
    assert (answer.data, answer.model, answer.provider, answer.raw_response) == ("hello", "m", "openai", raw)
    assert (answer.request_id, answer.cost, answer.success) == ("req-7", 0.5, True)
    assert answer.message == "m answered with a transcription."
    usage = answer.usage
    assert (usage.tokens_prompt, usage.tokens_completion, usage.tokens_total) == (3, 4, 7)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 4, 7)
    assert (usage.cost, usage.latency, usage.timestamp) == (0.5, 2.0, 9.0)


def test_what_is_not_known_is_none():
    """Without a provider, a price, a usage or an id, these are None, and tokens 0."""
    answer = TranscriptionResponse.of(result(thing(text=""), provider=None, cost=None, usage=None, latency=None))
    assert (answer.provider, answer.cost, answer.request_id, answer.usage.latency) == (None, None, None, None)
    assert answer.usage.total_tokens == 0


def test_the_raw_answer_is_not_shown():
    """A repr shows what came, not the object that it came in."""
    assert "raw_response" not in repr(TranscriptionResponse.of(result(thing(text="hello"))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "odd",
    [None, {}, thing(), thing(data=None, choices=None, results=None), thing(data=[7], choices=[7], results=7), "text"],
    ids=["none", "dict", "bare", "nulls", "numbers", "text"],
)
def test_what_is_of_another_form_is_a_typed_error(kind, odd):
    """No AttributeError reaches the caller: the error says what was asked for, and is of the provider's answer."""
    with pytest.raises(MalformedResponseError, match=kind.what) as raised:
        kind.of(result(odd))
    assert (raised.value.status_code, raised.value.model, raised.value.provider) == (200, "m", "openai")


def test_a_chat_without_text_is_an_empty_one():
    """Beside calls of tools there is no text: data is "", and the reason says why."""
    message = thing(content=None, tool_calls=[1])
    answer = ChatResponse.of(result(thing(choices=[thing(message=message, finish_reason="tool_calls")])))
    assert (answer.data, answer.finish_reason) == ("", "tool_calls")


def test_embeddings_come_in_the_order_of_the_texts():
    """Vectors stand by their index, whatever the order of the answer, as dicts or as objects."""
    data = [{"index": 1, "embedding": [3.0, 4.0]}, thing(index=0, embedding=[1.0, 2.0])]
    answer = EmbeddingResponse.of(result(thing(data=data)))
    assert (answer.data, answer.dimensions) == ([[1.0, 2.0], [3.0, 4.0]], 2)


def test_embeddings_in_base64_are_left_as_they_came():
    """Base64 has no number of dimensions that could be told."""
    answer = EmbeddingResponse.of(result(thing(data=[{"index": 0, "embedding": "AAAA"}])))
    assert (answer.data, answer.dimensions) == (["AAAA"], None)


def test_images_are_urls_or_themselves():
    """An image is its URL, or the image in base64."""
    answer = ImageResponse.of(result(thing(data=[thing(url="http://x", b64_json=None), {"b64_json": "AAAA"}])))
    assert answer.data == ["http://x", "AAAA"]


def test_a_judgement_is_a_dict():
    """Judgements are plain dicts, and `flagged` is whether any of them is."""
    results = [{"flagged": False, "categories": {}}, thing(flagged=True, model_dump=lambda: {"flagged": True})]
    answer = ModerationResponse.of(result(thing(results=results)))
    assert (answer.data, answer.flagged) == ([{"flagged": False, "categories": {}}, {"flagged": True}], True)


def test_a_ranking_is_pairs():
    """Documents are told by their index, with their score."""
    answer = RerankResponse.of(result(thing(results=[{"index": 1, "relevance_score": 0.9}])))
    assert answer.data == [(1, 0.9)]


def test_a_sound_is_saved(tmp_path):
    """A speech is bytes, and `save` writes them."""
    answer = SpeechResponse.of(result(thing(content=b"sound")))
    answer.save(tmp_path / "a.mp3")
    assert (tmp_path / "a.mp3").read_bytes() == answer.data == b"sound"


def test_a_response_has_its_id():
    """By its id the next one goes on from it."""
    answer = ResponsesResponse.of(result(thing(output_text="hello", status="completed", id="resp_1")))
    assert (answer.data, answer.status, answer.response_id) == ("hello", "completed", "resp_1")


def test_any_answer_is_a_response():
    """The base gives LiteLLM's object as data."""
    raw = thing()
    assert Response.of(result(raw)).data is raw


def test_a_message_says_only_what_it_has():
    """What is None is left out, but for the content; parts and calls are copies of the caller's."""
    assert ChatMessage("user", "hello").to_dict() == {"role": "user", "content": "hello"}
    part, call = {"type": "text", "text": "hello"}, {"id": "c"}
    message = ChatMessage("assistant", (part,), "ada", [call, thing(model_dump=lambda: {"id": "d"})]).to_dict()
    assert message == {"role": "assistant", "content": [part], "name": "ada", "tool_calls": [{"id": "c"}, {"id": "d"}]}
    assert message["content"][0] is not part
    assert message["tool_calls"][0] is not call
    assert ChatMessage("tool", "x", tool_call_id="c").to_dict() == {"role": "tool", "content": "x", "tool_call_id": "c"}


def test_a_message_is_made_of_an_answer_s():
    """A message of an answer goes back into a conversation, as an object or as a dict."""
    said = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    for message in (thing(**said, audio=None), said):
        assert ChatMessage.of(message).to_dict() == said
