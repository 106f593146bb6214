"""The door to plain HTTP: what goes out, what comes back, and what each failure is read as."""

import gzip
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llm_api_client import errors
from llm_api_client.call.answer import cost_of, usage_of
from llm_api_client.call.failure import MAX_BODY, read_failure
from llm_api_client.call.http_door import MAX_ERROR, HTTPCallError, HTTPDoor, join
from llm_api_client.call.judge import Where, judge_failure
from llm_api_client.records import Kind, Verdict

from .conftest import KEY
from .misbehaving import MisbehavingServer
from .misbehaving import Reply as Misbehaviour
from .serving import Reply, Serving


@pytest.fixture
def door() -> Iterator[HTTPDoor]:
    door = HTTPDoor(timeout=5)
    yield door
    door.close()


@pytest.fixture
def serving() -> Iterator[Serving]:
    with Serving() as serving:
        yield serving


def failed(door: HTTPDoor, **params: Any) -> tuple[Verdict, Any, HTTPCallError]:
    """What a call that fails is judged as, what was read of it, and what was raised."""
    with pytest.raises(HTTPCallError) as caught:
        door.send({"api_key": KEY, **params})
    failure = read_failure(caught.value, 0.0)
    return judge_failure(failure, Where("m", None, params.get("url"))), failure, caught.value


def test_a_payload_is_posted_with_its_key(door, serving):
    """JSON goes out as it is, with the key as a bearer, and the JSON of the answer comes back."""
    serving.replies.append(Reply({"answer": [1, "é"]}))
    payload = {"model": "m", "text": "über", "none": None, "zero": 0}
    said = door.send({"url": f"{serving.base_url}/chat/completions", "json": payload, "api_key": KEY})
    assert said == {"answer": [1, "é"]}
    [seen] = serving.seen
    assert (seen.method, seen.path, seen.json) == ("POST", "/v1/chat/completions", payload)
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["content-type"] == "application/json"


def test_headers_win_over_the_door_s_own(door, serving):
    """A caller's Authorization and Content-Type, in whatever case, replace the door's."""
    headers = {"AUTHORIZATION": "Basic abc", "Content-Type": "application/x-ndjson", "x-trace": "1"}
    door.send({"url": serving.address, "content": b"{}\n", "headers": headers, "api_key": KEY})
    [seen] = serving.seen
    assert seen.headers["authorization"] == "Basic abc"
    assert seen.headers["content-type"] == "application/x-ndjson"
    assert (seen.headers["x-trace"], seen.body) == ("1", b"{}\n")


def test_without_a_key_no_authorization_is_sent(door, serving):
    """A server that wants no key gets none; a list is an answer too, and so is a compressed one."""
    packed = gzip.compress(b"[1, 2]")
    serving.replies.append(Reply(packed, headers={"content-encoding": "gzip"}))
    said = door.send({"method": "GET", "url": f"{serving.address}/list?a=1", "params": None})
    assert said == [1, 2]
    [seen] = serving.seen
    assert (seen.method, seen.path) == ("GET", "/list?a=1")
    assert "authorization" not in seen.headers


def test_the_query_is_added(door, serving):
    """`params` become the URL's query."""
    door.send({"method": "GET", "url": f"{serving.address}/list", "params": {"limit": 2, "after": "a b"}})
    assert serving.seen[0].path in {"/list?limit=2&after=a+b", "/list?limit=2&after=a%20b"}


def test_a_file_is_sent_as_a_form_and_opened_for_each_call(door, serving, tmp_path):
    """A path among `files` goes out with its name and bytes, however often, and is closed again."""
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 100_000)
    params = {"url": f"{serving.address}/files", "files": {"file": str(path)}, "data": {"purpose": "batch"}}
    for _ in range(2):
        door.send(params)
    for seen in serving.seen:
        assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
        assert b'name="purpose"\r\n\r\nbatch\r\n' in seen.body
        assert b'name="file"; filename="lines.jsonl"' in seen.body
        assert path.read_bytes() in seen.body


def test_a_file_that_is_gone_is_a_request_at_fault(door, serving, tmp_path):
    """What cannot be read is not sent, and not tried again."""
    verdict, failure, _ = failed(door, url=serving.address, files={"file": str(tmp_path / "gone")})
    assert (verdict.kind, type(verdict.error)) == (Kind.PERMANENT, errors.InvalidRequestError)
    assert failure.status == 0
    assert "the file cannot be read" in str(verdict.error)
    assert not serving.seen


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": {1, 2}}, {"x": "\ud800"}])
def test_what_json_cannot_say_is_a_request_at_fault(door, serving, payload):
    """It is not sent, and not tried again."""
    verdict, failure, _ = failed(door, url=serving.address, json=payload)
    assert (verdict.kind, failure.status, failure.network) == (Kind.PERMANENT, 0, False)
    assert not serving.seen


