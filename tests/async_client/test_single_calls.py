"""Single calls that are awaited: the sync client's answers and errors, without a thread for each."""

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llm_api_client import APIClient, RetryPolicy, errors
from llm_api_client.async_client import AsyncAPIClient
from llm_api_client.responses import ChatMessage
from llm_api_client.testing import ScriptedAnswer, ScriptedCalls, ScriptedError

from .conftest import KEY, MODEL, question, threads_of_the_client, until

PUBLIC = sorted(name for name in dir(APIClient) if not name.startswith("_"))
AT_ONCE = RetryPolicy(initial_delay=0)


def shape(function):
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_method_is_there_with_its_signature(name):
    """Whatever `APIClient` can be asked is here, with the same arguments and defaults; properties are properties."""
    there, here = getattr(APIClient, name), getattr(AsyncAPIClient, name)
    if isinstance(there, property):
        assert isinstance(here, property)
    else:
        assert shape(here) == shape(there)


AWAITED = sorted({*PUBLIC} - {"details", "from_config", "iter_requests", "submit"})


@pytest.mark.parametrize("name", AWAITED)
def test_every_method_is_awaited(name):
    """Nobody has to remember which methods are coroutines: all are, but for the stream and the future."""
    assert inspect.iscoroutinefunction(getattr(AsyncAPIClient, name))


OFFLINE = {
    "count_messages_tokens": ([question()["messages"]], {"model": MODEL}),
    "estimate": ([[question()]], {}),
    "get_max_context_tokens": ([MODEL], {}),
    "model_info": (["openai", MODEL], {}),
    "models": (["openai"], {}),
    "providers": ([], {}),
    "remove_unsupported_params": ([question()], {}),
    "sanitize_completion_request": ([question()], {}),
    "truncate_to_max_context_tokens": ([question()["messages"], MODEL], {}),
    "get_usage": ([], {}),
    "queue_status": ([], {}),
}


def test_what_is_not_sent_is_the_same(litellm):
    """Estimates, facts and counts are the sync client's."""

    async def main():
        async with AsyncAPIClient() as client:
            return {name: await getattr(client, name)(*args, **named) for name, (args, named) in OFFLINE.items()}

    with APIClient() as client:
        expected = {name: getattr(client, name)(*args, **named) for name, (args, named) in OFFLINE.items()}
    assert asyncio.run(main()) == expected


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (("https://x.test/v1", KEY), {}),
        (("https://x.test/v1",), {"api_key": KEY}),
        ((), {"base_url": "https://x.test/v1", "api_key": KEY}),
    ],
)
def test_it_is_made_of_an_address_and_a_key(args, options):
    """A first text is the base URL and a second the key, as they are by their names."""
    engine = AsyncAPIClient(*args, api_call=ScriptedCalls(), max_workers=3, **options)._engine
    completed = engine._defaults.complete(question())
    assert (completed["api_base"], completed["api_key"], engine.max_workers) == ("https://x.test/v1", KEY, 3)


def test_it_is_made_of_rates():
    """A first number is what it is for `APIClient`, and the repr shows it, and no key."""
    client = AsyncAPIClient(60, 1_000, 5, api_call=ScriptedCalls(), api_key=KEY)
    limits = "max_requests_per_minute=60 max_tokens_per_minute=1000 max_workers=5"
    assert repr(client) == f"<AsyncAPIClient {limits}>"
    assert client.details["max_requests_per_minute"] == 60


@pytest.mark.parametrize(("args", "options"), [(("u", "k", 5), {}), (("u",), {"base_url": "v"})])
def test_an_address_takes_no_further_values(args, options):
    """What a third value would mean is not guessed, and nothing is given twice."""
    with pytest.raises(TypeError, match="options by their names"):
        AsyncAPIClient(*args, **options)


def test_it_is_made_of_a_file(tmp_path):
    """`from_config` reads the same files."""
    (tmp_path / "c.toml").write_text("max_requests_per_minute = 7\n", encoding="utf-8")
    client = AsyncAPIClient.from_config(tmp_path / "c.toml", api_call=ScriptedCalls())
    assert isinstance(client, AsyncAPIClient)
    assert client.details["max_requests_per_minute"] == 7


