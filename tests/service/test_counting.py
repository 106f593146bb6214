"""How many tokens a payload comes to."""

import pytest

from llm_api_client.prepare.tokens import MEDIA_TOKENS
from llm_api_client.service import count_payload_tokens

pytestmark = pytest.mark.usefixtures("litellm")

HELLO = {"role": "user", "content": "Hello there, how are you today?"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}


def test_a_chat(litellm):
    """A chat's prompt is what the model's tokenizer makes of its messages; its answers are as long as they may be."""
    payload = {"model": "gpt-4o-mini", "messages": [HELLO], "max_tokens": 50, "n": 3}
    prompt = litellm.token_counter(model="gpt-4o-mini", messages=[HELLO])
    assert count_payload_tokens(payload, "chat/completions") == {
        "prompt_tokens": prompt,
        "completion_tokens": 150,
        "total_tokens": prompt + 150,
    }


def test_an_address_says_the_endpoint():
    """A whole address counts like its endpoint."""
    payload = {"model": "gpt-4o-mini", "messages": [HELLO]}
    there = count_payload_tokens(payload, "https://api.openai.com/v1/chat/completions?x=1")
    assert (
        there
        == count_payload_tokens(payload, "/v1/chat/completions")
        == count_payload_tokens(payload, "chat/completions")
    )
    assert there["completion_tokens"] == 512


def test_images_are_counted_as_a_constant():
    """An image counts the same however long its address or its data are, in a chat and elsewhere."""
    text = {"type": "text", "text": "What is this?"}
    data = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    for endpoint in ("chat/completions", "something/else"):
        with_none, with_one, with_data = (
            count_payload_tokens(
                {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": [text, *parts]}]}, endpoint
            )["prompt_tokens"]
            for parts in ([], [IMAGE], [data])
        )
        assert with_one - with_none == with_data - with_none == MEDIA_TOKENS


def test_a_completion(litellm):
    """A completion's prompt is text without a message's own tokens, or tokens already."""
    words = litellm.token_counter(model="gpt-4o-mini", text="Once upon a time")
    said = {"model": "gpt-4o-mini", "prompt": "Once upon a time", "max_tokens": 7}
    assert count_payload_tokens(said, "completions")["prompt_tokens"] == words
    assert count_payload_tokens(said, "completions")["completion_tokens"] == 7
    assert count_payload_tokens({**said, "prompt": [[1, 2, 3], [4]]}, "completions")["prompt_tokens"] == 4


def test_embeddings_generate_nothing():
    """Of embeddings only the input counts, all of it; what else the payload has does not."""
    one = count_payload_tokens({"model": "text-embedding-3-small", "input": "red green"}, "embeddings")
    more = count_payload_tokens(
        {"model": "text-embedding-3-small", "input": ["red green"] * 10, "user": "x"}, "embeddings"
    )
    assert one["completion_tokens"] == more["completion_tokens"] == 0
    assert one["total_tokens"] == one["prompt_tokens"] == 2
    assert more["prompt_tokens"] >= 20


def test_any_other_payload():
    """Elsewhere every text counts, wherever it stands; a bound of the answer counts where there is one."""
    payload = {"model": "x", "target": "de", "parts": [{"text": "red green blue"}, {"note": {"deep": ["yellow"]}}]}
    few = count_payload_tokens(payload, "translate")
    assert few["completion_tokens"] == 0
    assert 5 <= few["prompt_tokens"] <= 12
    assert count_payload_tokens({**payload, "model": "a model of a long name " * 9}, "translate") == few
    more = count_payload_tokens({**payload, "max_tokens": 9}, "translate")
    assert more == {
        "prompt_tokens": few["prompt_tokens"],
        "completion_tokens": 9,
        "total_tokens": few["prompt_tokens"] + 9,
    }


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions", "embeddings", "translate"])
@pytest.mark.parametrize("payload", [{}, {"model": None}, {"messages": None, "n": "x"}, {"input": 7, "prompt": {}}])
def test_nothing_is_too_strange_to_count(payload, endpoint):
    """Whatever a payload lacks, there is a count, and it is not below 0."""
    counted = count_payload_tokens(payload, endpoint)
    assert min(counted.values()) >= 0
