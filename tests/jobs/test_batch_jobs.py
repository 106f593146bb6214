"""Jobs of requests over real HTTP: what goes up, and what comes back to which slot."""

import logging

import pytest

from llm_api_client import APIClient
from llm_api_client.errors import (
    BatchInterruptedError,
    BatchTimeoutError,
    ConfigurationError,
    ContextWindowExceededError,
    InvalidInputError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    RequestTooLargeError,
    ServerError,
)
from llm_api_client.jobs import JobNotDoneError
from llm_api_client.simulator import SimulatedProvider

from .conftest import KEY, ask, asked, echoes, paths, uploaded


def contents(results):
    return [result.content for result in results]


def test_answers_stand_where_their_requests_do(client, provider, litellm):
    """Results come in the order of the requests, though the provider answers in another."""
    job = client.submit_batch(asked(40))
    assert job.wait().state == "completed"
    results = job.results()
    assert contents(results) == echoes(40)
    assert [result.index for result in results] == list(range(40))
    assert [result.request for result in results] == asked(40)


@pytest.mark.parametrize(("limit", "sizes"), [({"max_requests": 4}, [4, 4, 2]), ({"max_bytes": 600}, [3, 3, 3, 1])])
def test_files_are_no_larger_than_they_may_be(limit, sizes, client, provider, litellm):
    """Requests are split into as few batches as the bounds on requests and on bytes allow."""
    job = client.submit_batch(asked(10), **limit)
    files = uploaded(job)
    assert [len(lines) for lines in files] == sizes
    assert contents(job.results()) == echoes(10)


def test_embeddings_are_counted_text_by_text(client, provider, litellm):
    """A request for several embeddings takes as many places of a batch as it has texts; vectors come back in order."""
    requests = [{"model": "openai/text-embedding-3-small", "input": [f"{i}a", f"{i}b"]} for i in range(3)]
    job = client.submit_batch(requests, endpoint="embeddings", max_requests=4)
    assert [len(lines) for lines in uploaded(job)] == [2, 1]
    results = job.results()
    direct = client.make_requests([{**requests[2], "endpoint": "embeddings"}])
    assert results[2].response.data[1]["embedding"] == direct[0].data[1]["embedding"]
    assert results[0].usage.completion_tokens == 0
    assert results[0].cost == pytest.approx(results[0].usage.prompt_tokens * 0.01e-6)


def test_each_batch_has_one_model(client, provider, litellm):
    """Requests to several models go into batches of one model each, and their results back into one order."""
    requests = [ask(f"question {i}", f"openai/gpt-4o{'-mini' * (i % 2)}") for i in range(6)]
    job = client.submit_batch(requests)
    files = uploaded(job)
    assert [{line["body"]["model"] for line in lines} for lines in files] == [{"gpt-4o"}, {"gpt-4o-mini"}]
    assert contents(job.results()) == echoes(6)


def test_a_bad_request_spoils_its_own_slot_only(client, provider, litellm):
    """What cannot be sent is not uploaded; its slot has the reason, and all others have their answers."""
    bad = {
        1: ({"model": "openai/gpt-4o-mini", "messages": []}, InvalidInputError),
        2: (ask("x", "anthropic/claude-3-haiku-20240307"), InvalidInputError),
        4: (ask("x", "nobody-knows-it"), InvalidInputError),
        5: (ask("x", extra_headers={"a": "b"}), InvalidInputError),
        6: (ask("x " * 400), RequestTooLargeError),
        7: ({"model": "gpt-image-1", "endpoint": "image", "prompt": "x"}, InvalidInputError),
    }
    requests = [bad[i][0] if i in bad else ask(f"question {i}") for i in range(9)]
    job = client.submit_batch(requests, max_bytes=700)
    assert {index: type(error) for index, error in job.refused.items()} == {i: cls for i, (_, cls) in bad.items()}
    assert sum(len(lines) for lines in uploaded(job)) == 3
    results = job.results()
    assert {r.index: type(r.error) for r in results if r.error} == {i: cls for i, (_, cls) in bad.items()}
    assert all(result.error.index == result.index for result in results if result.error)
    assert [r.content for r in results if r.error is None] == [f"Simulated answer to: question {i}" for i in (0, 3, 8)]


