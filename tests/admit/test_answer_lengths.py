"""The expected length of an answer: careful at first, then learned, and always within what the request allows."""

from random import Random
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_api_client.admit.answers import ASSUMED, ENOUGH, REMEMBERED, AnswerLengths


def _learned(lengths, model="m"):
    answers = AnswerLengths()
    for length in lengths:
        answers.learn(model, length)
    return answers


def test_unknown_answers_are_as_long_as_the_request_allows():
    """While nothing is known, the request's own bound is reserved, or a usual length where it has none."""
    answers = AnswerLengths()
    assert answers.expect("m", 4096) == 4096
    assert answers.expect("m", 1) == 1
    assert answers.expect("m", 0) == 0
    assert answers.expect("m", None) == ASSUMED == 512


def test_few_answers_are_not_trusted():
    """The first to come back are the short ones: a hundred must have come before they are believed."""
    answers = _learned([10] * (ENOUGH - 1))
    assert ENOUGH == 100
    assert answers.expect("m", 4096) == 4096
    assert answers.expect("m", None) == ASSUMED
    answers.learn("m", 10)
    assert answers.expect("m", 4096) == 10
    assert answers.expect("m", None) == 10


def test_what_is_expected_is_what_few_exceed():
    """Of a hundred answers, five are longer than what is expected of the next."""
    lengths = list(range(1, 101))
    Random(0).shuffle(lengths)
    answers = _learned(lengths)
    assert answers.expect("m", None) == 95


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 5000), min_size=ENOUGH, max_size=300))
def test_about_a_twentieth_of_answers_are_longer(lengths):
    """Of the answers that were looked at, at most one in twenty (and one) is longer than expected."""
    answers = _learned(lengths)
    looked_at = lengths[: ENOUGH + (len(lengths) - ENOUGH) // 32 * 32]
    expected = answers.expect("m", None)
    assert sum(length > expected for length in looked_at) <= 0.05 * len(looked_at) + 1
    assert sum(length >= expected for length in looked_at) >= 0.05 * len(looked_at)


def test_expectation_is_within_the_request_bound():
    """A request never reserves more than it allows its answer."""
    answers = _learned([300] * 200)
    assert answers.expect("m", 50) == 50
    assert answers.expect("m", 300) == 300
    assert answers.expect("m", 301) == 300


def test_expectation_follows_the_answers():
    """When answers become longer, so does what is expected, before a hundred of them have come."""
    answers = _learned([10] * 400)
    for _ in range(99):
        answers.learn("m", 1000)
    assert answers.expect("m", None) == 1000
    for _ in range(REMEMBERED + 32):
        answers.learn("m", 20)
    assert answers.expect("m", None) == 20


def test_quantile_is_not_looked_at_for_every_answer():
    """Between two looks at all answers, thirty-two come."""
    answers = _learned([10] * ENOUGH)
    changes = []
    for count in range(1, 100):
        before = answers.expect("m", None)
        answers.learn("m", 10 + count)
        if answers.expect("m", None) != before:
            changes.append(count)
    assert changes == [32, 64, 96]


def test_models_are_told_apart():
    """What one model answers says nothing of another."""
    answers = _learned([10] * 200, "short")
    assert answers.expect("long", None) == ASSUMED
    assert answers.expect("short", None) == 10


def test_memory_is_bounded():
    """However many answers come, a model's last few hundred are remembered."""
    answers = _learned(range(10_000))
    assert len(answers._seen["m"]) == REMEMBERED == 512


@pytest.mark.parametrize("models", [1, 3])
def test_threads_may_learn_at_once(models):
    """Many threads that learn and ask at once lose nothing and break nothing."""
    answers = AnswerLengths()

    def work(number):
        for _ in range(300):
            answers.learn(f"m{number % models}", 7)
            assert answers.expect(f"m{number % models}", None) in {7, ASSUMED}
        done.append(number)

    done = []
    threads = [Thread(target=work, args=(number,), daemon=True) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(done) == list(range(12))
    counted = sum(reviewed for _, reviewed in answers._expected.values())
    assert counted == 12 * 300 - models * (ENOUGH - 1)
