"""A connection by itself: what it does when its client is slow, or gone."""

import asyncio
from unittest.mock import Mock

import pytest

from llm_api_client.simulator.books import Books, Visit
from llm_api_client.simulator.limits import Ledger
from llm_api_client.simulator.server import MAX_READ_AHEAD, Connection
from llm_api_client.simulator.service import Service
from llm_api_client.simulator.wire import HttpRequest, Reply

REQUEST = b"GET /x HTTP/1.1\r\n\r\n"


@pytest.fixture
def connection():
    """A connection to a service that answers everything at once."""
    service = Mock(spec=Service, books=Mock(spec=Books))
    service.travel_time.return_value = 0.0
    service.reply.return_value = Reply(200, b"answer"), None
    connection = Connection(service, set(), Mock(spec=asyncio.AbstractEventLoop))
    connection.connection_made(Mock(spec=asyncio.Transport))
    return connection


def test_a_client_that_does_not_read_is_answered_when_it_does(connection):
    """While the client's side is full, no further answer is made; afterwards the next ones are."""
    transport = connection._transport
    connection.pause_writing()
    connection.data_received(REQUEST * 3)
    assert transport.write.call_count == 0
    connection.resume_writing()
    assert transport.write.call_count == 3


def test_a_client_that_sends_far_ahead_is_not_read_from(connection):
    """Requests that wait for their turn are read ahead to a bound, and reading goes on when they are done."""
    connection._service.travel_time.return_value = 1.0
    connection.data_received(REQUEST)
    connection.data_received(REQUEST * (MAX_READ_AHEAD // len(REQUEST) + 1))
    connection._transport.pause_reading.assert_called_once_with()
    connection._service.travel_time.return_value = 0.0
    _, resume, step = connection._loop.call_later.call_args.args
    resume(step)
    connection._transport.resume_reading.assert_called_with()
    assert connection._parser.pending == 0


def test_a_request_whose_client_left_on_the_way_never_arrives(connection):
    """A connection that ends takes with it what was still under way."""
    connection._service.travel_time.return_value = 1.0
    connection.data_received(REQUEST)
    connection.connection_lost(None)
    connection._loop.call_later.return_value.cancel.assert_called_once_with()
    assert connection._service.reply.call_count == 0


def test_what_is_in_flight_at_a_reset_still_counts_as_received():
    """After a reset the sums add up, with requests in work among those received."""
    books = Books(Ledger(None, None, 60.0), keep=10)
    visits = [Visit(HttpRequest("POST", "/", {}, b"", keep_alive=True), {}, 0.0) for _ in range(2)]
    for visit in visits:
        books.arrive(visit)
    books.leave(visits[0], 200)
    books.reset()
    counts = books.counts()
    assert (counts.received, counts.answered, counts.in_flight, counts.peak_in_flight) == (1, 0, 1, 1)
