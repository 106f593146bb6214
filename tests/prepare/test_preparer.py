"""A request in, what will be sent and its size out: each question asked once, the caller's dicts never changed."""

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest

from llm_api_client.errors import ConfigurationError, ContextWindowExceededError
from llm_api_client.prepare import Preparer
from llm_api_client.prepare.counter import REPORTS_TO_TRUST
from llm_api_client.records import ModelFacts

MODEL = "gpt-4o-mini"
PARAMS = frozenset({"temperature", "max_tokens", "max_completion_tokens", "n", "tools"})
FACTS = ModelFacts(MODEL, "openai", known=True, supported_params=PARAMS, max_input_tokens=1000, max_output_tokens=500)
OVERRIDE, FALLBACK = "MAX_INPUT_TOKENS_OVERRIDE", "MAX_CONTEXT_TOKENS_FALLBACK"

MakePreparer = Callable[..., tuple[Preparer, Any]]


@pytest.fixture
def make(make_door: Callable[..., Any], logger: logging.Logger) -> MakePreparer:
    def make(facts: ModelFacts | None = FACTS, *, counts: bool = True, **options: Any) -> tuple[Preparer, Any]:
        door = make_door({facts.model: facts} if facts else {}, counts=counts)
        return Preparer(door, logger=logger, **{"environ": {}} | options), door

    return make


def request(content: Any = "Hello", **params: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}]} | params


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_request_is_prepared(make: MakePreparer) -> None:
    """What the model does not take is gone, the rest is there, the size is known, and the request is as it was."""
    preparer, door = make()
    asked = request(temperature=0.5, seed=3, api_key="k", max_tokens=20, n=3)
    before = deepcopy(asked)
    prepared = preparer.prepare(asked, sanitize=True)
    assert asked == before
    assert prepared.params == {k: v for k, v in asked.items() if k != "seed"}
    assert prepared.params is not asked
    assert (prepared.model, prepared.prompt_tokens, prepared.max_answer_tokens) == (MODEL, 2 + 3 + 2, 60)
    assert door.times("count") == 1


def test_without_sanitizing_a_request_is_sent_as_it_is(make: MakePreparer) -> None:
    """Nothing is dropped or cut, however long the prompt is, and the provider is named all the same."""
    preparer, _ = make()
    asked = request("word " * 9000, seed=3)
    prepared = preparer.prepare(asked, sanitize=False)
    assert prepared.params == asked
    assert prepared.params is not asked
    assert prepared.prompt_tokens > 1000
    assert prepared.provider == "openai"


def test_nothing_is_counted_that_nobody_needs(make: MakePreparer) -> None:
    """Where no limit needs the size and the bytes fit the context, the tokenizer is not asked."""
    preparer, door = make()
    assert preparer.prepare(request("x" * 300), sanitize=True, count_prompt=False).prompt_tokens == 100
    assert door.times("count") == 0
    preparer.prepare(request("x" * 1001), sanitize=True, count_prompt=False)
    assert door.times("count") == 1


def test_a_long_prompt_is_cut_and_its_size_is_that_of_what_is_left(make: MakePreparer, make_door: Any) -> None:
    """A prompt that exceeds the context is cut to fit, and the size is the one of what will be sent."""
    preparer, _ = make()
    history = [{"role": "user" if i % 2 == 0 else "assistant", "content": "word " * 40} for i in range(101)]
    asked = request() | {"messages": history}
    before = deepcopy(asked)
    prepared = preparer.prepare(asked, sanitize=True)
    assert asked == before
    assert 900 <= prepared.prompt_tokens <= 1000
    assert prepared.prompt_tokens == make_door().count_tokens(MODEL, prepared.params["messages"])
    assert prepared.params["messages"][-1] == history[-1]


def test_tools_take_their_share_of_the_context(make: MakePreparer, make_door: Any) -> None:
    """Tools are part of the prompt when it is counted and when it is cut."""
    preparer, _ = make()
    tools = [{"type": "function", "function": {"name": "f"}}]
    prepared = preparer.prepare(request("word " * 2000, tools=tools), sanitize=True)
    assert prepared.prompt_tokens == make_door().count_tokens(MODEL, prepared.params["messages"], tools) <= 1000


