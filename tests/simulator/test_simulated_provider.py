"""The provider as a whole: limits over HTTP, what it saw, and that nothing is left when it stops."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from llm_api_client.simulator import SimulatedProvider
from llm_api_client.simulator.books import Books, Visit
from llm_api_client.simulator.limits import Ledger
from llm_api_client.simulator.service import go_duration
from llm_api_client.simulator.wire import MAX_BODY, HttpRequest

from .conftest import chat, eventually


def connect(provider: SimulatedProvider) -> socket.socket:
    host, port = provider.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def raw_chat(prompt: str = "hi") -> bytes:
    body = json.dumps(chat(prompt)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_requests_beyond_the_limit_are_refused(start):
    """The request after the last one that fits gets a 429 that says how long to wait, and is counted as refused."""
    provider, client = start(requests_per_minute=3)
    responses = [client.post("/chat/completions", json=chat()) for _ in range(4)]
    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert [response.headers["x-ratelimit-remaining-requests"] for response in responses] == ["2", "1", "0", "0"]
    assert "x-ratelimit-limit-tokens" not in responses[0].headers
    error, headers = responses[3].json()["error"], responses[3].headers
    assert error["message"].startswith(
        "Rate limit reached for gpt-4o-mini in organization org-simulated on requests per min (RPM): "
        "Limit 3, Used 3, Requested 1. Please try again in 59."
    )
    assert (error["type"], error["code"], headers["retry-after"]) == ("requests", "rate_limit_exceeded", "60")
    assert 59_000 < int(headers["retry-after-ms"]) <= 60_000
    counts = provider.counts
    assert (counts.received, counts.answered, counts.refused, counts.errors) == (4, 3, 1, {})
    assert counts.worst_minute == 3


def test_a_refused_request_fits_after_the_wait_that_it_was_told(start):
    """Waiting for exactly retry-after-ms is enough, for one request."""
    _, client = start(requests_per_minute=1, window=0.2)
    client.post("/chat/completions", json=chat())
    wait = int(client.post("/chat/completions", json=chat()).headers["retry-after-ms"]) / 1000
    pause = threading.Event()
    pause.wait(wait)
    assert client.post("/chat/completions", json=chat()).status_code == 200
    assert client.post("/chat/completions", json=chat()).status_code == 429


@pytest.mark.parametrize(("charge_max_tokens", "left"), [(False, 100 - 6 - 2 * 2), (True, 100 - 6 - 2 * 40)])
def test_tokens_are_charged_when_the_request_arrives(start, charge_max_tokens, left):
    """A request is charged with its prompt and its answers, or with the longest that it allows."""
    provider, client = start(tokens_per_minute=100, answer="abcdefgh", charge_max_tokens=charge_max_tokens)
    headers = client.post("/chat/completions", json=chat("12345678", max_tokens=40, n=2)).headers
    assert headers["x-ratelimit-remaining-tokens"] == str(left)
    assert headers["x-ratelimit-reset-tokens"] == "1m0s"
    assert provider.counts.worst_minute_tokens == 100 - left


def test_a_request_that_can_never_fit_is_not_told_to_wait(start):
    """A request larger than the limit gets a 429 without retry-after."""
    _, client = start(tokens_per_minute=1000)
    response = client.post("/chat/completions", json=chat("x" * 8000, max_tokens=1))
    assert response.status_code == 429
    assert "Request too large for gpt-4o-mini" in response.json()["error"]["message"]
    assert "Limit 1000, Requested 2005" in response.json()["error"]["message"]
    assert response.json()["error"]["type"] == "tokens"
    assert "retry-after" not in response.headers


def test_refusals_at_the_door_charge_nothing_and_failures_behind_it_do(start):
    """A wrong key, a bad form and a 4xx fault leave the limits alone; a 5xx, a page and a reset do not."""
    _, client = start(requests_per_minute=10)

    def left(**request) -> str:
        return client.post("/chat/completions", **request).headers["x-ratelimit-remaining-requests"]

    assert left(json=chat(), headers={"authorization": ""}) == "10"
    assert left(json={}) == "10"
    assert left(json=chat("[simulate: 429]")) == "10"
    assert left(json=chat("[simulate: 503]")) == "9"
    assert left(json=chat("[simulate: html]")) == "8"


def test_many_clients_at_once_never_get_more_than_the_limit(start):
    """However many ask together, exactly the limit is admitted, and the sums add up."""
    provider, client = start(requests_per_minute=100, latency=0.02)
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: client.post("/chat/completions", json=chat()).status_code, range(160)))
    assert (statuses.count(200), statuses.count(429)) == (100, 60)
    counts = provider.counts
    assert (counts.worst_minute, counts.in_flight) == (100, 0)
    assert 1 < counts.peak_in_flight <= 16
    assert counts.connections <= 16


def test_an_uneven_network_delays_arrival_and_not_the_answer(start):
    """The limits see requests when they arrive, which is spread over the jitter."""
    provider, client = start(arrival_jitter=0.1, seed=3)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.post("/chat/completions", json=chat()), range(8)))
    stamps = [request.arrived for request in provider.requests]
    assert stamps == sorted(stamps)
    assert 0.02 < stamps[-1] - stamps[0] < 1.0


def test_what_it_saw(start):
    """Requests are remembered with what they carried and how they ended, up to a number."""
    provider, client = start(keep=2)
    for i in range(3):
        client.post("/chat/completions", json=chat(f"{i}"), headers={"X-Mine": str(i)})
    client.post("/chat/completions", json=chat("[simulate: 503]"))
    first, second = provider.requests
    assert (first.method, first.path, first.status, second.status) == ("POST", "/v1/chat/completions", 200, 503)
    assert first.body == chat("2")
    assert first.headers["x-mine"] == "2"


def test_memory_for_requests_is_bounded_in_bytes():
    """A few large bodies push out older ones, however many may be kept."""
    books = Books(Ledger(None, None, 60.0), keep=1000)
    request = HttpRequest("POST", "/", {}, bytes(10 * 1024 * 1024), keep_alive=True)
    for _ in range(20):
        books.arrive(Visit(request, {}, 0.0))
    assert len(books.requests()) == 6
    assert books.counts().received == 20


def test_counts_from_outside_and_reset(start):
    """Another process reads the same counts over HTTP, and may begin anew."""
    provider, client = start(requests_per_minute=1)
    client.post("/chat/completions", json=chat())
    client.post("/chat/completions", json=chat())
    provider.next("503")
    desk = provider.base_url.removesuffix("/v1") + "/simulator"
    seen = client.get(f"{desk}/counts").json()
    assert (seen["received"], seen["answered"], seen["refused"], seen["worst_minute"]) == (2, 1, 1, 1)
    assert client.post(f"{desk}/reset").json()["received"] == 0
    assert provider.requests == []
    assert client.post("/chat/completions", json=chat()).status_code == 200
    assert client.get(f"{desk}/nothing").status_code == 404


def test_paths_without_version(start):
    """The same endpoints are there without /v1."""
    provider, client = start()
    bare = provider.base_url.removesuffix("/v1")
    assert client.post(f"{bare}/chat/completions", json=chat()).status_code == 200
    assert client.get(f"{bare}/models").status_code == 200


def test_pipelined_requests_are_answered_in_order(start):
    """Requests sent ahead of their answers are answered in their order, even if they come in pieces."""
    provider, _ = start(latency=0.001)
    data = b"".join(raw_chat(f"number {i}") for i in range(20))
    with connect(provider) as sock:
        sock.sendall(data[:777])
        sock.sendall(data[777:])
        stream = sock.makefile("rb")
        for i in range(20):
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.startswith(b"content-length:"):
                    length = int(line.split()[1])
            assert json.loads(stream.read(length))["choices"][0]["message"]["content"].endswith(f" number {i}")


def test_thousands_of_pipelined_requests_do_not_pile_up_on_the_stack(start):
    """Requests that are all there at once are answered in a loop."""
    provider, _ = start()
    request = b"GET /v1/nowhere HTTP/1.1\r\n\r\n"
    with connect(provider) as sock:
        sock.sendall(request * 2000)
        eventually(lambda: provider.counts.errors == {404: 2000})


def test_expect_continue(start):
    """A client that waits for leave to send its body gets it."""
    provider, _ = start()
    body = json.dumps(chat()).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\nexpect: 100-continue\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with connect(provider) as sock:
        sock.sendall(head.encode())
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_large_bodies(start):
    """Ten megabytes are answered, whole or chunked; a body beyond the bound is a 413 that the client can read."""
    provider, client = start()
    content = json.dumps(chat("x" * 10_000_000)).encode()
    assert client.post("/chat/completions", content=content).json()["usage"]["prompt_tokens"] == 2_500_004
    pieces = (content[i : i + 100_000] for i in range(0, len(content), 100_000))
    assert client.post("/chat/completions", content=pieces).status_code == 200
    connection = http.client.HTTPConnection(*provider.base_url.split("/")[2].split(":"), timeout=5)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("content-length", str(MAX_BODY + 1))
    connection.endheaders()
    for _ in range(8):
        connection.send(bytes(1_000_000))
    assert connection.getresponse().status == 413
    connection.close()


def test_a_client_that_leaves_is_no_error(start, capfd, caplog):
    """A client gone before or within its answer leaves no trace but a count."""
    provider, client = start(latency=0.02)
    with connect(provider) as sock:
        sock.sendall(raw_chat())
        eventually(lambda: provider.counts.in_flight == 1)
    eventually(lambda: provider.counts.unanswered == 1)
    with connect(provider) as sock:
        sock.sendall(b"POST /v1/chat")
    assert client.post("/chat/completions", json=chat()).status_code == 200
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts open files by /proc")
def test_nothing_is_left_when_it_stops():
    """No thread, socket or file outlives the context, hanging requests included; and it can be entered again."""
    threads, files = threading.active_count(), open_files()
    provider = SimulatedProvider()
    for _ in range(2):
        with provider, connect(provider) as idle, connect(provider) as hanging:
            hanging.sendall(raw_chat("[simulate: hang]"))
            eventually(lambda: provider.counts.in_flight == 1)
            provider.stop()
            assert (idle.recv(1), hanging.recv(1)) == (b"", b"")
    assert (threading.active_count(), open_files()) == (threads, files)
    assert (provider.counts.unanswered, provider.counts.in_flight) == (2, 0)
    with pytest.raises(RuntimeError, match="start"):
        _ = provider.base_url


def test_a_taken_port_is_said():
    """A port that is taken raises OSError from start, and the provider stays usable."""
    with SimulatedProvider() as provider:
        port = int(provider.base_url.split(":")[2].removesuffix("/v1"))
        other = SimulatedProvider(port=port)
        with pytest.raises(OSError, match="in use"):
            other.start()
        with pytest.raises(RuntimeError, match="already"):
            provider.start()
    with other:
        assert other.base_url == f"http://127.0.0.1:{port}/v1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_forever_ends_by_signal(number):
    """A process that serves says its address, and ends cleanly at Ctrl-C and SIGTERM."""
    code = (
        "from llm_api_client.simulator import SimulatedProvider as S\n"
        "S().serve_forever(on_ready=lambda url: print(url, flush=True))\n"
        "print('done')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = process.stdout.readline().strip()
    response = httpx.post(
        f"{url}/chat/completions", json=chat(), headers={"authorization": "Bearer k"}, trust_env=False
    )
    process.send_signal(number)
    out, err = process.communicate(timeout=5)
    assert (response.status_code, process.returncode, out, err) == (200, 0, "done\n", "")


def test_serve_forever_ends_by_stop():
    """Serving from another thread ends when stop is called, and the signals are left alone."""
    provider, before = SimulatedProvider(), signal.getsignal(signal.SIGTERM)
    urls: list[str] = []
    thread = threading.Thread(target=provider.serve_forever, args=(urls.append,))
    thread.start()
    eventually(lambda: bool(urls))
    provider.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0121, "13ms"), (1, "1s"), (1.2, "1.2s"), (59.9996, "1m0s"), (360, "6m0s"), (3661.5, "1h1m1.5s")],
)
def test_durations_are_written_as_go_writes_them(seconds, text):
    """Resets are durations in Go's notation, rounded up to milliseconds."""
    assert go_duration(seconds) == text
