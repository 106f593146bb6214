"""A request at fault is named with its cure; a sound one passes, whatever objects it carries."""

import sys
from collections import UserDict
from typing import Any

import pytest

from llm_api_client.errors import InvalidInputError
from llm_api_client.operations import operation_named
from llm_api_client.prepare import check_request, check_requests

USER = {"role": "user", "content": "Hello"}


def request(**params: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [USER]} | params


def with_message(**message: Any) -> dict[str, Any]:
    return request(messages=[USER, USER, message])


class Answer:
    """Stands for a Pydantic class."""


@pytest.mark.parametrize(
    "sound",
    [
        request(),
        UserDict(request()),
        request(messages=(USER,)),
        request(response_format=Answer, client=object(), api_key=lambda: "k"),
        request(logit_bias={50256: -100}, temperature=0.0, stop=None),
        request(metadata={"a": [{"b": 1.5}]}, timeout=30),
        with_message(role="assistant", content=None),
        with_message(role="assistant", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{}"}}]),
        with_message(role="assistant", function_call={"name": "f", "arguments": "{}"}),
        with_message(
            role="user", content=[{"type": "text", "text": "é 漢 🙂"}, {"type": "image_url", "image_url": {}}]
        ),
        with_message(role="user", content=""),
    ],
)
def test_sound_requests_pass(sound: Any) -> None:
    """What a provider may take passes, objects and callables included."""
    check_request(sound)


@pytest.mark.parametrize(
    ("faulty", "where", "cure"),
    [
        ("Hello", "type str", '"messages"'),
        (None, "None", '"messages"'),
        ([USER], "type list", '"messages"'),
        ({"messages": [USER]}, 'no "model"', "gpt-4o-mini"),
        (request(model=""), '"model" is empty', "gpt-4o-mini"),
        (request(model="  "), '"model" is empty', "gpt-4o-mini"),
        (request(model=7), "type int", "string"),
        ({"model": "m"}, 'no "messages"', '[{"role": "user", "content": "Hello"}]'),
        (request(messages="Hello"), "type str", "give a list"),
        (request(messages=USER), "type dict", "give a list"),
        (request(messages=[]), "is empty", "at least one"),
        (request(messages=[USER, USER, "x"]), "messages[2]", "a dict like"),
        (with_message(content="x"), 'messages[2] has no "role"', '"user"'),
        (with_message(role=3, content="x"), "messages[2]", '"user"'),
        (with_message(role="user"), 'messages[2] has no "content"', "give it some"),
        (with_message(role="assistant", tool_calls=[]), 'messages[2] has no "content"', "give it some"),
        (with_message(role="user", content=b"x"), "type bytes", "string"),
        (with_message(role="user", content=["x"]), "messages[2].content[0]", '{"type": "text"'),
        (with_message(role="user", content={"type": "text"}), "type dict", "list of part dicts"),
        (with_message(role="user", content="x", name=float("nan")), "messages[2].name is NaN", "finite"),
        (request(messages=[USER | {3: "x"}]), "messages[0] has a key of type int", "strings"),
        (request() | {3: "x"}, "3", "strings"),
        (request(temperature=float("nan")), "temperature is NaN", "leave it out"),
        (request(extra_body={"a": [0, {"b": float("inf")}]}), "extra_body.a[1].b is infinite", "finite"),
        (
            with_message(role="user", content="ab\ud83d"),
            "messages[2].content",
            'text.encode("utf-8", "replace").decode()',
        ),
        (
            with_message(role="user", content=[{"type": "text", "text": "é\udc00"}]),
            "messages[2].content[0].text has half a character (a lone surrogate) at position 1",
            'text.encode("utf-8", "replace").decode()',
        ),
    ],
)
def test_faults_are_named_with_their_cure(faulty: Any, where: str, cure: str) -> None:
    """Every fault is refused with the place that it is in and with what to do."""
    with pytest.raises(InvalidInputError) as caught:
        check_request(faulty)
    assert where in str(caught.value)
    assert cure in str(caught.value)


def test_objects_with_a_dump_are_shown_the_way() -> None:
    """A message that is an object, as answers carry them, is refused with the call that turns it into a dict."""

    class Message:
        def model_dump(self) -> dict[str, str]:
            return USER

    with pytest.raises(InvalidInputError, match=r"messages\[1\] is of type Message; pass its \.model_dump\(\)"):
        check_request(request(messages=[USER, Message()]))


def test_circles_and_depth_are_faults() -> None:
    """Data that contain themselves, or that are nested absurdly deep, are refused and overflow nothing."""
    circle: list[Any] = []
    circle += [circle, circle]
    deep: Any = 0
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    for value, reason in ((circle, "contains itself"), (deep, "nested more than 100 deep")):
        for faulty in (request(metadata=value), with_message(role="user", content="", extra=value)):
            with pytest.raises(InvalidInputError, match=reason) as caught:
                check_request(faulty)
            assert len(str(caught.value)) < 400


def test_shared_data_are_walked_once() -> None:
    """Data that share their parts, doubled forty times, are no circle and take no time."""
    shared: Any = [1.0]
    for _ in range(40):
        shared = [shared, shared]
    check_request(request(metadata=shared))


def test_values_are_never_quoted() -> None:
    """No fault shows the content of a request."""
    for faulty in (request(model=["sk-secret"]), with_message(role="user", content="sk-secret\ud83d")):
        with pytest.raises(InvalidInputError) as caught:
            check_request(faulty)
        assert "sk-secret" not in str(caught.value)


def test_other_calls_need_no_messages() -> None:
    """A call that is not a chat may come without messages, and its other parameters are checked all the same."""
    check_request({"model": "m", "input": ["a", "b"]}, operation_named("embeddings"))
    with pytest.raises(InvalidInputError, match="dimensions is NaN"):
        check_request({"model": "m", "input": "a", "dimensions": float("nan")}, operation_named("embeddings"))


@pytest.mark.parametrize("wrong", ["text", b"bytes", bytearray(), None, 7, {"model": "m"}, UserDict()])
def test_a_batch_is_a_list_of_requests(wrong: object) -> None:
    """What cannot be a batch is refused, as a `ValueError` too, with the words that say what to pass."""
    with pytest.raises(ValueError, match="a list of request dicts") as caught:
        check_requests(wrong)
    assert isinstance(caught.value, InvalidInputError)


def test_any_other_iterable_is_a_batch() -> None:
    """Lists, generators and empty batches pass, and nothing is taken from them."""
    lazy = (request() for _ in range(3))
    assert check_requests(lazy) is lazy
    assert len(list(lazy)) == 3
    assert check_requests([]) == []
