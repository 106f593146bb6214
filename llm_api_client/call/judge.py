"""What the end of a call means. Pure: facts in, verdict out."""

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

_QUOTA = frozenset(
    {"billing_hard_limit_reached", "billing_not_active", "credit_balance_too_low", "insufficient_quota"}
)
_CONTEXT = frozenset({"context_length_exceeded", "string_above_max_length"})
_CONTENT = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
_RETRYABLE = frozenset({408, 409, 425})


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
    message = f"{said} for model {where.model}: {failure.message.rstrip('.')}. {cure}".strip()
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
    """An answer is one that has choices, or that is none of a chat's."""
    choices = getattr(response, "choices", response)
    if response is None or (isinstance(choices, list) and not choices):
        message = (
            f"{where} answered for model {where.model} without any choices. Some servers do so when overloaded; "
            "if every request fails like this, check base_url."
        )
        return Verdict(
            Kind.TRANSIENT,
            MalformedResponseError(message, status_code=200, provider=where.provider, model=where.model),
        )
    return Verdict(Kind.ANSWERED)


def _classify(failure: Failure, where: Where) -> tuple[Kind, type[APICallException], str]:
    status, code, text = failure.status, failure.code, failure.message
    if failure.no_key or status == 401:
        cure = "Check the key: pass api_key=..., or set the provider's environment variable (OPENAI_API_KEY, ...)."
        return Kind.KEY_REFUSED, AuthenticationError, cure
    if failure.timed_out:
        cure = "The provider may bill it all the same. Raise request_timeout if answers take this long."
        return Kind.TRANSIENT, RequestTimeoutError, cure
    if failure.network:
        return Kind.TRANSIENT, NetworkError, "Check base_url, the network, and that the server runs."
    if failure.unreadable:
        cure = "What came is not a chat completion; check base_url, which often ends in /v1."
        return Kind.TRANSIENT, MalformedResponseError, cure
    if status == 402 or code & _QUOTA or (_says_quota(text) and status == 429 and failure.retry_after is None):
        return Kind.QUOTA_SPENT, QuotaExceededError, "Waiting does not help: check the account's plan and billing."
    if status == 429 and "Request too large" in text:
        cure = "It is larger than the provider's whole limit: shorten the prompt or lower max_tokens."
        return Kind.PERMANENT, InvalidRequestError, cure
    if status == 429:
        return Kind.RATE_LIMITED, RateLimitError, "Lower the client's limits if this happens often."
    if code & _CONTEXT or failure.exception == "ContextWindowExceededError":
        cure = "Shorten the messages, or leave sanitize=True so that they are truncated."
        return Kind.PERMANENT, ContextWindowExceededError, cure
    if code & _CONTENT or failure.exception == "ContentPolicyViolationError":
        return Kind.PERMANENT, ContentRefusedError, "Change the prompt; the provider refuses its content."
    if status == 403:
        return Kind.PERMANENT, AuthenticationError, "The key is not allowed to do this; check its permissions."
    if status == 404:
        return Kind.PERMANENT, NotFoundError, "Check the model's name, and base_url."
    if 400 <= status < 500 and status not in _RETRYABLE:
        return Kind.PERMANENT, InvalidRequestError, _cure_for_invalid(where, text)
    if failure.exception == "APIConnectionError":
        return Kind.TRANSIENT, NetworkError, ""
    return Kind.TRANSIENT, ServerError, ""


def _says_quota(text: str) -> bool:
    return "exceeded your current quota" in text or "credit balance is too low" in text


def _cure_for_invalid(where: Where, text: str) -> str:
    if "LLM Provider NOT provided" in text:
        return f"Name the provider before the model, such as 'openai/{where.model}'."
    return "The same request would fail again; change it."
