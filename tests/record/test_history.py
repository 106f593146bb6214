"""The history: plain dicts of what was asked and what came of it."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from llm_api_client.errors import RateLimitError
from llm_api_client.record.history import History
from llm_api_client.records import Result
from llm_api_client.secrets import masked
from llm_api_client.testing import ScriptedAnswer

KEYS = ["request", "response", "content", "created_at", "error", "attempts", "model", "cost", "latency"]


def answered(number: int = 0, response: object = None) -> Result:
    request = {"model": "m", "messages": [{"role": "user", "content": f"{number}"}]}
    response = ScriptedAnswer(f"answer {number}") if response is None else response
    return Result(number, request, response, attempts=1, latency=0.5, cost=0.001, created_at=1e9 + number, model="m")


def history_of(count: int, limit: int | None = None) -> History:
    history = History(limit)
    for number in range(count):
        history.append(answered(number))
    return history


def test_an_entry_is_a_plain_dict():
    """An entry has the documented keys, the answer as a dict, its text, and local time to the second."""
    [entry] = history_of(1)
    assert list(entry) == KEYS
    assert entry["response"]["choices"][0]["message"]["content"] == entry["content"] == "answer 0"
    assert datetime.strptime(entry["created_at"], "%Y-%m-%d %H:%M:%S").astimezone().timestamp() == 1e9
    assert (entry["error"], entry["attempts"], entry["model"], entry["cost"], entry["latency"]) == (
        None, 1, "m", 0.001, 0.5
    )  # fmt: skip


def test_a_failure_has_its_reason_and_no_response():
    """A failed request's entry names the class of its error and what it said."""
    history = History()
    history.append(Result(2, {"model": "m"}, error=RateLimitError("slow down", index=2)))
    assert history[0]["error"] == "RateLimitError: slow down"
    assert history[0]["response"] is None
    assert history[0]["content"] is None


def test_it_can_be_written_as_json(litellm):
    """An entry with LiteLLM's own answer is plain data all through."""
    response = litellm.completion(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}], mock_response="Hello"
    )
    history = History()
    history.append(answered(response=response))
    [read] = json.loads(json.dumps(list(history)))
    assert read["content"] == "Hello"
    assert read["response"]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(("limit", "kept"), [(None, [0, 1, 2, 3, 4]), (3, [2, 3, 4]), (0, []), (9, [0, 1, 2, 3, 4])])
def test_the_limit_keeps_the_newest(limit, kept):
    """With a limit the newest entries stay, oldest first; without one all do."""
    history = history_of(5, limit)
    assert [entry["content"] for entry in history] == [f"answer {number}" for number in kept]
    assert len(history) == len(kept)


def test_it_is_read_like_a_list():
    """Indices, slices, iteration, `in`, `reversed`, equality and truth are a list's."""
    history = history_of(4)
    entries = list(history)
    assert history == entries
    assert history[-1] == entries[-1]
    assert history[1:3] == entries[1:3]
    assert history[::-1] == list(reversed(history)) == entries[::-1]
    assert entries[2] in history
    assert history != entries[:3]
    assert history != "not a list"
    assert history == history_of(4)
    assert not History()
    assert history
    with pytest.raises(IndexError):
        history[4]
    with pytest.raises(TypeError):
        hash(history)
    assert repr(history) == "<History of 4 requests>"


def test_clearing_forgets_everything():
    """After `clear` nothing is left, and new entries come in."""
    history = history_of(3)
    history.clear()
    assert history == []
    history.append(answered(7))
    assert len(history) == 1


def test_answers_become_dicts_only_when_they_are_read():
    """Recording an answer does not dump it: that costs time which a batch of a million would feel."""

    class Answer(ScriptedAnswer):
        dumps = 0

        def model_dump(self):
            Answer.dumps += 1
            return super().model_dump()

    history = History()
    for number in range(10):
        history.append(answered(number, Answer()))
    assert Answer.dumps == 0
    assert history[3]["response"]["model"] == "scripted"
    assert Answer.dumps == 1


def test_secrets_are_masked_and_the_caller_s_containers_are_not_shared():
    """What the caller does to a request afterwards changes no entry, and no entry shows its key."""
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "api_key": "sk-mine"}
    history = History()
    history.append(Result(0, masked(request)))
    request["messages"][0]["content"] = "changed"
    request["messages"].append({})
    assert history[0]["request"] == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "api_key": "***"}


def test_an_entry_that_is_changed_does_not_change_the_history():
    """Each reading makes an entry anew, its request included."""
    history = history_of(1)
    history[0]["request"]["messages"].clear()
    history[0]["response"]["choices"].clear()
    assert history[0]["request"]["messages"] == [{"role": "user", "content": "0"}]
    assert history[0]["content"] == "answer 0"
    assert history[0]["response"]["choices"]


def test_answers_without_a_dump_are_shown_as_they_are():
    """A custom callable's text or dict is an entry's response itself."""
    history = History()
    history.append(answered(response="plain text"))
    history.append(answered(response={"a": 1}))
    assert [entry["response"] for entry in history] == ["plain text", {"a": 1}]


def test_many_threads_may_append_and_read():
    """Entries of concurrent batches are all kept, and reading meanwhile never fails."""
    history = History()

    def work(number: int) -> None:
        for _ in range(20):
            history.append(answered(number))
            assert len(history[-5:]) <= 5
            assert sum(1 for _ in history) > 0

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(history) == 160
