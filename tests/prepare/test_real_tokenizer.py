"""The laws hold with LiteLLM's own tokenizers."""

import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from llm_api_client.prepare import Preparer
from llm_api_client.records import ModelFacts

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
litellm = pytest.importorskip("litellm")

WORDS = [
    "the",
    "of",
    "and",
    "model",
    "answer",
    "limited",
    "token",
    "window",
    "漢字",
    "naïve",
    "🙂",
    "budget",
    "history",
    "supercalifragilistic",
    "1234567",
]


class LiteLLMDoor:
    """The smallest door to the real tokenizers, none of which needs a download."""

    def __init__(self, size: int) -> None:
        self.size = size

    def facts(self, model: str, params: Mapping[str, Any]) -> ModelFacts:
        """What LiteLLM lists, and the size it was made with."""
        supported = frozenset(litellm.get_supported_openai_params(model) or ())
        return ModelFacts(model, known=True, supported_params=supported, max_input_tokens=self.size)

    def count_tokens(self, model: str, messages: Sequence[Any], tools: Sequence[Any] | None = None) -> int:
        """LiteLLM's own count."""
        return int(litellm.token_counter(model=model, messages=list(messages), tools=tools))

    def max_input_tokens(self, model: str) -> int | None:
        """The size it was made with."""
        return self.size


def text(seed: int, n: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n))


def history(messages: int, words: int) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text(i, words)} for i in range(messages)]


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4", "claude-sonnet-4-5"])
@pytest.mark.parametrize(("messages", "words"), [(400, 50), (20, 1000), (1, 20_000)])
@pytest.mark.parametrize("limit", [100, 4_097, 20_000])
def test_what_is_cut_fits_by_the_real_count(model: str, messages: int, words: int, limit: int) -> None:
    """A history is cut to within 10 % below the limit, as LiteLLM counts the whole of it."""
    door = LiteLLMDoor(limit)
    preparer = Preparer(door, environ={})
    kept = preparer.truncate_to_max_context_tokens(history(messages, words), model)
    assert 0.9 * limit <= door.count_tokens(model, kept) <= limit


def test_prepared_tokens_are_those_of_litellm() -> None:
    """The size of a prompt is what LiteLLM counts, with tools and with calls."""
    door = LiteLLMDoor(128_000)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    prepared = Preparer(door, environ={}).prepare(
        {"model": "gpt-4o-mini", "messages": messages, "tools": tools}, sanitize=True
    )
    assert prepared.prompt_tokens == door.count_tokens("gpt-4o-mini", messages, tools)


@pytest.mark.parametrize("text", ["a" * 10_000_000, "漢" * 10_000_000, " \n" * 5_000_000, "0f" * 5_000_000])
def test_ten_megabytes_are_counted_and_cut_without_waiting(text: str) -> None:
    """A prompt of ten million characters, however hard on the tokenizer, is neither waited for nor sent whole."""
    preparer = Preparer(LiteLLMDoor(128_000), environ={})
    preparer.count_messages_tokens([{"role": "user", "content": "warm up"}], model="gpt-4o-mini")
    started = time.process_time()
    messages = [{"role": "user", "content": text}]
    preparer.count_messages_tokens(messages, model="gpt-4o-mini")
    kept = preparer.truncate_to_max_context_tokens(messages, "gpt-4o-mini")
    assert preparer.count_messages_tokens(kept, model="gpt-4o-mini") <= 128_000
    # A generous bound on work, not on speed: without the sample, some of these take minutes with some tokenizers.
    assert time.process_time() - started < 10
