"""Jobs made: of requests, of an id, or of the file that keeps one."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llm_api_client.errors import ConfigurationError
from llm_api_client.jobs.account import Account, Desk
from llm_api_client.jobs.batch import BatchJob, Counts
from llm_api_client.jobs.drafts import Drafting, Item
from llm_api_client.jobs.parts import Part, State, fingerprint, read_job_id
from llm_api_client.records import Result


def submit(
    drafting: Drafting,
    items: Iterable[Item],
    requests: Sequence[Any] | None,
    *,
    tracker: Counts,
    record: Callable[[Result], None],
    path: str | os.PathLike[str] | None,
    window: str,
    metadata: Mapping[str, str] | None,
) -> BatchJob:
    """Submit requests, or what is missing of them where `path` keeps them already.

    Raises:
        ConfigurationError: `path` keeps other requests.
        SubmissionError: A part of the job is at the provider, and the rest is not.
        APICallException: Nothing is at the provider.
    """
    total, parts, refused = drafting.sort(items)
    known = fingerprint(parts, refused)
    if path is not None:
        _take_over(parts, known, path)
    job = BatchJob(
        drafting.desk, total, parts, refused, tracker=tracker, record=record, requests=requests, path=path,
        fingerprint=known, window=window, metadata=metadata,
    )  # fmt: skip
    job.resume()
    return job


def taken_up(
    desk: Desk,
    account_of: Callable[[str], Account],
    id: str | None,  # noqa: A002  as users call it
    path: str | os.PathLike[str] | None,
    *,
    tracker: Counts,
    record: Callable[[Result], None],
) -> BatchJob:
    """A job that was submitted before, by its id or by the file that keeps it.

    Raises:
        ConfigurationError: There is none.
    """
    if path is None:
        total, named = read_job_id(id or "")
        parts = [Part(account_of(model), batch=batch) for model, batch in named]
        return BatchJob(desk, total, parts, {}, tracker=tracker, record=record)
    try:
        state = State.read(path)
    except FileNotFoundError as missing:
        raise ConfigurationError(f"{os.fspath(path)} is not there; submit_batch makes it.") from missing
    parts = [
        Part(account_of(each["model"]), each["url"], count=each["count"], file=each["file"], batch=each["batch"])
        for each in state.parts
    ]
    return BatchJob(
        desk, state.total, parts, state.refused, tracker=tracker, record=record, path=path,
        fingerprint=state.fingerprint, window=state.window, metadata=state.metadata,
    )  # fmt: skip


def _take_over(parts: Sequence[Part], known: str, path: str | os.PathLike[str]) -> None:
    """Let parts be as far as an earlier call got with them.

    Raises:
        ConfigurationError: The file keeps other requests.
    """
    try:
        state = State.read(path)
    except FileNotFoundError:
        return
    if state.fingerprint != known:
        message = (
            f"{os.fspath(path)} keeps a job of other requests, {state.id}; name another file, or take that job up with "
            "batch(path=...)."
        )
        raise ConfigurationError(message)
    for part, each in zip(parts, state.parts, strict=True):
        part.file, part.batch = each["file"], each["batch"]
