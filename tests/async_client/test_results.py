"""`async for` over the results of a batch: read as they are asked for, from whatever input, and left at any moment."""

import asyncio
import gc
import itertools
import threading

import pytest

from llm_api_client import errors
from llm_api_client.testing import ScriptedCalls

from .conftest import question, questions, threads_of_the_client, until


async def asked_one_by_one(number):
    for each in questions(number):
        await asyncio.sleep(0)
        yield each


async def collect(stream, into):
    async for each in stream:
        into.append(each)


@pytest.mark.parametrize("source", [questions, asked_one_by_one])
def test_every_result_comes(make, source):
    """Results of any iterable, asynchronous or not, come once each; `ordered` keeps their order."""

    async def main():
        async with make(api_call=ScriptedCalls()) as client:
            as_they_end = [result.index async for result in client.iter_requests(source(200))]
            return as_they_end, [result.index async for result in client.iter_requests(source(50), ordered=True)]

    as_they_end, ordered = asyncio.run(main())
    assert sorted(as_they_end) == list(range(200))
    assert ordered == list(range(50))


@pytest.mark.parametrize("is_async", [False, True])
def test_nothing_begins_between_two_results(make, is_async):
    """An endless input is read as far as calls are in flight, and no further while the loop's body works."""
    taken = 0

    def endless():
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield question(number)

    async def endless_too():
        for each in endless():
            yield each

    async def main():
        async with make(api_call=(calls := ScriptedCalls()), max_workers=4) as client:
            stream = client.iter_requests(endless_too() if is_async else endless())
            assert taken == 0
            for number in range(1, 51):
                await anext(stream)
                assert taken <= number + 2 * (4 + 1)
            await asyncio.sleep(0.02)
            sent = len(calls.calls)
            await asyncio.sleep(0.02)
            assert len(calls.calls) == sent
            await stream.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("is_async", [False, True])
def test_what_the_input_raises_is_raised(make, is_async):
    """After the results of all that was read before it."""

    def broken():
        yield from questions(5)
        raise ZeroDivisionError

    async def broken_too():
        for each in broken():
            yield each

    async def main():
        results = []
        async with make(api_call=ScriptedCalls()) as client:
            with pytest.raises(ZeroDivisionError):
                await collect(client.iter_requests(broken_too() if is_async else broken()), results)
        return results

    assert sorted(result.index for result in asyncio.run(main())) == list(range(5))


@pytest.mark.parametrize("is_async", [False, True])
def test_leaving_the_loop_closes_the_batch(make, is_async):
    """After a `break` nothing further is sent, the batch's thread ends, and nothing counts as under way."""

    async def main():
        calls = ScriptedCalls()
        async with make(api_call=calls, max_workers=2) as client:
            async for _ in client.iter_requests(asked_one_by_one(500) if is_async else questions(500)):
                break
            await until(lambda: not client._engine._errands)
            assert client.tracker.status.num_tasks_in_progress == 0
            return len(calls.calls)

    assert asyncio.run(main()) < 20


def test_a_stream_ends_at_its_close(make, gate):
    """`aclose` gives up what waits; closing twice is harmless, and nothing more comes."""

    async def main():
        async with make(api_call=gate, max_workers=1) as client:
            stream = client.iter_requests(questions(5))
            first = asyncio.ensure_future(anext(stream))
            await until(lambda: gate.asked)
            await stream.aclose()
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await first
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            never_begun = client.iter_requests(questions(5))
            await never_begun.aclose()
            assert [result async for result in never_begun] == []

    asyncio.run(main())
    assert gate.asked == ["question 0"]


def test_a_result_that_was_not_waited_for_is_the_next(make, gate):
    """A cancelled `anext` loses no result: whoever asks next has it."""

    async def main():
        async with make(api_call=gate, max_workers=1) as client:
            stream = client.iter_requests(questions(3), ordered=True)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.03)
            gate.opened.set()
            return [result.index async for result in stream]

    assert asyncio.run(main()) == [0, 1, 2]


def test_one_result_is_asked_for_at_a_time(make, gate):
    """Two tasks at one stream are told so, instead of having the same result."""

    async def main():
        async with make(api_call=gate) as client:
            stream = client.iter_requests(questions(2))
            first = asyncio.ensure_future(anext(stream))
            await until(lambda: gate.asked)
            with pytest.raises(RuntimeError, match="one after another"):
                await anext(stream)
            gate.opened.set()
            assert (await first).error is None
            await stream.aclose()

    asyncio.run(main())


def test_the_loop_is_free_while_a_slow_input_is_read(make):
    """A plain iterable is read in the batch's thread, which it may hold up; an asynchronous one may wait for ever."""

    async def main():
        let_go = threading.Event()

        def slow():
            assert let_go.wait(10)
            yield question()

        feed = asyncio.Queue()

        async def fed():
            while (each := await feed.get()) is not None:
                yield each

        async with make(api_call=ScriptedCalls()) as client:
            first = asyncio.ensure_future(anext(client.iter_requests(slow())))
            stream = client.iter_requests(fed())
            for number in range(3):  # Each result comes before there is a next request.
                feed.put_nowait(question(number))
                assert (await anext(stream)).index == number
            feed.put_nowait(None)
            assert [each async for each in stream] == []
            let_go.set()
            assert (await first).error is None

    asyncio.run(main())


@pytest.mark.parametrize("wrong", [None, "a prompt", question()])
def test_what_is_no_input_is_refused_at_once(make, wrong):
    """The mistake is reported by the call itself; an option's where the first result is awaited."""

    async def main():
        client = make(api_call=ScriptedCalls())
        with pytest.raises(errors.InvalidInputError):
            client.iter_requests(wrong)
        with pytest.raises(errors.ConfigurationError):
            await anext(client.iter_requests([], max_retries=-1))
        stream = client.iter_requests(questions(3))
        await client.close()
        with pytest.raises(errors.ClientClosedError):
            await anext(stream)
        with pytest.raises(errors.ClientClosedError):
            client.iter_requests([])

    asyncio.run(main())


def test_a_timeout_ends_a_stream(make, gate):
    """As in the sync client: what was read has its result, and then it is raised."""

    async def main():
        ends = []
        async with make(api_call=gate, max_workers=1) as client:
            with pytest.raises(errors.BatchTimeoutError):
                await collect(client.iter_requests(questions(50), timeout=0.05), ends)
        return ends

    assert {type(end.error) for end in asyncio.run(main())} == {errors.BatchTimeoutError}


def test_a_forgotten_stream_leaves_no_thread(make):
    """A stream whose last reference goes ends as one that is closed."""

    async def main():
        async with make(api_call=ScriptedCalls(), max_workers=1) as client:
            stream = client.iter_requests(questions(100))
            await anext(stream)
            del stream
            gc.collect()
            await until(lambda: not client._engine._errands)

    asyncio.run(main())
    assert "llm-api-client-async" not in threads_of_the_client()
