"""What the provider saw: counts, and the last requests. Written by the server's thread, read by any."""

from collections import Counter, deque
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from .limits import Ledger, Refusal, Standing
from .wire import HttpRequest

MAX_KEPT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Counts:
    """What the provider has seen so far; requests to its own `/simulator/` pages left out.

    ``received == answered + refused + sum(errors.values()) + unanswered + in_flight``, always.

    Attributes:
        received: Requests that arrived.
        answered: Those that got a status below 300, garbled answers too.
        refused: Those that got a 429 because of the limits.
        errors: Those that got any other status, by status.
        unanswered: Those that got no whole answer: connection cut or reset, or given up by the client.
        in_flight: Those that are in work now.
        peak_in_flight: The most that ever were.
        worst_minute: The most requests admitted in any one window of the provider's length, exactly.
        worst_minute_tokens: The most tokens charged in any one window.
        connections: Connections that were opened.
    """

    received: int = 0
    answered: int = 0
    refused: int = 0
    errors: dict[int, int] = field(default_factory=dict)
    unanswered: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    worst_minute: int = 0
    worst_minute_tokens: int = 0
    connections: int = 0


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request as it arrived.

    Attributes:
        method: HTTP method.
        path: Path, without query.
        body: The JSON object that was sent; empty where there was none. Of a form its fields, and of each file its
            name, type and size.
        headers: Headers by name in lower case. They hold the key, so they are left out of the repr.
        arrived: When it arrived, in seconds of `time.monotonic`: the stamp that the limits went by.
        status: Status that it was answered with; None where it was not, or not yet.
    """

    method: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(repr=False)
    arrived: float
    status: int | None


class Visit:
    """One request while it is in work."""

    __slots__ = ("arrived", "body", "headers", "method", "number", "path", "refused", "size", "status")

    def __init__(self, request: HttpRequest, body: dict[str, Any], arrived: float) -> None:
        self.method = request.method
        self.path = request.path
        self.headers = request.headers
        self.size = len(request.body)
        self.body = body
        self.arrived = arrived
        self.number = 0
        self.refused = False
        self.status: int | None = None


class Books:
    """Counts requests from arrival to end, and keeps the last `keep` of them, of at most 64 MB of bodies."""

    def __init__(self, ledger: Ledger, keep: int) -> None:
        self._ledger = ledger
        self._keep = keep
        # Guards everything below and the ledger, so that a reader in another thread sees sums that add up.
        self._lock = Lock()
        self._visits: deque[Visit] = deque()
        self._kept_bytes = 0
        self._errors: Counter[int] = Counter()
        self._received = self._answered = self._refused = self._unanswered = 0
        self._in_flight = self._peak = self._connections = 0

    def connected(self) -> None:
        """Count a connection."""
        with self._lock:
            self._connections += 1

    def arrive(self, visit: Visit) -> None:
        """Count a request, and give it its number."""
        with self._lock:
            self._received += 1
            visit.number = self._received
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
            self._visits.append(visit)
            self._kept_bytes += visit.size
            while self._visits and (len(self._visits) > self._keep or self._kept_bytes > MAX_KEPT_BYTES):
                self._kept_bytes -= self._visits.popleft().size

    def admit(self, tokens: int, now: float) -> Refusal | None:
        """Ask the ledger."""
        with self._lock:
            return self._ledger.admit(tokens, now)

    def standing(self, now: float) -> Standing:
        """What the limits have left."""
        with self._lock:
            return self._ledger.standing(now)

    def leave(self, visit: Visit, status: int | None) -> None:
        """Count a request's end; a status of None is no answer."""
        with self._lock:
            visit.status = status
            self._in_flight -= 1
            if status is None:
                self._unanswered += 1
            elif visit.refused:
                self._refused += 1
            elif status < 300:  # noqa: PLR2004  statuses speak for themselves
                self._answered += 1
            else:
                self._errors[status] += 1

    def reset(self) -> None:
        """Begin anew, with an empty window; what is in flight counts as received."""
        with self._lock:
            self._ledger.clear()
            self._visits.clear()
            self._errors.clear()
            self._kept_bytes = self._answered = self._refused = self._unanswered = self._connections = 0
            self._received = self._peak = self._in_flight

    def counts(self) -> Counts:
        """A snapshot."""
        with self._lock:
            return Counts(
                received=self._received,
                answered=self._answered,
                refused=self._refused,
                errors=dict(self._errors),
                unanswered=self._unanswered,
                in_flight=self._in_flight,
                peak_in_flight=self._peak,
                worst_minute=self._ledger.worst_requests,
                worst_minute_tokens=self._ledger.worst_tokens,
                connections=self._connections,
            )

    def requests(self) -> list[SeenRequest]:
        """The last requests, in order of arrival."""
        with self._lock:
            return [SeenRequest(v.method, v.path, v.body, v.headers, v.arrived, v.status) for v in self._visits]
