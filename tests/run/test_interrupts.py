"""An interrupt may come between any two steps of the batch's thread: no answer that was given is lost by it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

import llm_api_client
from llm_api_client import APIClient
from llm_api_client.record.store import read_rows
from llm_api_client.run.batch import Batch
from llm_api_client.testing import ScriptedCalls, simulated_provider

from .conftest import echo, questions

__all__ = ["simulated_provider"]

OURS = str(Path(llm_api_client.__file__).parent)


class InterruptAt:
    """Raises `KeyboardInterrupt` in this thread at the n-th place, from 0, at which CPython would handle a signal.

    These are, in this library's own code, where a function or generator goes on, and after a call of something in C.
    (There are also jumps back; no loop here is without one of the others.)
    """

    def __init__(self, place: int) -> None:
        self._left = place
        self.came = False

    def __enter__(self) -> Self:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(OURS) or is_finalizer(frame):
            return
        self._left -= 1
        if self._left < 0:
            self.came = True
            sys.setprofile(None)
            raise KeyboardInterrupt


def is_finalizer(frame: FrameType | None) -> bool:
    """Whether an object is being taken away, or may be, as a generator that was left: what is raised there is lost."""
    while frame is not None and frame.f_code.co_name not in ("__del__", "<genexpr>"):
        frame = frame.f_back
    return frame is not None


def interrupted(place: int, run: Callable[[], Any]) -> bool:
    """Run this, and interrupt it at one place; returns whether there was such a place."""
    with InterruptAt(place) as interrupt:
        try:
            run()
        except KeyboardInterrupt:
            assert interrupt.came
    return interrupt.came


def every(number: int) -> Iterator[int]:
    yield from range(0, 6_000, number)
    pytest.fail("A batch has more places than are looked at.")


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch):
    """A call that was interrupted while it was about to leave is waited for."""
    monkeypatch.setattr(Batch.last_calls, "__defaults__", (0.1,))


def check(answered: set[str], ends: list[tuple[str, str | None]]) -> None:
    """No request has two ends, and every answer is among them."""
    assert len({question for question, _ in ends}) == len(ends)
    assert {answer for _, answer in ends if answer is not None} == answered


def ends_of(client: APIClient) -> list[tuple[str, str | None]]:
    return [(entry["request"]["messages"][-1]["content"], entry["content"]) for entry in client.history]


def answers_of(calls: ScriptedCalls) -> set[str]:
    """What was answered: each call once."""
    asked = [call.params["messages"][-1]["content"] for call in calls.calls]
    assert len(set(asked)) == len(asked)
    return {f"answer to {question}" for question in asked}


def test_every_answer_is_in_the_history_wherever_an_interrupt_comes():
    """Of what was answered, the history has every answer once."""
    for place in every(23):
        calls = ScriptedCalls([echo] * 4)
        with APIClient(6_000, None, 2, api_call=calls) as client:
            came = interrupted(place, lambda client=client: client.make_requests(questions(4), sanitize=False))
            check(answers_of(calls), ends_of(client))
        if not came:
            break


def test_every_answer_is_in_the_checkpoint_wherever_an_interrupt_comes(tmp_path):
    """The checkpoint has every answer that was given."""
    for place in every(211):
        calls, path = ScriptedCalls([echo] * 4), tmp_path / f"{place}.db"
        with APIClient(6_000, None, 2, api_call=calls, checkpoint=path) as client:
            came = interrupted(place, lambda client=client: client.make_requests(questions(4), sanitize=False))
        kept = [(row["identity"], row["content"]) for row in read_rows(path) if row["state"] == "answered"]
        check(answers_of(calls), kept)
        if not came:
            break


def test_a_kept_answer_is_not_also_given_up_wherever_an_interrupt_comes(tmp_path):
    """What a checkpoint has ends once, with its answer, if it was taken up at all."""
    calls, path = ScriptedCalls([echo] * 4), tmp_path / "kept.db"
    with APIClient(6_000, None, 2, api_call=calls, checkpoint=path) as client:
        client.make_requests(questions(4), sanitize=False)
        for place in every(13):
            client.history.clear()
            came = interrupted(place, lambda: client.make_requests(questions(4), sanitize=False))
            ends = ends_of(client)
            assert len({question for question, _ in ends}) == len(ends)
            if not came:
                break
        assert answers_of(calls) == {answer for _, answer in ends}


@pytest.mark.parametrize("ordered", [False, True])
def test_every_answer_comes_out_of_a_stream_wherever_an_interrupt_comes(ordered):
    """Who goes on taking results gets every answer, and none twice."""
    for place in every(29):
        calls, ends = ScriptedCalls([echo] * 4), []

        def take(client, ends=ends):
            for result in client.iter_requests(questions(4), sanitize=False, ordered=ordered):
                ends.append(result)

        with APIClient(6_000, None, 2, api_call=calls) as client:
            came = interrupted(place, lambda client=client, take=take: take(client))
        check(answers_of(calls), [(result.index, result.content) for result in ends])
        if not came:
            break


def test_every_answer_over_http_is_in_the_history_wherever_an_interrupt_comes(simulated_provider):
    """Nor is an answer lost that the batch's thread itself has asked for, over a connection of its own."""
    there = {"api_base": simulated_provider.base_url, "api_key": "sk-none"}
    with APIClient(600_000, None, 2) as client:
        client.make_requests(questions(6, **there))
        for place in every(61):
            client.history.clear()
            before = simulated_provider.counts.answered
            came = interrupted(place, lambda: client.make_requests(questions(4, **there)))
            ends = ends_of(client)
            assert len({question for question, _ in ends}) == len(ends)
            assert sum(answer is not None for _, answer in ends) == simulated_provider.counts.answered - before
            if not came:
                break
