"""The exception tree: what each class is, and that it travels whole."""

import copy
import pickle

import pytest

from llm_api_client import errors
from llm_api_client.errors import APICallException, LLMAPIClientError

CALLS = {
    "AuthenticationError": "APICallException",
    "InvalidRequestError": "APICallException",
    "NotFoundError": "APICallException",
    "ContextWindowExceededError": "InvalidRequestError",
    "ContentRefusedError": "InvalidRequestError",
    "RateLimitError": "APICallException",
    "QuotaExceededError": "APICallException",
    "ServerError": "APICallException",
    "MalformedResponseError": "ServerError",
    "NetworkError": "APICallException",
    "RequestTimeoutError": "NetworkError",
}
LOCAL = {
    "InvalidInputError": ValueError,
    "RequestTooLargeError": LLMAPIClientError,
    "AdmissionTimeoutError": LLMAPIClientError,
    "BatchTimeoutError": LLMAPIClientError,
    "BatchInterruptedError": LLMAPIClientError,
    "RequestCancelledError": LLMAPIClientError,
    "BudgetExceededError": LLMAPIClientError,
    "AnswerValidationError": LLMAPIClientError,
    "CheckpointError": LLMAPIClientError,
    "ConfigurationError": ValueError,
    "ClientClosedError": RuntimeError,
}
CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LLMAPIClientError)]


def filled(cls: type[LLMAPIClientError]) -> LLMAPIClientError:
    if issubclass(cls, APICallException):
        return cls(
            "why", status_code=429, provider="openai", model="m", retry_after=2.5, request_id="r", response_body="{}",
            index=3,
        )  # fmt: skip
    return cls("why", index=3)


def test_the_tree_is_as_documented():
    """Calls that failed stand under `APICallException`, local refusals do not, and all have one root."""
    named = {cls.__name__: cls for cls in CLASSES}
    both = named.pop("RateLimitTimeoutError")
    assert both.__bases__ == (named["AdmissionTimeoutError"], named["RateLimitError"])
    assert set(named) == {*CALLS, *LOCAL, "LLMAPIClientError", "APICallException"}
    for name, base in CALLS.items():
        assert named[name].__bases__ == (named[base],)
    for name, base in LOCAL.items():
        assert issubclass(named[name], base)
        assert not issubclass(named[name], APICallException)


@pytest.mark.parametrize("cls", CLASSES)
def test_each_class_says_what_it_means(cls):
    """Every class has a docstring, for it is what users look up."""
    assert cls.__doc__


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("way", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])  # noqa: S301
def test_an_error_travels_whole(cls, way):
    """Pickling and copying keep the class, the text and every attribute."""
    error = filled(cls)
    if hasattr(error, "in_flight"):
        error.in_flight = True
    there = way(error)
    assert type(there) is cls
    assert (str(there), there.args, vars(there)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("cls", CLASSES)
def test_the_text_names_the_request(cls):
    """`str` begins with the request's index where there is one; `message` never does."""
    error = cls("why")
    assert (str(error), error.message, error.index) == ("why", "why", None)
    error.index = 0
    assert (str(error), error.message) == ("request 0: why", "why")


def test_plain_data_leaves_out_what_is_unknown():
    """`to_dict` has the class name and every attribute with a value, 0 and False included."""
    assert filled(errors.RateLimitError).to_dict() == {
        "error_type": "RateLimitError", "message": "why", "index": 3, "status_code": 429, "provider": "openai",
        "model": "m", "retry_after": 2.5, "request_id": "r", "response_body": "{}",
    }  # fmt: skip
    assert errors.NetworkError("gone").to_dict() == {"error_type": "NetworkError", "message": "gone", "status_code": 0}
    assert errors.BatchTimeoutError("late").to_dict() == {
        "error_type": "BatchTimeoutError", "message": "late", "in_flight": False
    }  # fmt: skip


def test_an_error_without_an_answer_has_the_status_zero():
    """`status_code` is always an int."""
    assert APICallException("why").status_code == 0
