"""Retries, uploads, answers kept for a while, and addresses."""

import pytest

from llm_api_client import RetryPolicy
from llm_api_client.call.http_door import HTTPDoor
from llm_api_client.errors import (
    APICallException,
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)
from llm_api_client.service import MAY_PASS, CachedGet, endpoint_from_url, retry, upload_file_with_retry

from .conftest import Reply

AT_ONCE = RetryPolicy(initial_delay=0)


@pytest.fixture
def door():
    door = HTTPDoor(timeout=5)
    yield door
    door.close()


class Calls:
    """A call that comes to what its script says."""

    def __init__(self, *script):
        self.script = list(script)
        self.number = 0

    def __call__(self):
        """The next of the script."""
        self.number += 1
        outcome = self.script.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.mark.parametrize(
    "failure", [ServerError("x"), NetworkError("x"), RequestTimeoutError("x"), RateLimitError("x")]
)
def test_what_may_pass_is_tried_again(failure, clock):
    """A failure that may pass is followed by another try, and an answer ends it."""
    call = Calls(failure, failure, "answer")
    assert retry(call, clock=clock) == "answer"
    assert call.number == 3


@pytest.mark.parametrize(
    "failure",
    [AuthenticationError("x"), InvalidRequestError("x"), NotFoundError("x"), QuotaExceededError("x"), KeyError()],
)
def test_what_stays_is_raised_at_once(failure, clock):
    """A failure that would come again is raised as it came, after one call."""
    call = Calls(failure, "answer")
    with pytest.raises(type(failure)) as raised:
        retry(call, clock=clock)
    assert raised.value is failure
    assert call.number == 1


def test_the_last_failure_is_raised(clock):
    """When no further try is left, the last failure is let through; `max_retries` are those after the first."""
    failures = [ServerError(str(n)) for n in range(4)]
    call = Calls(*failures)
    with pytest.raises(ServerError) as raised:
        retry(call, max_retries=3, clock=clock)
    assert raised.value is failures[3]
    with pytest.raises(ServerError):
        retry(Calls(ServerError("x"), "answer"), max_retries=0, clock=clock)


def test_a_hint_is_waited_for(clock):
    """No try comes before the `retry_after` of the failure has passed."""
    assert retry(Calls(RateLimitError("x", retry_after=30), "answer"), clock=clock) == "answer"
    assert 30 <= clock.now() <= 31


def test_waits_grow_as_the_policy_says(clock):
    """Without a hint, the waits are the policy's."""
    retry(Calls(*[ServerError("x")] * 5, "answer"), max_retries=5, policy=RetryPolicy(0.0), clock=clock)
    assert clock.now() == 0.0
    retry(Calls(*[ServerError("x")] * 5, "answer"), max_retries=5, policy=RetryPolicy(2.0, 3.0, 10.0), clock=clock)
    assert 0 < clock.now() <= 2 + 6 + 10 + 10 + 10


def test_other_failures_may_pass_for_the_caller(clock):
    """`retry_on` names what may pass in place of this library's own failures."""
    assert retry(Calls(OSError(), "answer"), retry_on=OSError, clock=clock) == "answer"
    assert retry(Calls(OSError(), ServerError("x"), 1), retry_on=(*MAY_PASS, OSError), clock=clock) == 1
    with pytest.raises(ConfigurationError, match="max_retries"):
        retry(Calls(), max_retries=-1)


def test_an_upload_arrives(server, tmp_path):
    """The server has the file by its name, the purpose, all other fields and the key; what it says is returned."""
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 3)
    server.reply = Reply({"id": "file-1"})
    answer = upload_file_with_retry(
        f"{server.base_url}/files", path, purpose="batch", additional_data={"project": "p1"}, api_key="sk-upload"
    )
    assert answer == {"id": "file-1"}
    (hit,) = server.hits
    assert hit.headers["authorization"] == "Bearer sk-upload"
    assert hit.headers["content-type"].startswith("multipart/form-data")
    for part in (b'name="file"; filename="lines.jsonl"', path.read_bytes(), b'name="purpose"', b"batch", b"p1"):
        assert part in hit.body


def test_an_upload_is_tried_again_whole(server, clock, tmp_path, door):
    """Each attempt sends the whole file; `retries` is their number in all."""
    path = tmp_path / "sound.wav"
    path.write_bytes(b"x" * 100_000)
    server.script = [Reply(status=503), Reply({"error": {"message": "busy"}}, 500)]
    server.reply = Reply({"id": "file-1"})
    url = f"{server.base_url}/files"
    assert upload_file_with_retry(url, path, param_name="sound", door=door, clock=clock) == {"id": "file-1"}
    assert [hit.body.count(b"x" * 100_000) for hit in server.hits] == [1, 1, 1]
    server.reply = Reply(status=503)
    with pytest.raises(ServerError):
        upload_file_with_retry(url, path, retries=2, policy=AT_ONCE, door=door)
    assert len(server.hits) == 5


def test_an_upload_that_is_refused_is_not_tried_again(server, tmp_path):
    """A refusal is raised after one attempt, without the key; of a file that is not there nothing is sent."""
    path = tmp_path / "lines.jsonl"
    path.write_text("{}")
    server.reply = Reply({"error": {"message": "key sk-upload-123456 is unknown"}}, 401)
    with pytest.raises(AuthenticationError) as raised:
        upload_file_with_retry(f"{server.base_url}/files", path, api_key="sk-upload-123456")
    assert raised.value.status_code == 401
    assert len(server.hits) == 1
    behind = raised.value.__cause__
    assert "sk-upload" not in f"{raised.value} {raised.value.response_body} {behind!r} {vars(behind)}"
    with pytest.raises(InvalidRequestError, match="No such file"):
        upload_file_with_retry(f"{server.base_url}/files", tmp_path / "nothing")
    assert len(server.hits) == 1


