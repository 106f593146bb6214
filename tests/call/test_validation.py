"""What `validate` makes of answers, what it refuses, and what is sent so that models keep to it."""

import copy
import gc
import json
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, List, Literal, TypeVar  # noqa: UP035  users write List too

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, field_validator

from llm_api_client.call import litellm_door
from llm_api_client.call.litellm_door import Facts
from llm_api_client.call.validation import validation
from llm_api_client.errors import AnswerValidationError, ConfigurationError
from llm_api_client.records import Kind
from llm_api_client.testing import ScriptedAnswer


class Item(BaseModel):
    name: str
    count: int = Field(ge=0)


class Order(BaseModel):
    title: str
    items: list[Item]
    note: Item | None = None


ORDER = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "note": {"anyOf": [{"$ref": "#/$defs/item"}, {"type": "null"}]},
    },
    "required": ["items"],
    "$defs": {
        "item": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "count": {"type": "integer", "minimum": 0}},
            "required": ["name", "count"],
        }
    },
}
GOOD = '{"title": "one", "items": [{"name": "ü", "count": 2}]}'


def answer(text: str | None, finish_reason: str = "stop") -> ScriptedAnswer:
    response = ScriptedAnswer(text)
    response.choices[0].finish_reason = finish_reason
    return response


def value_of(validate: Any, text: str, finish_reason: str = "stop") -> Any:
    verdict, value = validation(validate).judge(answer(text, finish_reason))
    assert (verdict.kind, verdict.error) == (Kind.ANSWERED, None)
    return value


def refusal(validate: Any, response: Any) -> tuple[Kind, AnswerValidationError]:
    verdict, value = validation(validate).judge(response)
    assert isinstance(verdict.error, AnswerValidationError)
    assert value is None
    return verdict.kind, verdict.error