CALLS = {
    "chat": ([[ChatMessage("user", "Hello")], MODEL], {"max_tokens": 20}),
    "completion": (["Once", "gpt-3.5-turbo-instruct"], {}),
    "embeddings": ([["a", "b"], "text-embedding-3-small"], {}),
    "image": (["a cat", "openai/dall-e-2"], {}),
    "moderation": (["Hello"], {}),
    "rerank": (["cat", ["a cat", "a dog"], "hosted_vllm/rr"], {}),
    "speech": (["Hello", "openai/tts-1"], {}),
    "transcription": ([b"RIFF", "openai/whisper-1"], {}),
}


def test_answers_are_those_of_the_sync_client(client_of, provider):
    """Each kind of call gives the same class with the same data, and leaves the same entry in the history."""

    async def main():
        async with client_of() as client:
            made = [await getattr(client, name)(*args, **named) for name, (args, named) in CALLS.items()]
            return made, list(client.history), await client.get_usage()

    answers, history, usage = asyncio.run(main())
    with APIClient(base_url=provider.base_url, api_key=KEY) as client:
        for (name, (args, named)), answer, entry in zip(CALLS.items(), answers, history, strict=True):
            expected = getattr(client, name)(*args, **named)
            assert (type(answer), answer.data, answer.model) == (type(expected), expected.data, expected.model)
            assert client.history[-1]["request"] == entry["request"]
        assert client.get_usage()["total_requests"] == usage["total_requests"] == len(CALLS)


def test_thousands_wait_without_a_thread_each(make, gate):
    """1,000 chats that are awaited together take the threads of the calls in flight, and one."""

    async def main():
        async with make(api_call=gate, max_workers=4) as client:
            calls = asyncio.gather(*[client.chat(f"{number}", MODEL) for number in range(1_000)])
            await until(lambda: len(gate.asked) == 4)
            threads, status = threads_of_the_client(), await client.queue_status()
            gate.opened.set()
            return threads, status, await calls

    threads, status, answers = asyncio.run(main())
    assert len(threads) == 5
    assert status["in_flight"] + status["total_queue_length"] == 1_000
    assert status["running"]
    assert [answer.data for answer in answers] == [f"answer to {number}" for number in range(1_000)]


def test_a_failure_is_raised_as_by_the_sync_client(make):
    """An error has its status, no index, the provider's error as its cause; the history keeps its own."""
    refused = ScriptedError(401, "no such key")

    async def main():
        async with make(api_call=ScriptedCalls([refused])) as client:
            with pytest.raises(errors.AuthenticationError) as caught:
                await client.chat("Hello", MODEL)
            return caught.value, client.history[0]

    error, entry = asyncio.run(main())
    assert (error.status_code, error.index, error.__cause__) == (401, None, refused)
    assert "request 0" not in str(error)
    assert entry["error"] is not None


def test_each_call_has_its_own_number_of_attempts(make):
    """`max_retries` holds for its call, whatever others ask for at the same time."""

    async def main():
        calls = ScriptedCalls(lambda _: ScriptedError(500) for _ in range(100))
        async with make(api_call=calls, retry=AT_ONCE) as client:
            ends = await asyncio.gather(
                *[client.chat("x", MODEL, max_retries=number) for number in (0, 1, 3)], return_exceptions=True
            )
            return ends, sorted(entry["attempts"] for entry in client.history)

    ends, attempts = asyncio.run(main())
    assert [type(end) for end in ends] == [errors.ServerError] * 3
    assert attempts == [1, 2, 4]


@pytest.mark.parametrize(
    "wrong", [{"max_retries": -1}, {"max_retries": "2"}, {"endpoint": "nonsense"}, {"endpoint": []}]
)
def test_an_option_that_cannot_be_used_is_said_to_its_caller(make, wrong):
    """It is raised where it is awaited, and spoils no other call."""

    async def main():
        async with make(api_call=ScriptedCalls()) as client:
            with pytest.raises(errors.ConfigurationError):
                await client.request(question(), **wrong)
            assert await client.request(question())

    asyncio.run(main())


def test_a_request_is_validated_and_bounded_in_time(make, gate):
    """`request` keeps to `validate` and to `timeout`."""

    async def main():
        async with make(api_call=ScriptedCalls(["no number", "7"])) as client:
            assert (await client.request(question(), validate=int)).choices[0].message.content == "7"
        async with make(api_call=gate) as client:
            with pytest.raises(errors.BatchTimeoutError):
                await client.request(question(), timeout=0.05)

    asyncio.run(main())


