"""Batches: from a file of requests to files of answers and errors, in their time."""

import json
from random import Random

import httpx
import pytest

from llm_api_client.simulator import batches, files
from llm_api_client.simulator.batches import WINDOW, Batches, validate
from llm_api_client.simulator.files import Files

from .conftest import chat

CHAT = "/v1/chat/completions"


def line(custom_id="a", prompt="Hello", **more):
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": chat(prompt), **more}


def as_file(*lines) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in lines).encode()


def submit(client, content: bytes, endpoint=CHAT, **more):
    form = {"data": {"purpose": "batch"}, "files": {"file": ("a.jsonl", content)}}
    file_id = client.post("/files", **form).json()["id"]
    request = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **more}
    return client.post("/batches", json=request)


def finished(client, content: bytes, **more):
    return client.get(f"/batches/{submit(client, content, **more).json()['id']}").json()


def read(client, file_id):
    return [json.loads(text) for text in client.get(f"/files/{file_id}/content").text.splitlines()]


def test_a_batch_is_answered_as_single_requests_are(start):
    """Each line gets the answer that it would get by itself, under its own id, in an order that is not the input's."""
    provider, client = start(seed=4)
    names = [f"n{i}" for i in range(20)]
    created = submit(client, as_file(*(line(name, f"Hello {name}") for name in names)), metadata={"job": "7"}).json()
    assert (created["object"], created["status"], created["output_file_id"]) == ("batch", "validating", None)
    batch = client.get(f"/batches/{created['id']}").json()
    assert (batch["status"], batch["model"], batch["metadata"]) == ("completed", "gpt-4o-mini", {"job": "7"})
    assert batch["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert batch["expires_at"] == batch["created_at"] + WINDOW
    assert (batch["errors"], batch["error_file_id"]) == (None, None)
    answers = read(client, batch["output_file_id"])
    assert [answer["custom_id"] for answer in answers] not in (names, names[::-1])
    assert sorted(answer["custom_id"] for answer in answers) == sorted(names)
    for answer in answers:
        response = answer["response"]
        assert (answer["error"], response["status_code"]) == (None, 200)
        assert response["body"]["choices"][0]["message"]["content"].endswith(f"Hello {answer['custom_id']}")
    usages = [answer["response"]["body"]["usage"] for answer in answers]
    assert batch["usage"]["input_tokens"] == sum(usage["prompt_tokens"] for usage in usages)
    assert batch["usage"]["total_tokens"] == sum(usage["total_tokens"] for usage in usages)
    assert len({answer["response"]["body"]["id"] for answer in answers}) == 20
    output = client.get(f"/files/{batch['output_file_id']}").json()
    assert (output["purpose"], output["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")
    assert provider.counts.worst_minute == 0


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_no_order_is_the_inputs_and_a_seed_repeats_it(start, count, seed):
    """Even of two lines the last comes first, and one seed gives one order."""
    names = [f"n{i}" for i in range(count)]
    orders = []
    for _ in range(2):
        _, client = start(seed=seed)
        batch = finished(client, as_file(*map(line, names)))
        orders.append([answer["custom_id"] for answer in read(client, batch["output_file_id"])])
    assert orders[0] == orders[1] != names


def test_failed_requests_are_in_the_error_file(start):
    """What asks for a fault, or is wrong, is an error with its status; script and chance reach no line."""
    provider, client = start(answer=lambda request: request["user"])
    lines = [
        line("good", body=chat("Hello", user="me")),
        line("limited", "[simulate: 429]"),
        line("broken", "[simulate: 500]"),
        line("lost", "[simulate: hang]"),
        line("nonsense", "[simulate: nonsense]"),
        line("silent", body=chat(messages=[])),
        line("raises"),
    ]
    created = submit(client, as_file(*lines)).json()
    provider.next(None, "503")
    batch = client.get(f"/batches/{created['id']}").json()
    assert batch["request_counts"] == {"total": 7, "completed": 1, "failed": 6}
    assert client.get("/batches").status_code == 503
    assert [answer["custom_id"] for answer in read(client, batch["output_file_id"])] == ["good"]
    errors = {error["custom_id"]: error for error in read(client, batch["error_file_id"])}
    statuses = {name: error["response"]["status_code"] for name, error in errors.items()}
    assert statuses == {"limited": 429, "broken": 500, "lost": 500, "nonsense": 400, "silent": 400, "raises": 500}
    for error in errors.values():
        assert error["error"] is None
        assert set(error["response"]["body"]["error"]) == {"message", "type", "param", "code"}


def test_a_batch_of_nothing_but_errors_has_no_output(start):
    """Without an answer there is no output file."""
    _, client = start()
    batch = finished(client, as_file(line(prompt="[simulate: 400]")))
    assert (batch["status"], batch["output_file_id"]) == ("completed", None)
    assert len(read(client, batch["error_file_id"])) == 1


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/embeddings", {"model": "m", "input": "a"}),
        ("/v1/completions", {"model": "m", "prompt": "a"}),
        ("/v1/responses", {"model": "m", "input": "a"}),
        ("/v1/moderations", {"input": "a"}),
    ],
)
def test_endpoints_of_batches(start, endpoint, body):
    """A batch may hold other requests than chats, of one kind."""
    _, client = start()
    batch = finished(client, as_file(line(url=endpoint, body=body)), endpoint=endpoint)
    assert batch["request_counts"]["completed"] == 1, batch


