"""Whether an answer is what the caller asked for. Pure, but for the caller's own function."""

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, get_origin

from llm_api_client.call.failure import forget_frames
from llm_api_client.errors import AnswerValidationError, ConfigurationError
from llm_api_client.records import Kind, Verdict, content_of

MAX_PROBLEMS = 3
"""Places in an answer that a message names; more are said to exist."""
MAX_PROBLEM = 90
"""Characters that say what is wrong with one of them."""
MAX_QUOTE = 40
"""Characters of an answer, or of a path in it, that a message quotes at once."""
MAX_RAISED = 300
"""Characters of what the caller's function raised that a message repeats."""

_TAKEN = "a function that takes the answer's text, a Pydantic model class, or a JSON schema as a dict"
# What OpenAI's strict mode takes of a JSON schema. With anything else in it, it would refuse every request.
_STRICT_KEYWORDS = frozenset(
    {
        "$defs", "$ref", "additionalProperties", "anyOf", "const", "description", "enum", "exclusiveMaximum",
        "exclusiveMinimum", "format", "items", "maxItems", "maximum", "minItems", "minimum", "multipleOf", "pattern",
        "properties", "required", "title", "type",
    }
)  # fmt: skip
_STRICT_FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"})
_STRICT_SAYS_WHAT = frozenset({"$ref", "anyOf", "const", "enum", "type"})


@dataclass(frozen=True, slots=True)
class Validation:
    """What `validate` asks of every answer. Several threads may judge by it at once.

    Attributes:
        read: Makes a value of an answer's text, or raises.
        response_format: The parameter that makes a model keep to it, as plain JSON data and never to be changed; None
            for a function, and for a schema that providers refuse or would narrow: one whose root is no object, or
            that leaves the names of an object's properties open.
    """

    read: Callable[[str], Any]
    response_format: dict[str, Any] | None = None

    def judge(self, response: Any) -> tuple[Verdict, Any]:
        """What an answer's first choice comes to, and its value; further choices are not looked at.

        An answer that was cut off and is valid all the same is good. One that was cut off or withheld and is not would
        most likely end so again: it is `PERMANENT`. Others that do not fit are `INVALID`: another answer may fit.
        """
        text = content_of(response)
        if text is None or not text.strip():
            return _refused(response, text, None), None
        try:
            return Verdict(Kind.ANSWERED), self.read(text)
        except _DoesNotFit as unfit:
            problem, cause = str(unfit), unfit.__cause__
        except Exception as raised:  # noqa: BLE001  whatever the caller's function raises is its judgement
            problem, cause = _said(raised, self.read), raised
        if cause is not None:
            # The frames would keep this whole call alive with the error.
            forget_frames(cause)
        return _refused(response, text, problem, cause), None


class _DoesNotFit(Exception):  # noqa: N818  it says so, and goes no further than this module
    """An answer that is not JSON, or not what the schema describes."""


def validation(validate: Any, strict_schema: Callable[[type], dict[str, Any] | None] | None = None) -> Validation:
    """What a caller's `validate` asks of answers.

    Args:
        validate: A function that takes the answer's text and returns a value, None included, or raises; a Pydantic
            model class; or a JSON schema as a dict, by the draft that its `$schema` names or else 2020-12. For the last
            two the text must be JSON, alone or in one Markdown code block. Formats such as "email" are not checked by a
            JSON schema.
        strict_schema: Makes the schema of a Pydantic class that OpenAI's strict mode takes, or None. Left out, the
            class's own schema is sent, which a model need not keep to strictly.

    Raises:
        ConfigurationError: `validate` is none of these, cannot be called with one text, or is itself invalid.
    """
    if isinstance(validate, dict):
        return _by_schema(validate)
    if isinstance(validate, type):
        from pydantic import BaseModel  # noqa: PLC0415  slow to import

        if issubclass(validate, BaseModel):
            return _by_model(validate, strict_schema)
    # `list[int]` is callable, and would make a list of characters.
    if not callable(validate) or get_origin(validate) is not None:
        cure = (
            "" if get_origin(validate) is None else " For this type, pass a class made of it with pydantic.RootModel."
        )
        raise ConfigurationError(f"validate must be {_TAKEN}; it is {_cut(repr(validate), MAX_PROBLEM)}.{cure}")
    _check_function(validate)
    return Validation(validate)


