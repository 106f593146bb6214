"""One thread waits for all answers: real sockets, whatever comes and in whatever order."""

import socket
import ssl
import threading
import time
from queue import SimpleQueue

import pytest

from llm_api_client.call.wire import Raw, Target, Wire, WireError

from .raw import HEAD, OK, RawServer, Said, post, server_tls, until, wired

NAME = "llm-api-client-poller"


@pytest.fixture
def server():
    with RawServer() as server:
        yield server


def pollers() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def begin(wire, server, ended, body=b"{}", timeout=5.0, **options):
    return wire.begin(server.target, HEAD, body, timeout, lambda: None, ended, **options)


def test_hundreds_of_calls_in_flight_take_one_thread(wire, server):
    """The server holds three hundred calls back; one thread waits for all, and each gets its own answer."""
    before, go = pollers(), threading.Event()

    def said(request):
        assert go.wait(10)
        body = request.partition(b"\r\n\r\n")[2]
        return Said(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    server.said = said
    came = SimpleQueue()
    for number in range(300):
        begin(wire, server, lambda raw, number=number: came.put((number, raw)), b"%d" % number, 20.0)
    until(lambda: len(server.requests) == 300)
    assert pollers() - before == 1
    go.set()
    found = dict(came.get(timeout=10) for _ in range(300))
    assert {number: raw.body for number, raw in found.items()} == {number: b"%d" % number for number in range(300)}
    assert len(wire) == 300


def test_a_short_timeout_holds_beside_a_long_one(wire, server):
    """A call that may take a twentieth of a second ends then, though another one, begun before, may take thirty."""
    server.said = Said(b"", "hang")
    came = SimpleQueue()
    begin(wire, server, lambda end: came.put("long"), timeout=30.0)
    begin(wire, server, came.put, timeout=0.05)
    end = came.get(timeout=5)
    assert isinstance(end, WireError)
    assert end.timed_out


def test_an_answer_that_trickles_in_is_waited_for(wire):
    """The timeout is for each part of an answer: one that takes longer, and never stops coming, is no failure."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1_000)
                for start in range(0, len(OK), 4):
                    connection.sendall(OK[start : start + 4])
                    time.sleep(0.03)

        threading.Thread(target=trickle, daemon=True).start()
        raw = wire.post(Target("http", *listener.getsockname()), HEAD, b"{}", 0.2, lambda: None)
    assert raw.body == b"hi"


def test_megabytes_travel_over_tls_both_ways(certificate):
    """What does not fit into a socket's buffers, nor into one record of TLS, comes whole."""
    trusting = ssl.create_default_context(cafile=certificate)
    with RawServer(server_tls(certificate)) as server, wired(lambda: trusting) as wire:
        body = bytes(range(256)) * 20_000
        server.said = lambda request: Said(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), request.partition(b"\r\n\r\n")[2])
        )
        for _ in range(2):
            assert post(wire, server, body, 20.0).body == body
        assert len(server.connections) == 1


def test_many_calls_over_tls_at_once(certificate):
    """Threads that send and the one that reads share TLS connections without harm."""
    trusting = ssl.create_default_context(cafile=certificate)
    with RawServer(server_tls(certificate)) as server, wired(lambda: trusting) as wire:
        bodies = []

        def ask() -> None:
            bodies.extend(post(wire, server, b"x" * 20_000).body for _ in range(20))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join(20) for thread in threads]
    assert bodies == [b"hi"] * 160


def test_who_cannot_take_an_answer_spoils_only_that(wire, server, caplog):
    """An exception where an answer is handed over is logged, and the next answer comes."""

    def fail(_: object) -> None:
        raise ValueError("no place for it")

    begin(wire, server, fail)
    until(lambda: "could not be handed over" in caplog.text)
    assert post(wire, server).body == b"hi"


def test_only_an_idle_connection_is_used_where_nobody_may_wait(wire, server):
    """Without leave to connect nothing is begun until there is a connection that is idle."""
    came = SimpleQueue()
    assert not begin(wire, server, came.put, may_connect=False)
    post(wire, server)
    assert begin(wire, server, came.put, may_connect=False)
    assert isinstance(came.get(timeout=5), Raw)
    assert len(server.connections) == 1


def test_the_thread_is_there_while_there_are_connections(wire, server):
    """When the server has closed the last connection the thread ends, and a later call has another."""
    before = pollers()
    post(wire, server)
    assert pollers() == before + 1
    server.close_connections()
    until(lambda: len(wire) == 0 and pollers() == before)
    assert post(wire, server).body == b"hi"


def test_calls_under_way_are_told_of_the_end(server):
    """`close` tells each call under way once, in whatever state it is, and leaves no thread."""
    wire = Wire(ssl.create_default_context)
    server.said = Said(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "hang")
    came = SimpleQueue()
    for _ in range(20):
        begin(wire, server, came.put, timeout=30.0)
    until(lambda: len(server.requests) == 20)
    wire.close()
    ends = [came.get_nowait() for _ in range(20)]
    assert all(isinstance(end, WireError) and "closed" in str(end) for end in ends)
    assert came.empty()
    with pytest.raises(WireError):
        begin(wire, server, came.put)


def test_answers_wait_for_who_holds_the_baton(wire, server):
    """While another thread works with the baton in its hand no answer is dealt with; afterwards it is."""
    came, baton, tried = SimpleQueue(), threading.Lock(), threading.Event()

    class Watched:
        def __enter__(self) -> None:
            tried.set()
            baton.acquire()

        def __exit__(self, *_: object) -> None:
            baton.release()

    wire._poller._baton = Watched()
    post(wire, server)
    with baton:
        tried.clear()
        begin(wire, server, came.put)
        assert tried.wait(5)
        assert came.empty()
    assert came.get(timeout=5).body == b"hi"


def test_a_connection_that_was_closed_since_it_was_chosen_ends_its_call(wire, server):
    """A call that begins while everything is being closed is told so, and does not wait for ever."""
    came = SimpleQueue()
    post(wire, server)
    link = wire._idle_link(server.target)
    wire.close()
    wire._poller.begin(link, b"", 5.0, came.put)
    assert isinstance(came.get(timeout=5), WireError)
