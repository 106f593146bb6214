"""Results as a checkpoint's rows, and rows as plain dicts. Pure."""

import json
from collections.abc import Callable
from typing import Any

from llm_api_client.record import as_json
from llm_api_client.record.replayed import ReplayedAnswer
from llm_api_client.record.table import EXCERPT, excerpt_of
from llm_api_client.records import Key, Result, content_of

Row = tuple[Any, ...]

PLAIN = "json"
"""The `response_type` of answers that were plain data in the first place."""

_BEYOND = 2**63
"""Whole numbers in SQLite are smaller."""

CLAIM = "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)"
# The beginning of a prompt is known from its claim.
_WHAT = """identity, occurrence, model, prompt, ended_at, attempts, latency, cost, prompt_tokens, completion_tokens"""
_VALUES = """?1, ?2, coalesce(?3, (SELECT model FROM claims WHERE identity = ?1 AND occurrence = ?2)),
    coalesce((SELECT prompt FROM claims WHERE identity = ?1 AND occurrence = ?2), ?4),
    ?5, ?6, ?7, ?8, ?9, ?10"""
ANSWER = f"INSERT OR REPLACE INTO answers ({_WHAT}, response_type, response) SELECT {_VALUES}, ?11, ?12"
FAILURE = (
    f"INSERT OR REPLACE INTO failures ({_WHAT}, error_type, error, content) SELECT {_VALUES}, ?11, ?12, ?13 "  # noqa: S608
    "WHERE NOT EXISTS (SELECT 1 FROM answers WHERE identity = ?1 AND occurrence = ?2)"
)
NO_FAILURE = "DELETE FROM failures WHERE identity = ? AND occurrence = ?"
NO_CLAIM = "DELETE FROM claims WHERE identity = ? AND occurrence = ?"
FIND = (
    "SELECT model, ended_at, attempts, latency, cost, prompt_tokens, completion_tokens, response_type, response "
    "FROM answers WHERE identity = ? AND occurrence = ?"
)

COLUMNS = (
    "state", "identity", "occurrence", "model", "prompt", "content", "created_at", "attempts", "latency", "cost",
    "prompt_tokens", "completion_tokens", "error_type", "error", "response",
)  # fmt: skip
"""What `as_dict` is given, in this order, and what it gives."""

TIME = COLUMNS.index("created_at")

# Each in the order of its time: ids are given in the order of the ends.
ALL = (
    """SELECT 'answered', identity, occurrence, model, prompt, NULL, ended_at, attempts, latency, cost,
        prompt_tokens, completion_tokens, NULL, NULL, response FROM answers ORDER BY id""",
    """SELECT 'failed', identity, occurrence, model, prompt, content, ended_at, attempts, latency, cost,
        prompt_tokens, completion_tokens, error_type, error, NULL FROM failures ORDER BY id""",
    """SELECT 'possibly paid', identity, occurrence, model, prompt, NULL, claimed_at, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL FROM claims ORDER BY claimed_at""",
)


def of_key(key: Key) -> Row:
    """A key's two columns."""
    return key.identity, key.occurrence


def claim_row(key: Key, model: str, prompt: str, now: float) -> Row:
    """What `CLAIM` takes."""
    return key.identity, key.occurrence, _clean(model), _clean(prompt[:EXCERPT]), now


def answer_row(key: Key, result: Result) -> Row:
    """What `ANSWER` takes."""
    return *_end(key, result), *_stored(result.response)


def failure_row(key: Key, result: Result) -> Row:
    """What `FAILURE` takes."""
    error = result.error
    content = getattr(error, "content", None)
    text = _clean(content) if isinstance(content, str) else None
    return *_end(key, result), type(error).__name__, _clean(getattr(error, "message", "")), text


def revived(revive: Callable[[str, Any], Any] | None, response_type: str, data: Any) -> Any:
    """An answer's object again, by `revive` where there is one that knows its type; else read like LiteLLM's."""
    if response_type == PLAIN:
        return data
    answer = None if revive is None else revive(response_type, data)
    if answer is not None:
        return answer
    return ReplayedAnswer(data) if isinstance(data, dict) else data


def as_dict(row: Row) -> dict[str, Any]:
    """One of the rows that `ALL` gives."""
    entry = dict(zip(COLUMNS, row, strict=True))
    entry["identity"] = entry["identity"].hex()
    if entry["response"] is not None:
        try:
            entry["response"] = json.loads(entry["response"])
        except (ValueError, RecursionError):
            entry["response"] = None
        if isinstance(entry["response"], dict):
            entry["content"] = content_of(ReplayedAnswer(entry["response"]))
    return entry


def _end(key: Key, result: Result) -> Row:
    usage = result.usage
    return (
        *of_key(key),
        None if result.model is None else _clean(result.model),
        excerpt_of(result.request),
        float(result.created_at),
        result.attempts,
        _number(result.latency),
        _number(result.cost),
        None if usage is None else _whole(usage.prompt_tokens),
        None if usage is None else _whole(usage.completion_tokens),
    )


def _stored(response: Any) -> tuple[str, str]:
    """An answer's `response_type` and `response`."""
    if response is None or isinstance(response, (dict, list, tuple, str, int, float)):
        return PLAIN, as_json.text_at_any_rate(response)
    data = as_json.dumped(response)
    if data is response and content_of(response) is not None:
        data = as_json.only_text(response)
    return type(response).__name__, as_json.text_at_any_rate(data)


def _clean(text: str) -> str:
    """Text as UTF-8 can carry it: of half a character, its escape."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and abs(value) < _BEYOND else None