def refused(validate: Any, text: str | None, finish_reason: str = "stop") -> AnswerValidationError:
    return refusal(validate, answer(text, finish_reason))[1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(
    value=json_values,
    fence=st.sampled_from(["{}", "```json\n{}\n```", "```\n{}\n```", " ```JSON {}``` ", "\n\n{}\n "]),
    ascii_only=st.booleans(),
    indent=st.none() | st.just(2),
)
def test_json_is_read_bare_or_in_one_code_block(value, fence, ascii_only, indent):
    """Any JSON value comes back as it was written, whether or not a Markdown code block stands around it."""
    assert value_of({}, fence.format(json.dumps(value, ensure_ascii=ascii_only, indent=indent))) == value


@given(st.text(), st.sampled_from(["stop", "length", "content_filter", "tool_calls", ""]), st.sampled_from([{}, Order]))
def test_no_text_breaks_a_judgement(text, finish_reason, validate):
    """Whatever a model says, it is judged: a value, or a reason without one."""
    verdict, value = validation(validate).judge(answer(text, finish_reason))
    assert (verdict.kind is Kind.ANSWERED) == (verdict.error is None)
    assert value is None or verdict.error is None
    assert verdict.error is None or verdict.error.content == text


NOT_JSON = [
    "Sure! {}", "{} is it", "{'a': 1}", "[1, 2", "```json\n[1]\n```\n```json\n[2]\n```", "```python\n[1]\n```",
    "```json\n[1]", "``````", "````", "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize(
    ("validate", "text"),
    [(validate, text) for validate in ({}, RootModel[list[int]]) for text in NOT_JSON]
    + [({}, text) for text in ("NaN", "[Infinity]", "1" * 5_000)],
)
def test_what_is_not_json_is_said_to_be_none(validate, text):
    """A value is not searched for within other text, and what only Python calls JSON is none."""
    error = refused(validate, text)
    assert error.reason == "invalid"
    assert error.message.startswith("The answer is not JSON: ")
    assert len(error.message) < 300


def test_a_function_makes_the_value():
    """What the function returns is the value, None included; it is given the text as it came."""
    assert value_of(int, "42") == 42
    assert value_of(json.loads, "[1]") == [1]
    assert value_of(partial(str.split, sep=","), " a,b ") == [" a", "b "]
    assert value_of(lambda _: None, "anything") is None
    assert value_of(AnswerValidationError, "any class will do").message == "any class will do"


def test_what_a_function_raises_is_the_reason():
    """Any exception refuses the answer: the message names it and its line, and it is the cause."""

    def check(text: str) -> None:
        raise KeyError(text)

    kind, error = refusal(check, answer("café"))
    assert (kind, error.reason, error.content) == (Kind.INVALID, "invalid", "café")
    line = check.__code__.co_firstlineno + 1
    assert error.message == f"validate raised KeyError: 'café' (line {line} of test_validation.py)"
    assert isinstance(error.__cause__, KeyError)
    assert refused(int, "x").message == "validate raised ValueError: invalid literal for int() with base 10: 'x'"


def test_an_exception_that_cannot_be_shown_refuses_all_the_same():
    """An exception whose text cannot be had is named by its class."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def check(_: str) -> None:
        raise MuteError

    assert refused(check, "x").message.startswith("validate raised MuteError (line ")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_no_judgement(stop):
    """Ctrl-C inside the caller's function goes through."""

    def check(_: str) -> None:
        raise stop

    with pytest.raises(stop):
        validation(check).judge(answer("x"))


def test_a_refused_answer_is_not_kept_alive_by_its_error():
    """The error keeps the text and the cause, not the answer nor the stack in which it was judged."""

    class Weak(ScriptedAnswer):
        __slots__ = ("__weakref__",)

    def check(text: str) -> None:
        raise ValueError(text)

    def judged(validate: Any) -> tuple[AnswerValidationError, weakref.ref[Weak]]:
        response = Weak("text")
        return refusal(validate, response)[1], weakref.ref(response)

    for validate in (check, Order, ORDER):
        error, response = judged(validate)
        gc.collect()
        assert error.content == "text"
        assert response() is None


def test_a_pydantic_class_makes_a_model():
    """Nested models are made, from a code block too."""
    order = value_of(Order, f"```json\n{GOOD}\n```")
    assert order == Order(title="one", items=[Item(name="ü", count=2)])
    assert value_of(RootModel[list[int]], "[1, 2]").root == [1, 2]


def test_a_schema_lets_values_pass_through_its_references():
    """A schema with `$ref` and `$defs` gives the value as plain data."""
    assert value_of(ORDER, GOOD) == json.loads(GOOD)
    assert value_of({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}, "[1]") == [1]


@pytest.mark.parametrize("validate", [Order, ORDER])
def test_a_message_says_where_and_what(validate):
    """Paths in the JSON name the first three problems, inside an optional part too; more are said to exist."""
    bad = {"name": 1, "count": -1}
    error = refused(validate, json.dumps({"title": "t", "items": [bad, {}], "note": {"name": "n", "count": "x"}}))
    assert error.message.startswith("The answer does not fit: $.items[0].name: ")
    assert "$.items[0].count: " in error.message
    assert "$.items[1]" in error.message
    assert error.message.endswith("; and more.")
    one = refused(validate, '{"title": "t", "items": [], "note": {"name": "n", "count": "x"}}')
    assert "$.note" in one.message
    assert ".count: " in one.message
    assert "; and more" not in one.message


def test_a_validator_of_the_caller_s_may_raise_anything():
    """An exception that Pydantic does not turn into its own refuses the answer, too."""

    class Picky(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def look(cls, name: str) -> str:
            raise LookupError(name)

    error = refused(Picky, '{"name": "x"}')
    assert (error.message, error.reason) == ("validate raised LookupError: x", "invalid")


def test_a_schema_is_read_by_the_draft_it_names():
    """Draft 7's `items` list is a tuple; 2020-12, the draft of schemas that name none or an unknown one, has none."""
    pair = {"items": [{"type": "integer"}, {"type": "string"}]}
    assert "$[1]: " in refused({"$schema": "http://json-schema.org/draft-07/schema#", **pair}, "[1, 2]").message
    for unnamed in ({}, {"$schema": "made-up"}):
        with pytest.raises(ConfigurationError):
            validation({**unnamed, **pair})


@pytest.mark.parametrize(
    ("text", "finish_reason", "kind", "reason", "says"),
    [
        (None, "stop", Kind.INVALID, "empty", "no text"),
        ("", "stop", Kind.INVALID, "empty", "no text"),
        (" \n", "stop", Kind.INVALID, "empty", "no text"),
        (None, "length", Kind.PERMANENT, "length", "before it said anything"),
        ("", "length", Kind.PERMANENT, "length", "raise max_tokens"),
        ('{"items": [', "length", Kind.PERMANENT, "length", "cut off at its token limit"),
        (None, "content_filter", Kind.PERMANENT, "content_filter", "withheld"),
        ('{"items": [', "content_filter", Kind.PERMANENT, "content_filter", "cut the answer off"),
        ("no", "stop", Kind.INVALID, "invalid", "not"),
        ("no", "tool_calls", Kind.INVALID, "invalid", "not"),
        ("no", "", Kind.INVALID, "invalid", "not"),
    ],
)
@pytest.mark.parametrize("validate", [Order, ORDER, json.loads])
def test_reasons_are_told_apart(validate, text, finish_reason, kind, reason, says):
    """What another attempt may mend is `INVALID`; what ends the same way and costs again is `PERMANENT`."""
    got, error = refusal(validate, answer(text, finish_reason))
    assert (got, error.reason, error.content) == (kind, reason, text)
    assert validate is json.loads or says in error.message


@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
def test_an_answer_cut_off_that_is_valid_is_good(finish_reason):
    """How an answer ended does not matter if it is what was asked for."""
    assert value_of(ORDER, GOOD, finish_reason)["title"] == "one"


class Said:
    """A message with whatever attributes a test gives it."""

    def __init__(self, **attributes: Any) -> None:
        self.content = None
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (Said(tool_calls=[object()]), "only tool calls"),
        (Said(tool_calls=None, provider_specific_fields={"refusal": "I can't."}), "The model refused: I can't."),
        (Said(provider_specific_fields={"refusal": None}), "no text"),
    ],
)
def test_an_answer_without_text_says_what_it_has_instead(message, says):
    """Tool calls and refusals are named; neither is judged."""
    response = ScriptedAnswer(None)
    response.choices[0].message = message
    kind, error = refusal(str, response)
    assert (kind, error.reason) == (Kind.INVALID, "empty")
    assert says in error.message


