"""The tracker: exact counts of what was spent, and how they are shown."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from llm_api_client import APIClient
from llm_api_client.api_tracker import MOST_MODELS, APIUsageTracker, StatusTracker
from llm_api_client.errors import NetworkError, RateLimitError, ServerError
from llm_api_client.records import Attempt, Kind, Usage, Verdict
from llm_api_client.simulator import SimulatedProvider
from llm_api_client.testing import ScriptedAnswer, ScriptedCalls

MESSAGES = [{"role": "user", "content": "Hi"}]


def answered(latency=0.1, usage=Usage(10, 5), cost=0.25, model="m", provider=None):  # noqa: B008  a frozen value
    return Attempt(model, Verdict(Kind.ANSWERED), latency, usage, cost, provider=provider)


def failed(error, kind=Kind.TRANSIENT, usage=None, cost=None):
    return Attempt("m", Verdict(kind, error), 0.1, usage, cost)


def eventually(condition, seconds=30.0):
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


def test_it_is_exact_under_two_hundred_threads():
    """No count is lost between threads, and reading meanwhile is consistent."""
    tracker = APIUsageTracker()

    def work(_: int) -> None:
        for _ in range(50):
            tracker.record_start()
            tracker.record_attempt(answered())
            tracker.record_attempt(failed(RateLimitError("no", status_code=429), Kind.RATE_LIMITED))
            tracker.record_end(succeeded=True, sent=True)
            details = tracker.details
            assert details["total_prompt_tokens"] == 2 * details["total_completion_tokens"]
            assert details["total_prompt_tokens"] == 10 * details["num_api_calls"]

    with ThreadPoolExecutor(200) as pool:
        list(pool.map(work, range(200)))
    assert tracker.num_api_calls == 10_000
    assert tracker.total_cost == 2_500
    assert (tracker.total_prompt_tokens, tracker.total_completion_tokens) == (100_000, 50_000)
    assert tracker.status == StatusTracker(
        num_tasks_started=10_000, num_tasks_succeeded=10_000, num_rate_limit_errors=10_000
    )


def test_an_empty_tracker_shows_zeros_and_no_times():
    """Before the first answer the totals are 0 and the times None, and nothing divides by zero."""
    tracker = APIUsageTracker()
    assert tracker.details == {
        "total_cost": 0.0, "total_prompt_tokens": 0, "total_completion_tokens": 0, "num_api_calls": 0,
        "mean_response_time": None, "response_times": {},
    }  # fmt: skip
    assert str(tracker).splitlines() == [
        "Total cost of API calls: $0.00",
        "Total prompt tokens: 0",
        "Total completion tokens: 0",
        "Number of responses: 0",
    ]
    assert tracker.mean_response_time is None
    assert tracker.response_time_at_percentile(50) is None


def test_the_formats_are_those_that_users_parse():
    """Keys of `details` and lines of `str` are as documented."""
    tracker = APIUsageTracker()
    for latency in (0.1, 0.2, 0.3, 0.4):
        tracker.record_attempt(answered(latency))
    assert str(tracker) == tracker.get_stats_str()
    assert str(tracker).splitlines() == [
        "Total cost of API calls: $1.00",
        "Total prompt tokens: 40",
        "Total completion tokens: 20",
        "Number of responses: 4",
        "Mean response time: 0.25 seconds",
        "Response time at 99th percentile: 0.397 seconds",
    ]
    assert tracker.details == {
        "total_cost": 1.0,
        "total_prompt_tokens": 40,
        "total_completion_tokens": 20,
        "num_api_calls": 4,
        "mean_response_time": pytest.approx(0.25),
        "response_times": {
            "50percentile": "0.250", "75percentile": "0.325", "90percentile": "0.370", "95percentile": "0.385",
            "99percentile": "0.397", "99.9percentile": "0.400",
        },
    }  # fmt: skip


# What `numpy.percentile` (method "linear") gives, calculated once.
VECTORS = [
    ([5.0], {0: 5.0, 50: 5.0, 99.9: 5.0, 100: 5.0}),
    ([1.0, 2.0], {0: 1.0, 25: 1.25, 50: 1.5, 99: 1.99, 100: 2.0}),
    ([15.0, 20.0, 35.0, 40.0, 50.0], {5: 16.0, 30: 23.0, 40: 29.0, 50: 35.0, 75: 40.0, 90: 46.0, 95: 48.0, 99: 49.6}),
    ([3.0, 1.0, 2.0, 10.0], {50: 2.5, 75: 4.75, 90: 7.9, 99.9: 9.979}),
    ([float(n) for n in range(1, 101)], {50: 50.5, 90: 90.1, 95: 95.05, 99: 99.01, 99.9: 99.901}),
]


@pytest.mark.parametrize(("times", "expected"), VECTORS)
def test_percentiles_are_interpolated_linearly(times, expected):
    """A percentile is what numpy's default method gives, in whatever order the times came."""
    tracker = APIUsageTracker()
    for latency in times:
        tracker.record_attempt(answered(latency))
    for percentile, value in expected.items():
        assert tracker.response_time_at_percentile(percentile) == pytest.approx(value)