@pytest.mark.parametrize("key", ["sk-made-up-0123456789\n", "sk-“quoted”-0123456789"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(door, serving, key):
    """Such a key is a refused one, nothing is sent, and neither the error nor what is behind it shows it."""
    verdict, failure, raised = failed(door, url=serving.address, json={}, api_key=key)
    assert (verdict.kind, type(verdict.error)) == (Kind.KEY_REFUSED, errors.AuthenticationError)
    assert failure.no_key
    assert key.strip() not in "".join(traceback.format_exception(raised))
    assert not serving.seen


def test_it_says_when_a_request_leaves(door, serving):
    """`on_sent` is called once for each call that goes out, before the server has it, and for no other."""
    told: list[int] = []
    for _ in range(2):
        door.send({"url": serving.address, "json": {}}, None, lambda: told.append(len(serving.seen)))
    assert told == [0, 1]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(HTTPCallError):
            door.send({"url": f"http://127.0.0.1:{closed.getsockname()[1]}"}, None, lambda: told.append(-1))
    assert told == [0, 1]


def error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": None, "code": code}}


ID = {"x-request-id": "req-1"}
HTML = b"<html><body>Sign in</body></html>"
CASES = {
    "bad request": (Reply(error("No such field."), 400, ID), Kind.PERMANENT, errors.InvalidRequestError, 400),
    "key refused": (Reply(error("Bad key."), 401), Kind.KEY_REFUSED, errors.AuthenticationError, 401),
    "not allowed": (Reply(error("No."), 403), Kind.PERMANENT, errors.AuthenticationError, 403),
    "no such path": (Reply(b"404 page not found", 404), Kind.PERMANENT, errors.NotFoundError, 404),
    "rate limited": (Reply(error("Slow."), 429, {"retry-after": "7"}), Kind.RATE_LIMITED, errors.RateLimitError, 429),
    "quota spent": (
        Reply(error("Pay.", "insufficient_quota"), 429), Kind.QUOTA_SPENT, errors.QuotaExceededError, 429,
    ),
    "broken": (Reply(error("Oops."), 500), Kind.TRANSIENT, errors.ServerError, 500),
    "a gateway's page": (Reply(HTML, 502), Kind.TRANSIENT, errors.ServerError, 502),
    "a page": (Reply(HTML, headers={"content-type": "text/html"}), Kind.TRANSIENT, errors.MalformedResponseError, 200),
    "half of JSON": (Reply(b'{"choices": ['), Kind.TRANSIENT, errors.MalformedResponseError, 200),
    "deep JSON": (Reply(b"[" * 200_000), Kind.TRANSIENT, errors.MalformedResponseError, 200),
    "a number": (Reply(b"7"), Kind.TRANSIENT, errors.MalformedResponseError, 200),
    "nothing": (Reply(b""), Kind.TRANSIENT, errors.MalformedResponseError, 200),
    "no gzip": (Reply(b"{}", headers={"content-encoding": "gzip"}), Kind.TRANSIENT, errors.MalformedResponseError, 200),
    "an error as a 200": (Reply({"error": {"message": "Slow.", "code": 429}}), Kind.RATE_LIMITED, None, 429),
    "elsewhere": (Reply(b"", 307, {"location": "/x"}), Kind.PERMANENT, errors.InvalidRequestError, 307),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_server_says_is_judged_by_what_it_said(door, serving, case):
    """Status, Retry-After, request id and body are the server's own, and decide what the failure is."""
    reply, kind, error_class, status = CASES[case]
    serving.replies.append(reply)
    verdict, failure, _ = failed(door, url=f"{serving.address}/x", json={})
    assert (verdict.kind, verdict.error.status_code) == (kind, status)
    assert error_class in (None, type(verdict.error))
    assert verdict.retry_after == (7.0 if "retry-after" in reply.headers else None)
    assert verdict.error.request_id == reply.headers.get("x-request-id")
    assert len(verdict.error.response_body or "") <= MAX_BODY
    assert not failure.network
    assert len(serving.seen) == 1


def test_an_error_of_any_length_is_read_in_part(door, serving):
    """Of an error page without end no more is waited for than may be kept, and the next call is none the worse."""
    serving.replies.append(Reply(b"x" * 5 * MAX_ERROR, 500, missing=MAX_ERROR))
    began = time.monotonic()
    verdict, _, raised = failed(door, url=serving.address, json={})
    assert time.monotonic() - began < 4
    assert len(verdict.error.response_body) == MAX_BODY
    assert len(raised.llm_api_client_heard.text) == MAX_ERROR
    assert door.send({"url": serving.address, "json": {}}) == {"ok": True}


def test_an_answer_with_an_error_in_it_may_be_an_answer(door, serving):
    """An object that has an id, or an error that is empty, is what was asked for."""
    for body in ({"id": "resp_1", "error": {"message": "stopped"}}, {"error": None}, {"error": "none"}):
        serving.replies.append(Reply(body))
        assert door.send({"url": serving.address, "json": {}}) == body


def test_a_get_follows_redirects_and_a_post_does_not(door, serving):
    """A GET is led on, with its key on the same server; it does not run in circles."""
    serving.replies += [Reply(b"", 302, {"location": "/there"}), Reply({"here": 1})]
    assert door.send({"method": "GET", "url": f"{serving.address}/x", "api_key": KEY}) == {"here": 1}
    assert [(seen.path, seen.headers["authorization"]) for seen in serving.seen] == [
        ("/x", f"Bearer {KEY}"),
        ("/there", f"Bearer {KEY}"),
    ]
    serving.otherwise = lambda _: Reply(b"", 302, {"location": "/round"})
    verdict, _, _ = failed(door, method="GET", url=f"{serving.address}/round")
    assert "redirects without end" in str(verdict.error)


def test_a_redirect_takes_no_key_to_another_server(door, serving):
    """Elsewhere a GET arrives with none of the caller's headers."""
    with Serving() as elsewhere:
        serving.replies.append(Reply(b"", 302, {"location": f"{elsewhere.address}/there"}))
        params = {"method": "GET", "url": serving.address, "api_key": KEY, "headers": {"X-My-Own": KEY}}
        assert door.send(params) == {"ok": True}
    [seen] = elsewhere.seen
    assert KEY not in str(seen)


def test_a_connection_that_is_refused_is_a_network_failure(door):
    """No answer is no status, and nothing was sent."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        verdict, failure, raised = failed(door, url=f"http://127.0.0.1:{closed.getsockname()[1]}/x", json={})
    assert (verdict.kind, type(verdict.error), failure.status) == (Kind.TRANSIENT, errors.NetworkError, 0)
    assert not raised.llm_api_client_heard.sent
    assert "refused" in str(verdict.error)


@pytest.mark.parametrize("manner", ["reset", "cut"])
def test_an_answer_that_does_not_come_whole_is_a_network_failure(door, misbehaving: MisbehavingServer, manner):
    """A reset, or less than was announced, is no answer; what had left may have been billed."""
    misbehaving.reply = Misbehaviour(body={"ok": True}, manner=manner)
    verdict, failure, raised = failed(door, url=misbehaving.base_url, json={})
    assert (verdict.kind, type(verdict.error), failure.network) == (Kind.TRANSIENT, errors.NetworkError, True)
    assert raised.llm_api_client_heard.sent


def test_tls_that_fails_is_a_network_failure(door, serving):
    """A server that speaks no TLS is told as what it is."""
    verdict, _, raised = failed(door, url=serving.address.replace("http:", "https:"), json={})
    assert (verdict.kind, type(verdict.error)) == (Kind.TRANSIENT, errors.NetworkError)
    assert "SSL" in str(verdict.error)
    assert not raised.llm_api_client_heard.sent


def test_a_call_that_takes_too_long_is_a_timeout(door, misbehaving: MisbehavingServer):
    """A server that says nothing is left after the call's own timeout."""
    misbehaving.reply = Misbehaviour(manner="hang")
    verdict, failure, _ = failed(door, url=misbehaving.base_url, json={}, timeout=0.1)
    assert (verdict.kind, type(verdict.error)) == (Kind.TRANSIENT, errors.RequestTimeoutError)
    assert (failure.status, failure.network) == (0, False)


def test_a_timeout_is_for_the_whole_answer(door, serving):
    """A server that sends a byte now and then is left too."""
    serving.replies.append(Reply({"a": "b" * 100}, seconds_between_bytes=0.03))
    verdict, _, _ = failed(door, url=serving.address, json={}, timeout=0.15)
    assert type(verdict.error) is errors.RequestTimeoutError


def test_as_many_calls_go_out_as_there_are_threads(door, misbehaving: MisbehavingServer):
    """No pool of connections holds up calls that were admitted."""
    together = 60
    misbehaving.reply = Misbehaviour(body={"ok": True}, manner="gather", together=together)
    with ThreadPoolExecutor(together) as pool:
        said = list(pool.map(lambda _: door.send({"url": misbehaving.base_url, "json": {}}), range(together)))
    assert said == [{"ok": True}] * together


def test_a_closed_door_sends_nothing(serving):
    """Closing twice is harmless; afterwards no call goes out."""
    door = HTTPDoor()
    door.send({"url": serving.address, "json": {}})
    door.close()
    door.close()
    with pytest.raises(errors.ClientClosedError):
        door.send({"url": serving.address, "json": {}})
    assert len(serving.seen) == 1


def test_cookies_are_not_kept(door, serving):
    """What one key is given is no other's business."""
    serving.replies.append(Reply({}, headers={"set-cookie": "session=abc; Path=/"}))
    for _ in range(2):
        door.send({"url": serving.address, "json": {}})
    assert "cookie" not in serving.seen[1].headers


def test_no_failure_shows_the_key(door, serving, caplog):
    """Neither the texts of a failure and of what is behind it, nor their attributes, nor any log have the key."""
    caplog.set_level(logging.DEBUG)
    raised = [failed(door, url="http://127.0.0.1:1/x", json={"secret": 1})[2]]
    for reply in (Reply(b"", 500), Reply(b"nonsense")):
        serving.replies.append(reply)
        raised.append(failed(door, url=serving.address, json={})[2])
    for link in raised:
        texts = [*traceback.format_exception(link), *(repr(vars(each)) for each in (link, link.__cause__) if each)]
        assert KEY not in "".join(texts)
        assert getattr(link.__cause__, "_request", None) is None
    assert KEY not in caplog.text
    assert KEY not in repr(door)


BASE = "https://api.example.com/v1"


@pytest.mark.parametrize(
    ("base", "endpoint", "expected"),
    [
        (BASE, "models", f"{BASE}/models"),
        (f"{BASE}/", "/models", f"{BASE}/models"),
        (f"{BASE}//", "//models", f"{BASE}/models"),
        (BASE, "", BASE),
        ("https://api.example.com", "models", "https://api.example.com/models"),
        (BASE, "files?purpose=batch", f"{BASE}/files?purpose=batch"),
        (f"{BASE}?api-version=1", "chat?x=2", f"{BASE}/chat?api-version=1&x=2"),
        (BASE, "models/ft:gpt-4o:org", f"{BASE}/models/ft:gpt-4o:org"),
        (BASE, "files/#1", f"{BASE}/files/"),
        (BASE, "https://api.example.com/key/info?a=1", "https://api.example.com/key/info?a=1"),
        (BASE, "HTTPS://API.example.com:443/x", "https://api.example.com/x"),
        (BASE, "@evil.example/x", f"{BASE}/@evil.example/x"),
        (BASE, "//evil.example/x", f"{BASE}/evil.example/x"),
    ],
)
def test_endpoints_are_below_the_base_url(base, endpoint, expected):
    """There is one slash between, queries are kept, and whatever an endpoint looks like, the server is the base's."""
    assert join(base, endpoint) == expected


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example/v1/models", "http://api.example.com/v1", "https://api.example.com:8443/v1",
        "https://api.example.com.evil.example/", "https://api.example.com@evil.example/", "file:///etc/passwd",
        "https://api.example.com:port/",
    ],
)  # fmt: skip
def test_a_key_goes_to_no_other_server(endpoint):
    """A whole URL of another host, port or scheme is refused, and the message says what to give."""
    with pytest.raises(errors.InvalidInputError, match="a key is sent to no other server"):
        join(BASE, endpoint)


@pytest.mark.parametrize("base", ["api.example.com/v1", "ftp://api.example.com", "https://", "", None, b"https://a"])
def test_a_base_url_is_an_address(base):
    """Anything else is refused before a key is at hand."""
    with pytest.raises(errors.ConfigurationError, match="base_url must be an address"):
        join(base, "models")


def test_an_endpoint_is_a_text():
    """Anything else is refused."""
    with pytest.raises(errors.InvalidInputError, match="the endpoint is a int"):
        join(BASE, 7)


def test_one_door_serves_many_threads(door, serving):
    """Its connections are made once, and each call gets its own answer."""
    serving.otherwise = lambda seen: Reply({"you": seen.json["me"]})
    barrier = threading.Barrier(8)

    def call(me: int) -> Any:
        barrier.wait()
        return door.send({"url": serving.address, "content": json.dumps({"me": me}).encode()})["you"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(8))) == list(range(8))


def test_what_a_proxy_says_of_the_cost_comes_with_the_answer(door, serving):
    """A LiteLLM Proxy says in a header what a call cost: the answer is a dict as ever, and is priced so."""
    serving.replies.append(Reply(b'{"usage": {"prompt_tokens": 3}}', 200, {"x-litellm-response-cost": "0.25"}))
    said = door.send({"method": "POST", "url": f"{serving.address}/x", "json": {}}, None, lambda: None)
    assert said == {"usage": {"prompt_tokens": 3}}
    assert cost_of(said, "gpt-4o", usage_of(said), lambda *_: 99.0) == 0.25
    serving.replies.append(Reply(b"{}", 200, {"x-litellm-response-cost": "free"}))
    assert type(door.send({"method": "GET", "url": f"{serving.address}/x"}, None, lambda: None)) is dict
