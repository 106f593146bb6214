"""What came of requests as rows: the same columns, wherever it was recorded. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from llm_api_client.errors import InvalidInputError
from llm_api_client.record.history import History
from llm_api_client.records import Result

COLUMNS = (
    "index",
    "model",
    "prompt",
    "content",
    "parsed",
    "error_type",
    "error",
    "attempts",
    "latency",
    "cost",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "finish_reason",
    "replayed",
    "created_at",
    "state",
    "identity",
    "occurrence",
)
"""Names of a row's cells, in order. A cell is None where its value is unknown.

- `index`: position in the batch. A history holds several batches, and each begins at 0; a checkpoint knows none.
- `prompt`: the beginning of the last user message, as `excerpt_of` has it.
- `content`: text of the answer, also of one that `validate` refused.
- `parsed`: what `validate` made of the answer.
- `error_type`, `error`: name of the error's class, and what it says.
- `latency`, `cost`: seconds of the last call, US dollars of all attempts.
- `replayed`: whether the answer came from a checkpoint, so that another run has paid for it. In a checkpoint's own rows
  it is False: they are that other run's.
- `created_at`: when the request ended, in UTC.
- `state`: "answered", "failed", or, in a checkpoint, "possibly paid": sent by a run that did not record its end.
- `identity`, `occurrence`: by what a checkpoint knows the request; None elsewhere.
"""

EXCERPT = 160
"""Characters that are kept of a prompt."""

_WRONG = 'a row is made of a Result, as client.history holds them and "on_result" takes them'


def rows_of(source: Iterable[Result | Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each result, in order and one at a time.

    Args:
        source: A `History`, or an iterable of `Result`s or of rows as `store.read_rows` yields them.

    Raises:
        InvalidInputError: It holds something else; `index` says where.
    """
    if isinstance(source, History):
        source = source._snapshot()  # noqa: SLF001  its entries, made for people, lack half of the columns
    if isinstance(source, (str, bytes, Mapping)) or not isinstance(source, Iterable):
        raise InvalidInputError(f"there are no results in an object of type {type(source).__name__}; {_WRONG}")
    return _rows(source)


def row_of(item: Result | Mapping[str, Any]) -> dict[str, Any]:
    """The row of a `Result`, or of a checkpoint's row as `store.read_rows` yields it.

    Texts lose half characters (lone surrogates), which no kind of table can carry.

    Raises:
        InvalidInputError: It is neither.
    """
    if isinstance(item, Result):
        return _ordered(_cells_of_result(item))
    if isinstance(item, Mapping) and "state" in item:
        return _ordered(_cells_of_stored(item))
    if isinstance(item, Mapping) and "request" in item:
        raise InvalidInputError("this is an entry of the history; give client.history itself")
    raise InvalidInputError(f"this is {'None' if item is None else f'of type {type(item).__name__}'}; {_WRONG}")


def excerpt_of(request: Any) -> str | None:
    """The first `EXCERPT` characters of the last user message's text, or of the prompt; None where there is none."""
    messages = request.get("messages") if isinstance(request, Mapping) else None
    if not isinstance(messages, (list, tuple)):
        return _excerpt_of_texts(request) if isinstance(request, Mapping) else None
    for message in reversed(messages):
        if isinstance(message, Mapping) and message.get("role") == "user":
            text = _text_of(message.get("content"))
            return None if text is None else _whole(text[:EXCERPT])
    return None


def _excerpt_of_texts(request: Mapping[str, Any]) -> str | None:
    """Likewise of what is no chat: the first text of its prompt."""
    for name in ("prompt", "input", "query"):
        text = request.get(name)
        if isinstance(text, (list, tuple)) and text:
            text = text[0]
        if isinstance(text, str):
            return _whole(text[:EXCERPT])
    return None


def _rows(source: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for index, item in enumerate(source):
        try:
            yield row_of(item)
        except InvalidInputError as error:
            error.index = index
            raise


def _ordered(cells: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _whole(cell) if isinstance(cell := cells.get(name), str) else cell for name in COLUMNS}


def _cells_of_result(result: Result) -> dict[str, Any]:
    error, usage = result.error, result.usage
    return {
        "index": result.index,
        "model": result.model,
        "prompt": excerpt_of(result.request),
        "content": result.content,
        "parsed": result.parsed,
        "error_type": None if error is None else type(error).__name__,
        "error": None if error is None else error.message,
        "attempts": result.attempts,
        "latency": result.latency,
        "cost": result.cost,
        "prompt_tokens": None if usage is None else usage.prompt_tokens,
        "completion_tokens": None if usage is None else usage.completion_tokens,
        "total_tokens": None if usage is None else usage.total_tokens,
        "finish_reason": _finish_reason(result.response),
        "replayed": result.replayed,
        "created_at": _moment(result.created_at),
        "state": "answered" if error is None else "failed",
    }


def _cells_of_stored(row: Mapping[str, Any]) -> dict[str, Any]:
    prompt, asked, answered = row.get("prompt"), row.get("prompt_tokens"), row.get("completion_tokens")
    return {
        **row,
        "prompt": prompt[:EXCERPT] if isinstance(prompt, str) else None,
        "total_tokens": None if asked is None or answered is None else asked + answered,
        "finish_reason": _finish_reason(row.get("response")),
        "replayed": False,
        "created_at": _moment(row.get("created_at")),
    }


def _finish_reason(response: Any) -> str | None:
    """Why the first choice ended; None where the answer has no such thing."""
    try:
        if isinstance(response, Mapping):
            reason = response["choices"][0]["finish_reason"]
        else:
            reason = response.choices[0].finish_reason
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
    return reason if isinstance(reason, str) else None


def _text_of(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str)) or None


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()
