"""What a limit is: how much of what may go in how long."""

from dataclasses import dataclass, fields, replace

from llm_api_client.errors import ConfigurationError
from llm_api_client.records import Usage

MINUTE = 60.0
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request is expected to use: the tokens of its prompt, and those of its answer."""

    prompt_tokens: int = 0
    answer_tokens: int = 0

    def settled(self, usage: Usage | None) -> "Charge":
        """What is charged in the end.

        Only the part for the answer can come back: providers charge the prompt on arrival. Unknown usage keeps all.
        """
        if usage is None:
            return self
        return Charge(max(self.prompt_tokens, usage.prompt_tokens), usage.completion_tokens)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limits of one model or of a whole client; None switches one off.

    All are hard: no window of the named length, wherever it begins, carries more.

    Attributes:
        requests_per_minute: Calls in any 60 seconds.
        tokens_per_minute: Tokens of prompts and answers together in any 60 seconds.
        input_tokens_per_minute: Tokens of prompts alone, for providers that limit them apart (Anthropic, Gemini).
        output_tokens_per_minute: Tokens of answers alone, likewise.
        requests_per_day: Calls in any 24 hours.
        tokens_per_day: Tokens of prompts and answers in any 24 hours.

    Raises:
        ConfigurationError: A limit is not a positive whole number.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            if value is not None and (isinstance(value, bool) or not whole or value <= 0):
                message = f"{field.name} must be a positive whole number, or None for no limit; it is {value!r}."
                raise ConfigurationError(message)


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that a limit counts.

    Attributes:
        name: For people.
        span: Length of its window in seconds.
        requests: Units that a call takes, whatever its size.
        prompt: Units that each token of a prompt takes.
        answer: Units that each token of an answer takes.
    """

    name: str
    span: float
    requests: int = 0
    prompt: int = 0
    answer: int = 0

    def amount(self, charge: Charge) -> int:
        """Units that a charge takes."""
        return self.requests + self.prompt * charge.prompt_tokens + self.answer * charge.answer_tokens


AXES = {
    "requests_per_minute": Axis("requests per minute", MINUTE, requests=1),
    "tokens_per_minute": Axis("tokens per minute", MINUTE, prompt=1, answer=1),
    "input_tokens_per_minute": Axis("input tokens per minute", MINUTE, prompt=1),
    "output_tokens_per_minute": Axis("output tokens per minute", MINUTE, answer=1),
    "requests_per_day": Axis("requests per day", DAY, requests=1),
    "tokens_per_day": Axis("tokens per day", DAY, prompt=1, answer=1),
}
"""What each field of `RateLimit` counts."""


def axis_of(field: str, minute: float = MINUTE) -> Axis:
    """What a field of `RateLimit` counts, where what it calls a minute is `minute` seconds long."""
    axis = AXES[field]
    if axis.span != MINUTE or minute == MINUTE:
        return axis
    return replace(axis, name=axis.name.replace("per minute", f"per {minute:g} s"), span=minute)
