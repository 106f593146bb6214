"""A door to models that needs no LiteLLM, and the logger that shows what was said."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from llm_api_client.records import ModelFacts

Message = Mapping[str, Any]
PER_MESSAGE, PER_PROMPT = 3, 2


class FakeDoor:
    """One token for every four characters begun, three for each message, two for each prompt."""

    def __init__(self, facts: Mapping[str, ModelFacts] | None = None, *, counts: bool = True) -> None:
        self.known = dict(facts or {})
        self.counts = counts
        self.asked: list[tuple[str, str]] = []
        self.counted: list[Message] = []

    def facts(self, model: str, params: Mapping[str, Any]) -> ModelFacts:
        """The facts it was made with, or none."""
        self.asked.append(("facts", model))
        return self.known.get(model, ModelFacts(model))

    def count_tokens(self, model: str, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> int:
        """Tokens of a prompt, unless it was made not to count."""
        self.asked.append(("count", model))
        self.counted.extend(messages)
        if not self.counts:
            raise OSError("the tokenizer is not on this machine")
        return PER_PROMPT + (10 if tools else 0) + sum(map(self.one, messages))

    def max_input_tokens(self, model: str) -> int | None:
        """The size in the facts."""
        self.asked.append(("size", model))
        return self.known[model].max_input_tokens if model in self.known else None

    @staticmethod
    def one(message: Message) -> int:
        """Tokens of one message."""
        content = message.get("content")
        texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content or ()]
        texts += [call["function"]["arguments"] for call in message.get("tool_calls") or ()]
        return PER_MESSAGE + sum((len(text) + 3) // 4 for text in texts)

    def times(self, question: str) -> int:
        """How often it was asked this."""
        return sum(asked == question for asked, _ in self.asked)


@pytest.fixture
def make_door() -> Callable[..., FakeDoor]:
    return FakeDoor


@pytest.fixture
def logger(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.set_level(logging.DEBUG, "prepare-under-test")
    return logging.getLogger("prepare-under-test")
