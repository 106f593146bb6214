"""The parser's law: what is understood does not depend on the pieces in which it comes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.simulator.wire import (
    MAX_BODY,
    MAX_HEAD,
    HttpRequest,
    MalformedRequestError,
    Reply,
    RequestParser,
    encode,
)

PIPELINED = (
    b"POST /v1/chat?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    b"\r\nGET / HTTP/1.1\r\nX-One: 1\r\nx-one:  2 \r\nConnection: close\r\n\r\n"
    b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    b"POST /d HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    b"GET /e HTTP/1.0\r\n\r\n"
)
PARSED = [
    HttpRequest("POST", "/v1/chat", {"host": "a", "content-length": "5"}, b"hello", keep_alive=True, query="x=1"),
    HttpRequest("GET", "/", {"x-one": "1, 2", "connection": "close"}, b"", keep_alive=False),
    HttpRequest("POST", "/c", {"transfer-encoding": "chunked"}, b"abc0123456789", keep_alive=True),
    HttpRequest("POST", "/d", {"transfer-encoding": "chunked"}, b"", keep_alive=True),
    HttpRequest("GET", "/e", {}, b"", keep_alive=False),
]


def parse(*pieces: bytes) -> list[HttpRequest]:
    parser, found = RequestParser(), []
    for piece in pieces:
        parser.feed(piece)
        while (request := parser.next()) is not None:
            found.append(request)
    assert parser.pending == 0
    return found


@given(st.sets(st.integers(1, len(PIPELINED) - 1)))
def test_pieces_do_not_matter(cuts):
    """Pipelined requests are the same however they are cut."""
    edges = [0, *sorted(cuts), len(PIPELINED)]
    assert parse(*(PIPELINED[a:b] for a, b in pairwise(edges))) == PARSED


def test_byte_by_byte():
    """One byte at a time is understood too."""
    assert parse(*(PIPELINED[i : i + 1] for i in range(len(PIPELINED)))) == PARSED


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nname : x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (b"POST / HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000), 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD, 431),
    ],
)
def test_what_is_no_request_is_refused(data, status):
    """Malformed and oversized requests are refused with the status that says so."""
    with pytest.raises(MalformedRequestError) as caught:
        parse(data)
    assert caught.value.status == status


def test_a_client_that_waits_to_send_its_body_is_told_once():
    """`Expect: 100-continue` is answered once per request, and only before the body is here."""
    parser = RequestParser()
    parser.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert parser.next() is None
    assert [parser.wants_continue(), parser.wants_continue()] == [True, False]
    parser.feed(b"ok")
    assert parser.next() is not None
    assert not parser.wants_continue()


def test_an_answer_with_no_body_by_law_has_none():
    """A 204 carries neither body nor length."""
    assert encode(Reply(204, b"x"), close=False) == (b"HTTP/1.1 204 No Content\r\n\r\n", b"")
