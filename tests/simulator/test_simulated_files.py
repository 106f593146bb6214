"""Files that are uploaded: kept as they are, listed, forgotten, and bounded."""

import httpx
import pytest

from llm_api_client.simulator import files
from llm_api_client.simulator.wire import MAX_BODY

BYTES = bytes(range(256)) * 3 + b"\r\n--\r\n"


def upload(client, content=BYTES, purpose="user_data", name="a.bin", **more):
    return client.post("/files", data={"purpose": purpose}, files={"file": (name, content)}, **more)


def test_a_file_is_what_was_uploaded(start):
    """A file says what it is, and its content is that of the upload, byte for byte."""
    _, client = start()
    body = upload(client).json()
    assert (body["object"], body["bytes"], body["filename"], body["purpose"]) == (
        "file",
        len(BYTES),
        "a.bin",
        "user_data",
    )
    assert client.get(f"/files/{body['id']}").json() == body
    content = client.get(f"/files/{body['id']}/content")
    assert (content.content, content.headers["content-type"]) == (BYTES, "application/octet-stream")


def test_a_deleted_file_is_gone(start):
    """What was deleted, or never was, is a 404 in the provider's shape."""
    _, client = start()
    file_id = upload(client).json()["id"]
    assert client.delete(f"/files/{file_id}").json() == {"id": file_id, "object": "file", "deleted": True}
    for response in (
        client.get(f"/files/{file_id}"),
        client.get(f"/files/{file_id}/content"),
        client.delete(f"/files/{file_id}"),
    ):
        assert response.status_code == 404
        assert response.json()["error"]["message"] == f"No such File object: {file_id}"
    assert client.get("/files").json()["data"] == []


def test_files_are_listed_in_pages(start):
    """The newest come first, as many as asked for, and the next page goes on after the last."""
    _, client = start()
    ids = [upload(client, purpose=p).json()["id"] for p in ("user_data", "vision", "user_data")]

    def listed(**query):
        body = client.get("/files", params=query).json()
        return [file["id"] for file in body["data"]], body["has_more"]

    assert listed() == (ids[::-1], False)
    assert listed(limit=2) == (ids[:0:-1], True)
    assert listed(limit=2, after=ids[1]) == (ids[:1], False)
    assert listed(order="asc") == (ids, False)
    assert listed(purpose="vision") == (ids[1:2], False)
    for query in ({"limit": "0"}, {"limit": "10001"}, {"limit": "x"}, {"after": "nothing"}):
        assert client.get("/files", params=query).status_code == 400


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"data": {"purpose": "batch"}, "files": {"other": b""}}, "'file'"),
        ({"files": {"file": b""}}, "'purpose'"),
        ({"data": {"purpose": "fun"}, "files": {"file": b""}}, "'fun' is not one of"),
        ({"data": {"purpose": "batch_output"}, "files": {"file": b""}}, "'batch_output' is not one of"),
        ({"data": {"purpose": "batch"}, "files": {"file": ("a.txt", b"")}}, "Must be .jsonl"),
        ({"data": {"purpose": "fine-tune"}, "files": {"file": ("a.txt", b"")}}, "Must be .jsonl"),
        (
            {"content": b"nothing", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            "multipart/form-data",
        ),
        ({"json": {"purpose": "batch"}}, "multipart/form-data"),
    ],
)
def test_a_bad_upload_is_refused(start, form, message):
    """An upload without a file, or with a purpose that is none, is a 400 that says so."""
    _, client = start()
    response = client.post("/files", **form)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_all_files_together_are_bounded(start, monkeypatch):
    """What does not fit is a 413 and changes nothing; what was deleted makes room."""
    _, client = start()
    monkeypatch.setattr(files, "MAX_STORED", 1000)
    first = upload(client, bytes(600)).json()["id"]
    response = upload(client, bytes(401))
    assert (response.status_code, response.json()["error"]["param"]) == (413, "file")
    assert upload(client, bytes(400)).status_code == 200
    client.delete(f"/files/{first}")
    assert upload(client, bytes(600)).status_code == 200


def test_a_file_that_a_batch_reads_counts_although_it_is_deleted(start, monkeypatch):
    """Deleting the input of a batch that is under way frees no memory, so it makes no room."""
    _, client = start(batch_seconds=1000)
    monkeypatch.setattr(files, "MAX_STORED", 1000)
    file_id = upload(client, b" " * 600, "batch", "a.jsonl").json()["id"]
    request = {"input_file_id": file_id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    batch_id = client.post("/batches", json=request).json()["id"]
    client.delete(f"/files/{file_id}")
    assert upload(client, bytes(600)).status_code == 413
    client.post(f"/batches/{batch_id}/cancel")
    assert upload(client, bytes(600)).status_code == 200


def test_an_upload_may_be_larger_than_another_body(start):
    """A file may have more bytes than any other request, and what is seen of it later does not keep them."""
    provider, client = start()
    assert upload(client, bytes(MAX_BODY + 1)).json()["bytes"] == MAX_BODY + 1
    [seen] = provider.requests
    assert seen.body == {
        "purpose": "user_data",
        "file": {"filename": "a.bin", "content_type": "application/octet-stream", "bytes": MAX_BODY + 1},
    }
    assert client.post("/chat/completions", content=bytes(10)).status_code == 400
    assert len(provider.requests) == 2


def test_files_are_behind_the_same_door(start):
    """Keys are checked, faults strike, looks are not spared, and the limits are left alone."""
    provider, client = start(api_keys={"sk-test"}, requests_per_minute=1)
    assert upload(client, headers={"authorization": "Bearer sk-other"}).status_code == 401
    provider.next("503", "reset")
    assert upload(client).status_code == 503
    with pytest.raises(httpx.ReadError):
        upload(client)
    assert len(client.get("/files").json()["data"]) == 1  # the answer was lost, not the file
    assert upload(client, headers={"x-simulate": "429; retry-after=3"}).headers["retry-after"] == "3"
    assert client.get("/files", headers={"x-simulate": "html"}).text.startswith("<!DOCTYPE")
    counts = provider.counts
    assert (counts.errors, counts.unanswered, counts.worst_minute) == ({401: 1, 503: 1, 429: 1}, 1, 0)


def test_a_reset_forgets_files(start):
    """Beginning anew leaves nothing stored."""
    provider, client = start()
    upload(client)
    provider.reset()
    assert client.get("/files").json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/files", "POST, GET"),
        ("PUT", "/files/x", "GET, DELETE"),
        ("DELETE", "/batches/x", "GET"),
        ("GET", "/batches/x/cancel", "POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(start, method, path, allow):
    """A path that takes other methods says which."""
    _, client = start()
    response = client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)
