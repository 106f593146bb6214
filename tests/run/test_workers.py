"""Threads for calls: what has come already is never taken back."""

import threading
from queue import SimpleQueue
from typing import Any

import pytest

from llm_api_client import APIClient
from llm_api_client.call.sender import Sender
from llm_api_client.records import News
from llm_api_client.run import batch
from llm_api_client.run.workers import Workers
from llm_api_client.testing import ScriptedAnswer

from .conftest import questions

PATIENCE = 10.0


def test_only_what_was_not_sent_is_taken_back():
    """Calls that wait for a thread can be taken back; an answer that waits for one is still made."""
    workers: Workers[str] = Workers(1, "test")
    begun, busy, inbox = threading.Event(), threading.Event(), SimpleQueue()

    def is_busy() -> None:
        begun.set()
        assert busy.wait(PATIENCE)

    workers.submit("busy", is_busy, inbox)
    assert begun.wait(PATIENCE)
    workers.submit("not sent", lambda: None, inbox)
    workers.submit("answered", lambda: None, inbox, was_sent=True)
    assert workers.withdraw() == ["not sent"]
    busy.set()
    assert [inbox.get(timeout=PATIENCE) for _ in range(2)] == ["busy", "answered"]
    workers.close()


def test_an_answer_that_waits_for_a_thread_when_the_batch_is_interrupted_is_kept(monkeypatch):
    """It was paid for, whoever is to make something of it."""
    held = threading.Event()

    def begin(_: Any, prepared: Any, params: Any, on_sent: Any, arrived: Any) -> None:
        question = params["messages"][-1]["content"]
        if question == "question 2":
            threading.Timer(0.2, held.set).start()
            raise KeyboardInterrupt
        on_sent()

        def made() -> Any:
            if question == "question 0":
                assert held.wait(PATIENCE)
            return ScriptedAnswer(f"answer to {question}")

        arrived(made, News.CAME)

    monkeypatch.setattr(Sender, "begin", begin)
    monkeypatch.setattr(batch.Batch.last_calls, "__defaults__", (1.0,))
    monkeypatch.setattr(batch, "Workers", lambda ceiling, name: Workers(1, name))
    with APIClient(max_workers=3, progress=False) as client:
        with pytest.raises(KeyboardInterrupt):
            client.make_requests(questions(3))
        assert {entry["content"] for entry in client.history} == {"answer to question 0", "answer to question 1", None}
