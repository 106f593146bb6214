"""Truncation keeps what matters most, in order and whole, and fills the context."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_api_client.prepare.messages import instructions, media, newest_turn, texts, units
from llm_api_client.prepare.truncate import MARKER, truncate

Message = dict[str, Any]
Count = Callable[[Any], int]

OVERHEAD = 3
IMAGE = 50


def _all_texts(message: Any) -> list[str]:
    return texts(message) + [call["function"]["arguments"] for call in message.get("tool_calls") or ()]


def by_words(message: Any) -> int:
    return 3 + IMAGE * media(message) + sum(len(text.split()) for text in _all_texts(message))


def by_fours(message: Any) -> int:
    return 3 + IMAGE * media(message) + sum(len(text) // 4 for text in _all_texts(message))


def by_bytes(message: Any) -> int:
    return 3 + IMAGE * media(message) + sum(len(text.encode()) for text in _all_texts(message))


COUNTS = [by_words, by_fours, by_bytes]


def said(role: str, content: Any, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


def words(n: int, word: str = "word") -> str:
    return " ".join(f"{word}{i}" for i in range(n))


def call(i: str, arguments: str = "{}") -> Message:
    return said("assistant", None, tool_calls=[{"id": i, "function": {"name": "f", "arguments": arguments}}])


def answer(i: str, content: Any = "42") -> Message:
    return said("tool", content, tool_call_id=i)


def size(messages: Sequence[Any], count: Count = by_words) -> int:
    return OVERHEAD + sum(map(count, messages))


def cut(messages: Sequence[Message], limit: int, count: Count = by_words) -> list[Any]:
    fitted = truncate(messages, limit, count, OVERHEAD)
    assert fitted.tokens == size(fitted.messages, count)
    return fitted.messages


CHAT = [
    said("system", words(10)),
    *(said(role, words(50, f"{role}{i}_")) for i in range(10) for role in ("user", "assistant")),
    said("user", "and now?"),
]


def test_what_fits_is_returned_as_it_is() -> None:
    """A history that fits comes back unchanged."""
    assert cut(CHAT, size(CHAT)) == CHAT
    assert cut([], 10) == []


def test_each_message_is_counted_once() -> None:
    """Each message is counted once, the cut a handful of times more, and what is given up unseen not at all."""
    counted: list[Any] = []

    def count(message: Any) -> int:
        counted.append(message)
        return by_words(message)

    truncate(CHAT, size(CHAT) // 2, count, OVERHEAD)
    times = [sum(message is m for m in counted) for message in CHAT]
    assert times[0] == 1
    assert times[1:] == sorted(times[1:])
    assert set(times) == {0, 1}
    assert len(counted) <= sum(times) + 12


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_the_context_is_filled_from_the_newest(count: Count, share: float) -> None:
    """Instructions and a suffix of the history are kept, its first message cut to its end, within 10 % of the limit."""
    limit = int(size(CHAT, count) * share)
    kept = cut(CHAT, limit, count)
    assert 0.9 * limit <= size(kept, count) <= limit
    rest = len(kept) - 2
    assert kept[0] is CHAT[0]
    assert kept[2:] == CHAT[-rest:]
    assert CHAT[-rest - 1]["content"].endswith(kept[1]["content"])
    assert CHAT[-rest - 1]["role"] == kept[1]["role"]


def test_a_message_too_long_by_itself_loses_its_middle() -> None:
    """The newest message, too long by itself, keeps its beginning and its end about a marker."""
    text = words(1000)
    (kept,) = cut([said("user", text)], 100)
    head, _, tail = kept["content"].partition(MARKER)
    assert head
    assert tail
    assert text.startswith(head)
    assert text.endswith(tail)
    assert 90 <= size([kept]) <= 100


def test_instructions_stay_whole_while_they_fit() -> None:
    """Instructions are not cut for the sake of the newest message, wherever in the history they stand."""
    history = [
        said("system", words(60)),
        said("user", words(500)),
        said("developer", words(20)),
        said("user", words(500)),
    ]
    kept = cut(history, 150)
    assert [m["role"] for m in kept] == ["system", "developer", "user"]
    assert kept[:2] == [history[0], history[2]]
    assert size(kept) >= 135


def test_instructions_too_long_by_themselves_are_cut() -> None:
    """Instructions that exceed the limit alone lose their middle, and leave the question its place."""
    kept = cut([said("system", words(1000)), said("user", "what now?")], 100)
    assert [m["role"] for m in kept] == ["system", "user"]
    assert MARKER in kept[0]["content"]
    assert kept[1]["content"] == "what now?"
    assert 90 <= size(kept) <= 100


def test_a_call_is_never_parted_from_its_answers() -> None:
    """Calls and answers stay together at every limit, and a call's arguments are never cut."""
    history = [said("user", words(30))]
    for i in range(5):
        history += [call(f"{i}a"), answer(f"{i}a", words(30)), said("user", words(20))]
    for limit in range(10, size(history)):
        kept = cut(history, limit)
        assert {m["tool_call_id"] for m in kept if m["role"] == "tool"} == {
            c["id"] for m in kept for c in m.get("tool_calls", ())
        }
        assert size(kept) <= limit


