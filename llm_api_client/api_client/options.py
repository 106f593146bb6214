"""What options may be."""

from math import inf
from typing import Any
from urllib.parse import urlsplit

from llm_api_client.errors import ConfigurationError


def check_positive(name: str, value: float | None, *, whole: bool = False, zero: bool = False) -> None:
    """Refuse a number that is no limit.

    Args:
        name: The option, for the message.
        value: What was given; None is always good.
        whole: Whether it must be a whole number.
        zero: Whether it may be 0.

    Raises:
        ConfigurationError: It cannot be used.
    """
    if value is None:
        return
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not (value >= 0 if zero else value > 0) or value == inf:
        kind = "a whole number" if whole else "a finite number"
        least = "of 0 or more" if zero else "above 0"
        message = f"{name} must be {kind} {least}, or None; it is {value!r}."
        raise ConfigurationError(message)


def check_base_url(base_url: Any) -> None:
    """Refuse a base URL that is none. It is not shown: it may be a key in the wrong place.

    Raises:
        ConfigurationError: It cannot be used.
    """
    if base_url is None:
        return
    try:
        parts = urlsplit(base_url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except (AttributeError, TypeError, ValueError):
        sound = False
    if not sound:
        message = 'base_url is no URL of a server; give one like "https://api.openai.com/v1". A key belongs in api_key.'
        raise ConfigurationError(message)
