"""Batches that are awaited: one thread each, results handled in the loop, and a cancelled one stops."""

import asyncio
import contextvars
import random
import threading
import time

import pytest

from llm_api_client import errors
from llm_api_client.testing import FakeClock, ScriptedAnswer, ScriptedCalls, ScriptedError

from .conftest import MODEL, question, questions, threads_of_the_client, until


def echo(params):
    return f"answer to {params['messages'][-1]['content']}"


def test_a_list_comes_back_in_its_order(make):
    """Answers stand where their requests do, failures are None, and their reasons are in `failures`."""

    async def main():
        calls = ScriptedCalls(
            [lambda p: ScriptedError(400) if p["messages"][0]["content"][-1] == "3" else echo(p)] * 20
        )
        async with make(api_call=calls) as client:
            answers = await client.make_requests(questions(10))
            retried = await client.make_requests_with_retries(questions(3), return_exceptions=True)
            return answers, retried, client.failures

    answers, retried, failures = asyncio.run(main())
    contents = [answer and answer.choices[0].message.content for answer in answers]
    assert contents == [None if n == 3 else f"answer to question {n}" for n in range(10)]
    assert len(retried) == 3
    assert failures == []


def test_a_batch_takes_one_thread(make, gate):
    """Besides the threads of its calls."""

    async def main():
        async with make(api_call=gate, max_workers=3) as client:
            batch = asyncio.ensure_future(client.make_requests(questions(100)))
            await until(lambda: len(gate.asked) == 3)
            threads = threads_of_the_client()
            gate.opened.set()
            await batch
            return threads

    assert len(asyncio.run(main())) == 4


WHO = contextvars.ContextVar("WHO", default="nobody")


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_results_are_handled_in_the_loop(make, is_coroutine):
    """`on_result` is called in the loop's thread and the caller's context, one after another, and may be awaited."""
    seen = []

    def note(result):
        seen.append((result.index, threading.current_thread() is threading.main_thread(), WHO.get()))

    async def note_later(result):
        await asyncio.sleep(0)
        note(result)

    async def main():
        WHO.set("caller")
        async with make(api_call=ScriptedCalls()) as client:
            await client.make_requests(questions(20), on_result=note_later if is_coroutine else note)

    asyncio.run(main())
    assert sorted(seen) == [(index, True, "caller") for index in range(20)]


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_what_a_handler_raises_ends_the_batch(make, is_coroutine):
    """It is raised where the batch is awaited, as it is, and nothing further is sent."""

    def fail(_):
        raise ZeroDivisionError

    async def fail_later(_):
        raise ZeroDivisionError

    async def main():
        calls = ScriptedCalls()
        async with make(api_call=calls, max_workers=2) as client:
            with pytest.raises(ZeroDivisionError):
                await client.make_requests(questions(100), on_result=fail_later if is_coroutine else fail)
            return len(calls.calls), len(client.history)

    sent, kept = asyncio.run(main())
    assert sent < 20
    assert kept == 100


def test_a_cancelled_batch_stops(make, gate):
    """Nothing further is sent, calls under way are not waited for, and what was answered is kept."""

    async def main():
        gate.opened.set()
        async with make(api_call=gate, max_workers=2) as client:
            answered = asyncio.Event()

            def close_the_gate(result):
                if result.index == 10:
                    gate.opened.clear()
                    answered.set()

            batch = asyncio.ensure_future(client.make_requests(questions(100), on_result=close_the_gate))
            await answered.wait()
            await until(lambda: batch.cancel() or True)
            with pytest.raises(asyncio.CancelledError):
                await batch
            sent = len(gate.asked)
            assert len(client.history) == 100
            kept = [entry for entry in client.history if entry["content"]]
            gate.opened.set()
            await asyncio.sleep(0.02)
            return sent, len(gate.asked), len(kept), client.failures

    sent, sent_at_last, kept, failures = asyncio.run(main())
    assert sent == sent_at_last
    assert kept >= 11
    assert {str(each.error).partition("; ")[0] for each in failures} <= {
        f"request {each.index}: {said} the batch was stopped by CancelledError{end}"
        for each in failures
        for said in ("Not sent before", "No answer yet when")
        for end in ("", ".")
    }


