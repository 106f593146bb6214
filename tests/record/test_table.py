"""Rows: the same columns, wherever results were recorded."""

from datetime import UTC, datetime
from typing import Any

import pytest

from llm_api_client.errors import AnswerValidationError, InvalidInputError, RateLimitError
from llm_api_client.record.history import History
from llm_api_client.record.table import COLUMNS, excerpt_of, row_of, rows_of
from llm_api_client.records import Result, Usage
from llm_api_client.testing import ScriptedAnswer

DOCUMENTED = [
    "index", "model", "prompt", "content", "parsed", "error_type", "error", "attempts", "latency", "cost",
    "prompt_tokens", "completion_tokens", "total_tokens", "finish_reason", "replayed", "created_at", "state",
    "identity", "occurrence",
]  # fmt: skip
MOMENT = datetime(2030, 1, 2, 3, 4, 5, 250_000, UTC)
TEXT = {"type": "text", "text": "a text"}
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Which label?"}]}


def answered(index: int = 0, **more: Any) -> Result:
    known: dict[str, Any] = {
        "response": ScriptedAnswer("positive"),
        "attempts": 2,
        "latency": 0.5,
        "cost": 0.001,
        "usage": Usage(10, 5),
        "created_at": MOMENT.timestamp(),
        "model": "m",
    }
    return Result(index, REQUEST, **known | more)


def stored(**more: Any) -> dict[str, Any]:
    """An answer's row as a checkpoint gives it."""
    known: dict[str, Any] = {
        "state": "answered",
        "identity": "00ff" * 8,
        "occurrence": 0,
        "model": "m",
        "prompt": "Which label?",
        "content": "positive",
        "created_at": MOMENT.timestamp(),
        "attempts": 2,
        "latency": 0.5,
        "cost": 0.001,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "error_type": None,
        "error": None,
        "response": ScriptedAnswer("positive").model_dump(),
    }
    return known | more


def test_an_answer_s_row():
    """An answered request's row has every documented column, in order, and what the result says in it."""
    row = row_of(answered(7, parsed={"label": "positive"}))
    assert list(row) == DOCUMENTED == list(COLUMNS)
    assert list(row.values()) == [
        7, "m", "Which label?", "positive", {"label": "positive"}, None, None, 2, 0.5, 0.001, 10, 5, 15, "stop", False,
        MOMENT, "answered", None, None,
    ]  # fmt: skip


def test_a_failure_s_row():
    """A failed request's row names the error's class and what it said, without the index, and has no answer."""
    row = row_of(Result(3, REQUEST, error=RateLimitError("slow down", index=3), created_at=1.0))
    assert (row["state"], row["error_type"], row["error"]) == ("failed", "RateLimitError", "slow down")
    assert (row["attempts"], row["prompt"]) == (0, "Which label?")
    for unknown in ("content", "parsed", "latency", "cost", "prompt_tokens", "total_tokens", "finish_reason"):
        assert row[unknown] is None


def test_an_answer_that_was_refused_is_shown():
    """The text of an answer that failed validation is the row's content: it was paid for."""
    row = row_of(Result(0, REQUEST, error=AnswerValidationError("not a label", content="perhaps")))
    assert (row["content"], row["state"]) == ("perhaps", "failed")


def test_a_checkpoint_s_row_differs_only_in_what_only_it_knows():
    """The same answer read from a checkpoint makes the same row, but for its index, identity and occurrence."""
    row, kept = row_of(answered()), row_of(stored())
    assert list(kept) == list(row)
    assert {name for name in row if row[name] != kept[name]} == {"index", "identity", "occurrence"}
    assert (kept["index"], kept["identity"], kept["occurrence"]) == (None, "00ff" * 8, 0)


def test_a_claim_s_row():
    """A request whose end was not recorded has its state, and None for everything unknown."""
    unknown = dict.fromkeys(
        ("content", "attempts", "latency", "cost", "prompt_tokens", "completion_tokens", "response")
    )
    row = row_of(stored(state="possibly paid", **unknown))
    assert row["state"] == "possibly paid"
    assert (row["content"], row["attempts"], row["total_tokens"], row["finish_reason"]) == (None, None, None, None)