def test_a_prompt_that_is_too_long_is_treated_as_by_the_client(new_client):
    """The client's `on_context_overflow` holds for batches too."""
    job = new_client(on_context_overflow="error").submit_batch([ask("word " * 200_000)])
    assert isinstance(job.refused[0], ContextWindowExceededError)
    assert not new_client().submit_batch([ask("word " * 200_000)]).refused


def test_nothing_is_submitted_where_nothing_can_be(client, provider):
    """A job of nothing, or of bad requests only, is over at once, and asks the provider nothing."""
    assert client.submit_batch([]).results() == []
    job = client.submit_batch([{"model": "gpt-4o-mini"}])
    assert (job.id, job.wait().state, len(job)) == ("1", "completed", 1)
    assert isinstance(job.results()[0].error, InvalidInputError)
    assert not provider.requests


def test_a_line_is_what_a_call_would_send(client, provider, litellm):
    """The body of a line is the very JSON that the same request sends when it is made at once."""
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    image = [{"type": "image_url", "image_url": "http://localhost/a.png"}, {"type": "text", "text": "What?"}]
    requests = [
        ask("a", temperature=0.5, max_tokens=7, seed=1, user="u", top_k=3, n=2, stop=["x"]),
        ask("b", "openai/o3-mini", max_tokens=7, temperature=0.2),
        ask("d", "openai/o3-mini", allowed_openai_params=["top_p"], top_p=0.5, temperature=1),
        ask("c", response_format=schema, logit_bias={"5": 1}, extra_body={"more": 1}, timeout=9, metadata={"a": "b"}),
        {"model": "openai/some-model", "messages": [{"role": "user", "content": image}], "logprobs": True},
    ]
    client.make_requests(requests)
    sent = {seen.body["model"] + str(seen.body["messages"]): dict(seen.body) for seen in provider.requests}
    bodies = [line["body"] for lines in uploaded(client.submit_batch(requests)) for line in lines]
    assert len(bodies) == len(requests)
    assert all(body == sent[body["model"] + str(body["messages"])] for body in bodies)


def test_each_failed_line_has_its_own_typed_error(client):
    """Errors of single requests are judged by their status, as those of single calls are."""
    faults = {"400": InvalidRequestError, "429": RateLimitError, "500": ServerError}
    job = client.submit_batch([ask("question 0"), *(ask(f"[simulate: {fault}]") for fault in faults)])
    status = job.wait()
    assert (status.state, status.completed, status.failed) == ("completed", 1, 3)
    results = job.results()
    assert [type(result.error) for result in results[1:]] == list(faults.values())
    assert [result.error.status_code for result in results[1:]] == [400, 429, 500]
    assert all(result.error.request_id and result.attempts == 1 for result in results[1:])


def test_an_expired_batch_gives_what_it_has(client):
    """Requests that the provider did not get to fail and say why; the answers that came are kept."""
    job = client.submit_batch(asked(4), metadata={"simulate": "expired"})
    status = job.wait()
    assert (status.state, status.total, status.completed, status.failed) == ("expired", 4, 2, 2)
    results = job.results()
    late = [result for result in results if result.error]
    assert len(late) == 2
    assert all(isinstance(result.error, BatchTimeoutError) and "expired" in str(result.error) for result in late)
    assert all(
        result.content == f"Simulated answer to: question {result.index}" for result in results if not result.error
    )