BAD = {
    "invalid_json_line": b"{",
    "missing_required_parameter": as_file({"method": "POST", "url": CHAT, "body": {}}),
    "duplicate_custom_id": as_file(line("first")),
    "invalid_method": as_file(line("b", method="GET")),
    "url_mismatch": as_file(line("b", url="/v1/embeddings")),
    "model_mismatch": as_file(line("b", body={**chat(), "model": "gpt-4o"})),
    "model_not_found": as_file(line("b", body={**chat(), "model": "missing-1"})),
}


@pytest.mark.parametrize("code", BAD)
def test_a_bad_line_fails_the_batch(start, code):
    """One bad line fails the whole batch at its validation, which names the line."""
    _, client = start()
    batch = finished(client, as_file(line("first")) + b"\n" + BAD[code] + b"\n" + as_file(line("last")))
    assert (batch["status"], batch["request_counts"]["total"], batch["output_file_id"]) == ("failed", 0, None)
    assert batch["failed_at"] == batch["created_at"]
    assert batch["errors"]["object"] == "list"
    [error] = batch["errors"]["data"]
    assert (error["code"], error["line"]) == (code, 3)
    assert set(error) == {"code", "line", "message", "param"}


def test_all_bad_lines_are_named_to_a_bound():
    """Every bad line is said, but not more than a hundred."""
    faults, _, _ = validate(b"{\n" * 5, CHAT)
    assert [fault["line"] for fault in faults] == [1, 2, 3, 4, 5]
    assert len(validate(b"{\n" * 500, CHAT)[0]) == 100


def test_a_file_is_bounded_in_lines_and_bytes(monkeypatch):
    """50,000 lines and 200 MB pass; one more fails, as does a file with none."""
    content = as_file(*(line(str(i)) for i in range(50_000)))
    faults, lines, model = validate(content, CHAT)
    assert (faults, len(lines), model) == ([], 50_000, "gpt-4o-mini")
    assert [fault["code"] for fault in validate(content + as_file(line()), CHAT)[0]] == ["too_many_tasks"]
    assert [fault["code"] for fault in validate(b"\n \n", CHAT)[0]] == ["empty_file"]
    assert batches.MAX_BYTES == 200 * 1024 * 1024
    monkeypatch.setattr(batches, "MAX_BYTES", 1000)
    assert [fault["code"] for fault in validate(b" " * 1001, CHAT)[0]] == ["file_too_large"]


def test_an_input_that_is_none_fails_the_batch(start):
    """A file that is missing, or for something else, is found at the validation."""
    _, client = start()
    other = client.post("/files", data={"purpose": "user_data"}, files={"file": b""}).json()["id"]
    for file_id, message in (("file-x", "No such File object: file-x"), (other, "'user_data'")):
        request = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
        batch = client.get(f"/batches/{client.post('/batches', json=request).json()['id']}").json()
        assert batch["status"] == "failed"
        assert message in batch["errors"]["data"][0]["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_file_id": None},
        {"endpoint": "/v1/images/generations"},
        {"endpoint": None},
        {"completion_window": "1h"},
        {"metadata": []},
        {"metadata": {"n": 1}},
        {"metadata": {str(i): "" for i in range(17)}},
        {"metadata": {"simulate": "nonsense"}},
    ],
)
def test_a_bad_request_makes_no_batch(start, wrong):
    """What is wrong with the request itself is said at once."""
    _, client = start()
    response = submit(client, as_file(line()), **wrong)
    assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(wrong)))
    assert client.get("/batches").json()["data"] == []


