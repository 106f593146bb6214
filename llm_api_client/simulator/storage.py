"""What a provider keeps for its clients: files, batches and fine-tuning jobs, by the paths that lead to them."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from urllib.parse import parse_qsl, unquote

from .batches import Batches, Write
from .files import Files
from .fine_tuning import Jobs
from .protocol import Json, ProviderError
from .uploads import Form
from .wire import Reply


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who comes, with what, and when.

    Attributes:
        method: HTTP method.
        path: Path, without version and query.
        query: What stands behind the path.
        body: The JSON object that was sent.
        form: The form that was sent instead.
        now: Seconds on a clock that does not go back.
        created: Seconds since the epoch.
    """

    method: str
    path: str
    query: str
    body: Json
    form: Form | None
    now: float
    created: float


class Storage:
    """Files, batches and fine-tuning jobs.

    Args:
        write: Answers a request of a batch.
        endpoints: Paths that a batch may have, with ``/v1``.
        seconds: What each of a batch's first two states takes, and a whole fine-tuning job.
        rng: Shuffles the requests of a batch.
    """

    def __init__(self, write: Write, endpoints: tuple[str, ...], seconds: float, rng: Random) -> None:
        self.files = Files()
        self.batches = Batches(self.files, write, endpoints, seconds, rng)
        self.jobs = Jobs(self.files, seconds)

    def allowed(self, path: str) -> tuple[str, ...]:
        """The methods that a path takes; none where there is no such path."""
        return tuple(method for method, pattern, _ in _ROUTES if pattern.fullmatch(path))

    def reply(self, visitor: Visitor) -> Reply:
        """Do what is asked for.

        Raises:
            ProviderError: it cannot be done.
        """
        self.batches.settle(visitor.now)
        self.jobs.settle(visitor.now)
        for method, pattern, action in _ROUTES:
            match = pattern.fullmatch(visitor.path)
            if match and method == visitor.method:
                found = action(self, visitor, unquote(match[1]) if match.groups() else "")
                if isinstance(found, bytes):
                    return Reply(200, found, content_type="application/octet-stream")
                return Reply(200, json.dumps(found).encode())
        raise ProviderError(404, f"Invalid URL ({visitor.method} {visitor.path})", code="unknown_url")

    def upload(self, visitor: Visitor, _id: str) -> Json:
        """Keep a file."""
        if visitor.form is None:
            raise ProviderError(400, "A file comes in a form: multipart/form-data with 'purpose' and 'file'.")
        return self.files.upload(visitor.form, int(visitor.created))


def _query(visitor: Visitor) -> dict[str, str]:
    return dict(parse_qsl(visitor.query))


Action = Callable[[Storage, Visitor, str], Json | bytes]
"""What answers at a path, given the id in it."""


def _route(method: str, path: str, action: Action) -> tuple[str, re.Pattern[str], Action]:
    return method, re.compile(path.replace("{id}", "([^/]+)")), action


_ROUTES = (
    _route("POST", "/files", Storage.upload),
    _route("GET", "/files", lambda store, visitor, _id: store.files.listed(_query(visitor))),
    _route("GET", "/files/{id}", lambda store, _visitor, file_id: store.files.get(file_id).body()),
    _route("DELETE", "/files/{id}", lambda store, _visitor, file_id: store.files.delete(file_id)),
    _route("GET", "/files/{id}/content", lambda store, _visitor, file_id: store.files.get(file_id).content),
    _route("POST", "/batches", lambda store, who, _id: store.batches.create(who.body, who.now, who.created)),
    _route("GET", "/batches", lambda store, visitor, _id: store.batches.listed(_query(visitor))),
    _route("GET", "/batches/{id}", lambda store, _visitor, batch_id: store.batches.get(batch_id)),
    _route("POST", "/batches/{id}/cancel", lambda store, who, batch_id: store.batches.cancel(batch_id, who.created)),
    _route("POST", "/fine_tuning/jobs", lambda store, who, _id: store.jobs.create(who.body, who.now, who.created)),
    _route("GET", "/fine_tuning/jobs", lambda store, visitor, _id: store.jobs.listed(_query(visitor))),
    _route("GET", "/fine_tuning/jobs/{id}", lambda store, _visitor, job_id: store.jobs.get(job_id)),
    _route("POST", "/fine_tuning/jobs/{id}/cancel", lambda store, who, job_id: store.jobs.cancel(job_id, who.created)),
    _route("GET", "/fine_tuning/jobs/{id}/events", lambda store, who, job_id: store.jobs.events(job_id, _query(who))),
)
"""Method, path, and what answers there."""
