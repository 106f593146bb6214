"""The frozen nouns that travel the road: what each station hands to the next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from llm_api_client.errors import LLMAPIClientError
from llm_api_client.operations import CHAT, Operation


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What LiteLLM knows of one model.

    Attributes:
        model: The model as the request names it.
        provider: LiteLLM's name of the provider, or None if it knows none.
        known: False where LiteLLM knows neither the model's sizes nor its parameters.
        supported_params: OpenAI parameters that the model takes, or None if unknown.
        max_input_tokens: Largest prompt in tokens, or None if unknown.
        max_output_tokens: Largest answer in tokens, or None if unknown.
        shared_window: Whether prompt and answer together must fit into `max_input_tokens`.
        takes_schema: Whether the model keeps to a JSON schema given as `response_format`.
    """

    model: str
    provider: str | None = None
    known: bool = False
    supported_params: frozenset[str] | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    shared_window: bool = True
    takes_schema: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as it will be sent, and its size.

    Attributes:
        params: Keyword arguments of the call. Never the caller's own dict.
        model: The model asked.
        prompt_tokens: Tokens of the prompt, counted or estimated.
        max_answer_tokens: The most tokens that all the answers may have together, or None if the request sets no bound.
        provider: LiteLLM's name of the provider, or None if it knows none.
        longest_answer: The most tokens that all the answers can have, by the request's bound or the model's; None if
            neither is known.
        operation: What is asked for.
    """

    params: Mapping[str, Any]
    model: str
    prompt_tokens: int
    max_answer_tokens: int | None
    provider: str | None = None
    longest_answer: int | None = None
    operation: Operation = CHAT


UNDER_WAY: Any = object()
"""What beginning a call gives where its end is told later, to an `Arrived`."""


class News(Enum):
    """What an `Arrived` is told of a call that is under way."""

    MADE = "made"
    """Its answer is at hand."""
    CAME = "came"
    """It has ended; to give its answer, or to raise, takes a while."""
    MAY_GO = "may go"
    """It has waited for others to go first. Nothing of it was sent yet; what performs it can be called now."""


Arrived = Callable[[Callable[[], Any], News], None]
"""Is told of a call that is under way, in any thread: what gives its answer or raises, and when that is."""

Begin = Callable[["Prepared", Mapping[str, Any], Callable[[], None], Arrived], Callable[[], Any] | None]
"""Begins a call of what was prepared, with the parameters to send, what to call when it leaves, and an `Arrived`.

It never waits. It gives None for a call that is under way; otherwise what performs it in a thread: that gives the
answer, raises, or gives `UNDER_WAY`.
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a provider reports for one call."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Tokens of prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens


class Kind(Enum):
    """What the end of a call means for what happens next."""

    ANSWERED = "answered"
    RATE_LIMITED = "rate limited"
    """Not admitted: the request goes back to the head of its queue, and its limit pauses."""
    QUOTA_SPENT = "quota spent"
    """No waiting helps: the account's money or quota is used up."""
    KEY_REFUSED = "key refused"
    """No request that carries this key can succeed."""
    PERMANENT = "permanent"
    """The same request would fail again."""
    TRANSIENT = "transient"
    """The same request may succeed later."""
    INVALID = "invalid"
    """An answer, paid for, that is not what the caller can use; another may be."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one call came to.

    Attributes:
        kind: What it means for what happens next.
        error: The failure, or None for an answer.
        retry_after: Seconds that the provider asked to wait, or None.
    """

    kind: Kind
    error: LLMAPIClientError | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call that was made, as the tracker counts it.

    Attributes:
        model: The model asked.
        verdict: What the call came to.
        latency: Seconds from sending to the end.
        usage: Tokens that the provider reported, or None if it reported none.
        cost: US dollars, or None where the price is unknown.
        response: The answer, or None.
        parsed: What `validate` made of the answer.
        provider: LiteLLM's name of the provider, or None if it knows none.
    """

    model: str
    verdict: Verdict
    latency: float
    usage: Usage | None = None
    cost: float | None = None
    response: Any = None
    parsed: Any = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """By what a checkpoint knows a request.

    Attributes:
        identity: Hash of all that is sent, secrets left out.
        occurrence: How many equal requests came before it in its batch.
    """

    identity: bytes
    occurrence: int


@dataclass(frozen=True, slots=True)
class Result:
    """One request's end: its answer, or the reason that there is none.

    Attributes:
        index: Position in the batch.
        request: The request as given, secrets masked.
        response: LiteLLM's `ModelResponse`, or None.
        error: Why there is no answer, or None.
        attempts: Calls made for it, refusals by a rate limit left out.
        latency: Seconds that its last call took, or None if none was made.
        cost: US dollars over all its attempts; None where a price is unknown.
        usage: Tokens of the answer, or None if the provider reported none.
        created_at: Seconds since the epoch when it ended.
        model: The model asked, or None where the request names none.
        parsed: What `validate` made of the answer; None without.
        replayed: Whether the answer came from a checkpoint: attempts, latency, cost and usage are then those of the
            run that paid for it.
        cached: Whether the answer came from the client's cache; likewise.
        provider: LiteLLM's name of the provider, or None if it knows none, or no call was made.
    """

    index: int
    request: Any
    response: Any = None
    error: LLMAPIClientError | None = None
    attempts: int = 0
    latency: float | None = None
    cost: float | None = None
    usage: Usage | None = None
    created_at: float = 0.0
    model: str | None = None
    parsed: Any = None
    replayed: bool = False
    cached: bool = False
    provider: str | None = None

    @property
    def content(self) -> str | None:
        """Text of the first choice, also of an answer that failed its validation; None where there is none."""
        return getattr(self.error, "content", None) if self.response is None else content_of(self.response)


def content_of(response: Any) -> str | None:
    """Text of an answer: its first choice's, or what was transcribed; None where there is none."""
    try:
        content = response.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        content = _other_text(response)
    return content if isinstance(content, str) else None


def _other_text(response: Any) -> Any:
    """The text of what is no chat: a completion, a transcription, an answer of OpenAI's Responses."""
    try:
        choices = getattr(response, "choices", None)
        return choices[0].text if choices else getattr(response, "output_text", getattr(response, "text", None))
    except (AttributeError, IndexError, TypeError):
        return None


_REQUEST_ID_HEADERS = ("llm_provider-x-request-id", "llm_provider-request-id", "x-request-id", "request-id")


def request_id_of(response: Any) -> str | None:
    """The provider's id of the request that an answer is to, or None where it gave none."""
    hidden = getattr(response, "_hidden_params", None)
    headers = hidden.get("additional_headers") if isinstance(hidden, Mapping) else None
    found = [headers.get(name) for name in _REQUEST_ID_HEADERS] if isinstance(headers, Mapping) else []
    return next((value for value in found if isinstance(value, str) and value), None)
