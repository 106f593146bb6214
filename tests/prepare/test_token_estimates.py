"""Estimates and bounds hold for any message and need no tokenizer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.prepare.tokens import MEDIA_TOKENS, estimate_tokens, most_tokens, sample

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


def test_an_estimate_is_a_third_of_the_characters() -> None:
    """The estimate is the characters of all contents, over three, and a constant for each image."""
    messages = [
        {"role": "user", "content": "a" * 31},
        {"role": "assistant", "content": None},
        {
            "role": "user",
            "content": [{"type": "text", "text": "b" * 30}, {"type": "image_url", "image_url": "data:" * 99}],
        },
    ]
    assert estimate_tokens(messages) == 61 // 3 + MEDIA_TOKENS
    assert estimate_tokens([]) == 0


def test_tools_and_calls_are_part_of_a_prompt() -> None:
    """What a call's arguments and the tools say is estimated as well."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "a" * 299}}
    assert estimate_tokens([{"role": "assistant", "content": None, "tool_calls": [call]}]) == 100
    assert estimate_tokens([], [{"function": {"description": "a" * 291}}]) == (291 + 11 + 8) // 3


@given(st.lists(ANYTHING), ANYTHING)
def test_nothing_that_a_message_holds_makes_an_estimate_fail(messages: list[Any], tools: Any) -> None:
    """Estimate and bound exist for every message, and the bound is the larger."""
    assert 0 <= estimate_tokens(messages, tools) <= most_tokens(messages, tools)


def test_a_circle_is_estimated() -> None:
    """A message that contains itself is estimated, too."""
    message: dict[str, Any] = {"role": "user", "content": "abc"}
    message["again"] = [message, message]
    assert estimate_tokens([message]) == 1


@given(st.text())
def test_the_bound_is_the_bytes(text: str) -> None:
    """A prompt is never bounded below its bytes of UTF-8."""
    assert most_tokens([{"role": "user", "content": text}]) >= len(text.encode())


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 12_345])
def test_a_sample_has_its_size_and_both_ends(length: int) -> None:
    """A sample is the whole text, or of the size asked for and evenly spread from the first character to the last."""
    text = "".join(chr(0x4E00 + i) for i in range(length))
    part = sample(text, 10, 10)
    assert len(part) == min(length, 100)
    assert part[:1] == text[:1]
    assert part[-1:] == text[-1:]
