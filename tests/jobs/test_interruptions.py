"""Jobs that are cut short: nothing that is at the provider is lost, and nothing is submitted twice."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from llm_api_client.errors import BatchTimeoutError, ConfigurationError, InvalidInputError, NetworkError, ServerError
from llm_api_client.jobs import SubmissionError
from llm_api_client.jobs.account import MOST_TRIES
from llm_api_client.simulator import SimulatedProvider

from .conftest import KEY, MODEL, ask, asked, echoes, paths


def contents(results):
    return [result.content for result in results]


def batches_made(provider):
    return [seen for seen in provider.requests if (seen.method, seen.path) == ("POST", "/v1/batches")]


def test_what_may_pass_is_tried_again(client, provider, clock):
    """Uploads and submissions wait out errors of the server and of the network, and 429s for as long as they ask."""
    provider.next("503", "reset", "429; retry-after=40", None, "500", None)
    job = client.submit_batch(asked(2))
    assert clock.now() >= 40
    assert contents(job.results()) == echoes(2)
    assert sum(path == "/v1/files" for path in paths(provider)) == 4


def test_a_batch_whose_making_was_not_heard_of_is_not_made_twice(client, provider):
    """Where the answer to a submission is lost, the batch is looked for, and found, before another would be made."""
    provider.next(None, "reset", None)
    job = client.submit_batch(asked(2))
    assert len(batches_made(provider)) == 1
    assert paths(provider, "GET") == ["/v1/batches"]
    assert contents(job.results()) == echoes(2)


def test_a_batch_is_found_behind_others(client, provider):
    """The batch is looked for page by page, among as many as there are."""
    job = client.submit_batch(asked(105), max_requests=1)
    part = job._parts[0]
    wanted, part.batch, part.said = part.batch, None, None
    job.resume()
    assert part.batch == wanted
    assert len(batches_made(provider)) == 105


def test_what_has_arrived_is_not_lost_when_the_rest_does_not(client, provider):
    """If a later part fails for good, the error has the job, which gives what arrived and submits the rest."""
    provider.next(None, None, None, None, *["500"] * MOST_TRIES)
    with pytest.raises(SubmissionError, match=r"2 of 3 parts are submitted.*batch_sim1,batch_sim2") as failed:
        client.submit_batch(asked(5), max_requests=2)
    error, job = failed.value, failed.value.job
    assert (error.status_code, error.provider, error.to_dict()["job"]) == (500, "openai", job.id)
    assert isinstance(error.__cause__, ServerError)
    status = job.status()
    assert (status.state, status.completed, status.unsubmitted) == ("in_progress", 4, 1)
    with pytest.raises(SubmissionError, match="never submitted"):
        job.wait()
    assert contents(job.results(partial=True)) == [*echoes(4), None]
    job.resume()
    assert contents(job.results()) == echoes(5)
    assert len(batches_made(provider)) == 3
    assert client.tracker.num_api_calls == 5


def test_if_nothing_has_arrived_the_error_is_the_plain_one(client, provider):
    """A failure of the very first upload is that failure, after as many tries as for all others."""
    provider.next(*["reset"] * MOST_TRIES)
    with pytest.raises(NetworkError, match="uploading part 1 of 1 failed"):
        client.submit_batch(asked(1))
    assert len(provider.requests) == MOST_TRIES


def test_ctrl_c_while_submitting_says_what_there_is(client, monkeypatch):
    """The interrupt goes on, with the id of what arrived before it."""
    desk, calls = client._desk(), []

    def perform(name, *args, **more):
        calls.append(name)
        if calls.count("create_batch") > 1:
            raise KeyboardInterrupt
        return desk.perform(name, *args, **more)

    monkeypatch.setattr(client, "_desk", lambda: replace(desk, perform=perform))
    with pytest.raises(KeyboardInterrupt, match=r"1 of 2 parts are submitted.*batch_sim1"):
        client.submit_batch(asked(2), max_requests=1)


def test_a_job_is_taken_up_by_its_id_alone(client, new_client):
    """Another client gets the results, in the order of the requests, and the requests as they were uploaded."""
    requests = [*asked(3), {"model": MODEL, "messages": []}, ask("question 4", "openai/gpt-4o")]
    job = client.submit_batch(requests, max_requests=2, custom_ids=["a", "b:c", "", "x", "é"])
    other = new_client().batch(job.id)
    results = other.results()
    assert contents(results) == [*echoes(3), None, "Simulated answer to: question 4"]
    assert "refused before it was uploaded" in str(results[3].error)
    assert results[4].request == {"model": "gpt-4o", "messages": requests[4]["messages"]}
    assert other.names() == ["a", "b:c", "", None, "é"]
    assert (other.id, len(other), other.requests) == (job.id, 5, None)
    assert all(character.isalnum() or character in "~,_.-%" for character in job.id)


def test_a_job_is_taken_up_by_another_process(client, provider, tmp_path):
    """Id or file, in a new process, give the same answers; the file knows the reasons of what was refused as well."""
    path = tmp_path / "job.json"
    job = client.submit_batch([*asked(2), {"model": MODEL, "messages": []}], path=path)
    code = f"""if True:
        import json, sys
        from llm_api_client import APIClient
        client = APIClient(api_key={KEY!r}, base_url={provider.base_url!r})
        for job in (client.batch({job.id!r}), client.batch(path={str(path)!r})):
            job.wait()
            print(json.dumps([result.content or str(result.error) for result in job.results()]))
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": "", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert not done.returncode, done.stderr
    by_id, by_path = map(json.loads, done.stdout.splitlines())
    assert by_id[:2] == by_path[:2] == echoes(2)
    assert "refused before" in by_id[2]
    assert '"messages" is empty' in by_path[2]