def test_a_long_turn_gives_up_its_own_oldest_steps() -> None:
    """A newest turn that is too long keeps its question and its last steps."""
    history = [said("user", "go on"), *(m for i in range(50) for m in (call(str(i)), answer(str(i), words(20))))]
    kept = cut(history, 200)
    assert kept[0] == history[0]
    assert kept[-2:] == history[-2:]
    assert 180 <= size(kept) <= 200


def test_the_answer_to_the_newest_call_loses_its_middle() -> None:
    """A long answer to the newest call is cut, and the question before it is not."""
    kept = cut([said("user", "read it"), call("a"), answer("a", words(1000))], 100)
    assert [m["role"] for m in kept] == ["user", "assistant", "tool"]
    assert kept[0]["content"] == "read it"
    assert MARKER in kept[2]["content"]
    assert 90 <= size(kept) <= 100


def test_a_call_too_long_to_be_kept_leaves_the_question() -> None:
    """Where the newest call alone exceeds the limit, it goes with its answers, and the question stays as it was."""
    history = [said("system", "Be brief."), said("user", "read it"), call("a", words(500)), answer("a")]
    assert cut(history, 20) == [history[1]]


def test_only_the_text_of_parts_is_cut() -> None:
    """An image stays while it fits, and the text beside it is cut."""
    image = {"type": "image_url", "image_url": {"url": "u"}}
    content = [{"type": "text", "text": words(200)}, image, {"type": "text", "text": words(200, "tail")}]
    (kept,) = cut([said("user", content)], 120)
    assert image in kept["content"]
    assert kept["content"][-1]["text"].endswith("tail199")
    assert 108 <= size([kept]) <= 120


def test_images_that_alone_are_too_large_go() -> None:
    """Where images alone exceed the limit, they go, and the message stays."""
    image = {"type": "image_url", "image_url": {"url": "u"}}
    assert cut([said("user", [image] * 9)], 60) == [said("user", MARKER.strip())]
    kept = cut([said("user", [image, {"type": "text", "text": "what is it?"}])], 20)
    assert kept == [said("user", [{"type": "text", "text": "what is it?"}])]


def test_text_of_uneven_density_is_cut_as_exactly() -> None:
    """The cut is within 10 % even where one half of the text is a hundred times denser than the other."""
    for text in ("漢" * 5000 + " " * 500_000, " " * 500_000 + "漢" * 5000, ("漢" * 50 + " " * 9000) * 99):
        for history in ([said("user", text)], [said("user", text), said("user", "漢")]):
            kept = cut(history, 3000, lambda message: sum(t.count("漢") for t in texts(message)) + 3)
            assert 2700 <= OVERHEAD + sum(3 + m["content"].count("漢") for m in kept) <= 3000