@pytest.mark.parametrize(
    ("params", "shared", "limit"),
    [
        ({}, True, 1000),
        ({"max_tokens": 300}, True, 700),
        ({"max_tokens": 300, "n": 3}, True, 700),
        ({"max_tokens": 300}, False, 1000),
        ({"max_tokens": 99_999}, True, 500),
        ({"max_completion_tokens": 400, "max_tokens": 10}, True, 600),
    ],
)
def test_room_for_the_answer_is_kept(make: MakePreparer, params: dict[str, int], *, shared: bool, limit: int) -> None:
    """Where prompt and answer share a window, the prompt leaves room for one answer, at most the model's longest."""
    preparer, _ = make(replace(FACTS, shared_window=shared))
    tokens = preparer.prepare(request("word " * 9000, **params), sanitize=True).prompt_tokens
    assert 0.9 * limit <= tokens <= limit


def test_a_bound_as_large_as_the_window_leaves_the_prompt_its_least_share(make: MakePreparer) -> None:
    """A bound on the answer that would leave no room keeps a quarter of the window for the prompt."""
    preparer, _ = make(replace(FACTS, max_output_tokens=None))
    assert 225 <= preparer.prepare(request("word " * 9000, max_tokens=1000), sanitize=True).prompt_tokens <= 250


def test_overflow_can_be_an_error(make: MakePreparer) -> None:
    """With "error" the request is refused, with its size, the limit, the model and the cure."""
    preparer, _ = make(on_context_overflow="error")
    preparer.prepare(request(), sanitize=True)
    with pytest.raises(ContextWindowExceededError) as caught:
        preparer.prepare(request("word " * 1600), sanitize=True)
    assert caught.value.model == MODEL
    assert all(
        word in str(caught.value) for word in ("2005", "1000", MODEL, "Shorten", 'on_context_overflow="truncate"')
    )


def test_what_cannot_be_cut_to_fit_is_refused(make: MakePreparer) -> None:
    """Where the tools alone leave no room, the request is refused, and no emptied question is sent."""
    preparer, _ = make(environ={OVERRIDE: "12"})
    with pytest.raises(ContextWindowExceededError):
        preparer.prepare(request("word " * 9000, tools=[{"type": "function"}]), sanitize=True)


def test_overflow_can_be_ignored(make: MakePreparer) -> None:
    """With "ignore" nothing is cut."""
    preparer, _ = make(on_context_overflow="ignore")
    asked = request("word " * 9000)
    assert preparer.prepare(asked, sanitize=True).params == asked


def test_a_wrong_option_says_the_right_ones(make: MakePreparer) -> None:
    """An option that does not exist is refused with those that do."""
    with pytest.raises(ConfigurationError, match='"truncate", "error" or "ignore"'):
        make(on_context_overflow="raise")


def test_facts_are_asked_once_per_model_provider_and_address(make: MakePreparer) -> None:
    """The door is asked once for each model, provider and address, and by each client for itself."""
    preparer, door = make()
    for _ in range(3):
        preparer.prepare(request(), sanitize=True)
        preparer.prepare(request(custom_llm_provider="groq"), sanitize=True)
        preparer.prepare(request(base_url="http://a"), sanitize=True)
        preparer.prepare(request(api_base="http://b"), sanitize=True)
    assert door.times("facts") == 4
    Preparer(door, environ={}).prepare(request(), sanitize=True)
    assert door.times("facts") == 5


def test_dropped_parameters_are_said_once_without_their_values(make: MakePreparer, caplog: Any) -> None:
    """A dropped parameter is said once per model and parameter, and its value never."""
    preparer, _ = make()
    for value in ("secret-1", "secret-2"):
        preparer.remove_unsupported_params(request(user=value, seed=value))
    assert len(warnings(caplog)) == 2
    assert all(MODEL in line for line in warnings(caplog))
    assert "secret" not in caplog.text