def test_with_a_path_the_same_call_goes_on(client, new_client, provider, tmp_path):
    """A call that was cut short is repeated, also by another client, and submits only what is missing."""
    path = tmp_path / "job"
    provider.next(None, None, None, *["503"] * (1 + MOST_TRIES))
    with pytest.raises(SubmissionError, match="looking for the batch of part 2 of 3"):
        client.submit_batch(asked(3), max_requests=1, path=path)
    job = new_client().submit_batch(asked(3), max_requests=1, path=path)
    assert sum(path == "/v1/files" for path in paths(provider)) == 3
    assert contents(job.results()) == echoes(3)
    again = new_client().submit_batch(asked(3), max_requests=1, path=path)
    assert again.id == job.id
    assert sum(seen.status == 200 for seen in batches_made(provider)) == 3


def test_a_crash_between_making_and_knowing_is_made_good(client, new_client, provider, tmp_path):
    """If the process died when the provider had made the batch and nobody had heard, it is found by its file."""
    path = tmp_path / "job"
    job = client.submit_batch(asked(2), path=path)
    kept = json.loads(path.read_text())
    kept["parts"][0]["batch"] = None
    path.write_text(json.dumps(kept))
    assert new_client().submit_batch(asked(2), path=path).id == job.id
    kept["parts"][0]["batch"] = None
    path.write_text(json.dumps(kept))
    other = new_client().batch(path=path)
    other.resume()
    assert other.id == job.id
    assert len(batches_made(provider)) == 1


def test_a_file_is_known_before_its_batch_is_made(client, tmp_path, monkeypatch):
    """Whenever the process dies after a submission, what the batch could be found by is on disk."""
    desk, seen = client._desk(), []

    def perform(name, *args, **more):
        if name == "create_batch":
            kept = json.loads((tmp_path / "job").read_text())["parts"]
            seen.append(more["input_file_id"] in [part["file"] for part in kept])
        return desk.perform(name, *args, **more)

    monkeypatch.setattr(client, "_desk", lambda: replace(desk, perform=perform))
    client.submit_batch(asked(2), max_requests=1, path=tmp_path / "job")
    assert seen == [True, True]