TEXTS = (
    st.text(max_size=200)
    | st.builds(words, st.integers(0, 200))
    | st.just("")
    | st.sampled_from(["🙂" * 99, "漢字" * 99])
)
PARTS = st.lists(
    st.builds(lambda t: {"type": "text", "text": t}, TEXTS) | st.just({"type": "image_url", "image_url": {"url": "u"}}),
    max_size=3,
)


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    history: list[Message] = []
    for step in range(draw(st.integers(1, 8))):
        role = draw(st.sampled_from(["system", "developer", "user", "user", "assistant", "call", "orphan"]))
        if role == "call":
            ids = [f"{step}.{i}" for i in range(draw(st.integers(1, 3)))]
            calls = [{"id": i, "function": {"name": "f", "arguments": draw(st.text(max_size=50))}} for i in ids]
            history.append(said("assistant", draw(st.none() | TEXTS), tool_calls=calls))
            history += [answer(i, draw(TEXTS)) for i in ids]
        elif role == "orphan":
            history.append(answer("nobody", draw(TEXTS)))
        else:
            history.append(said(role, draw(TEXTS | st.none() | PARTS)))
    return history


def _joined(message: Message) -> str:
    return "".join(texts(message))


@settings(max_examples=400, deadline=None)
@given(histories(), st.integers(0, 3000), st.sampled_from(COUNTS))
def test_the_laws_of_truncation(history: list[Message], limit: int, count: Count) -> None:
    """Whatever the history, the limit and the tokenizer, every law of truncation holds."""
    for index, message in enumerate(history):
        message["index"] = index
    before = deepcopy(history)
    kept = cut(history, limit, count)

    assert history == before, "the input is not changed"
    assert kept, "the result is not empty"
    places = [m["index"] for m in kept]
    assert places == sorted(set(places)), "the order stays"
    assert all(m["role"] == history[m["index"]]["role"] for m in kept), "roles stay"
    assert all(m.get("tool_calls") == history[m["index"]].get("tool_calls") for m in kept), "calls stay whole"
    if size(history, count) <= limit:
        assert kept == history, "what fits is unchanged"
        return
    groups = units(history)
    assert all(len({i in places for i in unit}) == 1 for unit in groups), "a unit stays or goes whole"
    whole_again = [m for m in kept if m == history[m["index"]]]
    changed = [m for m in kept if m != history[m["index"]]]
    assert all(len(_joined(m)) <= len(_joined(history[m["index"]])) + len(MARKER) for m in changed), "texts only lose"

    must = {*instructions(history)} | {i for unit in groups[newest_turn(history, groups) :] for i in unit}
    if OVERHEAD + sum(count(history[i]) for i in must) <= limit:
        assert must <= {m["index"] for m in whole_again}, "instructions and newest turn stay whole where they fit"
        others = [i for i in places if i not in must]
        assert all(m["index"] in must or m["index"] in _unit_of(groups, min(others)) for m in changed), (
            "one unit is cut"
        )
        optional = [i for unit in groups for i in unit if i not in must]
        assert others == optional[len(optional) - len(others) :], "the oldest go first"
    smallest = OVERHEAD + min(count(said("user", "")) + 2, 5)
    has_calls = any(len(unit) > 1 or history[unit[0]].get("tool_calls") for unit in groups)
    if limit >= smallest and not has_calls:
        assert size(kept, count) <= limit, "the limit is kept"


def _unit_of(groups: list[tuple[int, ...]], index: int) -> tuple[int, ...]:
    return next(unit for unit in groups if index in unit)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.integers(1, 300)), min_size=1), st.integers(40, 4000)
)
@pytest.mark.parametrize("count", COUNTS)
def test_plain_histories_fill_the_limit(count: Count, talk: list[tuple[str, int]], limit: int) -> None:
    """A history of plain texts that is cut comes within 10 % of the limit, give or take a word."""
    history = [said(role, words(n)) for role, n in talk]
    kept = cut(history, limit, count)
    assert size(kept, count) <= limit
    if size(history, count) > limit:
        assert size(kept, count) >= 0.9 * limit - 6
