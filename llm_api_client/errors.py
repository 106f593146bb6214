"""One exception tree; each class says what its meaning is to the caller.

`LLMAPIClientError` is the root. Below it stand two families:

- `APICallException`: a call was made, or tried, and the world answered with a failure. `status_code` is the HTTP
  status, and 0 where no HTTP answer came.
- this library's own decisions: the request was not sent, or, where `in_flight` says so, its answer was not waited for.
"""

from typing import Any


class LLMAPIClientError(Exception):
    """Base of every error that this library raises or puts in a slot.

    Attributes:
        message: What was wrong and what to do, without the request's index.
        index: Position of the request in its batch, or None outside a batch.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.index = index

    def __str__(self) -> str:
        return self.message if self.index is None else f"request {self.index}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data: its class name and every attribute that has a value."""
        return {"error_type": type(self).__name__} | {k: v for k, v in vars(self).items() if v is not None}

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only attributes do not survive the default pickling of exceptions, which replays `args`.
        return _rebuild, (type(self), self.message, dict(vars(self)))


def _rebuild(cls: type[LLMAPIClientError], message: str, state: dict[str, Any]) -> LLMAPIClientError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class APICallException(LLMAPIClientError):  # noqa: N818  the name is a contract with users
    """A call failed. The provider's own exception is the `__cause__`.

    Attributes:
        status_code: HTTP status, 0 where there was no HTTP answer.
        provider: Provider's name, as LiteLLM calls it.
        model: Model that was asked.
        retry_after: Seconds that the provider asked to wait, if it did.
        request_id: Provider's id of the failed request, for its support desk.
        response_body: What the provider answered, cut to a bounded length.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int = 0,
        provider: str | None = None,
        model: str | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        response_body: str | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(message, index=index)
        self.status_code = status_code
        self.provider = provider
        self.model = model
        self.retry_after = retry_after
        self.request_id = request_id
        self.response_body = response_body


class AuthenticationError(APICallException):
    """The key was refused (401) or may not do this (403)."""


class InvalidRequestError(APICallException):
    """The provider, or LiteLLM on its behalf, will never accept this request as it is."""


class NotFoundError(APICallException):
    """The model or the path does not exist at this provider (404)."""


class ContextWindowExceededError(InvalidRequestError):
    """Prompt and answer together do not fit the model's context window."""


class ContentRefusedError(InvalidRequestError):
    """The provider's content policy refused the request."""


class RateLimitError(APICallException):
    """The provider admits no more requests for now (429)."""


class QuotaExceededError(APICallException):
    """The account's money or quota is spent; waiting a minute does not help."""


class ServerError(APICallException):
    """The provider failed (5xx), or failed in a way that it did not explain."""


class MalformedResponseError(ServerError):
    """The answer arrived and cannot be used: not JSON, HTML, or without choices."""


class NetworkError(APICallException):
    """No HTTP answer came: refused, reset, unresolved."""


class RequestTimeoutError(NetworkError):
    """One call took longer than `request_timeout`; the provider may still bill it."""


class InvalidInputError(LLMAPIClientError, ValueError):
    """The request dict itself is at fault; it was not sent."""


class RequestTooLargeError(LLMAPIClientError):
    """The request is larger than a whole window of its limit, so that waiting cannot help; it was not sent."""


class AdmissionTimeoutError(LLMAPIClientError):
    """The limits do not let the request go within `max_delay_seconds`; it was not sent."""


class RateLimitTimeoutError(AdmissionTimeoutError, RateLimitError):
    """The provider refused it (429), and it could not go again within `max_delay_seconds`."""


class BatchTimeoutError(LLMAPIClientError):
    """The batch's `timeout` ended first.

    Attributes:
        in_flight: True where the call had been sent, so that the provider may bill it.
    """

    def __init__(self, message: str, *, in_flight: bool = False, index: int | None = None) -> None:
        super().__init__(message, index=index)
        self.in_flight = in_flight


class BatchInterruptedError(LLMAPIClientError):
    """Ctrl-C, or a failure of the batch as a whole, came first.

    Attributes:
        in_flight: True where the call had been sent, so that the provider may bill it.
    """

    def __init__(self, message: str, *, in_flight: bool = False, index: int | None = None) -> None:
        super().__init__(message, index=index)
        self.in_flight = in_flight


class RequestCancelledError(LLMAPIClientError):
    """Its future was cancelled before it was sent."""


class BudgetExceededError(LLMAPIClientError):
    """The money that `max_cost` allows could not pay for it; it was not sent, and can be asked again later."""


class AnswerValidationError(LLMAPIClientError):
    """An answer came, was paid for, and is not what `validate` asks for.

    Attributes:
        content: Text of the answer.
        reason: "invalid" where it does not fit, "empty" where it has no text, "length" where it was cut off at its
            token limit, "content_filter" where the provider's filter cut or emptied it.
    """

    def __init__(
        self, message: str, *, content: str | None = None, reason: str = "invalid", index: int | None = None
    ) -> None:
        super().__init__(message, index=index)
        self.content = content
        self.reason = reason


class CheckpointError(LLMAPIClientError):
    """The checkpoint file cannot be used, or not be written any further."""


class ConfigurationError(LLMAPIClientError, ValueError):
    """An option of the client, or an environment variable, cannot be used as it is."""


class ClientClosedError(LLMAPIClientError, RuntimeError):
    """The client was used after `close()`."""