@pytest.mark.parametrize("percentile", [-1, 100.1, float("nan"), float("inf")])
def test_a_percentile_outside_its_range_is_refused(percentile):
    """Only 0 to 100 are percentiles, and the error says so."""
    with pytest.raises(ValueError, match="from 0 to 100"):
        APIUsageTracker().response_time_at_percentile(percentile)


def test_an_unknown_price_is_not_zero():
    """A call without a price is counted as such, its tokens count, and the text says that the cost lacks it."""
    tracker = APIUsageTracker()
    tracker.record_attempt(answered())
    tracker.record_attempt(answered(cost=None))
    tracker.record_attempt(answered(usage=None, cost=None))
    assert (tracker.total_cost, tracker.num_unpriced_calls, tracker.num_unmeasured_calls) == (0.25, 2, 1)
    assert tracker.total_prompt_tokens == 20
    assert "Calls with unknown price, not in the cost: 2" in str(tracker)
    assert "Calls with unknown tokens, not in the totals: 1" in str(tracker)


def test_a_free_call_has_a_known_price():
    """A price of 0 is a price."""
    tracker = APIUsageTracker()
    tracker.record_attempt(answered(cost=0.0))
    assert tracker.num_unpriced_calls == 0


def test_what_failed_and_is_billed_counts():
    """A failed call with a usage adds its tokens and cost, and is no response."""
    tracker = APIUsageTracker()
    tracker.record_attempt(failed(ServerError("no", status_code=200), usage=Usage(7, 0), cost=0.5))
    tracker.record_attempt(failed(ServerError("no", status_code=500)))
    assert (tracker.total_cost, tracker.total_prompt_tokens, tracker.num_api_calls) == (0.5, 7, 0)
    assert tracker.num_unpriced_calls == 0
    assert tracker.mean_response_time is None


def test_what_was_spent_is_summed_up_by_provider_and_by_model():
    """Each call counts for its provider and for its model, billed failures too, and the sums are the totals."""
    tracker = APIUsageTracker()
    tracker.record_attempt(answered(model="a", provider="openai"))
    tracker.record_attempt(answered(model="a", provider="azure", cost=None))
    tracker.record_attempt(answered(model="b", provider="openai", usage=None))
    tracker.record_attempt(answered(model=""))
    tracker.record_attempt(failed(ServerError("no", status_code=200), usage=Usage(7, 0), cost=0.5))
    tracker.record_attempt(failed(ServerError("no", status_code=500)))

    def sums(requests, tokens, cost, unpriced=0):
        return {"requests": requests, "tokens": tokens, "cost": cost, "unpriced_requests": unpriced}

    assert tracker.usage == {
        "total_requests": 4,
        "total_tokens": 52,
        "prompt_tokens": 37,
        "completion_tokens": 15,
        "total_cost": 1.25,
        "unpriced_requests": 1,
        "by_provider": {"openai": sums(2, 15, 0.5), "azure": sums(1, 15, 0.0, 1), "unknown": sums(1, 22, 0.75)},
        "by_model": {
            "a": sums(2, 30, 0.25, 1), "b": sums(1, 0, 0.25), "unknown": sums(1, 15, 0.25), "m": sums(0, 7, 0.5),
        },
    }  # fmt: skip


