"""What must never be shown: the values of keys, wherever they stand."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"

_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:api[_-]?key|apikey|authorization|password|passwd|secret|credentials?|access[_-]?key(?:[_-]?id)?"
    r"|(?:auth|session|bearer|access|refresh|id|ad|aws_session)[_-]?token)(?:$|[_-])|^token$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(r"\b(?:sk|pk|gsk|xai|rk)-[A-Za-z0-9_\-]{16,}|(?<=Bearer )[^\s\"']{8,}")


def is_secret_name(name: object) -> bool:
    """Whether a parameter or header of this name holds a secret."""
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None


def masked(value: Any) -> Any:
    """A copy of plain data, secrets masked; strings are shared, containers are new, other objects stay themselves."""
    if isinstance(value, Mapping):
        return {k: MASK if v is not None and is_secret_name(k) else masked(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item) for item in value]
    return value


def secrets_in(value: Any) -> set[str]:
    """Every secret string within a request."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for name, item in value.items():
            if is_secret_name(name) and isinstance(item, str):
                found.add(item.removeprefix("Bearer "))
            else:
                found |= secrets_in(item)
    return found


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the given secrets and without what looks like a key."""
    for secret in secrets:
        # Replacing a very short "key" such as "x" would turn the message into noise without hiding anything.
        if len(secret) >= 6:
            text = text.replace(secret, MASK)
    return _SECRET_TEXT.sub(MASK, text)