def _check_function(function: Callable[..., Any]) -> None:
    """A function that cannot work would refuse answers that are paid for."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004  the method itself is asked about
        raise ConfigurationError("validate is an async function; pass a plain one.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # Some builtins do not say what they take.
    try:
        signature.bind("")
    except TypeError as mismatch:
        message = f"validate is called with the answer's text and nothing else, which it does not take: {mismatch}."
        raise ConfigurationError(message) from mismatch


def _by_schema(given: dict[Any, Any]) -> Validation:
    from jsonschema import exceptions, validators  # noqa: PLC0415  slow to import
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415
    from referencing.jsonschema import specification_with  # noqa: PLC0415

    try:
        schema = _plain(given)
        draft = validators.validator_for(schema, default=validators.Draft202012Validator)
        draft.check_schema(schema)
        resource = specification_with(draft.META_SCHEMA["$schema"]).create_resource(schema)
        # A registry of its own: the default one would fetch unknown references from the network, for each answer.
        validator = draft(schema, registry=Registry())
        _check_references(resource, validators.SPECIFICATIONS.resolver_with_root(resource))
    except exceptions.SchemaError as wrong:
        message = f"validate is not a valid JSON schema: {_problem(wrong.absolute_path, wrong.message)}."
        raise ConfigurationError(message) from wrong
    except Unresolvable as wrong:
        raise ConfigurationError(f"validate refers to {wrong.ref!r}, which is not in the schema.") from wrong
    except (RecursionError, TypeError, ValueError) as wrong:
        raise ConfigurationError(f"validate is not a JSON schema, which is plain JSON data: {wrong}.") from wrong

    def read(text: str) -> Any:
        value = _parsed(_unfenced(text))
        errors = [exceptions.best_match([error]) for error in islice(validator.iter_errors(value), MAX_PROBLEMS + 1)]
        if errors:
            raise _DoesNotFit(_unfit([_problem(e.absolute_path, _without_instance(e)) for e in errors]))
        return value

    sent = {name: value for name, value in schema.items() if name != "$schema"}
    return Validation(read, _response_format(sent) if _is_sendable(resource) else None)


def _by_model(model: Any, strict_schema: Callable[[type], dict[str, Any] | None] | None) -> Validation:
    from pydantic import PydanticInvalidForJsonSchema, PydanticUserError, ValidationError  # noqa: PLC0415
    from referencing.jsonschema import DRAFT202012  # noqa: PLC0415

    def read(text: str) -> Any:
        bare = _unfenced(text)
        try:
            return model.model_validate_json(bare)
        except ValidationError as wrong:
            errors = wrong.errors(include_url=False, include_context=False)
            if errors[0]["type"] == "json_invalid":
                raise _DoesNotFit(_not_json(bare, errors[0]["msg"].removeprefix("Invalid JSON: "))) from wrong
            problems = [_problem(e["loc"], e["msg"] + _got(e["input"])) for e in errors[: MAX_PROBLEMS + 1]]
            raise _DoesNotFit(_unfit(problems)) from wrong

    try:
        schema = _plain(model.model_json_schema())
    except PydanticInvalidForJsonSchema:
        return Validation(read)  # It can be judged, though not be told to a model.
    except PydanticUserError as wrong:
        raise ConfigurationError(f"validate is a Pydantic class that cannot be used as it is: {wrong}") from wrong
    if any(_is_open(part) for part in _schemas_in(DRAFT202012.create_resource(schema))):
        return Validation(read)
    strict = None if strict_schema is None else strict_schema(model)
    if strict is not None:
        strict = _plain(strict)
        parts = list(_schemas_in(DRAFT202012.create_resource(strict)))
        for part in parts:
            part.pop("default", None)  # Every property is required; some providers refuse a default beside that.
        if strict.get("type") == "object" and all(map(_is_strict, parts)):
            return Validation(read, _response_format(strict, strict=True))
    return Validation(read, _response_format(schema) if schema.get("type") == "object" else None)


def _response_format(schema: dict[str, Any], *, strict: bool = False) -> dict[str, Any]:
    # The name is the same for all: a class's may have characters that providers refuse.
    described: dict[str, Any] = {"name": "answer", "schema": schema}
    return {"type": "json_schema", "json_schema": {**described, "strict": True} if strict else described}


def _is_sendable(resource: Any) -> bool:
    return resource.contents.get("type") == "object" and not any(map(_is_open, _schemas_in(resource)))


def _is_open(schema: dict[str, Any]) -> bool:
    """Whether an object's properties may have any name: some providers would let it have none, others refuse it."""
    further = schema.get("additionalProperties")
    if further is None:
        names_none = schema.get("type") == "object" and not schema.get("properties")
        return names_none or "patternProperties" in schema
    return further is not False or "patternProperties" in schema


def _is_strict(schema: dict[str, Any]) -> bool:
    """Whether OpenAI's strict mode takes it; how objects are closed is left to who made the schema."""
    return (
        schema.keys() <= _STRICT_KEYWORDS
        and not _STRICT_SAYS_WHAT.isdisjoint(schema)
        and schema.get("format", "date") in _STRICT_FORMATS
    )


