"""What belongs together in a history, and what is newest."""

from typing import Any

from llm_api_client.prepare.messages import instructions, newest_turn, texts, units, with_texts, without_media

Message = dict[str, Any]


def said(role: str, content: Any = "x", **more: Any) -> Message:
    return {"role": role, "content": content, **more}


def call(*ids: str) -> Message:
    return said("assistant", None, tool_calls=[{"id": i, "function": {"name": "f", "arguments": "{}"}} for i in ids])


def answer(of: str) -> Message:
    return said("tool", "42", tool_call_id=of)


def test_calls_and_their_answers_are_one_unit() -> None:
    """An assistant's calls and all their answers are one unit, in the older form too."""
    history = [
        said("system"),
        said("user"),
        call("a", "b"),
        answer("b"),
        answer("a"),
        said("assistant", None, function_call={"name": "f", "arguments": "{}"}),
        said("function", "1", name="f"),
        said("developer"),
        said("user"),
    ]
    assert instructions(history) == (0, 7)
    assert units(history) == [(1,), (2, 3, 4), (5, 6), (8,)]


def test_an_id_used_again_belongs_to_the_latest_call() -> None:
    """Where a provider counts its ids anew, an answer joins the latest call of its id."""
    assert units([call("0"), answer("0"), call("0"), answer("0")]) == [(0, 1), (2, 3)]


def test_answers_without_a_call_stand_alone() -> None:
    """An answer whose call is not there is a unit of its own."""
    assert units([answer("a"), said("user"), answer("b")]) == [(0,), (1,), (2,)]


def test_the_newest_turn_begins_at_the_last_question() -> None:
    """The newest turn is the last user message and all that follows; without any it is the last unit."""
    history = [said("user"), said("assistant"), said("user"), call("a"), answer("a")]
    assert newest_turn(history, units(history)) == 2
    assert newest_turn(history[3:], units(history[3:])) == 0
    silent = [said("assistant"), call("a"), answer("a")]
    assert newest_turn(silent, units(silent)) == 1
    assert newest_turn([said("system")], []) == 0


def test_texts_are_replaced_where_they_stand() -> None:
    """Text goes back to the part that it came from, emptied parts go, and other parts stay as they are."""
    image = {"type": "image_url", "image_url": {"url": "u"}}
    message = said("user", [{"type": "text", "text": "a"}, image, {"type": "text", "text": "b", "cache_control": {}}])
    assert texts(message) == ["a", "b"]
    assert with_texts(message, ["", "B"])["content"] == [image, {"type": "text", "text": "B", "cache_control": {}}]
    assert texts(message) == ["a", "b"]
    assert without_media(message)["content"] == [message["content"][0], message["content"][2]]
    assert texts(said("assistant", None)) == []
    assert with_texts(said("assistant", None), []) == said("assistant", None)
