"""What a batch asks of a checkpoint, and the hand-over from one to the other."""

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Protocol

from llm_api_client.record.store import Revive, Store
from llm_api_client.records import Key, Result

logger = logging.getLogger(__name__)

Claim = tuple[Key, str, str]
"""A request that is about to be sent: its key, its model, and how its prompt begins."""


class Keeps(Protocol):
    """A checkpoint as one batch sees it."""

    def next(self, identity: bytes) -> tuple[Key, Result | None]:
        """By what the next request of this identity is known, and the answer that is kept, or None."""

    def write(self, claims: Sequence[Claim], ends: Sequence[tuple[Key, Result]], released: Sequence[Key] = ()) -> None:
        """Write all of it down, or none.

        Args:
            claims: What is about to be sent.
            ends: What has ended, with an answer or without.
            released: What was claimed and was not sent after all.

        Raises:
            CheckpointError: It cannot be written.
        """

    def close(self) -> None:
        """The batch is over."""


class Claims(Protocol):
    """A request's journey, as far as a checkpoint is concerned."""

    key: Key | None
    claimed: bool

    def claim(self) -> Claim:
        """What is written down before it is sent."""

    def has_end(self, result: Result) -> bool:
        """Whether the checkpoint should know of this end."""

    def was_spared(self, result: Result) -> bool:
        """Whether it was claimed, and ended without a call that may be paid for."""


def write_down(kept: Keeps, admitted: Iterable[Claims], ended: Iterable[tuple[Claims, Result]]) -> None:
    """Write down what is about to be sent, and what has ended, if there is anything to write.

    Raises:
        CheckpointError: It cannot be written.
    """
    claims = [journey.claim() for journey in admitted if not journey.claimed]
    known = [(journey.key, journey, result) for journey, result in ended if journey.key]
    ends = [(key, result) for key, journey, result in known if journey.has_end(result)]
    released = [key for key, journey, result in known if journey.was_spared(result)]
    if claims or ends or released:
        kept.write(claims, ends, released)


def opened(path: str | os.PathLike[str], revive: Revive) -> Store:
    """A checkpoint, and a warning of what an earlier run may have paid for without an answer.

    Raises:
        CheckpointError: It cannot be used.
    """
    store = Store.open(path, revive)
    if store.possibly_paid:
        logger.warning(
            "%s: %d requests were under way when an earlier run ended, and may have been paid for. Those that come up "
            "again are asked again.",
            store.path,
            store.possibly_paid,
        )
    return store
