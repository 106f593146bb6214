"""What options may be."""

from math import inf

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
