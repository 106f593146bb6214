"""Requests from prompts: one each, sharing nothing."""

from collections import UserDict
from typing import Any

import pytest

from llm_api_client.errors import InvalidInputError
from llm_api_client.prepare.build import chat_requests
from llm_api_client.prepare.check import check_request

USER = {"role": "user", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief."}


def test_one_request_for_each_prompt() -> None:
    """Each prompt, in order, becomes a user message to the model, with the parameters given."""
    assert chat_requests(["one", "two"], "m", temperature=0, stop=["."]) == [
        {"model": "m", "messages": [{"role": "user", "content": prompt}], "temperature": 0, "stop": ["."]}
        for prompt in ("one", "two")
    ]


def test_any_iterable_of_prompts_will_do() -> None:
    """A generator, a tuple and an empty list are prompts like any others."""
    assert len(chat_requests((f"{number}" for number in range(3)), "m")) == 3
    assert len(chat_requests(("a", "b"), "m")) == 2
    assert chat_requests([], "m") == []


def test_lists_of_messages_are_taken_as_they_are() -> None:
    """A prompt that is a list of messages, images and calls included, is the request's messages."""
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}]}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}
    built = chat_requests([[USER, call, image], (UserDict(USER),), "text"], "m")
    assert [request["messages"] for request in built] == [
        [USER, call, image], [USER], [{"role": "user", "content": "text"}],
    ]  # fmt: skip


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_system_message_comes_first_unless_there_is_one(role: str) -> None:
    """`system` stands before each prompt, but not before messages that bring instructions of their own."""
    own = [{"role": role, "content": "Mine."}, USER]
    built = chat_requests(["Hello", [USER], own], "m", system="Be brief.")
    assert [request["messages"] for request in built] == [[SYSTEM, USER], [SYSTEM, USER], own]


def test_requests_share_nothing() -> None:
    """Whatever is changed in one request changes neither another one nor what was given."""
    given = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    params: dict[str, Any] = {
        "stop": ["."],
        "tools": [{"function": {"parameters": {}}}],
        "logit_bias": {1: 2},
        "pairs": (["a"],),
    }
    first, second = chat_requests([given, given], "m", system="Be brief.", **params)
    first["messages"][0]["content"] = first["messages"][1]["role"] = "changed"
    first["messages"][1]["content"][0]["text"] = "changed"
    first["messages"].append({})
    first["stop"].append("!")
    first["tools"][0]["function"]["parameters"]["type"] = "object"
    first["logit_bias"].clear()
    first["pairs"][0].append("b")
    expected = {
        "stop": ["."], "tools": [{"function": {"parameters": {}}}], "logit_bias": {1: 2}, "pairs": (["a"],),
    }  # fmt: skip
    assert params == expected
    assert given == [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    assert second == {"model": "m", "messages": [SYSTEM, *given], **expected}


def test_objects_stay_themselves() -> None:
    """A parameter that is no plain data, such as a class, a client or a tuple of numbers, is passed on as it is."""

    class Answer:
        pass

    client = object()
    for request in chat_requests(["a", "b"], "m", response_format=Answer, client=client, timeout=(5, 30)):
        assert request["response_format"] is Answer
        assert request["client"] is client
        assert request["timeout"] == (5, 30)


@pytest.mark.parametrize("wrong", ["Label this.", b"x", None, 7, {"a": "Label this."}])
def test_a_single_prompt_is_not_a_list(wrong: Any) -> None:
    """One text, whose characters would each be asked, and whatever else is no list of prompts, is refused."""
    with pytest.raises(InvalidInputError, match="give a list of prompts") as caught:
        chat_requests(wrong, "m")
    assert caught.value.index is None


@pytest.mark.parametrize(
    ("wrong", "cure"),
    [
        (None, "the prompt is None; give a string"),
        (float("nan"), "of type float; give a string"),
        (b"x", "of type bytes; give a string"),
        (USER, "give its text, or put one conversation's messages into a list"),
        ([], "give at least one"),
        (["Hello"], r"messages\[0\] is of type str; give a dict like"),
        ([{"type": "text", "text": "Hello"}], r'messages\[0\] has no "role"; give "user"'),
        ("half \ud83d", "lone surrogate"),
    ],
)
def test_a_prompt_at_fault_is_named_with_its_cure(wrong: Any, cure: str) -> None:
    """What is no prompt is refused with its position and with what to do."""
    with pytest.raises(InvalidInputError, match=f"^request 2: .*{cure}") as caught:
        chat_requests(["one", "two", wrong, "four"], "m")
    assert caught.value.index == 2


@pytest.mark.parametrize(
    ("model", "options", "cure"),
    [
        (None, {}, "name one"),
        ("", {}, '"model" is empty'),
        ("m", {"temperature": float("nan")}, "temperature is NaN; leave it out"),
        ("m", {"system": ["Be brief."]}, "system is of type list; give its text as a string"),
        ("m", {"system": "half \ud83d"}, "lone surrogate"),
        ("m", {"messages": [USER]}, "each prompt may itself be a list of messages"),
        ("m", {"fallbacks": ["other"]}, "leave it out"),
    ],
)
def test_what_all_share_is_checked_once(model: Any, options: dict[str, Any], cure: str) -> None:
    """A fault of the model, the system message or a parameter is no prompt's, and found even without prompts."""
    for prompts in ([], ["one"]):
        with pytest.raises(InvalidInputError, match=cure) as caught:
            chat_requests(prompts, model, **options)
        assert caught.value.index is None


def test_built_requests_can_be_sent() -> None:
    """What is built passes the check that every request passes before it is sent."""
    for request in chat_requests(["", "é 漢 🙂", [USER]], "m", system="Be brief.", top_p=0.5):
        check_request(request)