@pytest.mark.parametrize("response", ["text", object(), answer(None)])
def test_what_is_no_chat_answer_is_empty(response):
    """An answer of another shape has no text to judge."""
    assert refusal(str, response)[1].reason == "empty"


def test_only_the_first_choice_is_judged():
    """Further choices may say anything, and end in any way."""
    response = answer("1")
    response.choices += answer("x", "length").choices
    assert validation(int).judge(response)[1] == 1
    assert refusal(json.dumps({}).index, response)[1].reason == "invalid"


HUGE = "y" * 300_000


@pytest.mark.parametrize(
    ("validate", "text"),
    [
        (ORDER, json.dumps({"items": HUGE})),
        (ORDER, json.dumps({"items": [{"name": [HUGE], "count": HUGE}] * 5})),
        (ORDER, json.dumps({"note": {HUGE: HUGE}, "items": [HUGE]})),
        ({"additionalProperties": False}, json.dumps({HUGE: 1})),
        ({"additionalProperties": {"type": "null"}}, json.dumps({HUGE: 1})),
        (Order, json.dumps({"title": [HUGE], "items": [{"name": 1, "count": HUGE}] * 5})),
        (Order, HUGE),
        (ORDER, HUGE),
        (json.loads, HUGE),
        (lambda text: {}[text], HUGE),
    ],
)
@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_messages_stay_short(validate, text, finish_reason):
    """However large an answer is, the message quotes little of it; the content is whole."""
    error = refused(validate, text, finish_reason)
    assert len(error.message) < 600
    assert error.content == text


def test_a_large_value_does_not_hide_what_is_wrong_with_it():
    """A value that is quoted in part leaves room for what the schema says of it."""
    assert "is not of type 'array'" in refused(ORDER, json.dumps({"items": HUGE})).message