def test_no_failure_shows_the_key(server, clock, door):
    """Wherever a server repeats the key, neither the error nor what is behind it does."""
    get = CachedGet(door, api_key="odd-key-123456", clock=clock)
    for reply in (
        Reply({"error": {"message": "odd-key-123456?"}}, 403),
        Reply("odd-key-123456"),
        Reply(status=304, headers={"location": "/odd-key-123456"}),
    ):
        server.reply = reply
        with pytest.raises(APICallException) as raised:
            get(f"{server.base_url}/models")
        error = raised.value
        assert "odd-key" not in f"{error} {error.to_dict()} {error.__cause__!r} {vars(error.__cause__)}"


def test_an_upload_needs_an_attempt(tmp_path):
    """No attempt at all is a mistake."""
    with pytest.raises(ConfigurationError, match="retries"):
        upload_file_with_retry("http://127.0.0.1:9/files", tmp_path / "x", retries=0)


def test_an_answer_is_kept_for_its_time(server, clock, door):
    """The same question is asked once in `ttl` seconds, whatever the order of its parameters; another is another."""
    server.reply = lambda hit: Reply({"path": hit.path, "number": len(server.hits)})
    get = CachedGet(door, ttl=60, api_key="sk-get", clock=clock)
    url = f"{server.base_url}/models"
    first = get(url, {"a": 1, "b": [2, 3]})
    clock.advance(59)
    assert get(url, {"b": [2, 3], "a": 1}) == first == {"path": "/v1/models?a=1&b=2&b=3", "number": 1}
    assert get(url)["number"] == 2
    clock.advance(1)
    assert get(url, {"a": 1, "b": [2, 3]})["number"] == 3
    assert {hit.headers["authorization"] for hit in server.hits} == {"Bearer sk-get"}
    assert {hit.method for hit in server.hits} == {"GET"}


def test_failures_are_not_kept(server, clock, door):
    """A question that failed is asked again."""
    server.script = [Reply(status=503), Reply("<html>", 200)]
    server.reply = Reply({"fine": True})
    get = CachedGet(door, clock=clock)
    for _ in range(2):
        with pytest.raises(ServerError):
            get(f"{server.base_url}/models")
    assert len(get) == 0
    assert get(f"{server.base_url}/models") == {"fine": True}


def test_a_kept_answer_is_the_callers_own(server, clock, door):
    """What a caller does to an answer, no other caller sees."""
    server.reply = Reply({"models": ["a"]})
    get = CachedGet(door, clock=clock)
    get(f"{server.base_url}/models")["models"].append("b")
    assert get(f"{server.base_url}/models") == {"models": ["a"]}


def test_the_oldest_answers_go_first(server, clock, door):
    """Of more answers than may be kept, the newest stay; what is over goes, and all goes when it is told to."""
    server.reply = lambda hit: Reply({"number": len(server.hits)})
    get = CachedGet(door, ttl=10, max_entries=2, clock=clock)
    for page in (1, 2, 3):
        get(f"{server.base_url}/models", {"page": page})
    assert len(get) == 2
    assert get(f"{server.base_url}/models", {"page": 3})["number"] == 3
    assert get(f"{server.base_url}/models", {"page": 1})["number"] == 4
    clock.advance(10)
    get(f"{server.base_url}/models", {"page": 9})
    assert len(get) == 1
    get.clear()
    assert len(get) == 0


def test_an_answer_that_was_asked_for_anew_is_new(server, clock, door):
    """What was asked again because it was too old goes after those that came before it."""
    server.reply = lambda hit: Reply({"number": len(server.hits)})
    get = CachedGet(door, ttl=10, max_entries=2, clock=clock)
    first, second, third = (f"{server.base_url}/{name}" for name in "abc")
    get(first)
    clock.advance(5)
    get(second)
    clock.advance(5)
    renewed = get(first)
    get(third)
    assert get(first) == renewed


@pytest.mark.parametrize("options", [{"ttl": 0}, {"ttl": float("inf")}, {"max_entries": 0}, {"max_entries": 1.5}])
def test_a_cache_has_bounds(door, options):
    """A cache without an end is refused by the option's name."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        CachedGet(door, **options)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://api.openai.com/v1/chat/completions", "chat/completions"),
        ("https://api.openai.com/v1/files/file-1/content?limit=3#x", "files/file-1/content"),
        ("http://127.0.0.1:8000/openai/v1/embeddings/", "embeddings"),
        (
            "https://generativelanguage.googleapis.com/v1beta/models/gemini:generateContent",
            "models/gemini:generateContent",
        ),
        ("https://api.cohere.com/v2/rerank", "rerank"),
        ("https://api.openai.com/v1", ""),
        ("https://api.openai.com/v1/", ""),
        ("https://v1.example.com/chat", ""),
        ("https://example.com/vault/secrets", ""),
        ("https://[broken", ""),
        ("", ""),
    ],
)
def test_the_endpoint_of_an_address(url, endpoint):
    """It is what follows the version in the path, without query and slashes; nothing where there is none."""
    assert endpoint_from_url(url) == endpoint
