"""Fine-tuning jobs: examples in, the name of a model out."""

import json

import pytest

from llm_api_client.simulator.files import Files
from llm_api_client.simulator.fine_tuning import Jobs, examine

EXAMPLE = {"messages": [{"role": "user", "content": "12345678"}, {"role": "assistant", "content": "1234"}]}


def examples(count=10, example=EXAMPLE) -> bytes:
    return (json.dumps(example) + "\n").encode() * count


def upload(client, content=None, purpose="fine-tune"):
    form = {"data": {"purpose": purpose}, "files": {"file": ("a.jsonl", content or examples())}}
    return client.post("/files", **form).json()["id"]


def test_a_job_ends_with_a_model(start):
    """A job with good examples succeeds, says its model and its tokens, and the model answers."""
    _, client = start()
    request = {"model": "gpt-4o-mini", "training_file": upload(client), "suffix": "mine", "metadata": {"a": "b"}}
    created = client.post("/fine_tuning/jobs", json={**request, "hyperparameters": {"n_epochs": 2}}).json()
    assert (created["object"], created["status"]) == ("fine_tuning.job", "validating_files")
    assert (created["fine_tuned_model"], created["trained_tokens"], created["finished_at"]) == (None, None, None)
    job = client.get(f"/fine_tuning/jobs/{created['id']}").json()
    assert (job["status"], job["error"], job["metadata"]) == ("succeeded", None, {"a": "b"})
    assert job["fine_tuned_model"] == f"ft:gpt-4o-mini:simulated:mine:{job['id']}"
    assert job["trained_tokens"] == 10 * 3 * 2
    assert job["hyperparameters"]["n_epochs"] == 2
    metrics = client.get(f"/files/{job['result_files'][0]}/content").text
    assert metrics.splitlines()[0] == "step,train_loss"
    answer = client.post("/completions", json={"model": job["fine_tuned_model"], "prompt": "Hello"})
    assert answer.status_code == 200


def test_a_job_without_a_suffix(start):
    """Without a suffix its place in the model's name stays empty; a method may carry the hyperparameters."""
    _, client = start()
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}}
    request = {"model": "gpt-4o-mini", "training_file": upload(client), "method": method}
    job_id = client.post("/fine_tuning/jobs", json=request).json()["id"]
    job = client.get(f"/fine_tuning/jobs/{job_id}").json()
    assert job["fine_tuned_model"] == f"ft:gpt-4o-mini:simulated::{job_id}"
    assert (job["method"], job["trained_tokens"]) == (method, 10 * 3 * 5)


def test_what_happened_is_told_the_latest_first(start):
    """Events are a list in pages."""
    _, client = start()
    request = {"model": "gpt-4o-mini", "training_file": upload(client)}
    job_id = client.post("/fine_tuning/jobs", json=request).json()["id"]
    page = client.get(f"/fine_tuning/jobs/{job_id}/events", params={"limit": 2}).json()
    messages = [event["message"] for event in page["data"]]
    assert messages[0] == "The job has successfully completed"
    assert messages[1].startswith("New fine-tuned model created: ft:")
    assert page["has_more"]
    assert {event["object"] for event in page["data"]} == {"fine_tuning.job.event"}


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"model": None}, "model"),
        ({"training_file": None}, "training_file"),
        ({"training_file": "file-x"}, "training_file"),
        ({"validation_file": "file-x"}, "validation_file"),
        ({"hyperparameters": "many"}, "hyperparameters"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters"),
        ({"method": "best"}, "method"),
        ({"method": {"type": ["dpo"]}}, "method"),
        ({"method": {"type": "dpo", "dpo": "best"}}, "method"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": "best"}}}, "method"),
        ({"metadata": 1}, "metadata"),
    ],
)
def test_a_bad_request_makes_no_job(start, wrong, param):
    """What is wrong with the request is a 400 that names it."""
    _, client = start()
    request = {"model": "gpt-4o-mini", "training_file": upload(client), **wrong}
    response = client.post("/fine_tuning/jobs", json=request)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert client.get("/fine_tuning/jobs").json()["data"] == []


