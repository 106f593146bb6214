"""What must never be shown: the values of keys, wherever they stand."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

MASK = "***"

SHORTEST = 6
"""Characters of the shortest secret that is taken out of texts: a "key" such as "x" would turn them into noise."""

_DEEPEST = 50
"""Nesting at which looking for secrets ends: no request is so deep, and a circle has no end."""

_SAID_TO_THE_MODEL = frozenset({"input", "messages", "prompt", "response_format", "tools"})

_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:api[_-]?keys?|apikey|authorization|password|passwd|passphrase|secrets?|credentials?|cookie"
    r"|(?:access|private|subscription|openai|signing)[_-]?key(?:[_-]?id)?"
    r"|(?:auth|session|bearer|access|refresh|id|ad|security|hf|github|gitlab|jwt)[_-]?token)(?:$|[_-])|^token$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|ghp|r8|pplx|nvapi|csk|fw)[-_][A-Za-z0-9_\-]{16,}"  # as most providers begin their keys
    r"|\bAIza[A-Za-z0-9_\-]{30,}"  # Google
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS
    r"|(?<=Bearer )[^\s\"',}]{8,}"
    r"|(?<=[?&]key=)[^\s\"'&]{8,}"  # Google takes keys in the URL
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password in an address
)


def is_secret_name(name: object) -> bool:
    """Whether a parameter or header of this name holds a secret."""
    return isinstance(name, str) and _names_a_secret(name)


@lru_cache(maxsize=1_024)
def _names_a_secret(name: str) -> bool:
    # The same few names come with every request.
    return _SECRET_NAME.search(name) is not None


def masked(value: Any) -> Any:
    """A copy of plain data, secrets masked; containers are new, other objects stay themselves.

    What is said to the model is shown as it is. All else is also looked through for the request's own secrets: an
    address or a header may repeat them.
    """
    if not isinstance(value, Mapping):
        return _masked_within(value, 0, None)
    secrets: set[str] | None = None
    copy: dict[Any, Any] = {}
    for k, v in value.items():
        if k in _SAID_TO_THE_MODEL:
            copy[k] = _masked_within(v, 1, None)
        elif v is not None and is_secret_name(k):
            copy[k] = MASK
        elif isinstance(v, int | float | bool):
            copy[k] = v
        else:
            if secrets is None:
                secrets = secrets_in(value)
            copy[k] = _masked_within(v, 1, secrets)
    return copy


def _masked_within(value: Any, depth: int, secrets: set[str] | None) -> Any:
    """Below a request's own parameters, a container under a secret's name may be a schema that speaks of secrets."""
    if secrets is None and isinstance(value, str):
        return value
    if depth > _DEEPEST:
        return MASK
    if type(value) is dict or isinstance(value, Mapping):
        return {
            k: MASK
            if v is not None and is_secret_name(k) and not isinstance(v, Mapping)
            else _masked_within(v, depth + 1, secrets)
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_masked_within(item, depth + 1, secrets) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    return scrubbed(value, secrets) if secrets is not None and isinstance(value, str) else value


def secrets_in(value: Any) -> set[str]:
    """Every secret string within a request."""
    found: set[str] = set()
    _add_secrets_in(value, found, 0)
    return found


def _add_secrets_in(value: Any, found: set[str], depth: int) -> None:
    if depth > _DEEPEST:
        return
    if type(value) is dict or isinstance(value, Mapping):
        for name, item in value.items():
            if is_secret_name(name):
                found.update(_parts(item))
            if not isinstance(item, str):
                _add_secrets_in(item, found, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            if not isinstance(item, str):
                _add_secrets_in(item, found, depth + 1)


def _parts(item: Any) -> Iterable[str]:
    """A secret, and it without the scheme before it ("Bearer", "Basic"): either may be shown alone."""
    if isinstance(item, bytes):
        item = item.decode(errors="surrogateescape")
    if isinstance(item, str) and item.strip():
        yield item
        yield item.split()[-1]
    elif isinstance(item, (list, tuple)):
        for part in item:
            yield from _parts(part)


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the given secrets and without what looks like a key."""
    # The longest first: a secret may be the beginning of another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, MASK)
            # As `repr` and JSON write it.
            if "\\" in secret or '"' in secret or "'" in secret or not secret.isprintable() or not secret.isascii():
                for written in (repr(secret)[1:-1], _as_json(secret)):
                    text = text.replace(written, MASK)
    return _SECRET_TEXT.sub(MASK, text)


def _as_json(text: str) -> str:
    import json  # noqa: PLC0415  for odd keys only

    return json.dumps(text)[1:-1]


def scrubbed_data(value: Any, secrets: Iterable[str] = (), *, depth: int = 0) -> Any:
    """`value` without secrets in its texts, keys of dicts included; what holds none is returned itself."""
    if depth > _DEEPEST:
        return value
    if isinstance(value, str):
        clean = scrubbed(value, secrets)
        return value if clean == value else clean
    if isinstance(value, bytes):
        text = value.decode(errors="surrogateescape")
        clean = scrubbed(text, secrets)
        return value if clean == text else clean.encode(errors="surrogateescape")
    if type(value) is dict:
        items = [
            (scrubbed_data(k, secrets, depth=depth + 1), _hidden(k, v) or scrubbed_data(v, secrets, depth=depth + 1))
            for k, v in value.items()
        ]
        same = all(a is b and c is d for (a, c), (b, d) in zip(items, value.items(), strict=True))
        return value if same else dict(items)
    if type(value) in (list, tuple, set, frozenset):
        parts = [scrubbed_data(item, secrets, depth=depth + 1) for item in value]
        same = all(new is old for new, old in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    return value


def _hidden(name: Any, value: Any) -> str | None:
    return MASK if is_secret_name(name) and isinstance(value, str) and value else None