def test_models_without_end_take_no_memory_without_end():
    """Beyond a thousand models the rest is summed up together, and nothing is lost."""
    tracker = APIUsageTracker()
    for number in range(MOST_MODELS + 50):
        tracker.record_attempt(answered(model=f"m{number}"))
    tracker.record_attempt(answered(model="m7"))
    by_model = tracker.usage["by_model"]
    assert len(by_model) == MOST_MODELS + 1
    assert by_model["others"]["requests"] == 50
    assert by_model["m7"]["requests"] == 2
    assert sum(each["tokens"] for each in by_model.values()) == tracker.usage["total_tokens"]


def test_hits_of_the_cache_are_counted_apart():
    """An answer from the cache adds to nothing but the hits and what they saved, and the text says so."""
    tracker = APIUsageTracker()
    tracker.record_cache_hit(0.25)
    tracker.record_cache_hit(None)
    assert (tracker.num_cache_hits, tracker.saved_cost) == (2, 0.25)
    assert (tracker.num_api_calls, tracker.total_cost, tracker.usage["total_requests"]) == (0, 0.0, 0)
    assert "Answers from the cache: 2, which saved $0.25" in str(tracker)
    assert "cache" not in str(APIUsageTracker())


def test_each_end_is_counted_once_under_its_kind():
    """Rate limits, answers that are errors, and calls without an answer are told apart."""
    tracker = APIUsageTracker()
    for _ in range(4):
        tracker.record_start()
    tracker.record_attempt(failed(RateLimitError("no", status_code=429), Kind.RATE_LIMITED))
    tracker.record_attempt(failed(ServerError("no", status_code=500)))
    tracker.record_attempt(failed(NetworkError("no")))
    tracker.record_attempt(answered())
    tracker.record_end(succeeded=False, sent=True)
    tracker.record_end(succeeded=False, sent=False)
    tracker.record_end(succeeded=True, sent=True)
    assert tracker.status == StatusTracker(
        num_tasks_started=4, num_tasks_in_progress=1, num_tasks_succeeded=1, num_tasks_failed=2,
        num_rate_limit_errors=1, num_api_errors=1, num_other_errors=2,
    )  # fmt: skip


def test_two_clients_do_not_see_each_other(litellm):
    """Each client counts its own calls only."""
    with APIClient(api_call=ScriptedCalls(), progress=False) as one, APIClient(progress=False) as two:
        one.make_requests([{"model": "m", "messages": MESSAGES}] * 3)
        assert one.tracker.num_api_calls == 3
        assert one.details["total_cost"] == pytest.approx(0.003)
        assert two.tracker.num_api_calls == two.tracker.status.num_tasks_started == 0


def test_a_client_counts_what_a_real_answer_cost(litellm):
    """Tokens and cost of a client's calls are the provider's and LiteLLM's, without any callback."""
    before = list(litellm.success_callback)
    with SimulatedProvider() as provider:
        with APIClient(base_url=provider.base_url, api_key="sk-made-up", progress=False) as client:
            [response] = client.make_requests([{"model": "gpt-4o-mini", "messages": MESSAGES}])
        assert litellm.success_callback == before
    assert client.tracker.total_cost == pytest.approx(litellm.completion_cost(response))
    assert client.tracker.total_cost > 0
    assert client.tracker.total_prompt_tokens == response.usage.prompt_tokens
    assert client.tracker.num_unpriced_calls == 0