def test_a_batch_that_is_cancelled_while_its_input_is_read_never_begins(make):
    """Whoever cancels does not wait for a slow input, and nothing of it is sent when it comes at last."""

    async def main():
        let_go, calls = threading.Event(), ScriptedCalls()

        def slow():
            assert let_go.wait(10)
            yield from questions(3)

        async with make(api_call=calls) as client:
            batch = asyncio.ensure_future(client.make_requests(slow()))
            await until(lambda: client._engine._errands)
            batch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await batch
            let_go.set()
            await until(lambda: not client._engine._errands)
            return len(calls.calls), len(client.history), client.tracker.status.num_tasks_in_progress

    assert asyncio.run(main()) == (0, 0, 0)


def test_a_timeout_of_the_loop_stops_a_batch_that_waits_for_its_limits(make):
    """`asyncio.timeout` ends a batch whose next request may go in an hour, at once."""

    async def main():
        calls = ScriptedCalls()
        async with make(api_call=calls, max_requests_per_minute=1, max_delay_seconds=None) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.make_requests(questions(5))
            return len(calls.calls), [type(each.error) for each in client.failures]

    began = time.monotonic()
    assert asyncio.run(main()) == (1, [errors.BatchInterruptedError] * 4)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("is_stubborn", [False, True])
def test_a_cancelled_batch_cancels_its_handler(make, is_stubborn):
    """A coroutine that handles a result is cancelled with its batch, which does not wait for one that will not end."""
    ends = []

    async def main():
        let_go = asyncio.Event()

        async def never_ends(_):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ends.append("cancelled")
                if is_stubborn:
                    await let_go.wait()
                raise

        async with make(api_call=ScriptedCalls()) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.make_requests(questions(3), on_result=never_ends)
            await until(lambda: ends)
            let_go.set()

    began = time.monotonic()
    asyncio.run(main())
    assert ends == ["cancelled"]
    assert time.monotonic() - began < 2


def test_time_may_be_replaced(make):
    """Under a clock that jumps, an hour of limits passes in an instant."""

    async def main():
        clock = FakeClock()
        calls = ScriptedCalls(latency=1, clock=clock)
        async with make(
            api_call=calls, clock=clock, max_requests_per_minute=2, max_delay_seconds=None, max_workers=2
        ) as client:
            return await client.make_requests(questions(10)), clock.now()

    answers, now = asyncio.run(main())
    assert None not in answers
    assert 239 <= now < 300


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_cancels_loses_nothing(make, seed):
    """Whatever is cancelled when, each answer that came is in the history, and the limits count what was sent, once."""
    chance = random.Random(seed)

    def answer(_):
        time.sleep(chance.random() * 0.002)
        return ScriptedAnswer("paid")

    async def main():
        calls = ScriptedCalls([answer] * 200)
        async with make(
            api_call=calls, max_workers=6, max_requests_per_minute=100_000, max_tokens_per_minute=10_000_000
        ) as client:
            tasks = [asyncio.ensure_future(client.chat(f"{number}", MODEL)) for number in range(200)]
            for task in chance.sample(tasks, 150):
                task.cancel()
                if chance.random() < 0.3:
                    await asyncio.sleep(chance.random() * 0.001)
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await until(lambda: not client._engine._queues)
            used = (await client.get_usage())["limits"]["used"]
            kept = [entry for entry in client.history if entry["content"] == "paid"]
            return ends, len(calls.calls), len(kept), used, client.tracker

    ends, sent, kept, used, tracker = asyncio.run(main())
    assert {type(end) for end in ends} == {asyncio.CancelledError} | {type(end) for end in ends if hasattr(end, "data")}
    assert kept == sent == tracker.num_api_calls == used["requests_per_minute"]
    assert used["tokens_per_minute"] == 15 * sent
    assert tracker.status.num_tasks_in_progress == 0


def test_one_request_may_be_cancelled_with_its_timeout(make, gate):
    """A request with a `timeout` that waits for its turn is not sent when nobody awaits it any more."""

    async def main():
        async with make(api_call=gate, max_requests_per_minute=1, max_delay_seconds=None) as client:
            first = asyncio.ensure_future(client.chat("first", MODEL))
            await until(lambda: gate.asked)
            second = asyncio.ensure_future(client.request(question(2), timeout=1_000))
            await until(lambda: len(client._engine._errands) == 1)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            gate.opened.set()
            await first
            assert client.tracker.status.num_tasks_in_progress == 0

    asyncio.run(main())
    assert gate.asked == ["first"]