def test_the_history_and_its_results_make_the_same_rows():
    """Rows of a history are those of the results in it, usage, index and time included."""
    history = History()
    results = [answered(), answered(1, replayed=True), Result(2, "no dict", error=InvalidInputError("what is this"))]
    for result in results:
        history.append(result)
    assert list(rows_of(history)) == list(rows_of(results)) == [row_of(result) for result in results]
    assert [row["replayed"] for row in rows_of(history)] == [False, True, False]


def test_rows_are_made_one_at_a_time():
    """Nothing is taken from the source before its row is asked for."""
    taken = []
    rows = rows_of(taken.append(number) or answered(number) for number in range(3))
    assert taken == []
    assert next(rows)["index"] == 0
    assert taken == [0]


def test_nothing_makes_no_rows():
    """An empty source has no rows."""
    assert list(rows_of([])) == list(rows_of(History())) == []


@pytest.mark.parametrize("wrong", [None, 7, "labels.db", answered(), stored()])
def test_what_holds_no_results_is_refused(wrong):
    """A single result, or what cannot be iterated, is refused before anything is read."""
    with pytest.raises(InvalidInputError, match=r"a row is made of a Result"):
        rows_of(wrong)


@pytest.mark.parametrize("wrong", [None, "text", ScriptedAnswer(), {"a": 1}])
def test_what_is_no_result_is_refused_with_its_position(wrong):
    """Answers themselves, and the None of a failed slot, are not results: the message says what is."""
    with pytest.raises(InvalidInputError, match=r"^request 1: .*client\.history") as caught:
        list(rows_of([answered(), wrong]))
    assert caught.value.index == 1


def test_entries_of_the_history_are_refused():
    """An entry of the history lacks half of the columns; the message says to give the history."""
    history = History()
    history.append(answered())
    with pytest.raises(InvalidInputError, match=r"give client\.history itself"):
        list(rows_of(history[:]))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "user", "content": "x" * 500}], "x" * 160),
        ([{"role": "user", "content": "first"}, {"role": "user", "content": "last"}, {"role": "assistant"}], "last"),
        (({"role": "user", "content": "in a tuple"},), "in a tuple"),
        ([{"role": "user", "content": [TEXT, {"type": "image_url"}, TEXT]}], "a text\na text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], None),
        ([{"role": "user", "content": None}], None),
        ([{"role": "system", "content": "Be brief."}], None),
        ([{"role": "user", "content": "half \ud83d"}], "half ?"),
        ([None, "x"], None),
        ([], None),
        ("Hello", None),
        (None, None),
    ],
)  # fmt: skip
def test_the_excerpt_is_the_beginning_of_the_last_user_message(messages, expected):
    """What the user said last, cut to 160 characters; None where there is none, whatever the request looks like."""
    assert excerpt_of({"messages": messages}) == expected


@pytest.mark.parametrize("request_", [None, "Hello", [], {}, {"file": "Hello"}])
def test_what_is_no_chat_has_no_excerpt(request_):
    """A request of any other form, or of none, has no excerpt and spoils no row."""
    assert excerpt_of(request_) is None
    assert row_of(Result(0, request_))["prompt"] is None


@pytest.mark.parametrize("response", ["text", {"a": 1}, {"choices": []}, {"choices": [{"finish_reason": 3}]}, None])
def test_answers_of_any_form_have_a_row(response):
    """A custom callable's answer without choices has no finish reason, and none is made up."""
    assert row_of(Result(0, REQUEST, response))["finish_reason"] is None
    assert row_of(stored(response=response))["finish_reason"] is None


def test_texts_can_be_written_anywhere():
    """Half a character, which no encoding carries, becomes a question mark; every whole one stays."""
    row = row_of(answered(response=ScriptedAnswer("é 漢 🙂 \ud83d")))
    assert row["content"] == "é 漢 🙂 ?"
    assert row_of(stored(content="\udc00"))["content"] == "?"