def test_a_path_keeps_one_job_only(client, provider, tmp_path):
    """Other requests are not mixed into a job that is kept; what keeps no job is left alone."""
    path = tmp_path / "job"
    job = client.submit_batch(asked(2), path=path)
    with pytest.raises(ConfigurationError, match=job.id):
        client.submit_batch(asked(3), path=path)
    foreign = tmp_path / "notes.txt"
    foreign.write_text("my notes")
    for act in (lambda: client.submit_batch(asked(1), path=foreign), lambda: client.batch(path=foreign)):
        with pytest.raises(ConfigurationError, match="keeps no job"):
            act()
    assert foreign.read_text() == "my notes"
    with pytest.raises(ConfigurationError, match="is not there"):
        client.batch(path=tmp_path / "none")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        client.submit_batch(asked(1), path=tmp_path / "none" / "job")
    assert len(batches_made(provider)) == 1


def test_what_was_never_uploaded_cannot_be_resumed_from_the_file(client, new_client, provider, tmp_path):
    """The file holds no requests; it says that the same call with the same requests goes on."""
    provider.next(None, None, *["500"] * MOST_TRIES)
    with pytest.raises(SubmissionError):
        client.submit_batch(asked(2), max_requests=1, path=tmp_path / "job")
    with pytest.raises(ConfigurationError, match="call submit_batch again"):
        new_client().batch(path=tmp_path / "job").resume()


def test_refused_requests_are_known_again_from_the_file(client, new_client, tmp_path):
    """Each with its own class and reason."""
    client.submit_batch([{"model": MODEL, "messages": []}, *asked(1)], path=tmp_path / "job")
    job = new_client().batch(path=tmp_path / "job")
    assert isinstance(job.refused[0], InvalidInputError)
    assert '"messages" is empty' in str(job.results()[0].error)
    assert contents(job.results())[1] == "Simulated answer to: question 0"


def test_results_outlive_the_file_of_requests(client, new_client, provider):
    """Where the uploaded file is gone, the answers are there all the same; only the requests are not known."""
    job = client.submit_batch(asked(2))
    other = new_client().batch(job.id)
    other.status()
    part = other._parts[0]
    part.said = {**part.said, "input_file_id": "file-gone"}
    results = other.results()
    assert contents(results) == echoes(2)
    assert [result.request for result in results] == [None, None]


def test_waiting_outlives_the_network(client, provider, clock, caplog):
    """While a job is waited for, failures that may pass are only logged, and the job's end is seen after them."""
    job = client.submit_batch(asked(1))
    provider.next(*["503"] * (2 * MOST_TRIES), "reset")
    assert job.wait().state == "completed"
    assert sum("unseen for now" in record.getMessage() for record in caplog.records) == 2


def test_waiting_ends_in_time_and_leaves_the_job_alone(clock, new_client):
    """After `timeout` seconds, looks up to a minute apart, the error has the id by which the job goes on."""
    with SimulatedProvider(batch_seconds=60) as slow:
        client = new_client(base_url=slow.base_url)
        job = client.submit_batch(asked(1))
        began = clock.now()
        with pytest.raises(BatchTimeoutError, match=job.id) as late:
            job.wait(timeout=300, poll=10)
        assert late.value.in_flight
        assert clock.now() - began == pytest.approx(300)
        # 10, 15, 22.5, 33.75, 50.6, 60, 60, and the rest
        assert len([seen for seen in slow.requests if seen.method == "GET"]) == 9
        assert not job.status().is_over


def test_ctrl_c_while_waiting_says_the_id(client, monkeypatch):
    """The interrupt goes on, and its text has what takes the job up again."""
    job = client.submit_batch(asked(1))

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "status", interrupted)
    with pytest.raises(KeyboardInterrupt, match=job.id):
        job.wait()
