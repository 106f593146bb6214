"""Plain HTTP over real sockets: what is an answer, what is none, and which connections are used again."""

import gc
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_api_client.call.wire import MAX_HEAD, Target, Wire, WireError, poller

from .raw import HEAD, OK, RawServer, Said, post, server_tls, until, wired


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


WHOLE = {
    "a length": (OK, b"hi"),
    "bare line ends": (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", b"hi"),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n", b"hi"),
    "trailers": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx: y\r\n\r\n", b"hi"),
    "an interim answer": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK, b"hi"),
    "the same length twice": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
    "a line that goes on": (b"HTTP/1.1 200 OK\r\nx: a\r\n  b\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
}


@pytest.mark.parametrize("case", WHOLE)
def test_an_answer_is_read_whole_and_its_connection_used_again(wire, server, case):
    """Each form that HTTP has for the length of an answer is understood, and the next call takes its connection."""
    data, body = WHOLE[case]
    server.said = Said(data)
    for _ in range(3):
        assert post(wire, server).body == body
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    "said",
    [
        Said(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: Close\r\n\r\nhi"),
        Said(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
        Said(b"HTTP/1.1 200 OK\r\n\r\nhi", "close"),
        Said(OK + b"junk"),
    ],
    ids=["asked to close", "old HTTP", "until the end", "junk behind it"],
)
def test_a_connection_that_is_over_is_not_used_again(wire, server, said):
    """After an answer that ends its connection, or that has something behind it, the next call makes a new one."""
    server.said = said
    for count in (1, 2):
        assert post(wire, server).body == b"hi"
        assert len(server.requests) == count
    assert len(wire) == 0


JUNK = {
    "not HTTP": Said(b"SSH-2.0-OpenSSH\r\n\r\n"),
    "a header without a colon": Said(b"HTTP/1.1 200 OK\r\njunk\r\ncontent-length: 2\r\n\r\nhi"),
    "a header's name with a space": Said(b"HTTP/1.1 200 OK\r\na b: c\r\ncontent-length: 2\r\n\r\nhi"),
    "a negative length": Said(b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nhi"),
    "an endless length": Said(b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5_000 + b"\r\n\r\nhi"),
    "two lengths": Said(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi"),
    "an unknown coding": Said(b"HTTP/1.1 200 OK\r\ntransfer-encoding: br\r\n\r\nhi"),
    "a chunk without a size": Said(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhi\r\n"),
    "a chunk that is longer": Said(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nhi\r\n0\r\n\r\n"),
    "another protocol": Said(b"HTTP/1.1 101 Switching\r\n\r\n"),
    "a head without end": Said(b"HTTP/1.1 200 OK\r\nx: " + b"x" * MAX_HEAD * 2),
    "half a head": Said(b"HTTP/1.1 200 OK\r\n", "close"),
    "half a body": Said(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", "close"),
    "half of the chunks": Said(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", "close"),
    "nothing": Said(b"", "close"),
    "a reset": Said(b"", "reset"),
}


@pytest.mark.parametrize("case", JUNK)
def test_what_is_no_whole_answer_is_an_error_at_once(wire, server, case):
    """Whatever is not an answer by the rules is an error of a request that was sent, once, and not a wait."""
    server.said = JUNK[case]
    with pytest.raises(WireError) as caught:
        post(wire, server)
    assert (caught.value.connecting, caught.value.timed_out) == (False, False)
    assert str(caught.value)
    assert len(server.requests) == 1
    assert len(wire) == 0


def test_a_wait_for_an_answer_ends(wire, server):
    """A server that says nothing is left after the timeout."""
    server.said = Said(b"", "hang")
    with pytest.raises(WireError) as caught:
        post(wire, server, timeout=0.05)
    assert (caught.value.connecting, caught.value.timed_out) == (False, True)


def test_a_connection_that_cannot_be_made_has_sent_nothing(wire):
    """Nobody listens: the error says that it was while connecting, and nothing was reported as sent."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        sent = []
        with pytest.raises(WireError) as caught:
            wire.post(Target("http", *unused.getsockname()), HEAD, b"{}", 1.0, lambda: sent.append(1))
    assert (caught.value.connecting, caught.value.timed_out, sent) == (True, False, [])


@pytest.mark.parametrize("host", ["a..b", "x" * 70, ""])
def test_a_host_that_cannot_be_one_is_an_error_of_connecting(wire, host):
    """What no resolver takes, and no certificate can name, is an error like that of an unknown host."""
    with pytest.raises(WireError) as caught:
        wire.post(Target("https", host, 1), HEAD, b"{}", 1.0, lambda: None)
    assert caught.value.connecting


def test_connections_that_the_server_closed_are_noticed_before_they_are_used(wire, server):
    """An idle connection that the server has closed costs no call: the next one goes out once, on a new one."""
    post(wire, server)
    server.close_connections()
    until(lambda: len(wire) == 0)
    assert post(wire, server).body == b"hi"
    assert len(server.requests) == 2


def test_an_answer_before_the_question_is_nobody_s_answer(wire, server):
    """What a server says on an idle connection is not taken for the answer to the next call."""
    post(wire, server)
    before = server.connections[0]
    before.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")
    until(lambda: len(wire) == 0)
    assert post(wire, server).body == b"hi"
    assert len(server.connections) == 2


def test_connections_that_were_idle_for_long_are_left(wire, server, monkeypatch):
    """A connection that was idle for longer than it is kept is closed, also where others were enough."""
    now = [0.0]
    monkeypatch.setattr(poller.time, "monotonic", lambda: now[0])
    idle = wire._idle
    with_two = threading.Barrier(2)
    threads = [
        threading.Thread(target=lambda: wire.post(server.target, HEAD, b"first", 5.0, with_two.wait)) for _ in range(2)
    ]
    [thread.start() for thread in threads]
    [thread.join(5) for thread in threads]
    assert len(idle[server.target]) == 2
    now[0] = 20.0
    post(wire, server)
    now[0] = 31.0
    post(wire, server)
    until(lambda: len(wire) == 1)
    assert len(idle[server.target]) == 1


def test_an_answer_to_a_half_sent_request_is_heard(wire, server):
    """A server that answers and closes before it has read all is heard."""
    early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1_000)
                connection.sendall(early)

        threading.Thread(target=refuse, daemon=True).start()
        raw = wire.post(Target("http", *listener.getsockname()), HEAD, b"x" * 5_000_000, 5.0, lambda: None)
    assert (raw.status, raw.body) == (413, b"no")


def test_a_large_answer_is_read_in_linear_time(wire, server):
    """Twenty megabytes come whole."""
    body = b"x" * 20_000_000
    server.said = Said(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    assert post(wire, server, timeout=30.0).body == body


def test_closing_wakes_who_waits_and_ends_what_comes(server):
    """`close` ends the call under way, leaves no socket, and lets no later call out."""
    wire = Wire(ssl.create_default_context)
    server.said = Said(b"", "hang")
    failed: list[WireError] = []

    def wait() -> None:
        try:
            post(wire, server, timeout=30.0)
        except WireError as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not server.requests:
        time.sleep(0.001)
    wire.close()
    thread.join(5)
    assert not thread.is_alive()
    assert len(failed) == 1
    with pytest.raises(WireError) as caught:
        post(wire, server)
    assert caught.value.connecting
    assert len(server.requests) == 1
    assert len(wire) == 0


def test_a_wire_that_is_dropped_leaves_no_socket_open(server):
    """Connections of a wire that nobody closed are closed when it is collected, without a warning."""
    wire = Wire(ssl.create_default_context)
    post(wire, server)
    (link,) = wire._poller._links
    del wire
    gc.collect()
    until(lambda: link.socket.fileno() == -1)


def test_idle_connections_work_with_many_open_files(wire, server):
    """A connection with a file number beyond 1,024 is used again like any other."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_000:
        pytest.skip("so many files cannot be opened here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_000), hard))
    try:
        files = [Path("/dev/null").open("rb") for _ in range(1_100)]  # noqa: SIM115  closed below
        try:
            for _ in range(2):
                post(wire, server)
            (link,) = wire._poller._links
            assert link.socket.fileno() > 1_024
            assert len(server.connections) == 1
        finally:
            [file.close() for file in files]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_certificate_that_is_trusted_is_taken_and_its_connection_kept(certificate):
    """Over TLS a call goes out as it does without, and the connection is used again."""
    trusting = ssl.create_default_context(cafile=certificate)
    with RawServer(server_tls(certificate)) as server, wired(lambda: trusting) as wire:
        for _ in range(3):
            assert post(wire, server).body == b"hi"
        assert len(server.connections) == 1


def test_a_certificate_that_is_not_trusted_ends_the_call_before_anything_is_sent(certificate):
    """Nothing is sent to a server that cannot prove who it is."""
    with RawServer(server_tls(certificate)) as server, wired() as wire:
        with pytest.raises(WireError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            post(wire, server)
        assert caught.value.connecting
        assert server.requests == []
        assert len(wire) == 0


@pytest.mark.parametrize(
    ("head", "said"),
    [(b"SSH-2.0-Server\r\nno header", "not HTTP"), (b"HTTP/1.1 200 OK\r\nno header", "headers are malformed")],
)
def test_what_is_wrong_first_is_said(wire, server, head, said):
    """A server that does not speak HTTP is not blamed for its headers."""
    server.said = Said(head + b"\r\n\r\n", "close")
    with pytest.raises(WireError, match=said):
        wire.post(server.target, HEAD, b"{}", 5.0, lambda: None)
