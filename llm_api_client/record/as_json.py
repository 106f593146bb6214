"""Answers as JSON: whatever an answer is, there is something of it to write. Pure."""

import base64
import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from llm_api_client.records import content_of

MAX_DEPTH = 100
"""Deepest nesting that is written; what lies deeper becomes its text."""

# Legal within JSON strings, and yet line ends to many a reader of lines.
_LINE_ENDS = {ord("\x85"): "\\u0085", ord("\u2028"): "\\u2028", ord("\u2029"): "\\u2029"}


def text(value: Any) -> str:
    """JSON on one line that every reader of UTF-8 takes.

    Raises:
        TypeError: There is something in it that JSON does not have.
        ValueError: Likewise NaN, or a circle.
        RecursionError: It is nested too deeply.
    """
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if written.isascii():
        return written
    try:
        written.encode()
    except UnicodeEncodeError:  # half a character, which only its escape can carry
        return json.dumps(value, allow_nan=False)
    return written.translate(_LINE_ENDS)


def text_at_any_rate(value: Any) -> str:
    """JSON on one line, in a poorer form where there is no other."""
    try:
        return text(value)
    except (TypeError, ValueError, RecursionError):
        return text(plain(value))


def plain(value: Any, depth: int = 0) -> Any:
    """Anything as what JSON can carry: a paid answer is written in a poorer form rather than lost."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return {str(name): plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)) and depth < MAX_DEPTH:
        return [plain(item, depth + 1) for item in value]
    return f"<{type(value).__name__}>" if isinstance(value, (Mapping, list, tuple)) else str(value)


def dumped(response: Any) -> Any:
    """An answer as plain data, or at least its text."""
    dump = getattr(response, "model_dump", None)
    if not callable(dump):
        content = getattr(response, "content", None)
        return _sound(content, response) if isinstance(content, bytes) else response
    try:
        # Pydantic's warnings about unexpected types quote the answer.
        return dump(warnings=False)
    except TypeError:
        pass  # not Pydantic's, or it holds what Pydantic cannot dump
    except Exception:  # noqa: BLE001  an answer that was paid for is not lost for its form
        return only_text(response)
    try:
        return dump()
    except Exception:  # noqa: BLE001  likewise
        return only_text(response)


def _sound(content: bytes, answer: Any) -> dict[str, str]:
    """Speech: an HTTP answer whose body is the sound."""
    headers = getattr(getattr(answer, "response", None), "headers", {})
    return {
        "content_base64": base64.b64encode(content).decode("ascii"),
        "content_type": str(headers.get("content-type", "application/octet-stream")),
    }


def only_text(response: Any) -> dict[str, Any]:
    """Of an answer in an unknown form its text, in the form of a chat completion."""
    message = {"role": "assistant", "content": content_of(response)}
    return {"object": "chat.completion", "choices": [{"index": 0, "message": message}]}
