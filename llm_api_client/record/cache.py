"""The response cache: an answer that was paid for once is given to every request that is exactly the same."""

import json
import logging
import os
from math import inf, isfinite
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, Self

from llm_api_client.clock import Clock, SystemClock
from llm_api_client.errors import ConfigurationError
from llm_api_client.record import rows
from llm_api_client.record.cache_entry import Bounds, CacheMemory, Entry
from llm_api_client.record.store import Revive
from llm_api_client.records import Result

logger = logging.getLogger(__name__)


class Shelf(Protocol):
    """Where entries are kept."""

    def get(self, identity: bytes, horizon: float) -> Entry | None:
        """The entry, if it was kept after `horizon`."""

    def put(self, identity: bytes, entry: Entry, now: float, horizon: float) -> None:
        """Keep an entry in place of an earlier one, without what was kept before `horizon`, and within the bounds."""

    def clear(self) -> None:
        """Take everything out."""

    def count(self, horizon: float) -> int:
        """How many entries were kept after `horizon`."""

    def close(self) -> None:
        """Let go of what holds them."""


class ResponseCache:
    """Answers by what was asked, for the `cache` of any number of clients.

    A request that is exactly the same as an earlier one, secrets and what only controls the call left out, is given
    that one's answer: no call is made, no limit is waited for, and nothing is paid. Only answers are kept, never
    failures. A cache may be used from several threads at once, and its file by several processes.

    Whatever happens to the file while it is open, requests do not fail of it: a fault is logged, and they are sent.

    Args:
        path: An SQLite file, readable for you alone, which is made if it is not there. None keeps the answers in
            memory, for as long as the cache is there.
        ttl: Seconds for which an answer is given, by the time of day, from when it was put; None for ever.
        max_entries: Most answers that are kept; the least recently used go first. None for no bound.
        max_bytes: Most bytes that the answers take together as JSON; likewise. An answer that is larger by itself is
            not kept. None for no bound.
        clock: Time itself, for tests.

    Raises:
        ConfigurationError: An option, or the file, cannot be used; the message says why, and what to do.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        ttl: float | None = None,
        max_entries: int | None = 10_000,
        max_bytes: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        _check("ttl", ttl, int | float)
        _check("max_entries", max_entries, int)
        _check("max_bytes", max_bytes, int)
        self.path = None if path is None else Path(os.path.realpath(os.fsdecode(path)))
        """The file, or None for a cache in memory."""
        self.ttl = ttl
        """Seconds for which an answer is given, or None."""
        self._clock = clock or SystemClock()
        bounds = Bounds(max_entries, max_bytes)
        self._shelf: Shelf
        if self.path is None:
            self._shelf = CacheMemory(bounds)
        else:
            from llm_api_client.record.cache_file import CacheFile  # noqa: PLC0415  SQLite, for those who have a file

            self._shelf = CacheFile(self.path, bounds, self._clock)
        self._revive: Revive | None = None
        self._closed = False
        # The lock guards the counters, and what was said.
        self._lock = Lock()
        self._hits = self._misses = 0
        self._said: set[str] = set()

    @property
    def hits(self) -> int:
        """How often this object had the answer."""
        return self._hits

    @property
    def misses(self) -> int:
        """How often it had not."""
        return self._misses

    def bind(self, revive: Revive) -> None:
        """Say how answers become objects again; a client does. Without, they are read like LiteLLM's.

        Args:
            revive: Makes an answer's object from the name of its type and its data, or returns None where it knows no
                such type.
        """
        self._revive = revive

    def get(self, identity: bytes) -> Result | None:
        """The answer to a request, or None.

        Each time it is an object of its own. The result says `cached=True`, and has the index -1 and no request: they
        are the batch's to say. Attempts, latency, cost, usage and `created_at` are those of the call that was paid.
        """
        found = None if self._is_closed() else self._shelf.get(identity, self._horizon(self._clock.wall()))
        result = None if found is None else self._result(found)
        with self._lock:
            if result is None:
                self._misses += 1
            else:
                self._hits += 1
        return result

    def put(self, identity: bytes, result: Result) -> None:
        """Keep an answer, in place of an earlier one.

        Not kept are answers that JSON cannot carry, such as bytes, and what came out of a cache: it grows no younger.

        Raises:
            ValueError: The result is no answer.
        """
        if result.error is not None or result.response is None:
            what = "no answer" if result.error is None else type(result.error).__name__
            message = f"only answers are cached, and this result holds {what}; put it only if its error is None"
            raise ValueError(message)
        if result.cached or self._is_closed():
            return
        try:
            entry = Entry.of(result)
        except (TypeError, ValueError, RecursionError):
            kind = type(result.response).__name__
            self._say_once(f"An answer of type {kind} has no form in JSON; such answers are not cached.")
            return
        now = self._clock.wall()
        self._shelf.put(identity, entry, now, self._horizon(now))

    def clear(self) -> None:
        """Forget every answer; in a file, also those that others have put there.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        if not self._is_closed():
            self._shelf.clear()

    def close(self) -> None:
        """Close the file, or forget what was in memory. Requests go on without; calling twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._shelf.close()

    def __len__(self) -> int:
        return 0 if self._closed else self._shelf.count(self._horizon(self._clock.wall()))

    def __bool__(self) -> bool:
        # An empty cache is a cache.
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else f"in {self.path}"
        return f"<ResponseCache {where}: {self._hits} hits, {self._misses} misses>"

    def _horizon(self, now: float) -> float:
        """What was kept by then is too old."""
        return -inf if self.ttl is None else now - self.ttl

    def _result(self, entry: Entry) -> Result | None:
        try:
            return entry.result(rows.revived(self._revive, entry.response_type, json.loads(entry.response)))
        except Exception as wrong:  # noqa: BLE001  whatever is wrong with it, it can be asked again
            self._say_once(f"An answer in the cache cannot be read ({type(wrong).__name__}); its request is sent.")
            return None

    def _is_closed(self) -> bool:
        if self._closed:
            self._say_once("The cache was closed; requests go on without it. Close it after the clients that use it.")
        return self._closed

    def _say_once(self, message: str) -> None:
        with self._lock:
            first = message not in self._said
            self._said.add(message)
        if first:
            logger.warning("%s", message)


def _check(name: str, value: Any, kind: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, kind) or not value > 0 or not isfinite(value):
        number = "whole number" if kind is int else "finite number"
        message = f"{name} must be a {number} above 0, or None; it is {value!r}."
        raise ConfigurationError(message)