class Undefined(BaseModel):
    later: "NotYetThere"  # type: ignore[name-defined]  # noqa: F821


async def asynchronous(text: str) -> str:
    return text


class AsynchronousObject:
    async def __call__(self, text: str) -> str:  # noqa: D102
        return text


CIRCLE: dict[str, Any] = {}
CIRCLE["properties"] = CIRCLE


@pytest.mark.parametrize(
    ("validate", "says"),
    [
        (None, "a Pydantic model class, or a JSON schema as a dict; it is None"),
        ("json", "it is 'json'"),
        (True, "it is True"),
        (Item(name="n", count=1), "a Pydantic model class"),
        (list[int], "RootModel"),
        (List[Item], "RootModel"),  # noqa: UP006
        (asynchronous, "async"),
        (AsynchronousObject(), "async"),
        (lambda: 0, "too many positional arguments"),
        (lambda text, more: 0, "'more'"),
        (Undefined, "NotYetThere"),
        ({"type": "strin"}, r"\$.type: 'strin'"),
        ({"properties": {"a": {"pattern": "("}}}, "regex"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, r"\$.type: 'json_schema'"),
        ({"$ref": "#/$defs/no"}, "/\\$defs/no"),
        ({"properties": {"a": {"items": {"$ref": "http://127.0.0.1:9/no"}}}}, "127.0.0.1:9/no"),
        ({"$schema": ["list"]}, "plain JSON data"),
        ({"const": object()}, "plain JSON data"),
        ({"const": float("nan")}, "plain JSON data"),
        (CIRCLE, "plain JSON data"),
    ],
)
def test_what_cannot_judge_is_refused_before_anything_is_paid_for(validate, says):
    """What is none of the three, or could never work, is a configuration error that says so."""
    with pytest.raises(ConfigurationError, match=says):
        validation(validate)


def test_schemas_never_touch_the_network(monkeypatch):
    """References are looked up in the schema and among the drafts themselves, while judging too."""
    tried = []

    def refuse(*address: object) -> None:
        tried.append(address)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    draft = {"$ref": "https://json-schema.org/draft/2020-12/schema"}
    assert value_of(draft, '{"type": "string"}') == {"type": "string"}
    # A reference that is out of sight of the check: behind a pointer into what is no schema.
    hidden = {"x": {"y": {"$ref": "http://127.0.0.1:9/no"}}, "items": {"$ref": "#/x/y"}}
    assert refused(hidden, "[1]").message.startswith("validate raised ")
    assert not tried


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    size: Literal["a", "b"] = "a"
    default: T


class Tree(BaseModel):
    children: list["Tree"]


class Counts(BaseModel):
    by_name: dict[str, int]


class Anything(BaseModel):
    value: Any


class Far(BaseModel):
    address: str = Field(json_schema_extra={"format": "uri"})


class Loose(BaseModel, extra="allow"):
    name: str


class Unspeakable(BaseModel):
    call: Callable[[int], int]


def test_a_class_that_strict_mode_takes_is_sent_strictly(litellm):
    """All properties are required, objects are closed, defaults are left out, and a field may be named `default`."""
    sent = validation(Page[int], litellm_door.strict_schema).response_format
    assert sent == {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "strict": True,
            "schema": {
                "type": "object",
                "title": "Page[int]",
                "properties": {
                    "size": {"type": "string", "title": "Size", "enum": ["a", "b"]},
                    "default": {"type": "integer", "title": "Default"},
                },
                "required": ["size", "default"],
                "additionalProperties": False,
            },
        },
    }
    tree = validation(Tree, litellm_door.strict_schema).response_format
    assert tree is not None
    assert (tree["json_schema"]["strict"], tree["json_schema"]["schema"]["type"]) == (True, "object")


@pytest.mark.parametrize("model", [Anything, Far])
def test_a_class_that_strict_mode_refuses_is_sent_as_it_is(litellm, model):
    """Without strictness a schema that OpenAI would refuse is taken."""
    sent = validation(model, litellm_door.strict_schema).response_format
    assert sent == {"type": "json_schema", "json_schema": {"name": "answer", "schema": model.model_json_schema()}}


