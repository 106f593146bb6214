"""Payloads of raw calls: what goes in, what is left out, and what is refused."""

import pytest

from llm_api_client.errors import ConfigurationError, InvalidInputError
from llm_api_client.prepare.payloads import (
    CHAT_SCHEMA,
    Schema,
    chat_payload,
    create_payload,
    fine_tuning_payload,
    payload_of,
)

HELLO = {"role": "user", "content": "Hello"}


def test_what_is_said_for_a_call_wins_over_the_defaults():
    """The payload has the input under its name, the overrides, and for the rest the defaults."""
    config = {"model": "small", "temperature": 1.0}
    payload = create_payload(
        "Hi",
        config=config,
        required=("prompt", "model"),
        optional=("temperature", "top_p"),
        input_key="prompt",
        temperature=0.2,
    )
    assert payload == {"prompt": "Hi", "model": "small", "temperature": 0.2}
    assert config == {"model": "small", "temperature": 1.0}


@pytest.mark.parametrize("value", [0, 0.0, False, "", []])
def test_values_that_are_false_are_values(value):
    """Only None means that an optional parameter is left out; 0 and False are sent, also as defaults."""
    given = create_payload("Hi", optional=("seed",), input_key="prompt", seed=value)
    default = create_payload("Hi", config={"seed": value}, optional=("seed",), input_key="prompt")
    assert given == default == {"prompt": "Hi", "seed": value}


def test_none_takes_a_default_back():
    """An override of None leaves the parameter out, whatever its default is."""
    payload = create_payload("Hi", config={"seed": 7}, optional=("seed",), input_key="prompt", seed=None)
    assert payload == {"prompt": "Hi"}


def test_all_that_is_missing_is_named_at_once():
    """One error names every required parameter that is absent or None, so that one look is enough."""
    with pytest.raises(InvalidInputError, match='no "model", "voice"; give them'):
        create_payload("Hi", required=("text", "model", "voice"), input_key="text", voice=None)
    with pytest.raises(InvalidInputError, match='no "text"; give it'):
        create_payload(None, input_key="text")


def test_an_unknown_name_is_refused_with_the_nearest_one():
    """A name that the endpoint does not know fails, said with the one that was probably meant, wherever it stands."""
    with pytest.raises(InvalidInputError, match="'temprature' is not one of this endpoint; did you mean 'temperature'"):
        chat_payload([HELLO], model="m", temprature=0)
    with pytest.raises(InvalidInputError, match=r"'topp' of the config is not one .* did you mean 'top_p'"):
        chat_payload([HELLO], {"model": "m", "topp": 1})
    with pytest.raises(InvalidInputError, match="'x' is not one of this endpoint; there are: text, target"):
        create_payload("Hi", required=("text",), optional=("target",), input_key="text", x=1)


def test_the_input_is_given_once():
    """An override by the input's own name is a mistake, and not silently the winner."""
    with pytest.raises(InvalidInputError, match='"prompt" is given twice'):
        create_payload("Hi", input_key="prompt", prompt="Ho")


def test_without_a_schema_any_name_goes():
    """Where an endpoint has no schema, nothing is refused, and None is still left out."""
    assert payload_of({"a": 1, "b": None}, {"c": 0}, None) == {"c": 0, "a": 1}


class Message:
    """As other libraries have them."""

    def __init__(self, content):
        self.content = content

    def to_dict(self):
        """As a provider takes it."""
        return {"role": "user", "content": self.content}


def test_messages_may_be_objects():
    """Objects with `to_dict()` and dicts are messages alike; the caller's dicts stay the caller's."""
    payload = chat_payload([Message("Hi"), HELLO], {"model": "m"}, stream=False)
    assert payload == {"messages": [{"role": "user", "content": "Hi"}, HELLO], "model": "m", "stream": False}
    assert payload["messages"][1] is not HELLO


@pytest.mark.parametrize("messages", ["Hi", HELLO, None, 7, ["Hi"], [None]])
def test_what_are_no_messages_is_refused(messages):
    """A text or a single message instead of a list fails with how to put it right."""
    with pytest.raises(InvalidInputError, match=r"give a (list|dict)"):
        chat_payload(messages, {"model": "m"})


def test_a_schema_of_ones_own():
    """A chat of another provider has that provider's names."""
    schema = Schema(required=("messages",), optional=("persona",))
    assert chat_payload([HELLO], None, schema, persona="calm") == {"messages": [HELLO], "persona": "calm"}


def test_fine_tuning():
    """A fine-tuning has a file and a model, and takes a chat's names for none of its own."""
    assert fine_tuning_payload("file-1", {"model": "m"}, suffix="mine") == {
        "training_file": "file-1",
        "model": "m",
        "suffix": "mine",
    }
    with pytest.raises(InvalidInputError, match="temperature"):
        fine_tuning_payload("file-1", {"model": "m"}, temperature=0)
    for nothing in ("", None, 7):
        with pytest.raises(InvalidInputError, match="training_file must be the id"):
            fine_tuning_payload(nothing, {"model": "m"})


@pytest.mark.parametrize(
    ("required", "optional"), [("model", ()), (("a", "a"), ()), (("a",), ("a",)), ((), (7,)), (None, ())]
)
def test_a_schema_is_lists_of_names(required, optional):
    """A schema that is none, such as one string for a list, fails as it is made."""
    with pytest.raises(ConfigurationError):
        Schema(required, optional)


def test_lists_become_tuples():
    """A schema made of lists is frozen like any other."""
    assert Schema(["a"], ["b"]) == Schema(("a",), ("b",))
    assert hash(CHAT_SCHEMA) == hash(Schema(CHAT_SCHEMA.required, CHAT_SCHEMA.optional))
