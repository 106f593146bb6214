"""What custom callables raise, without any server: read and judged."""

import ssl
import time
import urllib.error
from email.message import Message

import httpx
import openai
import pytest
import requests

from llm_api_client import errors
from llm_api_client.call.failure import forget_frames, read_failure, scrub
from llm_api_client.call.judge import Where, judge_answer, judge_failure
from llm_api_client.records import Kind
from llm_api_client.testing import ScriptedAnswer, ScriptedError

REQUEST = httpx.Request("POST", "http://provider.invalid/v1/chat/completions")
WHERE = Where("some-model", "openai", "http://provider.invalid/v1")
P, T, R = Kind.PERMANENT, Kind.TRANSIENT, Kind.RATE_LIMITED


def judged(raised: BaseException):
    return judge_failure(read_failure(raised, time.time()), WHERE)


def answer(status: int, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"error": {"message": "said so"}}, request=REQUEST)


def requests_answer(status: int) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers["Retry-After"] = "3"
    response._content = b'{"error": {"message": "said so"}}'
    return response


class SlottedError(Exception):
    __slots__ = ()


class AiohttpLikeError(Exception):
    status = 503


def of_litellm(name: str, **more: object):
    """An exception of LiteLLM's built by hand, as tests and custom callables do."""

    def build():
        import litellm

        return getattr(litellm, name)(message="said so", llm_provider="openai", model="some-model", **more)

    return build


CASES = {
    "openai 429": (
        lambda: openai.RateLimitError("said so", response=answer(429, {"retry-after": "3"}), body=None),
        R, errors.RateLimitError, 429, 3.0,
    ),
    "openai 401": (
        lambda: openai.AuthenticationError("said so", response=answer(401), body=None),
        Kind.KEY_REFUSED, errors.AuthenticationError, 401, None,
    ),
    "openai 500": (
        lambda: openai.InternalServerError("said so", response=answer(500), body=None), T, errors.ServerError, 500, None
    ),
    "openai connection": (lambda: openai.APIConnectionError(request=REQUEST), T, errors.NetworkError, 0, None),
    "openai timeout": (lambda: openai.APITimeoutError(REQUEST), T, errors.RequestTimeoutError, 0, None),
    "litellm 429": (of_litellm("RateLimitError"), R, errors.RateLimitError, 429, None),
    "litellm 400": (of_litellm("BadRequestError"), P, errors.InvalidRequestError, 400, None),
    "litellm 401": (of_litellm("AuthenticationError"), Kind.KEY_REFUSED, errors.AuthenticationError, 401, None),
    "litellm 404": (of_litellm("NotFoundError"), P, errors.NotFoundError, 404, None),
    "litellm 500": (of_litellm("InternalServerError"), T, errors.ServerError, 500, None),
    "litellm 503": (of_litellm("ServiceUnavailableError"), T, errors.ServerError, 503, None),
    "litellm context": (of_litellm("ContextWindowExceededError"), P, errors.ContextWindowExceededError, 400, None),
    "litellm content": (of_litellm("ContentPolicyViolationError"), P, errors.ContentRefusedError, 400, None),
    "litellm connection": (of_litellm("APIConnectionError"), T, errors.NetworkError, 0, None),
    "litellm timeout": (of_litellm("Timeout"), T, errors.RequestTimeoutError, 0, None),
    "litellm 529": (of_litellm("APIError", status_code=529), T, errors.ServerError, 529, None),
    "requests 429": (
        lambda: requests.HTTPError("no", response=requests_answer(429)), R, errors.RateLimitError, 429, 3.0
    ),
    "requests connection": (lambda: requests.ConnectionError("no"), T, errors.NetworkError, 0, None),
    "requests timeout": (lambda: requests.ReadTimeout("no"), T, errors.RequestTimeoutError, 0, None),
    "requests connect timeout": (lambda: requests.ConnectTimeout("no"), T, errors.NetworkError, 0, None),
    "httpx 503": (
        lambda: httpx.HTTPStatusError("no", request=REQUEST, response=answer(503)), T, errors.ServerError, 503, None
    ),
    "httpx connect": (lambda: httpx.ConnectError("no"), T, errors.NetworkError, 0, None),
    "httpx protocol": (lambda: httpx.RemoteProtocolError("no"), T, errors.NetworkError, 0, None),
    "httpx timeout": (lambda: httpx.ReadTimeout("no"), T, errors.RequestTimeoutError, 0, None),
    "urllib 429": (
        lambda: urllib.error.HTTPError("http://x", 429, "no", _retry_after_3(), None),
        R, errors.RateLimitError, 429, 3.0,
    ),
    "urllib": (lambda: urllib.error.URLError("no route"), T, errors.NetworkError, 0, None),
    "TLS": (lambda: ssl.SSLCertVerificationError("certificate verify failed"), T, errors.NetworkError, 0, None),
    "aiohttp 503": (lambda: AiohttpLikeError("no"), T, errors.ServerError, 503, None),
    "scripted 429": (lambda: ScriptedError(429, headers={"Retry-After": "3"}), R, errors.RateLimitError, 429, 3.0),
    "TimeoutError": (lambda: TimeoutError("late"), T, errors.RequestTimeoutError, 0, None),
    "ConnectionError": (lambda: ConnectionError("gone"), T, errors.NetworkError, 0, None),
    "ConnectionResetError": (lambda: ConnectionResetError("gone"), T, errors.NetworkError, 0, None),
    "ValueError": (lambda: ValueError("429 quota rate limit insufficient_quota"), T, errors.ServerError, 0, None),
    "slots": (lambda: SlottedError("401 invalid api key"), T, errors.ServerError, 0, None),
    "nothing to say": (RuntimeError, T, errors.ServerError, 0, None),
    "missing module": (
        lambda: ModuleNotFoundError("No module named 'mcp'", name="mcp.types"), P, errors.InvalidRequestError, 0, None
    ),
}  # fmt: skip


