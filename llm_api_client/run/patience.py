"""How long a request waits for its limits, and what is said when that is over. Pure."""

from math import inf

from llm_api_client.admit.limiter import NotBefore
from llm_api_client.errors import AdmissionTimeoutError, LLMAPIClientError, RateLimitError, RateLimitTimeoutError


def within(
    decision: NotBefore, now: float, give_up_at: float, max_delay: float, refused: LLMAPIClientError | None
) -> NotBefore:
    """A decision to wait, for no longer than until `give_up_at`.

    Args:
        decision: What the limiter said.
        now: The time.
        give_up_at: When the request has waited for `max_delay`.
        max_delay: Seconds, for the message.
        refused: What the last call for it came to, if one was made.

    Raises:
        RateLimitTimeoutError: It cannot go in time, since the provider refused it.
        AdmissionTimeoutError: It cannot go in time.
    """
    if now < give_up_at and not give_up_at < decision.when < inf:
        return NotBefore(min(decision.when, give_up_at), decision.why)
    known = f" for another {decision.when - now:,.1f} s" if decision.when < inf else ""
    message = (
        f"Not admitted within max_delay_seconds={max_delay:g} ({decision.why}{known}). "
        "Raise max_delay_seconds or the limit."
    )
    if isinstance(refused, RateLimitError):
        said = {name: value for name, value in vars(refused).items() if name not in ("message", "index")}
        raise RateLimitTimeoutError(message, **said) from refused
    raise AdmissionTimeoutError(message) from refused
