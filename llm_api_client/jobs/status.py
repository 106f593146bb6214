"""How a job of batches stands, from what the provider says of each. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OVER = frozenset({"cancelled", "completed", "expired", "failed"})
"""States that do not change any more."""

_UNDER_WAY = ("cancelling", "in_progress", "finalizing", "validating")
"""States of which a job with batches in several has the first."""

_ENDED = ("failed", "expired", "cancelled", "completed")
"""Likewise, of a job whose batches are all over."""


@dataclass(frozen=True, slots=True)
class BatchFault:
    """What a provider found wrong with a file of requests.

    Attributes:
        message: What is wrong, in the provider's words.
        line: Number of the line in the file, from 1, or None where it is the file as a whole.
        code: The provider's machine-readable code, or None.
        batch: The provider's id of the batch.
    """

    message: str
    line: int | None = None
    code: str | None = None
    batch: str | None = None

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{self.message}"


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How a job stands: all its batches together.

    Attributes:
        state: "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling" or "cancelled".
            Of batches in different states it is that of those that go on, and else the worst.
        total: Requests of the job.
        completed: Requests that are answered.
        failed: Requests that have failed, those among them that were never uploaded.
        created_at: Seconds since the epoch when the first batch was made, or None.
        expires_at: Seconds since the epoch when the first batch is given up, or None.
        errors: What the provider found wrong with the files.
        batches: The state of each batch, by the provider's id.
        unsubmitted: Batches that are not at the provider yet, because submitting them failed.
    """

    state: str
    total: int
    completed: int
    failed: int
    created_at: float | None = None
    expires_at: float | None = None
    errors: tuple[BatchFault, ...] = ()
    batches: tuple[tuple[str, str], ...] = ()
    unsubmitted: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in OVER

    def __str__(self) -> str:
        text = f"{self.state}: {self.completed:,} of {self.total:,} answered, {self.failed:,} failed"
        return f"{text}; {self.unsubmitted} batches not submitted" if self.unsubmitted else text


def status_of(batches: Sequence[Mapping[str, Any]], *, total: int, refused: int, unsubmitted: int = 0) -> BatchStatus:
    """The status of a job.

    Args:
        batches: What the provider says of each.
        total: Requests of the job.
        refused: Requests of it that were not uploaded.
        unsubmitted: Batches of it that are not at the provider.
    """
    states = [str(batch.get("status")) for batch in batches]
    counts = [batch.get("request_counts") or {} for batch in batches]
    state = _state(states, unsubmitted=unsubmitted)
    completed = sum(count.get("completed") or 0 for count in counts)
    failed = refused + sum(count.get("failed") or 0 for count in counts)
    return BatchStatus(
        state=state,
        total=total,
        completed=completed,
        # A file that is refused as a whole counts none of its requests.
        failed=total - completed if state in OVER else failed,
        created_at=min((batch["created_at"] for batch in batches if batch.get("created_at")), default=None),
        expires_at=min((batch["expires_at"] for batch in batches if batch.get("expires_at")), default=None),
        errors=tuple(fault for batch in batches for fault in faults_of(batch)),
        batches=tuple((str(batch["id"]), state) for batch, state in zip(batches, states, strict=True)),
        unsubmitted=unsubmitted,
    )


def faults_of(batch: Mapping[str, Any]) -> tuple[BatchFault, ...]:
    """What the provider found wrong with a batch's file."""
    data = (batch.get("errors") or {}).get("data") or ()
    return tuple(
        BatchFault(str(each.get("message") or "no reason given"), each.get("line"), each.get("code"), batch.get("id"))
        for each in data
    )


def _state(states: Sequence[str], *, unsubmitted: int) -> str:
    going = [state for state in states if state not in OVER]
    if going:
        found = next((state for state in _UNDER_WAY if state in going), going[0])
        # A batch that has not begun beside one that has ended is a job that has begun.
        return "in_progress" if found in {"finalizing", "validating"} and set(states) != {found} else found
    if unsubmitted:
        return "in_progress" if states else "validating"
    return next((state for state in _ENDED if state in states), "completed")
