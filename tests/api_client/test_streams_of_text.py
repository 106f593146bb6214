"""Answers read while they are written: their pieces, their ends, and what is left behind."""

import gc
import signal
import threading
import time

import pytest

from llm_api_client import APIClient, RetryPolicy, errors
from llm_api_client.testing import FakeClock, ScriptedCalls

MODEL = "openai/gpt-4o-mini"
PATIENCE = 5.0


def stream(client, said="hello there", **options):
    return client.chat(said, MODEL, stream=True, return_generator=True, **options)


def no_threads():
    return not any(thread.name.startswith("llm-api-client-stream") for thread in threading.enumerate())


def wait_until(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it does not come to pass"
        time.sleep(0.005)


def talk(dripping):
    for _ in range(200):
        dripping.say("and on ")
        if dripping.hung_up.wait(0.01):
            return


def test_the_pieces_are_the_answer(client):
    """Pieces come in order and make up the text; response, usage and cost are there when they have come."""
    text = "hello there " * 20
    answer = stream(client, text)
    assert (answer.response, answer.usage, answer.cost) == (None, None, None)
    pieces = list(answer)
    assert len(pieces) > 1
    whole = client.chat(text, MODEL)
    assert "".join(pieces) == answer.response.data == whole.data
    assert answer.usage.total_tokens == whole.usage.total_tokens
    assert answer.cost == answer.usage.cost == whole.cost
    assert answer.response.finish_reason == "stop"
    assert list(answer) == []
    assert client.tracker.num_api_calls == 2
    assert client.history[0]["content"] == whole.data
    wait_until(no_threads)


def test_a_completion_is_streamed_too(client):
    """A completion's pieces are texts as well, and it has its usage and the reason of its end."""
    answer = client.completion("Once upon a time", "gpt-3.5-turbo-instruct", stream=True, return_generator=True)
    assert "".join(answer) == answer.response.data == "Simulated answer to: Once upon a time"
    assert answer.usage.prompt_tokens == 4
    assert answer.response.finish_reason == "stop"


def test_a_piece_is_handed_over_when_it_comes(make_client, dripping):
    """Each piece is there before the next is written."""
    answer = stream(make_client(base_url=dripping.base_url))
    for word in ("Once ", "upon ", "a time"):
        dripping.say(word)
        assert next(answer) == word
    dripping.say(None)
    assert list(answer) == []
    assert answer.usage.total_tokens == 7


@pytest.mark.parametrize("leave", ["close", "with", "forget"])
def test_a_stream_that_is_left_is_settled(make_client, dripping, leave):
    """Closed, left by `with` or forgotten, it ends at the next piece: counted, its connection and its thread gone."""
    client = make_client(base_url=dripping.base_url, max_tokens_per_minute=50_000)
    answer = stream(client, max_tokens=1_000)
    dripping.say("Once ")
    assert next(answer) == "Once "
    assert client.queue_status()["rate_limits"]["tokens_per_minute"]["current"] > 100
    chatter = threading.Thread(target=talk, args=(dripping,))
    chatter.start()
    if leave == "close":
        answer.close()
        answer.close()
    elif leave == "with":
        with answer:
            pass
    if leave == "forget":
        del answer
        gc.collect()
    else:
        assert answer.response.data.startswith("Once ")
        assert 0 < answer.usage.completion_tokens < 100
        assert list(answer) == []
    wait_until(no_threads)
    assert dripping.hung_up.wait(PATIENCE)
    chatter.join()
    assert client.tracker.num_api_calls == 1
    assert client.tracker.status.num_tasks_in_progress == 0
    assert client.tracker.total_completion_tokens > 0
    assert client.queue_status()["rate_limits"]["tokens_per_minute"]["current"] < 100


def test_a_stream_that_is_left_while_it_waits_is_never_sent(make_client, provider):
    """Closed before its limit lets it go, a stream takes nothing of the limit and reaches nobody."""
    client = make_client(max_requests_per_minute=1)
    client.chat("first", MODEL)
    answer = stream(client)
    wait_until(lambda: client.tracker.status.num_tasks_in_progress == 1)
    began = time.monotonic()
    answer.close()
    assert time.monotonic() - began < 1
    assert answer.response is None
    assert no_threads()
    assert provider.counts.received == 1
    assert client.tracker.status.num_tasks_in_progress == 0


def test_a_stream_that_is_left_between_attempts_is_not_sent_again(make_client, provider):
    """Closed while it waits for its next attempt, a stream makes none."""
    client = make_client(retry=RetryPolicy(initial_delay=60))
    provider.next("500")
    answer = stream(client)
    wait_until(lambda: client.tracker.status.num_api_errors == 1)
    began = time.monotonic()
    answer.close()
    assert time.monotonic() - began < 2
    assert provider.counts.received == 1
    wait_until(no_threads)


def test_a_failure_before_the_first_piece_is_tried_again(client, provider):
    """What fails before anything was read is tried again; a 429 waits, and is no attempt."""
    provider.next("500", "429; retry-after=0", "503")
    assert "".join(stream(client)) == "Simulated answer to: hello there"
    assert provider.counts.received == 4
    [entry] = client.history
    assert entry["attempts"] == 3


def test_a_failure_is_raised_by_the_reader(client, provider):
    """When no attempt is left, the reader raises, as a single call does, and the stream is over."""
    answer = stream(client, "[simulate: 500]", max_retries=1)
    with pytest.raises(errors.ServerError) as raised:
        next(answer)
    assert (raised.value.index, provider.counts.received) == (None, 2)
    assert raised.value.__cause__ is not None
    assert (list(answer), answer.response, answer.usage) == ([], None, None)
    with pytest.raises(errors.InvalidInputError):
        list(client.chat([], MODEL, stream=True, return_generator=True))


def test_a_failure_after_the_first_piece_is_final(client, provider):
    """A stream that breaks off has been read in part: it raises, and is not asked again."""
    answer = stream(client, "[simulate: cut] " + "hello there " * 30)
    with pytest.raises(errors.APICallException):
        "".join(answer)
    assert provider.counts.received == 1
    assert client.history[0]["attempts"] == 1


def test_what_does_not_stream_comes_whole():
    """A call that ignores `stream` gives its answer as one piece."""
    with APIClient(api_call=ScriptedCalls(["Yes."])) as client:
        answer = client.chat("Really?", "any", stream=True, return_generator=True)
        assert list(answer) == ["Yes."]
        assert answer.usage.total_tokens == 15


def test_a_replay_comes_whole(make_client, provider, tmp_path):
    """An answer that a checkpoint has is not streamed again."""
    client = make_client(checkpoint=tmp_path / "kept.db")
    first = "".join(stream(client))
    answer = stream(client)
    assert list(answer) == [first]
    assert answer.cost == answer.usage.cost > 0
    assert provider.counts.received == 1


def test_ctrl_c_leaves_the_stream(make_client, dripping):
    """Ctrl-C while the reader waits is raised there at once, and the call ends at its next piece."""
    client = make_client(base_url=dripping.base_url)
    answer = stream(client)
    dripping.say("Once ")
    assert next(answer) == "Once "
    me = threading.get_ident()
    threading.Timer(0.1, lambda: signal.pthread_kill(me, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        next(answer)
    dripping.say(*["and on "] * 20)
    wait_until(no_threads)
    assert client.tracker.status.num_tasks_in_progress == 0


def test_closing_the_client_ends_its_streams(make_client, dripping):
    """A stream under way when the client is closed raises that it may be billed; one that waits was not sent."""
    client = make_client(base_url=dripping.base_url, max_requests_per_minute=1)
    under_way = stream(client)
    dripping.say("Once ")
    assert next(under_way) == "Once "
    waiting = stream(client)
    client.close()
    assert no_threads()
    with pytest.raises(errors.BatchInterruptedError, match="client was closed") as raised:
        next(under_way)
    assert raised.value.in_flight
    with pytest.raises(errors.ClientClosedError):
        next(waiting)


def test_a_stream_waits_for_its_limit():
    """A stream is admitted like every other call."""
    clock = FakeClock()
    calls = ScriptedCalls(latency=0.1, clock=clock)
    with APIClient(1, None, api_call=calls, clock=clock) as client:
        for _ in range(3):
            list(client.chat("hello", "any", stream=True, return_generator=True))
    assert [call.at for call in calls.calls] == pytest.approx([0, 61.3, 122.6], abs=0.1)
