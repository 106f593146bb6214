"""What options may be."""

import math
from typing import Any

from llm_api_client.errors import ConfigurationError


def check_whole(name: str, value: Any, *, least: int = 1) -> None:
    """Refuse what is not a whole number, or too small.

    Raises:
        ConfigurationError: It is.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} must be a whole number of at least {least}; it is {value!r}.")


def check_seconds(name: str, value: Any) -> None:
    """Refuse what is no length of time.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be a positive number of seconds; it is {value!r}.")