@pytest.mark.parametrize("model", [Counts, Loose, RootModel[list[int]], Unspeakable])
def test_a_class_that_would_be_refused_or_narrowed_is_only_judged(litellm, model):
    """Roots that are no objects and open objects are not sent."""
    assert validation(model, litellm_door.strict_schema).response_format is None


def test_without_a_maker_of_strict_schemas_a_class_sends_its_own():
    """Left out or without a result, the class's own schema is sent."""
    own = {"type": "json_schema", "json_schema": {"name": "answer", "schema": Item.model_json_schema()}}
    assert validation(Item).response_format == own
    assert validation(Item, lambda _: None).response_format == own


def test_a_schema_is_sent_as_a_copy_of_its_own():
    """What is sent is what was given, less the name of its draft; changing the given dict later changes nothing."""
    given_schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **copy.deepcopy(ORDER)}
    judge = validation(given_schema)
    given_schema["properties"]["items"]["type"] = "string"
    assert judge.response_format == {"type": "json_schema", "json_schema": {"name": "answer", "schema": ORDER}}
    assert judge.judge(answer(GOOD))[0].kind is Kind.ANSWERED


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "array", "items": {"type": "integer"}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"b": {}}}}},
        {"type": "object"},
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {}}, "patternProperties": {"x": {}}},
    ],
)
def test_a_schema_that_would_be_refused_or_narrowed_is_only_judged(schema):
    """Roots that are no objects and open objects are not sent."""
    assert validation(schema).response_format is None


def test_functions_send_nothing():
    """A function says nothing that could be sent."""
    assert validation(int).response_format is None


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("claude-3-haiku-20240307", "anthropic"),
        ("mistral-small-latest", "mistral"),
        ("gemini-2.5-flash", "gemini"),
    ],
)
@pytest.mark.parametrize("validate", [Order, ORDER])
def test_litellm_takes_what_is_sent_and_leaves_it_as_it_is(litellm, validate, model, provider):
    """What is sent is plain JSON data, is mapped for each provider, and can be shared by all requests."""
    sent = validation(validate, litellm_door.strict_schema).response_format
    before = json.dumps(sent)
    mapped = litellm.get_optional_params(model=model, custom_llm_provider=provider, response_format=sent)
    assert "count" in json.dumps(mapped)
    assert json.dumps(sent) == before
    assert json.loads(before) == sent


def test_models_that_take_schemas_are_litellm_s(litellm, capsys):
    """LiteLLM says which models keep to a schema; of what it does not know, none is said to, and nothing is printed."""
    facts = Facts()
    assert facts.takes_schema("gpt-4o-mini", None)
    assert facts.takes_schema("openai/gpt-4o-mini", "openai")
    assert facts.takes_schema("claude-sonnet-4-5", "anthropic")
    assert not facts.takes_schema("gpt-3.5-turbo", "openai")
    for model, provider in (("made-up", None), ("made-up", "made-up"), ("", None), ("hosted_vllm/x", "hosted_vllm")):
        assert facts.takes_schema(model, provider) is False
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("break_it", ["delattr", "raise", "other"])
def test_strict_schemas_go_without_what_litellm_does_not_promise(litellm, monkeypatch, break_it):
    """Where another version of LiteLLM makes no strict schema, there is none."""
    name = "litellm.utils.type_to_response_format_param"
    if break_it == "delattr":
        monkeypatch.delattr(name)
    else:
        made = {"raise": lambda response_format: 1 // 0, "other": lambda response_format: {"type": "text"}}
        monkeypatch.setattr(name, made[break_it])
    assert litellm_door.strict_schema(Item) is None


def test_functions_are_judged_without_slow_imports():
    """A function needs neither LiteLLM nor a library of schemas."""
    program = (
        "import sys; from llm_api_client.call.validation import validation; validation(lambda t: t)\n"
        "print(sorted({'litellm', 'jsonschema', 'pydantic', 'referencing'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