def _retry_after_3() -> Message:
    headers = Message()
    headers["Retry-After"] = "3"
    return headers


@pytest.mark.parametrize("case", CASES)
def test_what_a_custom_callable_raises_is_judged_by_type_and_status(case):
    """Types and statuses decide what an exception means; the words of its text never do."""
    build, kind, error, status, retry_after = CASES[case]
    verdict = judged(build())
    assert (verdict.kind, type(verdict.error), verdict.error.status_code) == (kind, error, status)
    assert verdict.retry_after == retry_after
    assert "some-model" in verdict.error.message


def test_an_unexplained_exception_is_named():
    """Where there is no provider's message, the class and text of the exception are told."""
    assert "ValueError: odd" in judged(ValueError("odd")).error.message
    assert "RuntimeError" in judged(RuntimeError()).error.message
    assert "pip install mcp." in judged(ModuleNotFoundError("no", name="mcp.types")).error.message


def test_a_bug_that_litellm_calls_a_connection_error_is_no_network_error():
    """LiteLLM's catch-all class does not make a bug a fault of the network."""
    import litellm

    wrapped = litellm.APIConnectionError(message="'x'", llm_provider="openai", model="m")
    wrapped.__context__ = KeyError("x")
    assert type(judged(wrapped).error) is errors.ServerError


def test_a_circle_of_causes_is_read_once():
    """An exception that is its own cause does not stop the reader."""
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    assert judged(one).kind is Kind.TRANSIENT


@pytest.mark.parametrize("body", [{"message": object()}, "not JSON {", {1: {2}}, ["x"], 7])
def test_odd_bodies_do_not_stop_the_reader(body):
    """Whatever stands in an exception's body, reading it raises nothing."""
    raised = ScriptedError(500)
    raised.body = body
    assert judged(raised).error.status_code == 500


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (ScriptedAnswer(), Kind.ANSWERED),
        (None, Kind.TRANSIENT),
        ("text of a custom callable", Kind.ANSWERED),
        ({"a": "dict"}, Kind.ANSWERED),
        (type("Empty", (), {"choices": []})(), Kind.TRANSIENT),
        (type("Embedding", (), {"data": [1]})(), Kind.ANSWERED),
    ],
)
def test_an_answer_is_what_has_choices_or_is_no_chat(response, kind):
    """Only None and an empty list of choices are no answers."""
    verdict = judge_answer(response, WHERE)
    assert verdict.kind is kind
    assert (verdict.error is None) == (kind is Kind.ANSWERED)


def test_forgetting_frames_reaches_every_link():
    """No traceback of a chain is kept, so that no frame keeps a request alive."""

    def fail() -> None:
        try:
            {}["inner"]
        except KeyError:
            raise ValueError("outer") from None

    with pytest.raises(ValueError, match="outer") as info:
        fail()
    caught = info.value
    assert caught.__context__.__traceback__ is not None
    forget_frames(caught)
    assert caught.__traceback__ is None
    assert caught.__context__.__traceback__ is None


def test_what_cannot_be_cleaned_is_cut_off():
    """An inner exception whose text still tells a secret is no longer shown."""

    class TalkativeError(Exception):
        def __str__(self) -> str:
            return "the key is not-so-secret-key"

    outer = ValueError("outer")
    outer.__cause__ = TalkativeError()
    scrub(outer, ["not-so-secret-key"])
    assert outer.__cause__ is None