def test_a_file_that_the_provider_refuses_says_which_line(client):
    """A batch that fails as a whole fails all of its requests, each with its own line's fault where it has one."""
    job = client.submit_batch([ask(model="openai/missing"), ask("fine")])
    status = job.wait()
    assert (status.state, status.completed, status.failed) == ("failed", 1, 1)
    assert (status.errors[0].line, status.errors[0].code) == (1, "model_not_found")
    results = job.results()
    assert isinstance(results[0].error, InvalidRequestError)
    assert "'missing' does not exist" in str(results[0].error)
    assert results[1].content == "Simulated answer to: fine"


def test_a_job_can_be_cancelled():
    """What was not answered by then fails with what happened; cancelling twice is harmless."""
    with SimulatedProvider(batch_seconds=30) as slow:
        client = APIClient(api_key="sk-x", base_url=slow.base_url)
        job = client.submit_batch(asked(2))
        assert not job.status().is_over
        with pytest.raises(JobNotDoneError, match=r"wait\(\)"):
            job.results()
        early = job.results(partial=True)
        assert all(isinstance(result.error, JobNotDoneError) for result in early)
        assert client.tracker.status.num_tasks_started == len(client.history) == 0
        assert job.cancel().state in {"cancelling", "cancelled"}
        assert job.wait(poll=0.01).state == "cancelled"
        assert job.cancel().state == "cancelled"
        assert all(isinstance(result.error, BatchInterruptedError) for result in job.results())


def test_a_part_that_is_done_can_be_had_before_the_rest(client, monkeypatch):
    """With `partial`, batches that are over give their results while others go on, and each is counted once."""
    job = client.submit_batch(asked(4), max_requests=2)
    real = job._look

    def look():
        real()
        job._parts[1].said = {**job._parts[1].said, "status": "in_progress"}

    monkeypatch.setattr(job, "_look", look)
    assert contents(job.results(partial=True)) == [*echoes(2), None, None]
    monkeypatch.undo()
    assert contents(job.results()) == echoes(4)
    assert client.tracker.num_api_calls == len(client.history) == 4


def test_a_batch_costs_half(client, litellm):
    """The cost is the table's price for batches, or else half of the usual; without a price it is unknown."""
    requests = [ask("question 0"), ask("question 0", "openai/gpt-4-turbo"), ask("question 0", "openai/some-model")]
    results = client.submit_batch(requests).results()
    info = litellm.get_model_info("gpt-4o-mini")
    used = results[0].usage
    assert results[0].cost == pytest.approx(
        used.prompt_tokens * info["input_cost_per_token_batches"]
        + used.completion_tokens * info["output_cost_per_token_batches"]
    )
    assert results[1].cost == pytest.approx((used.prompt_tokens * 10e-6 + used.completion_tokens * 30e-6) / 2)
    assert results[2].cost is None
    assert client.tracker.total_cost == pytest.approx(results[0].cost + results[1].cost)
    assert client.tracker.num_unpriced_calls == 1


def test_results_are_counted_once(client):
    """However often results are asked for, the tracker and the history have each once, failures too."""
    job = client.submit_batch([*asked(3), ask("[simulate: 400]"), {"model": "x"}])
    assert [type(result.error) for result in job.results()] == [type(result.error) for result in job.results()]
    status = client.tracker.status
    assert (status.num_tasks_succeeded, status.num_tasks_failed, status.num_tasks_in_progress) == (3, 2, 0)
    assert client.tracker.num_api_calls == 3
    assert client.get_usage()["by_provider"]["openai"]["requests"] == 3
    assert len(client.history) == 5
    assert [entry["content"] for entry in client.history].count("Simulated answer to: question 1") == 1


def test_answers_are_those_of_litellm(client, litellm):
    """An answer is LiteLLM's object, equal in its dump to that of a single call but for ids and times."""
    result = client.submit_batch([ask("question 0")]).results()[0]
    direct = client.make_requests([ask("question 0")])[0]
    assert type(result.response) is litellm.ModelResponse
    one, other = (answer.model_dump(exclude={"id", "created"}) for answer in (result.response, direct))
    assert one["choices"][0]["message"]["content"] == other["choices"][0]["message"]["content"]
    assert one["usage"]["total_tokens"] == other["usage"]["total_tokens"]
    assert result.response._hidden_params["response_cost"] == result.cost