def test_batches_are_listed_in_pages(start):
    """The newest come first; what there is not is a 404."""
    _, client = start()
    ids = [submit(client, as_file(line())).json()["id"] for _ in range(3)]
    page = client.get("/batches", params={"limit": 2}).json()
    assert ([batch["id"] for batch in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    page = client.get("/batches", params={"limit": 2, "after": page["last_id"]}).json()
    assert ([batch["id"] for batch in page["data"]], page["has_more"]) == (ids[:1], False)
    for response in (client.get("/batches/nothing"), client.post("/batches/nothing/cancel")):
        assert (response.status_code, response.json()["error"]["message"]) == (404, "No batch found with id 'nothing'.")
    assert client.post(f"/batches/{ids[0]}/cancel").status_code == 409


def test_a_batch_whose_creation_was_not_answered_exists(start):
    """A connection that breaks after the request leaves a batch that can be found by its metadata."""
    provider, client = start()
    provider.next(None, "cut")
    with pytest.raises(httpx.RemoteProtocolError):
        submit(client, as_file(line()), metadata={"tag": "x"})
    assert [batch["metadata"] for batch in client.get("/batches").json()["data"]] == [{"tag": "x"}]


class Slow:
    """Batches of ten seconds a state, with one of ten lines in it, outside of a provider."""

    def __init__(self, seconds=10.0, **more):
        self.files = Files()
        self.batches = Batches(self.files, self.write, (CHAT,), seconds, Random(0))
        file = self.files.add("a.jsonl", "batch", as_file(*(line(str(i)) for i in range(10))), 1000)
        request = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", **more}
        self.id = self.batches.create(request, 0.0, 1000.0)["id"]

    def write(self, endpoint, body, name, created):
        """Answer anything."""
        return 200, {"id": name, "created": created}

    def at(self, now):
        """What is said of the batch at a time."""
        self.batches.settle(now)
        return self.batches.get(self.id)

    def lines(self, file_id):
        """The lines of a file that it wrote."""
        return [json.loads(text) for text in self.files.get(file_id).content.splitlines()]


def test_a_batch_takes_its_time():
    """Validation takes its seconds, progress as many, and the counts grow evenly with it."""
    slow = Slow()
    seen = [(body["status"], body["request_counts"]["completed"]) for body in map(slow.at, (0, 9.9, 10, 15, 19.9, 20))]
    assert seen == [
        ("validating", 0), ("validating", 0), ("in_progress", 0), ("in_progress", 5), ("in_progress", 9),
        ("completed", 10),
    ]  # fmt: skip
    body = slow.at(1e6)
    assert (body["in_progress_at"], body["finalizing_at"], body["completed_at"]) == (1010, 1020, 1020)


def test_a_long_silence_changes_no_time():
    """However late somebody looks, things happened when they were due."""
    body = Slow().at(1e6)
    assert (body["status"], body["in_progress_at"], body["completed_at"]) == ("completed", 1010, 1020)


def test_a_cancelled_batch_keeps_what_was_answered():
    """After a cancellation the answers so far are in the output, and the others errors that say why."""
    slow = Slow()
    slow.at(15)
    assert slow.batches.cancel(slow.id, 1015.0)["status"] == "cancelling"
    assert slow.batches.cancel(slow.id, 1016.0)["cancelling_at"] == 1015
    body = slow.at(17)
    assert (body["status"], body["cancelled_at"]) == ("cancelled", 1015)
    assert body["request_counts"] == {"total": 10, "completed": 5, "failed": 0}
    assert len(slow.lines(body["output_file_id"])) == 5
    errors = slow.lines(body["error_file_id"])
    assert {(error["response"], error["error"]["code"]) for error in errors} == {(None, "batch_cancelled")}
    assert len(errors) == 5


def test_a_batch_cancelled_in_validation_has_no_files():
    """What was not begun leaves nothing."""
    slow = Slow()
    slow.batches.cancel(slow.id, 1001.0)
    body = slow.at(2)
    assert (body["status"], body["output_file_id"], body["error_file_id"]) == ("cancelled", None, None)


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_a_batch_expires_on_request(seconds):
    """With that metadata half of the requests are answered when time is up."""
    body = Slow(seconds, metadata={"simulate": "expired"}).at(2 * seconds)
    assert (body["status"], body["expired_at"], body["completed_at"]) == ("expired", 1000 + 2 * seconds, None)
    assert body["request_counts"] == {"total": 10, "completed": 5, "failed": 0}


def test_a_batch_expires_after_a_day():
    """One that is too slow ends when its window does, with errors for what is left."""
    slow = Slow(0.8 * WINDOW)
    assert slow.at(0.9 * WINDOW)["status"] == "in_progress"
    body = slow.at(WINDOW)
    assert (body["status"], body["expired_at"], body["request_counts"]["completed"]) == ("expired", 1000 + WINDOW, 2)
    assert {error["error"]["code"] for error in slow.lines(body["error_file_id"])} == {"batch_expired"}
    assert Slow(0.8 * WINDOW).at(3.0 * WINDOW)["request_counts"]["completed"] == 2  # however late somebody looks
    assert Slow(2.0 * WINDOW).at(WINDOW)["status"] == "expired"


def test_a_batch_that_cannot_go_on_stops_no_other(start):
    """What no answer can be made of fails its request or its batch, and the others go on."""
    _, client = start()
    nested = "[" * 900 + "]" * 900
    content = as_file(line()).replace(b'"Hello"', nested.encode())
    deep = finished(client, content)
    assert deep["status"] in {"completed", "failed"}
    assert finished(client, as_file(line()))["status"] == "completed"
    slow = Slow()
    slow.batches._write = lambda *_: 1 / 0
    body = slow.at(15)
    assert (body["status"], body["failed_at"], body["errors"]["data"][0]["code"]) == ("failed", 1015, "server_error")


def test_a_batch_without_room_for_its_output_fails(monkeypatch):
    """Answers that cannot be kept are no silent loss."""
    slow = Slow()
    monkeypatch.setattr(files, "MAX_STORED", 1000)
    body = slow.at(20)
    assert (body["status"], body["failed_at"], body["errors"]["data"][0]["code"]) == ("failed", 1020, "out_of_storage")
