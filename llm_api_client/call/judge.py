"""What the end of a call means. Pure: facts in, verdict out."""

# ruff: noqa: PLR2004  HTTP statuses speak for themselves

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from llm_api_client.call.failure import Failure
from llm_api_client.errors import (
    APICallException,
    AuthenticationError,
    ContentRefusedError,
    ContextWindowExceededError,
    InvalidRequestError,
    MalformedResponseError,
    NetworkError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)
from llm_api_client.records import Kind, Verdict
from llm_api_client.secrets import scrubbed

_QUOTA = frozenset({"billing_hard_limit_reached", "billing_not_active", "credit_balance_too_low", "insufficient_quota"})
_CONTEXT = frozenset({"ContextWindowExceededError", "context_length_exceeded", "string_above_max_length"})
_CONTENT = frozenset(
    {"ContentPolicyViolationError", "ResponsibleAIPolicyViolation", "content_filter", "content_policy_violation"}
)
_RATE = frozenset({"RESOURCE_EXHAUSTED", "rate_limit_error", "rate_limit_exceeded"})
_SPENT = "You exceeded your current quota"
_CONTENTS = ("choices", "data", "results")
_RETRYABLE = frozenset({408, 409, 425})
_ANSWERED = Verdict(Kind.ANSWERED)


@dataclass(frozen=True, slots=True)
class Where:
    """Who was asked, for the messages: all of it may be shown."""

    model: str
    provider: str | None = None
    base_url: str | None = None

    def __str__(self) -> str:
        provider = self.provider or "the provider"
        return f"{provider} at {self.base_url}" if self.base_url else provider


def judge_failure(failure: Failure, where: Where, secrets: Collection[str] = ()) -> Verdict:
    """What a failed call means for what happens next. Statuses and codes decide; texts only where there is neither."""
    kind, error, cure = _classify(failure, where)
    said = f"{failure.status} from {where}" if failure.status else f"no answer from {where}"
    about = f" for model {where.model}" if where.model else ""
    message = f"{said}{about}: {failure.message.rstrip('.')}. {cure}".strip()
    return Verdict(
        kind,
        error(
            scrubbed(message, secrets),
            status_code=failure.status,
            provider=where.provider,
            model=where.model,
            retry_after=failure.retry_after,
            request_id=failure.request_id,
            response_body=None if failure.body is None else scrubbed(failure.body, secrets),
        ),
        failure.retry_after,
    )


def judge_answer(response: Any, where: Where) -> Verdict:
    """An answer is whatever has something in it: choices, data, results; or is made otherwise."""
    missing = None
    for name in _CONTENTS:
        content = getattr(response, name, None)
        if isinstance(content, list):
            if content:
                return _ANSWERED
            missing = missing or name
    if response is not None and missing is None:
        return _ANSWERED
    what = "with nothing" if response is None else f"without any {missing}"
    message = (
        f"200 from {where} for model {where.model}: it answered {what}. Some servers do so when overloaded; "
        "if every request fails like this, check base_url."
    )
    error = MalformedResponseError(message, status_code=200, provider=where.provider, model=where.model)
    return Verdict(Kind.TRANSIENT, error)


def _classify(  # noqa: C901, PLR0912  a table of cases
    failure: Failure, where: Where
) -> tuple[Kind, type[APICallException], str]:
    # Where no HTTP answer came, the exception's own word for it is all there is.
    status, code, text = failure.status or failure.claimed, failure.code, failure.message
    behind_proxy = status == 401 and "AuthenticationError" in code
    # A LiteLLM Proxy without a database knows its own key alone, and refuses others so.
    if failure.no_key or (status == 401 and not behind_proxy) or "no_db_connection" in code:
        return Kind.KEY_REFUSED, AuthenticationError, _cure_for_key(where)
    if failure.timed_out:
        cure = "The provider may bill it all the same. Raise request_timeout if answers take this long."
        return Kind.TRANSIENT, RequestTimeoutError, cure
    if failure.network:
        return Kind.TRANSIENT, NetworkError, "Check base_url, the network, and that the server runs."
    if 300 <= failure.status < 400:
        cure = "The server sends it elsewhere: set base_url to that address."
        return Kind.PERMANENT, InvalidRequestError, cure
    if failure.unreadable:
        cure = "If every request fails like this, check base_url, which often ends in /v1."
        return Kind.TRANSIENT, MalformedResponseError, cure
    if failure.missing_module and not failure.status:
        cure = f"This call needs a package that is not installed: pip install {failure.missing_module}."
        return Kind.PERMANENT, InvalidRequestError, cure
    if status == 402 or code & _QUOTA or _quota_said(failure, status):
        return Kind.QUOTA_SPENT, QuotaExceededError, "Waiting does not help: check the account's plan and billing."
    if status == 429 and "Request too large" in text:
        cure = "It is larger than the provider's whole limit: shorten the prompt or lower max_tokens."
        return Kind.PERMANENT, InvalidRequestError, cure
    if status == 429 or (status == 200 and code & _RATE):
        return Kind.RATE_LIMITED, RateLimitError, "Lower the client's limits if this happens often."
    if code & _CONTEXT or failure.exception == "ContextWindowExceededError":
        cure = "Shorten the messages, or leave sanitize=True so that they are truncated."
        return Kind.PERMANENT, ContextWindowExceededError, cure
    if code & _CONTENT or failure.exception == "ContentPolicyViolationError":
        return Kind.PERMANENT, ContentRefusedError, "Change the prompt; the provider refuses its content."
    if behind_proxy:
        return Kind.PERMANENT, AuthenticationError, "The key that the proxy itself has for this model was refused."
    if status == 403:
        return Kind.PERMANENT, AuthenticationError, "The key is not allowed to do this; check its permissions."
    if status == 404:
        return Kind.PERMANENT, NotFoundError, "Check the model's name, and base_url."
    if 400 <= status < 500 and status not in _RETRYABLE:
        return Kind.PERMANENT, InvalidRequestError, _cure_for_invalid(where, text)
    cure = "It may pass, and is worth another attempt." if status else ""
    return Kind.TRANSIENT, ServerError, cure


def _quota_said(failure: Failure, status: int) -> bool:
    """Whether money or a day's quota is spent, by the words of providers that have no code for it."""
    if any("PerDay" in code for code in failure.code):
        # Google: its retryDelay speaks of the minute all the same.
        return status == 429
    if failure.message.startswith("Your credit balance is too low"):
        return 400 <= status < 500
    # Google says the same of a minute's quota, and then also when to come back.
    return status == 429 and failure.retry_after is None and failure.message.startswith(_SPENT)


def _cure_for_key(where: Where) -> str:
    variable = f"{where.provider.upper()}_API_KEY" if where.provider else "OPENAI_API_KEY"
    return f"Check the key: pass api_key=..., or set the provider's environment variable, such as {variable}."


def _cure_for_invalid(where: Where, text: str) -> str:
    if "LLM Provider NOT provided" in text:
        return f"Name the provider before the model, such as 'openai/{where.model}'."
    return "The same request would fail again; change it."