def test_the_clients_limits_do_not_hold_for_batches(new_client):
    """A batch passes no limiter: the provider has a queue of its own for them."""
    job = new_client(max_requests_per_minute=1, max_tokens_per_minute=10).submit_batch(asked(5))
    assert contents(job.results()) == echoes(5)


def test_a_wrong_key_says_so_and_submits_nothing(new_client, provider, caplog):
    """A refused key is named as what it is, at once, and stands in no text."""
    wrong = "sk-wrong-key-0123456789-0123456789"
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception, match="401") as refused:
        new_client(api_key=wrong).submit_batch(asked(1))
    assert type(refused.value).__name__ == "AuthenticationError"
    assert paths(provider) == ["/v1/files"]
    assert wrong not in caplog.text + str(refused.value) + repr(refused.value.to_dict())


def test_a_key_may_be_asked_for_and_asked_for_again(new_client):
    """A callable gives the key; a refused one is asked for once more, and that refusal is no failure."""
    keys = iter(["sk-expired-0123456789-0123456789", KEY])
    assert contents(new_client(api_key=lambda: next(keys)).submit_batch(asked(2)).results()) == echoes(2)


def test_keys_that_wear_out_are_replaced_again_and_again():
    """A job outlives its keys: each that has served may be refused one day, and the next is asked for."""
    given = iter(range(10))
    with SimulatedProvider(api_keys={f"sk-number-{i}" for i in range(4)}) as strict:
        client = APIClient(api_key=lambda: f"sk-number-{next(given)}", base_url=strict.base_url)
        job = client.submit_batch(asked(1))
        for number in range(1, 4):
            strict._service._api_keys = frozenset({f"sk-number-{number}"})
            job._parts[0].said = None
            assert job.status().is_over
        client.close()


def test_keys_stand_nowhere(client, provider, litellm, caplog, tmp_path):
    """A request's key is in no file, id, text, log or result."""
    with caplog.at_level(logging.DEBUG):
        requests = [ask(api_key=KEY), ask("[simulate: 500]", session_token=KEY)]
        job = client.submit_batch(requests, path=tmp_path / "job")
        files = uploaded(job)
        results = job.results()
    shown = [job.id, repr(job), repr(files), repr(results), repr(job._parts), (tmp_path / "job").read_text()]
    own_logs = [record.getMessage() for record in caplog.records if record.name.startswith("llm_api_client")]
    assert not any(KEY in text for text in [*shown, *own_logs, str(list(client.history))])


def test_an_unknown_job_is_not_found(client):
    """An id of somebody else's says that it may be, and what is none is refused at once."""
    with pytest.raises(NotFoundError, match="Check the id"):
        client.batch("3~openai%2Fgpt-4o-mini,batch_none").status()
    for text in ("", "x", "3~", "3~model", "-1~m,b"):
        with pytest.raises(ConfigurationError, match="no id of a job"):
            client.batch(text)
    with pytest.raises(ConfigurationError, match="either"):
        client.batch()


@pytest.mark.parametrize(
    "options",
    [{"endpoint": "image"}, {"endpoint": "nothing"}, {"max_requests": 0}, {"max_bytes": -1}, {"metadata": {"a": 1}},
     {"metadata": {str(i): "x" for i in range(17)}}, {"custom_ids": ["a"]}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, client, provider):
    """Before anything is uploaded."""
    with pytest.raises(ConfigurationError):
        client.submit_batch(asked(2), **options)
    assert not provider.requests


def test_a_closed_client_submits_nothing(client):
    """A closed client says so, and so do its jobs."""
    job = client.submit_batch(asked(1))
    client.close()
    for act in (lambda: client.submit_batch(asked(1)), lambda: client.batch("1~m,b"), job.status, job.results):
        with pytest.raises(RuntimeError, match="closed"):
            act()
