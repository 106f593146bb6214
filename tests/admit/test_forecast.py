"""How long limits alone hold calls up."""

import pytest

from llm_api_client.admit.forecast import Forecast
from llm_api_client.admit.limiter import PACE, SKEW
from llm_api_client.admit.rates import RateLimit
from llm_api_client.errors import RequestTooLargeError


def seconds(limit: RateLimit, calls: int, prompt: int = 10, answer: int = 10) -> float:
    forecast = Forecast(limit)
    for _ in range(calls):
        forecast.admit(prompt, answer, bounded=True)
    return forecast.seconds


def test_what_fits_at_once_waits_for_nothing():
    """No call, one call, and calls without limits are held up by nothing."""
    assert seconds(RateLimit(1, 20), 0) == seconds(RateLimit(1, 20), 1) == seconds(RateLimit(), 1_000) == 0


def test_a_window_s_worth_goes_in_each_window():
    """Of two calls a minute the third goes a whole window after the first, not half a one."""
    assert seconds(RateLimit(2), 3) == pytest.approx(60 + SKEW)


def test_many_calls_go_at_the_engine_s_pace():
    """Ten minutes' worth of calls takes ten minutes by the pace that a limiter keeps."""
    assert seconds(RateLimit(600), 6_000) == pytest.approx(600 / PACE, rel=0.01)


def test_the_slowest_axis_holds_up():
    """Where tokens are scarcer than requests, they are what is waited for; prompts and answers count both."""
    assert seconds(RateLimit(600, 6_000), 600, prompt=60, answer=40) == pytest.approx(600 / PACE, rel=0.01)


def test_a_day_s_limit_holds_up_for_days():
    """Beyond a day's worth, what is left waits for the next day."""
    assert seconds(RateLimit(requests_per_day=10), 21) == pytest.approx(2 * (86_400 + SKEW))


def test_what_is_larger_than_the_limit_is_refused_and_holds_up_nothing():
    """A call that no waiting lets go is refused by name, and those after it go as if it had not been there."""
    forecast = Forecast(RateLimit(None, 100))
    with pytest.raises(RequestTooLargeError, match="101 of 100 tokens per minute"):
        forecast.admit(1, 100, bounded=True)
    forecast.admit(1, 99, bounded=True)
    assert forecast.seconds == 0


def test_an_answer_that_is_only_assumed_refuses_nothing():
    """Where the request sets no bound, only its prompt can be too large."""
    forecast = Forecast(RateLimit(None, 100))
    forecast.admit(90, 500, bounded=False)
    with pytest.raises(RequestTooLargeError):
        forecast.admit(101, 1, bounded=False)