def _schemas_in(resource: Any) -> Iterator[dict[str, Any]]:
    """A schema and those that stand in it."""
    if isinstance(resource.contents, dict):
        yield resource.contents
    for inner in resource.subresources():
        yield from _schemas_in(inner)


def _check_references(resource: Any, resolver: Any) -> None:
    """Look every reference up; raises `Unresolvable` for one that leads nowhere."""
    if isinstance(resource.contents, dict) and "$ref" in resource.contents:
        resolver.lookup(resource.contents["$ref"])
    for inner in resource.subresources():
        _check_references(inner, resolver.in_subresource(inner))


def _plain(data: Any) -> Any:
    """A copy as plain JSON data, which nobody else holds and which has the same text each time."""
    return json.loads(json.dumps(data, allow_nan=False))


def _unfenced(text: str) -> str:
    """The text inside a Markdown code block, if it is one; the text itself otherwise."""
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        bare = bare[3:-3]
        if bare[:4].lower() == "json":
            bare = bare[4:]
    return bare


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (RecursionError, ValueError) as wrong:
        raise _DoesNotFit(_not_json(text, str(wrong))) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's")


def _not_json(text: str, why: str) -> str:
    return f"The answer is not JSON: {_cut(why, MAX_PROBLEM)}; it begins {_cut(text, MAX_QUOTE)!r}."


def _unfit(problems: list[str]) -> str:
    more = "; and more" if len(problems) > MAX_PROBLEMS else ""
    return f"The answer does not fit: {'; '.join(problems[:MAX_PROBLEMS])}{more}."


def _problem(path: Any, what: str) -> str:
    where = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{_cut(where, MAX_QUOTE)}: {_cut(what, MAX_PROBLEM)}"


def _without_instance(error: Any) -> str:
    """A message of jsonschema's, which repeats all of what does not fit."""
    shown = repr(error.instance)
    message: str = error.message
    return message.replace(shown, _cut(shown, MAX_QUOTE), 1)


def _got(value: Any) -> str:
    return f" (got {_cut(repr(value), MAX_QUOTE)})" if isinstance(value, str | int | float | None) else ""


def _said(raised: Exception, function: Any) -> str:
    """What a function raised, and where in it, since the traceback is not kept."""
    try:
        words = " ".join(str(raised)[: 2 * MAX_RAISED].split())
    except Exception:  # noqa: BLE001  it is the caller's class
        words = ""
    said = f"validate raised {type(raised).__name__}" + (f": {_cut(words, MAX_RAISED)}" if words else "")
    inside = raised.__traceback__.tb_next if raised.__traceback__ else None
    code = getattr(function, "__code__", None)
    if inside is None or inside.tb_frame.f_code is not code or inside.tb_frame.f_code.co_filename == __file__:
        return said
    file = PurePath(inside.tb_frame.f_code.co_filename).name
    return f"{said} (line {inside.tb_lineno} of {_cut(file, MAX_QUOTE)})"


def _refused(response: Any, text: str | None, problem: str | None, cause: BaseException | None = None) -> Verdict:
    """The verdict on an answer with a `problem`, or, if that is None, on one without text."""
    kind, reason = Kind.PERMANENT, getattr(_first_choice(response), "finish_reason", None)
    if reason == "length":
        message = (
            "The model spent all its tokens before it said anything (finish_reason 'length'), as models that reason "
            "may do; raise max_tokens."
            if problem is None
            else f"The answer was cut off at its token limit (finish_reason 'length'); raise max_tokens. {problem}"
        )
    elif reason == "content_filter":
        what = "withheld the answer" if problem is None else "cut the answer off"
        message = f"The provider's content filter {what}; change the prompt. {problem or ''}".rstrip()
    else:
        kind = Kind.INVALID
        reason, message = ("empty", _without_text(response)) if problem is None else ("invalid", problem)
    error = AnswerValidationError(message, content=text, reason=reason)
    error.__cause__ = cause
    return Verdict(kind, error)


def _without_text(response: Any) -> str:
    message = getattr(_first_choice(response), "message", None)
    if getattr(message, "tool_calls", None):
        return "The answer has no text, only tool calls, which validate does not judge."
    fields = getattr(message, "provider_specific_fields", None)
    refusal = fields.get("refusal") if isinstance(fields, dict) else None
    return f"The model refused: {_cut(str(refusal), MAX_RAISED)}" if refusal else "The answer has no text."


def _first_choice(response: Any) -> Any:
    try:
        return response.choices[0]
    except (AttributeError, IndexError, TypeError):
        return None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