def test_a_file_for_something_else_makes_no_job(start):
    """The purpose of the training file is checked, and so is the model."""
    _, client = start()
    request = {"model": "gpt-4o-mini", "training_file": upload(client, purpose="batch")}
    response = client.post("/fine_tuning/jobs", json=request)
    assert "'batch'" in response.json()["error"]["message"]
    assert client.post("/fine_tuning/jobs", json={**request, "model": "missing-1"}).status_code == 404


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (examples(9), "invalid_n_examples", "has 9 example(s), but must have at least 10"),
        (examples(10) + b"{\n", "invalid_file_format", "Line 11: this is not valid JSON"),
        (examples(10) + b"[]", "invalid_file_format", "Line 11: an example needs 'messages'"),
        (examples(1, {"messages": []}), "invalid_file_format", "'messages'"),
        (examples(1, {"messages": [{"role": "judge"}]}), "invalid_file_format", "'role'"),
        (examples(1, {"messages": [{"role": ["user"]}]}), "invalid_file_format", "'role'"),
        (examples(1, {"messages": [{"role": "user", "content": "a"}]}), "invalid_file_format", "'assistant'"),
    ],
)
def test_bad_examples_fail_the_job(start, content, code, message):
    """The validation finds what is wrong with the examples; the job fails, and says which line."""
    _, client = start()
    request = {"model": "gpt-4o-mini", "training_file": upload(client, content)}
    job_id = client.post("/fine_tuning/jobs", json=request).json()["id"]
    job = client.get(f"/fine_tuning/jobs/{job_id}").json()
    assert (job["status"], job["error"]["code"], job["fine_tuned_model"]) == ("failed", code, None)
    assert message in job["error"]["message"]
    assert client.get(f"/fine_tuning/jobs/{job_id}/events").json()["data"][0]["level"] == "error"


def test_blank_lines_are_no_examples():
    """Only lines with something in them count."""
    assert examine(examples(10).replace(b"\n", b"\n\n \n")) == (30, None)


def test_jobs_are_listed_and_unknown_ones_are_not_found(start):
    """The newest come first, in pages; what there is not is a 404."""
    _, client = start()
    request = {"model": "gpt-4o-mini", "training_file": upload(client)}
    ids = [client.post("/fine_tuning/jobs", json=request).json()["id"] for _ in range(3)]
    page = client.get("/fine_tuning/jobs", params={"limit": 2, "after": ids[2]}).json()
    assert ([job["id"] for job in page["data"]], page["has_more"]) == (ids[1::-1], False)
    for response in (
        client.get("/fine_tuning/jobs/nothing"),
        client.get("/fine_tuning/jobs/nothing/events"),
        client.post("/fine_tuning/jobs/nothing/cancel"),
    ):
        assert response.status_code == 404
    assert client.post(f"/fine_tuning/jobs/{ids[0]}/cancel").json()["error"]["code"] == "invalid_status"


def test_a_job_takes_its_time_and_can_be_cancelled():
    """A job runs for its seconds, however late somebody looks; a cancelled one stays cancelled."""
    files = Files()
    jobs = Jobs(files, 10.0)
    file = files.add("a.jsonl", "fine-tune", examples(), 1000)
    request = {"model": "m", "training_file": file.id}
    first, second = (jobs.create(request, 0.0, 1000.0)["id"] for _ in range(2))
    jobs.settle(9.9)
    assert jobs.get(first)["status"] == "running"
    jobs.cancel(second, 1009.0)
    jobs.settle(100.0)
    ended = [(jobs.get(each)["status"], jobs.get(each)["finished_at"]) for each in (first, second)]
    assert ended == [("succeeded", 1010), ("cancelled", 1009)]
    assert jobs.get(second)["trained_tokens"] is None
