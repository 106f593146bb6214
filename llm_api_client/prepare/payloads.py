"""Payloads of raw calls: what an endpoint takes, from defaults and what is said for one call. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from llm_api_client.errors import ConfigurationError, InvalidInputError


def _names(field: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigurationError(f'{field} is a {type(names).__name__}; give a tuple of names, as in ("model",).')
    found = tuple(names)
    if not all(isinstance(name, str) and name for name in found) or len(set(found)) < len(found):
        raise ConfigurationError(f"{field} must be names, each of them once; it is {found!r}.")
    return found


@dataclass(frozen=True, slots=True)
class Schema:
    """Names of the parameters that an endpoint takes.

    Attributes:
        required: Those without which it answers nothing.
        optional: All others.

    Raises:
        ConfigurationError: A name is no string, or is given twice.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("required", "optional"):
            object.__setattr__(self, field, _names(field, getattr(self, field)))
        both = sorted(set(self.required) & set(self.optional))
        if both:
            raise ConfigurationError(f"{_quoted(both)} cannot be both required and optional; name it once.")


CHAT_SCHEMA = Schema(
    required=("messages", "model"),
    optional=(
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
        "max_tokens", "metadata", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty",
        "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream",
        "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
        "web_search_options",
    ),
)  # fmt: skip
"""What OpenAI's `chat/completions` takes."""

FINE_TUNING_SCHEMA = Schema(
    required=("training_file", "model"),
    optional=("hyperparameters", "integrations", "metadata", "method", "seed", "suffix", "validation_file"),
)
"""What OpenAI's `fine_tuning/jobs` takes."""


def create_payload(
    input_: Any,
    *,
    config: Mapping[str, Any] | None = None,
    required: Iterable[str] = (),
    optional: Iterable[str] = (),
    input_key: str,
    **overrides: Any,
) -> dict[str, Any]:
    """One payload: the input, what is said for this call, and for the rest the defaults.

    An optional parameter that is absent, or None, is left out; 0, False and empty strings are values like others.

    Args:
        input_: What the call is about: messages, a prompt, the id of a file.
        config: Defaults.
        required: Names that must have a value.
        optional: Names that may have one.
        input_key: The name under which the input goes. It need not be among the required ones.
        **overrides: What is said for this call; each wins over the default of its name.

    Raises:
        InvalidInputError: Required names are missing, all of which it says; or a name is in neither list.
        ConfigurationError: The lists of names are none.
    """
    schema = Schema(tuple(dict.fromkeys((input_key, *_names("required", required)))), _names("optional", optional))
    if input_key in overrides:
        raise InvalidInputError(f'"{input_key}" is given twice, as the input and by its name; give it once')
    return payload_of({input_key: input_, **overrides}, config or {}, schema)


def payload_of(given: Mapping[str, Any], config: Mapping[str, Any], schema: Schema | None) -> dict[str, Any]:
    """One payload: what is given, and for the rest the defaults; without a schema, whatever their names.

    Raises:
        InvalidInputError: As for `create_payload`.
    """
    if schema is not None:
        known = (*schema.required, *schema.optional)
        _refuse_unknown(given, known, "")
        _refuse_unknown(config, known, " of the config")
    merged = {**config, **given}
    payload = {name: value for name, value in merged.items() if value is not None}
    missing = [name for name in schema.required if name not in payload] if schema is not None else []
    if missing:
        raise InvalidInputError(f"the payload has no {_quoted(missing)}; give {'it' if len(missing) == 1 else 'them'}")
    return payload


def chat_payload(
    messages: Iterable[Any], config: Mapping[str, Any] | None = None, schema: Schema = CHAT_SCHEMA, **overrides: Any
) -> dict[str, Any]:
    """A payload of a chat.

    Args:
        messages: Dicts, or objects whose `to_dict()` gives one.
        config: Defaults, such as the model.
        schema: What the endpoint takes.
        **overrides: What is said for this call.

    Raises:
        InvalidInputError: As for `create_payload`; or these are no messages.
    """
    given = _messages(messages)
    return create_payload(
        given, config=config, required=schema.required, optional=schema.optional, input_key="messages", **overrides
    )


def fine_tuning_payload(
    training_file: str, config: Mapping[str, Any] | None = None, schema: Schema = FINE_TUNING_SCHEMA, **overrides: Any
) -> dict[str, Any]:
    """A payload that starts a fine-tuning.

    Args:
        training_file: Id of the uploaded file.
        config: Defaults, such as the model.
        schema: What the endpoint takes.
        **overrides: What is said for this call.

    Raises:
        InvalidInputError: As for `create_payload`; or the id is no string.
    """
    if not isinstance(training_file, str) or not training_file.strip():
        raise InvalidInputError("training_file must be the id that the upload was answered with, such as file-abc123")
    return create_payload(
        training_file,
        config=config,
        required=schema.required,
        optional=schema.optional,
        input_key="training_file",
        **overrides,
    )


def unknown_name(name: object, known: Iterable[str]) -> str:
    """What to say of a name that is none of the known ones."""
    close = get_close_matches(str(name), known := list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known) or 'none'}"


def _refuse_unknown(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for name in given:
        if name not in known:
            hint = unknown_name(name, known)
            raise InvalidInputError(f"the parameter {name!r}{where} is not one of this endpoint; {hint}")


def _messages(messages: Any) -> list[Any]:
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        kind = type(messages).__name__
        raise InvalidInputError(f'messages is a {kind}; give a list, as in [{{"role": "user", "content": "Hello"}}]')
    found = []
    for index, message in enumerate(messages):
        plain = message.to_dict() if callable(getattr(message, "to_dict", None)) else message
        if not isinstance(plain, Mapping):
            kind = type(plain).__name__
            raise InvalidInputError(f"messages[{index}] is a {kind}; give a dict, or an object that has to_dict()")
        found.append(dict(plain))
    return found


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