def test_warnings_are_said_once_by_many_threads(make: MakePreparer, caplog: Any) -> None:
    """Threads that meet the same news at once say it once."""
    preparer, _ = make()
    threads = [Thread(target=preparer.remove_unsupported_params, args=[request(seed=1)]) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(warnings(caplog)) == 1


def test_an_unknown_model_passes_untouched_with_one_warning(make: MakePreparer, caplog: Any) -> None:
    """Of an unknown model nothing is dropped and nothing is cut, which is said once."""
    preparer, _ = make(None)
    asked = request("word " * 200_000, seed=1, top_k=3)
    for _ in range(3):
        assert preparer.prepare(asked, sanitize=True).params == asked
    assert len(warnings(caplog)) == 1
    assert "pass unchanged" in warnings(caplog)[0]


def test_an_unknown_model_is_cut_where_the_environment_says_so(make: MakePreparer) -> None:
    """A context size that somebody set explicitly holds for unknown models."""
    preparer, _ = make(None, environ={FALLBACK: "500"})
    assert 450 <= preparer.prepare(request("word " * 9000), sanitize=True).prompt_tokens <= 500


def test_the_override_wins_and_nobody_else_is_asked(make: MakePreparer) -> None:
    """The override is the limit of every model, answers notwithstanding, and the door is not asked for its size."""
    environ = {OVERRIDE: "500", FALLBACK: "7"}
    preparer, door = make(environ=environ)
    assert preparer.get_max_context_tokens(MODEL) == 500
    assert door.times("size") == 0
    assert 450 <= preparer.prepare(request("word " * 9000, max_tokens=300), sanitize=True).prompt_tokens <= 500
    environ[OVERRIDE] = "600"
    assert preparer.get_max_context_tokens(MODEL) == 600
    del environ[OVERRIDE]
    assert preparer.get_max_context_tokens(MODEL) == 1000


def test_the_fallback_is_said_once_per_model(make: MakePreparer, caplog: Any) -> None:
    """A model of unknown size has the environment's size, or 100,000 tokens, with one warning for each model."""
    environ: dict[str, str] = {}
    preparer, _ = make(None, environ=environ)
    assert [preparer.get_max_context_tokens(model) for model in ("a", "a", "b")] == [100_000] * 3
    environ[FALLBACK] = "12"
    assert preparer.get_max_context_tokens("a") == 12
    assert len(warnings(caplog)) == 2


@pytest.mark.parametrize("bad", ["", "0", "-5", "many", "1e5", "9" * 5000])
def test_a_bad_variable_is_named_once_and_ignored(make: MakePreparer, caplog: Any, bad: str) -> None:
    """A variable that is no positive number is as if unset, and is named in one warning."""
    preparer, _ = make(environ={OVERRIDE: bad, FALLBACK: bad, "OTHER": "private"})
    for _ in range(2):
        assert preparer.get_max_context_tokens(MODEL) == 1000
        assert preparer.get_max_context_tokens("unknown") == 100_000
    for name in (OVERRIDE, FALLBACK):
        assert sum(name in line for line in warnings(caplog)) == 1
    assert "private" not in caplog.text


def test_the_process_environment_is_read_when_it_is_needed(make: MakePreparer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another environment it is the process's, as it is at the time."""
    preparer, _ = make(environ=None)
    monkeypatch.setenv(OVERRIDE, "123")
    assert preparer.get_max_context_tokens(MODEL) == 123


def test_sanitizing_is_dropping_and_cutting(make: MakePreparer) -> None:
    """The public method drops what the model does not take and fits the messages into its context."""
    preparer, door = make()
    asked = request("word " * 9000, seed=1)
    kept = preparer.sanitize_completion_request(asked)
    assert set(kept) == {"model", "messages"}
    assert 900 <= door.count_tokens(MODEL, kept["messages"]) <= 1000
    assert asked == request("word " * 9000, seed=1)


def test_requests_of_other_calls_pass(make: MakePreparer) -> None:
    """A request without messages or without a model is prepared as far as it goes."""
    preparer, _ = make()
    embedding = {"model": MODEL, "input": ["a" * 400, "b" * 400], "endpoint": "embeddings"}
    assert preparer.prepare(embedding, sanitize=True).prompt_tokens == 206
    assert preparer.sanitize_completion_request({"model": MODEL, "input": [1, 2]}) == {"model": MODEL, "input": [1, 2]}
    assert preparer.sanitize_completion_request({"messages": []}) == {"messages": []}
    assert preparer.remove_unsupported_params({"seed": 1}) == {"seed": 1}


def test_truncation_by_itself_uses_the_models_context(make: MakePreparer) -> None:
    """The public method cuts to the model's context, or to the fallback's where the model is unknown."""
    preparer, door = make(environ={FALLBACK: "200"})
    history = [{"role": "user", "content": "word " * 80} for _ in range(20)]
    assert 900 <= door.count_tokens(MODEL, preparer.truncate_to_max_context_tokens(history, MODEL)) <= 1000
    assert 180 <= door.count_tokens("x", preparer.truncate_to_max_context_tokens(history, "x")) <= 200
    short = preparer.truncate_to_max_context_tokens(history[:1], MODEL)
    assert short == history[:1]
    assert short is not history
    assert preparer.truncate_to_max_context_tokens([], MODEL) == []


def test_what_cannot_be_counted_is_estimated(make: MakePreparer) -> None:
    """Where the tokenizer is missing, a third of the characters is the count, and what is cut fits by it."""
    preparer, _ = make(counts=False)
    messages = [{"role": "user", "content": "x" * 299}, {"role": "assistant", "content": None}]
    assert preparer.count_messages_tokens(messages, model=MODEL) == 99
    history = [{"role": "user", "content": "x" * (100 + i)} for i in range(100)]
    kept = preparer.truncate_to_max_context_tokens(history, MODEL)
    assert 900 <= preparer.count_messages_tokens(kept, model=MODEL) <= 1000


@pytest.mark.parametrize(
    "odd", [None, "text", [None], [3], ["x"], [{"content": 3}], [{"role": "user", "content": [3]}]]
)
def test_counting_never_raises(make: MakePreparer, odd: Any) -> None:
    """Whatever is passed, there is a number."""
    assert make()[0].count_messages_tokens(odd, model=MODEL) >= 0


@pytest.mark.parametrize("timeout", [10, 0.01, 0])
def test_of_a_huge_text_a_sample_is_counted(make: MakePreparer, timeout: float) -> None:
    """Of a text too long to be counted in time, only a sample is shown to the tokenizer."""
    preparer, door = make()
    tokens = preparer.count_messages_tokens(
        [{"role": "user", "content": "x" * 10_000_000}], model=MODEL, timeout=timeout
    )
    assert tokens == pytest.approx(2_500_000 if timeout else 3_333_333, rel=0.01)
    assert sum(len(message["content"]) for message in door.counted) <= 100_000


def test_images_are_never_shown_to_the_tokenizer(make: MakePreparer) -> None:
    """An image counts as a constant, for to measure it the tokenizer would fetch it."""
    preparer, door = make()
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    text = {"type": "text", "text": "What is it?"}
    prepared = preparer.prepare(request([text, image]), sanitize=True)
    assert door.counted == [{"role": "user", "content": [text]}]
    assert prepared.prompt_tokens == 2 + 3 + 3 + 765
    assert prepared.params["messages"][0]["content"] == [text, image]


def test_estimates_are_corrected_by_what_is_reported(make: MakePreparer) -> None:
    """Estimates, and only they, follow what the provider reported for the model, within bounds."""
    preparer, _ = make()
    asked = request("x" * 300)
    for reported in (150, 150):
        preparer.learn(preparer.prepare(asked, sanitize=True), reported)
    assert preparer.prepare(asked, sanitize=True, count_prompt=False).prompt_tokens == 150
    assert preparer.prepare(asked, sanitize=True).prompt_tokens == 80
    other = asked | {"model": "other"}
    assert preparer.prepare(other, sanitize=False, count_prompt=False).prompt_tokens == 100
    for reported in (10**9, 0, -1):
        preparer.learn(preparer.prepare(asked, sanitize=True), reported)
    assert preparer.prepare(asked, sanitize=True, count_prompt=False).prompt_tokens == 500


def test_prompts_are_counted_until_their_estimates_are_trusted(make: MakePreparer) -> None:
    """Once enough reports have corrected them, estimates stand in for counts, where those need not be exact."""
    preparer, door = make(replace(FACTS, max_input_tokens=10**9))
    asked = request("a" * 8_000)
    exact = preparer.prepare(asked, sanitize=True).prompt_tokens
    for _ in range(REPORTS_TO_TRUST):
        counts = door.times("count")
        preparer.learn(preparer.prepare(asked, sanitize=True, exactly=False), exact)
        assert door.times("count") == counts + 1
    counts = door.times("count")
    assert preparer.prepare(asked, sanitize=True, exactly=False).prompt_tokens == pytest.approx(exact, rel=0.01)
    assert door.times("count") == counts
    assert preparer.prepare(asked, sanitize=True).prompt_tokens == exact
    assert door.times("count") == counts + 1


def test_corrected_estimates_still_cut_to_fit(make: MakePreparer) -> None:
    """What is cut by corrected estimates fits by corrected estimates."""
    preparer, _ = make(counts=False)
    preparer.learn(preparer.prepare(request("x" * 3000), sanitize=False), 2700)
    kept = preparer.truncate_to_max_context_tokens([{"role": "user", "content": "x" * 50} for _ in range(99)], MODEL)
    assert 800 <= preparer.count_messages_tokens(kept, model=MODEL) <= 1000
