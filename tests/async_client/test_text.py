"""Answers that are read while they are written."""

import asyncio
import gc

import pytest

from llm_api_client import APIClient, RetryPolicy, errors
from llm_api_client.async_client import AsyncTextStream
from llm_api_client.testing import ScriptedCalls

from .conftest import KEY, MODEL, question, until

STREAMED = {"stream": True, "return_generator": True}
LONG = "one two three four five six seven eight nine ten " * 20


def test_pieces_come_in_order_and_are_the_whole(client_of, provider):
    """The pieces together are the sync client's answer; then the stream knows response, usage and cost."""

    async def main():
        async with client_of() as client:
            stream = await client.chat("Hello there", MODEL, **STREAMED)
            assert isinstance(stream, AsyncTextStream)
            assert (stream.response, stream.usage, stream.cost) == (None, None, None)
            pieces = [piece async for piece in stream]
            assert [piece async for piece in stream] == []
            return pieces, stream, await client.get_usage()

    pieces, stream, usage = asyncio.run(main())
    with APIClient(base_url=provider.base_url, api_key=KEY) as client:
        expected = client.chat("Hello there", MODEL)
    assert len(pieces) > 1
    assert "".join(pieces) == stream.response.data == expected.data
    assert stream.cost == expected.cost
    assert stream.usage.prompt_tokens == expected.usage.prompt_tokens
    assert usage["total_requests"] == 1


def test_many_streams_at_once(client_of):
    """Each has its own pieces."""

    async def read(client, number):
        stream = await client.completion(f"number {number}", "gpt-3.5-turbo-instruct", **STREAMED)
        return "".join([piece async for piece in stream])

    async def main():
        async with client_of() as client:
            return await asyncio.gather(*[read(client, number) for number in range(20)])

    for number, text in enumerate(asyncio.run(main())):
        assert text.endswith(f"number {number}")


def test_an_answer_that_came_whole_is_one_piece(make):
    """What does not stream is read as well."""

    async def main():
        async with make(api_call=ScriptedCalls(["whole"])) as client:
            return [piece async for piece in await client.chat("x", MODEL, **STREAMED)]

    assert asyncio.run(main()) == ["whole"]


def test_a_failure_is_raised_where_it_is_read(client_of):
    """With its status and no index; then there is nothing more."""

    async def main():
        async with client_of(retry=RetryPolicy(initial_delay=0)) as client:
            stream = await client.chat("[simulate: 401]", MODEL, **STREAMED)
            with pytest.raises(errors.AuthenticationError) as caught:
                await anext(stream)
            assert [piece async for piece in stream] == []
            with pytest.raises(errors.ConfigurationError):
                await client.chat("x", MODEL, return_generator=True)
            return caught.value, stream.response

    error, response = asyncio.run(main())
    assert (error.status_code, error.index, response) == (401, None, None)


@pytest.mark.parametrize("how", ["aclose", "with", "forgotten"])
def test_a_stream_that_is_left_ends_its_call(client_of, provider, how):
    """The call ends at its next piece, is counted, and leaves no thread."""

    async def main():
        async with client_of() as client:
            stream = await client.chat(LONG, MODEL, **STREAMED)
            assert await anext(stream)
            if how == "aclose":
                await stream.aclose()
                await stream.aclose()
                assert [piece async for piece in stream] == []
            elif how == "with":
                async with stream:
                    pass
            del stream
            gc.collect()
            await until(lambda: not client._engine._errands)
            assert client.tracker.status.num_tasks_in_progress == 0
            return client.tracker.num_api_calls, len(client.history)

    assert asyncio.run(main()) == (1, 1)


@pytest.mark.parametrize("how", ["aclose", "forgotten"])
def test_a_stream_that_was_not_sent_never_is(make, how):
    """Left while it waits for its limit, it goes at once, and takes nothing of it."""

    async def main():
        calls = ScriptedCalls()
        async with make(api_call=calls, max_requests_per_minute=1, max_delay_seconds=None) as client:
            await client.request(question())
            stream = await client.chat("x", MODEL, **STREAMED)
            if how == "aclose":
                await asyncio.wait_for(stream.aclose(), 2)
            del stream
            gc.collect()
            await until(lambda: not client._engine._errands)
            return len(calls.calls)

    assert asyncio.run(main()) == 1


def test_a_closed_client_ends_its_streams(make, gate):
    """Whoever reads is told that the client was closed."""

    async def main():
        client = make(api_call=gate)
        stream = await client.chat("x", MODEL, **STREAMED)
        reading = asyncio.ensure_future(anext(stream))
        await until(lambda: gate.asked)
        await client.close()
        with pytest.raises(errors.ClientClosedError):
            await reading
        with pytest.raises(errors.ClientClosedError):
            await client.chat("x", MODEL, **STREAMED)

    asyncio.run(main())