def test_queues_are_forgotten_when_they_are_empty(make):
    """Options that were used once leave nothing behind, nor what they validate by."""

    async def main():
        async with make(api_call=ScriptedCalls(["1"] * 50)) as client:
            for _ in range(20):
                await client.request(question(), validate=lambda text: int(text) + 1)
            await until(lambda: len(client._engine._queues) == 0)

    asyncio.run(main())


def test_what_is_submitted_is_awaited_now_or_later(make, gate):
    """`submit` gives a future of the loop: with a result, and it can be cancelled until it is sent."""

    async def main():
        async with make(api_call=gate, max_workers=1) as client:
            first = client.submit(question(1))
            await until(lambda: gate.asked)
            low, cancelled, high = (
                client.submit(question(n), priority=p) for n, p in [(2, "low"), (3, 0), (4, "high")]
            )
            assert cancelled.cancel()
            gate.opened.set()
            assert [(await each).content for each in (low, high)] == ["answer to question 2", "answer to question 4"]
            return await first

    result = asyncio.run(main())
    assert result.content == "answer to question 1"
    assert gate.asked == ["question 1", "question 4", "question 2"]


def test_a_call_that_is_cancelled_in_the_queue_is_never_sent(make, gate):
    """It takes nothing of the limits; one that was sent goes on, and its answer is in the history."""

    async def main():
        async with make(api_call=gate, max_workers=1, max_requests_per_minute=100) as client:
            sent = asyncio.ensure_future(client.chat("sent", MODEL))
            await until(lambda: gate.asked)
            waiting = asyncio.ensure_future(client.chat("waiting", MODEL))
            await asyncio.sleep(0)
            for each in (sent, waiting):
                each.cancel()
            ends = await asyncio.gather(sent, waiting, return_exceptions=True)
            gate.opened.set()
            await until(lambda: len(client.history) == 1)
            return ends, [entry["content"] for entry in client.history if entry["content"]], await client.get_usage()

    ends, kept, usage = asyncio.run(main())
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    assert gate.asked == ["sent"]
    assert kept == ["answer to sent"]
    assert usage["limits"]["used"]["requests_per_minute"] == 1


def test_plain_requests_are_awaited(client_of, provider):
    """The programs of the HTTP client that this one stands in for do the same: data, and errors with their status."""

    async def main():
        payload = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
        async with AsyncAPIClient(provider.base_url, KEY) as client:
            answer = await client.post_request(endpoint="chat/completions", payload=payload)
            models = await client.get("models")
            statuses = []
            for wanted in (401, 404, 500):
                refused = [{"role": "user", "content": f"[simulate: {wanted}]"}]
                try:
                    await client.post_request("chat/completions", {**payload, "messages": refused}, max_retries=0)
                except errors.APICallException as error:
                    statuses.append((error.status_code, bool(error.message)))
            return answer, models, statuses

    answer, models, statuses = asyncio.run(main())
    assert answer["choices"][0]["message"]["content"] == "Simulated answer to: Hello"
    assert models["data"]
    assert statuses == [(401, True), (404, True), (500, True)]


def test_a_file_is_uploaded(client_of, tmp_path):
    """`upload_file` is awaited, and gives what the server says of the file."""
    (tmp_path / "x.jsonl").write_text('{"x": 1}\n', encoding="utf-8")

    async def main():
        async with client_of() as client:
            return await client.upload_file(tmp_path / "x.jsonl", "batch")

    assert asyncio.run(main())["purpose"] == "batch"


def test_the_loop_goes_on(make):
    """What takes its time runs apart: a slow input of `estimate`, and a slow call, stop no other task."""

    async def main():
        slow = threading.Event()

        def input_():
            assert slow.wait(10)
            yield question()

        async with make(api_call=ScriptedCalls([lambda _: slow.wait(10) and ScriptedAnswer("late")])) as client:
            both = asyncio.gather(client.estimate(input_()), client.chat("x", MODEL))
            await asyncio.sleep(0.02)
            slow.set()
            return await both

    estimate, answer = asyncio.run(main())
    assert answer.data == "late"
    assert estimate is not None


def test_loops_of_several_threads_may_share_a_client(make):
    """Each loop has its own answers."""
    client = make(api_call=ScriptedCalls([lambda params: params["messages"][-1]["content"]] * 400))

    async def ask(number):
        return [each.data for each in await asyncio.gather(*[client.chat(f"{number}-{n}", MODEL) for n in range(50)])]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: asyncio.run(ask(number)), range(8)))
    assert answers == [[f"{number}-{n}" for n in range(50)] for number in range(8)]
    asyncio.run(client.close())