@pytest.fixture
def callbacks(litellm, monkeypatch):
    """LiteLLM's success callbacks, with one of the user's own in it; its calls' ids.

    LiteLLM calls them from a thread of its own, so that a call of the test before may still come.
    """
    calls = []

    def users_own(kwargs, completion_response, start_time, end_time):
        calls.append(kwargs["litellm_call_id"])

    monkeypatch.setattr(litellm, "success_callback", [users_own])
    yield calls
    # LiteLLM copies callbacks elsewhere when it calls them.
    litellm.logging_callback_manager._reset_all_callbacks()


def test_tracking_of_other_calls_is_added_to_the_user_s_callbacks(litellm, callbacks):
    """Opting in appends one callback, twice asked or not, and the user's own stays and is called."""
    [users_own] = litellm.success_callback
    tracker = APIUsageTracker()
    tracker.set_up_litellm_cost_tracking()
    tracker.set_up_litellm_cost_tracking()
    assert litellm.success_callback == [users_own, tracker.track_cost_callback]
    response = litellm.completion(model="gpt-4o-mini", messages=MESSAGES, mock_response="Hello there")
    eventually(lambda: tracker.num_api_calls == 1 and len(callbacks) >= 1)
    assert tracker.total_completion_tokens == response.usage.completion_tokens > 0
    assert tracker.total_cost == pytest.approx(litellm.completion_cost(response))


def test_tracking_works_after_calls_that_had_other_callbacks(litellm, callbacks, monkeypatch):
    """A callback that comes after LiteLLM's first call is called, which LiteLLM by itself does not always do."""
    monkeypatch.setattr("litellm.utils.callback_list", ["cache"])
    monkeypatch.setattr("litellm.litellm_core_utils.litellm_logging.customLogger", None)
    tracker = APIUsageTracker()
    tracker.set_up_litellm_cost_tracking()
    litellm.completion(model="gpt-4o-mini", messages=MESSAGES, mock_response="Hello there")
    eventually(lambda: tracker.num_api_calls == 1)


def test_a_client_s_own_calls_are_not_counted_twice(litellm, callbacks):
    """Calls of any client reach the callback too, and are left to the client that made them."""
    with SimulatedProvider() as provider:
        options = {"base_url": provider.base_url, "api_key": "sk-made-up", "progress": False}
        with APIClient(**options) as client, APIClient(**options) as other:
            client.tracker.set_up_litellm_cost_tracking()
            client.make_requests([{"model": "gpt-4o-mini", "messages": MESSAGES}] * 5)
            other.make_requests([{"model": "gpt-4o-mini", "messages": MESSAGES}] * 3)
            eventually(lambda: len(callbacks) >= 8)
            litellm.completion(model="gpt-4o-mini", messages=MESSAGES, mock_response="Hello")
            eventually(lambda: len(callbacks) >= 9 and client.tracker.num_api_calls == 6)
            assert other.tracker.num_api_calls == 3


def test_the_callback_takes_times_as_litellm_and_as_people_give_them():
    """Datetimes and plain seconds are both understood; an unknown cost is unknown."""
    tracker = APIUsageTracker()
    start = datetime(2026, 1, 1)  # noqa: DTZ001  LiteLLM's are naive
    call = {"response_cost": 0.5, "model": "m", "custom_llm_provider": "openai"}
    tracker.track_cost_callback(call, ScriptedAnswer(), start, start + timedelta(seconds=1.5))
    tracker.track_cost_callback({}, ScriptedAnswer(prompt_tokens=1, completion_tokens=2), 10.0, 10.5)
    assert (tracker.total_cost, tracker.num_unpriced_calls) == (0.5, 1)
    assert (tracker.total_prompt_tokens, tracker.total_completion_tokens) == (11, 7)
    assert tracker.mean_response_time == 1.0
    assert tracker.usage["by_provider"]["openai"]["cost"] == tracker.usage["by_model"]["m"]["cost"] == 0.5
