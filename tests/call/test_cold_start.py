"""Many calls of a kind at once of which nothing is known yet: a few show how it is done, and the others do likewise."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from llm_api_client import APIClient, errors
from llm_api_client.call import litellm_door
from llm_api_client.call.sender import Sender
from llm_api_client.call.turns import FIRST

from .conftest import KEY
from .raw import RawServer, Said
from .test_direct_contract import answer, http
from .test_direct_lane import Counted, lane

__all__ = ["lane"]

MANY = 60
A_FEW = 4 * FIRST
PATIENCE = 10.0


def many(lane: Counted, base: str, count: int = MANY) -> list[Any]:
    """What comes of so many calls at once, each in a thread: texts, or what was raised."""

    def one(number: int) -> Any:
        try:
            return lane(base, prompt=f"say {number}")
        except Exception as raised:  # noqa: BLE001  it is looked at
            return raised

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.fixture
def raw() -> Iterator[RawServer]:
    with RawServer() as server:
        server.said = echoed
        yield server


def echoed(request: bytes) -> Said:
    """An answer that says what was asked."""
    asked = json.loads(request.partition(b"\r\n\r\n")[2])["messages"][-1]["content"]
    return http(answer(asked))


def together(count: int) -> Callable[[bytes], Said]:
    """Answers once so many requests are there."""
    all_there = threading.Barrier(count)

    def said(request: bytes) -> Said:
        all_there.wait(PATIENCE)
        return echoed(request)

    return said


def test_of_many_calls_at_once_a_few_go_through_litellm(lane, raw):
    """Nobody waits for an answer: the others go as soon as two were seen to leave; and likewise of the answers."""
    raw.said = together(MANY)
    assert many(lane, raw.base_url) == [f"say {number}" for number in range(MANY)]
    assert len(raw.requests) == MANY
    # The first to be sent, and of the answers a few: each that is made lets another be made, until it is proven.
    assert lane.asked <= A_FEW


def test_one_call_before_them_changes_nothing(lane, raw):
    """As after a first try in a notebook."""
    many(lane, raw.base_url, 1)
    raw.said = together(MANY)
    assert many(lane, raw.base_url) == [f"say {number}" for number in range(MANY)]
    assert lane.asked <= 1 + A_FEW


def test_where_the_first_fail_the_others_find_out_themselves(lane):
    """A server that is not there fails each of them, for its own reason."""
    with RawServer() as gone:
        base = gone.base_url
    came = many(lane, base, 20)
    assert all(isinstance(each, openai.APIError) for each in came)
    assert lane.asked == 20


def test_an_error_that_answers_all_is_each_one_s_own(lane, raw):
    """Errors are LiteLLM's to read, and nobody waits for those of others."""
    raw.said = http({"error": {"message": "no such thing"}}, 400)
    came = many(lane, raw.base_url, 20)
    assert all("no such thing" in str(each) for each in came)
    assert len(raw.requests) == 20


def test_calls_of_which_nothing_can_be_learned_never_wait_again(lane, raw, monkeypatch):
    """Where LiteLLM sends another header each time, the first such calls are waited for once, and then none."""
    numbers = iter(range(10_000))
    monkeypatch.setattr(openai.OpenAI, "_idempotency_key", lambda _: f"key-{next(numbers)}")
    create = litellm_door.openai_client

    def client(*args: Any) -> Any:
        made = create(*args)
        made._idempotency_header = "Idempotency-Key"
        return made

    monkeypatch.setattr(litellm_door, "openai_client", client)
    assert many(lane, raw.base_url, 10) == [f"say {number}" for number in range(10)]
    raw.said = together(10)
    assert many(lane, raw.base_url, 10) == [f"say {number}" for number in range(10)]
    assert lane.asked == len(raw.requests) == 20


def test_answers_of_which_nothing_can_be_learned_never_wait_again(lane, raw):
    """Each answer of a form of its own is made by LiteLLM, and the others' are not held up."""
    many(lane, raw.base_url, 4)

    def odd(request: bytes) -> Said:
        asked = json.loads(request.partition(b"\r\n\r\n")[2])["messages"][-1]["content"]
        return http(answer(asked, odd=asked))

    raw.said = odd
    assert many(lane, raw.base_url, 20) == [f"say {number}" for number in range(20)]
    assert len(raw.requests) == 24


def test_closing_ends_those_who_wait(lane, raw, monkeypatch):
    """Nobody is left waiting for calls that were cut off before they left."""
    held, reached = threading.Event(), threading.Semaphore(0)
    by_litellm = lane.sender._by_litellm

    def hold(*args: Any) -> Any:
        reached.release()
        assert held.wait(PATIENCE)
        return by_litellm(*args)

    monkeypatch.setattr(lane.sender, "_by_litellm", hold)
    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(many, lane, raw.base_url, 10)
        for _ in range(FIRST):
            assert reached.acquire(timeout=PATIENCE)
        lane.sender.close()
        held.set()
        came = calls.result(PATIENCE)
    assert all(isinstance(each, Exception) for each in came)
    assert raw.requests == []


def test_what_waits_when_a_batch_is_given_up_is_never_sent(litellm, raw, monkeypatch):
    """Calls that had no turn yet cost nothing when the batch's time is over; the first were on their way already."""
    held, reached = threading.Event(), threading.Semaphore(0)
    by_litellm = Sender._by_litellm

    def hold(sender: Sender, *args: Any) -> Any:
        reached.release()
        assert held.wait(PATIENCE)
        return by_litellm(sender, *args)

    monkeypatch.setattr(Sender, "_by_litellm", hold)
    with APIClient(base_url=raw.base_url, api_key=KEY, max_workers=10, progress=False) as client:
        requests = [{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": str(n)}]} for n in range(10)]
        came = client.make_requests(requests, timeout=0.5, return_exceptions=True)
        assert {type(each) for each in came} == {errors.BatchTimeoutError}
        held.set()
        assert len(client.history) == 10
    assert len(raw.requests) <= FIRST


def test_what_waits_when_a_batch_is_interrupted_is_not_sent(litellm, raw, monkeypatch):
    """Ctrl-C waits for calls under way; those that had no turn yet are none of them."""
    held, reached = threading.Event(), threading.Semaphore(0)
    by_litellm = Sender._by_litellm

    def hold(sender: Sender, order: Any, *args: Any) -> Any:
        if order.params["model"] == "gpt-4o":
            for _ in range(FIRST):
                assert reached.acquire(timeout=PATIENCE)
            threading.Timer(0.3, held.set).start()
            raise KeyboardInterrupt
        reached.release()
        assert held.wait(PATIENCE)
        return by_litellm(sender, order, *args)

    monkeypatch.setattr(Sender, "_by_litellm", hold)
    with APIClient(base_url=raw.base_url, api_key=KEY, max_workers=11, progress=False) as client:
        models = ["gpt-4o-mini"] * 10 + ["gpt-4o"]
        requests = [{"model": model, "messages": [{"role": "user", "content": "say"}]} for model in models]
        with pytest.raises(KeyboardInterrupt):
            client.make_requests(requests)
        said = [str(entry["error"]) for entry in client.history]
    assert len(raw.requests) == FIRST == said.count("None")
    assert sum("Not sent before" in each for each in said) == 10 - FIRST
