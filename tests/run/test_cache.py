"""A client with a response cache: what is asked twice is paid for once, and counted apart."""

import threading

import pytest

from llm_api_client import APIClient, RateLimit, ResponseCache
from llm_api_client.errors import AnswerValidationError, BudgetExceededError
from llm_api_client.testing import ScriptedAnswer, ScriptedError

from .conftest import contents, echo, questions


@pytest.fixture
def cache():
    with ResponseCache() as cache:
        yield cache


def test_a_hit_is_no_call_and_takes_no_limit(make_client, cache, clock):
    """Asked again, ten requests under a limit of ten a minute are there at once, and nothing is sent."""
    client, calls = make_client([echo] * 10, rpm=10, cache=cache)
    first = client.make_requests(questions(10))
    began = clock.now()
    again = client.make_requests(questions(10))
    assert contents(again) == contents(first)
    assert clock.now() == began
    assert len(calls.calls) == 10


def test_a_hit_takes_no_money(make_client, cache):
    """With nothing left of `max_cost`, what is in the cache is given, and what is not is refused."""
    client, _ = make_client([ScriptedAnswer("Yes.", cost=0.001)], cache=cache)
    client.make_requests(questions(1, max_tokens=10))
    poor, calls = make_client([], cache=cache, max_cost=0.000_001)
    slots = poor.make_requests(questions(2, max_tokens=10), return_exceptions=True)
    assert contents(slots[:1]) == ["Yes."]
    assert isinstance(slots[1], BudgetExceededError)
    assert calls.calls == []


def test_hits_are_counted_apart(make_client, cache):
    """Calls, tokens and cost stay those of the calls; hits have a number of their own, and what they saved."""
    client, _ = make_client([ScriptedAnswer("Yes.", cost=0.25)], cache=cache)
    client.make_requests(questions(1))
    before = client.tracker.details
    seen = []
    client.make_requests(questions(1), on_result=seen.append)
    assert client.tracker.details == before
    assert (client.tracker.num_cache_hits, client.tracker.saved_cost) == (1, 0.25)
    [result] = seen
    assert (result.cached, result.replayed, result.index, result.content) == (True, False, 0, "Yes.")
    assert result.request == questions(1)[0]
    assert len(client.history) == 2


def test_every_way_of_asking_uses_it(make_client, cache):
    """Single calls, submissions, streams of results and batches find one another's answers."""
    client, calls = make_client([echo], cache=cache)
    request = questions(1)[0]
    client.make_requests([request])
    assert client.request(request).choices[0].message.content == "answer to question 0"
    assert client.submit(request).result(10).cached
    assert [result.cached for result in client.iter_requests([request])] == [True]
    assert len(calls.calls) == 1


def test_failures_are_asked_again(make_client, cache):
    """Only answers are kept."""
    client, calls = make_client([ScriptedError(400, "no"), echo], cache=cache)
    assert client.make_requests(questions(1)) == [None]
    assert contents(client.make_requests(questions(1))) == ["answer to question 0"]
    assert len(calls.calls) == 2


def test_what_another_asks_is_none_of_it(make_client, cache):
    """One more word, another temperature or endpoint is another request; a key and a timeout are none of it."""
    client, calls = make_client([echo] * 3, cache=cache)
    client.make_requests(questions(1))
    client.make_requests(questions(1, temperature=0.5))
    client.make_requests(questions(1, api_key="sk-another-0123456789", timeout=5))
    assert len(calls.calls) == 2


def test_an_answer_must_be_what_is_wanted_now(make_client, cache):
    """An answer in the cache that `validate` refuses is no hit: it is asked anew."""
    client, calls = make_client(["no number", "17"], cache=cache)
    client.make_requests(questions(1))
    [result] = client.iter_requests(questions(1), validate=int)
    assert (result.parsed, result.cached, len(calls.calls)) == (17, False, 2)
    [result] = client.iter_requests(questions(1), validate=int)
    assert (result.parsed, result.cached, len(calls.calls)) == (17, True, 2)


def test_a_refused_answer_is_not_kept(make_client, cache):
    """What `validate` refuses in the end is a failure, and is not in the cache."""
    client, _ = make_client(["no number"] * 3, cache=cache)
    [result] = client.iter_requests(questions(1), validate=int)
    assert isinstance(result.error, AnswerValidationError)
    assert len(cache) == 0


def test_a_checkpoint_has_what_came_from_the_cache(make_client, cache, tmp_path):
    """A run that is repeated without the cache asks nothing: its checkpoint is whole."""
    client, _ = make_client([echo] * 3, cache=cache)
    client.make_requests(questions(3))
    client.make_requests(questions(3), checkpoint=tmp_path / "kept.db")
    other, calls = make_client([])
    answers = other.make_requests(questions(3), checkpoint=tmp_path / "kept.db")
    assert contents(answers) == [f"answer to question {n}" for n in range(3)]
    assert calls.calls == []


def test_a_checkpoint_comes_first(make_client, cache, tmp_path):
    """What a checkpoint has is a replay, and no hit."""
    client, _ = make_client([echo], cache=cache, checkpoint=tmp_path / "kept.db")
    client.make_requests(questions(1))
    [result] = client.iter_requests(questions(1))
    assert (result.replayed, result.cached, cache.hits) == (True, False, 0)


def test_clients_share_a_cache_and_none_closes_it(cache):
    """A client that is closed leaves the cache to the others."""

    def call(**params):
        return ScriptedAnswer(echo(params))

    for expected in (0, 5):
        with APIClient(None, None, api_call=call, cache=cache, model_limits={"m": RateLimit()}) as client:
            client.make_requests(questions(5))
            assert client.tracker.num_cache_hits == expected


def test_many_threads_share_a_cache(cache):
    """Each of eight threads gets its own answers, whoever asked first."""
    client = APIClient(None, None, 8, api_call=lambda **params: ScriptedAnswer(echo(params)), cache=cache)
    found = []

    def ask():
        found.append(contents(client.make_requests(questions(50))))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join(20) for thread in threads]
    assert found == [[f"answer to question {n}" for n in range(50)]] * 8
    client.close()
