"""Services: a small provider of one's own on the engine's road, over real HTTP."""

import socket
from threading import Event, Thread

import pytest

from llm_api_client import RetryPolicy
from llm_api_client.errors import (
    AdmissionTimeoutError,
    APICallException,
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    InvalidInputError,
    InvalidRequestError,
    MalformedResponseError,
    NetworkError,
    NotFoundError,
    RequestTimeoutError,
    RequestTooLargeError,
    ServerError,
)
from llm_api_client.service import Endpoint, Usage

from .conftest import KEY, Reply, Translator, translate


def test_a_call_is_sent_and_answered(make, server):
    """A call is a POST of the payload and the endpoint's defaults, with the key; its answer is the JSON that came."""
    server.reply = translate
    assert make().call("translate", {"text": "Hello"}) == {"translation": "Hello in de"}
    (hit,) = server.hits
    assert (hit.method, hit.path) == ("POST", "/v1/translate")
    assert hit.json == {"text": "Hello", "target": "de"}
    assert hit.headers["authorization"] == f"Bearer {KEY}"


def test_a_get_has_its_parameters_in_the_address(make, server):
    """An endpoint that is asked by GET sends no body, and any JSON is an answer."""
    server.reply = Reply(["de", "fr"])
    assert make().call("languages", {"family": "indo european"}) == ["de", "fr"]
    (hit,) = server.hits
    assert (hit.method, hit.path, hit.body) == ("GET", "/v1/languages?family=indo+european", b"")


def test_many_calls_keep_their_order(make, server):
    """Answers stand where their payloads stand, whichever comes first, and all go at once where nothing limits them."""
    here, together = [], Event()

    def wait_for_all(hit):
        here.append(hit)
        if len(here) == 10:
            together.set()
        return translate(hit) if together.wait(5) else Reply(status=500)

    server.reply = wait_for_all
    answers = make().call_many("translate", [{"text": str(n)} for n in range(10)], max_workers=10, max_retries=0)
    assert answers == [{"translation": f"{n} in de"} for n in range(10)]


def test_a_bad_payload_spoils_only_its_slot(make, server):
    """Payloads that cannot be sent fail in their own slots, unsent; the reasons are in `failures`, or in the slots."""
    server.reply = translate
    service = make()
    payloads = [{"text": "a"}, {"txt": "b"}, None, {"text": object()}, {"target": "fr"}, {"text": "c"}]
    assert [bool(answer) for answer in service.call_many("translate", payloads)] == [
        True,
        False,
        False,
        False,
        False,
        True,
    ]
    assert [failure.index for failure in service.failures] == [1, 2, 3, 4]
    answers = service.call_many("translate", payloads, return_exceptions=True)
    assert all(isinstance(answer, InvalidInputError) for answer in answers[1:5])
    assert "did you mean 'text'" in str(answers[1])
    assert len(server.hits) == 4


def test_results_are_told_as_they_end(make, server):
    """`on_result` has each answer as it comes, so that it can be kept."""
    server.reply = translate
    told = []
    make().call_many("translate", [{"text": "a"}, {}], on_result=told.append)
    answers = {result.index: result.response for result in told}
    assert answers == {0: {"translation": "a in de"}, 1: None}


FAILURES = [
    (Reply({"error": {"message": "who are you"}}, 401), AuthenticationError, 401, 1),
    (Reply({"error": "no such text"}, 400), InvalidRequestError, 400, 1),
    (Reply("<html>", 404), NotFoundError, 404, 1),
    (Reply({"message": "out of order"}, 500), ServerError, 500, 3),
    (Reply("<html>hello"), MalformedResponseError, 200, 3),
    (Reply(""), MalformedResponseError, 200, 3),
]


@pytest.mark.parametrize(("reply", "error", "status", "attempts"), FAILURES)
def test_a_failure_is_raised_by_its_meaning(make, server, reply, error, status, attempts):
    """A call that failed raises the class that says how, after as many attempts as may help."""
    server.reply = reply
    with pytest.raises(error) as raised:
        make().call("translate", {"text": "Hello"})
    assert isinstance(raised.value, APICallException)
    assert raised.value.status_code == status
    assert raised.value.index is None
    assert len(server.hits) == attempts


def test_no_answer_has_no_status(make, server):
    """Where no answer comes, the status is 0: neither a refused connection nor a timeout is an answer."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(NetworkError) as raised:
        make(base_url=f"http://127.0.0.1:{port}/v1").call("translate", {"text": "Hello"}, max_retries=0)
    assert raised.value.status_code == 0
    over = Event()

    def answer_late(_):
        over.wait(5)
        return Reply()

    server.reply = answer_late
    with pytest.raises(RequestTimeoutError) as raised:
        make(timeout=0.05).call("translate", {"text": "Hello"}, max_retries=0)
    over.set()
    assert raised.value.status_code == 0


def test_what_may_pass_is_tried_again(make, server, clock):
    """A failure that may pass is followed by another attempt, as late as the policy and the server say."""
    server.script = [Reply(status=503, headers={"retry-after": "7"}), Reply(status=500)]
    server.reply = translate
    service = make(retry=RetryPolicy(initial_delay=0))
    assert service.call("translate", {"text": "Hello"})
    assert clock.now() == 7.0
    assert service.status_tracker.num_api_errors == 2


def test_a_429_is_a_pause_and_no_attempt(make, server, clock):
    """A 429 pauses the endpoint for as long as the server says, and takes none of the attempts."""
    server.script = [Reply(status=429, headers={"retry-after": "30"})] * 4
    server.reply = translate
    service = make()
    assert service.call("translate", {"text": "Hello"}, max_retries=0)
    assert clock.now() >= 120
    assert service.status_tracker.num_rate_limit_errors == 4


def test_no_call_waits_longer_than_it_may(make, server, clock):
    """A wait that is known to be longer than `max_delay_seconds` is not begun."""
    server.script = [Reply(status=429, headers={"retry-after": "1000"})]
    with pytest.raises(AdmissionTimeoutError, match="max_delay_seconds=60"):
        make(max_delay_seconds=60).call("translate", {"text": "Hello"})
    assert clock.now() == 0.0


def test_each_endpoint_has_its_own_limits(make, server, clock):
    """A limited endpoint makes its calls wait, and no other endpoint's; the limiter shows what counts."""
    service = make()
    service.call_many("slow", [{}] * 3)
    assert clock.now() == 60.25
    assert service.endpoint("slow").limiter.status()["requests"]["display"] == "1/2"
    server.reply = translate
    service.call_many("translate", [{"text": "a"}] * 20)
    assert clock.now() == 60.25


def test_services_share_nothing(make):
    """Two services of one class have limits and counts of their own, and the class keeps its own."""
    one, other = make(), make()
    one.call_many("slow", [{}] * 2)
    assert one.status_tracker.num_tasks_succeeded == 2
    assert other.status_tracker.num_tasks_started == 0
    assert other.endpoint("slow").limiter.available_request_capacity == 2
    assert Translator.endpoints[1].limiter.available_request_capacity == 2


def test_the_status_really_counts(make, server):
    """Every call is counted where it stands: started, ended well or not, and each failed attempt by its kind."""
    server.script = [Reply(status=500), Reply(status=429), Reply(status=400)]
    server.reply = translate
    service = make()
    service.call_many("translate", [{"text": "a"}, {"text": "b"}, {}], max_workers=1)
    status = service.status_tracker
    assert (status.num_tasks_started, status.num_tasks_in_progress) == (3, 0)
    assert (status.num_tasks_succeeded, status.num_tasks_failed) == (1, 2)
    assert (status.num_api_errors, status.num_rate_limit_errors, status.num_other_errors) == (2, 1, 1)


class Metered(Translator):
    """An API with a key, tokens and prices in words of its own."""

    def headers(self, key):
        """Its own header."""
        return {"X-Key": key}

    def usage(self, answer):
        """Its own words."""
        return Usage(answer["characters"], 0)

    def cost(self, answer):
        """A price by the character."""
        return answer["characters"] * 0.01


def test_hooks_say_what_is_different(make, server):
    """`headers` has the key where the API wants it, and `usage` and `cost` are what tracker and limits count."""
    server.reply = Reply({"characters": 40})
    service = make(Metered)
    service.call_many("counted", [{"text": "x" * 30}] * 2)
    assert {hit.headers["x-key"] for hit in server.hits} == {KEY}
    assert all("authorization" not in hit.headers for hit in server.hits)
    assert service.tracker.total_prompt_tokens == 80
    assert service.tracker.total_cost == pytest.approx(0.8)
    assert service.endpoint("counted").limiter.available_token_capacity == 920


def test_a_faulty_hook_loses_no_answer(make, server, caplog):
    """An answer is paid for: where a hook cannot read it, that counts as unknown, and the answer is handed out."""
    server.reply = Reply({"translation": "Hallo"})
    service = make(Metered)
    assert service.call("translate", {"text": "Hello"}) == {"translation": "Hallo"}
    assert len(server.hits) == 1
    assert service.tracker.num_unmeasured_calls == service.tracker.num_unpriced_calls == 1
    assert "Metered.usage raised" in caplog.text


def test_headers_that_fail_send_nothing(make, server):
    """Where `headers` raises, the call fails once, and nothing is sent."""

    class Broken(Translator):
        def headers(self, key):
            raise KeyError("region")

    with pytest.raises(InvalidRequestError, match=r"Broken\.headers raised KeyError\('region'\)"):
        make(Broken).call("translate", {"text": "Hello"})
    assert not server.hits


def test_usage_like_openais_needs_no_hook(make, server):
    """An answer with OpenAI's `usage` is counted as it is."""
    server.reply = Reply({"usage": {"prompt_tokens": 7, "completion_tokens": 3}})
    service = make()
    service.call("translate", {"text": "Hello"})
    assert (service.tracker.total_prompt_tokens, service.tracker.total_completion_tokens) == (7, 3)


def test_what_is_larger_than_the_limit_is_not_sent(make, server):
    """A payload whose texts alone are more than the endpoint's tokens fails at once."""
    with pytest.raises(RequestTooLargeError, match="1,000 tokens per minute"):
        make().call("counted", {"text": "x" * 6_000})
    assert not server.hits


@pytest.mark.parametrize(
    ("attributes", "options", "said"),
    [
        ({"base_url": ""}, {"base_url": None}, "has no base_url"),
        ({}, {"base_url": "example.com/v1"}, "base_url must be"),
        ({"endpoints": ()}, {}, "needs endpoints"),
        ({"endpoints": (Endpoint("a"), Endpoint("/a/"))}, {}, "each of them once"),
        ({}, {"timeout": 0}, "timeout"),
        ({}, {"max_delay_seconds": -1}, "max_delay_seconds"),
        ({}, {"api_key": 7}, "api_key"),
    ],
)
def test_a_mistake_is_said_as_the_service_is_made(make, attributes, options, said):
    """A class that no call could use fails when its first service is made, with what is missing."""
    with pytest.raises(ConfigurationError, match=said):
        make(type("Mine", (Translator,), attributes), **options)


def test_what_is_asked_for_wrongly_is_said(make, server):
    """An endpoint that is not there is refused with the nearest one, and numbers that are none by their names."""
    service = make()
    with pytest.raises(InvalidInputError, match="no endpoint 'translat'; did you mean 'translate'"):
        service.call("translat", {})
    with pytest.raises(InvalidInputError, match="no endpoint 7"):
        service.call(7, {})
    with pytest.raises(InvalidInputError, match="single dict"):
        service.call_many("translate", {"text": "Hello"})
    with pytest.raises(ConfigurationError, match="max_retries"):
        service.call("translate", {"text": "Hello"}, max_retries=-1)
    with pytest.raises(ConfigurationError, match="max_workers"):
        service.call_many("translate", [], max_workers=0)
    assert not server.hits


def test_an_endpoint_may_be_named_by_itself(make, server):
    """The class's endpoint and its path, with or without slashes, name the service's own one."""
    server.reply = translate
    service = make()
    assert service.endpoint(Translator.endpoints[0]) is service.endpoint("/translate/") is service.endpoints[0]
    assert service.call(Translator.endpoints[0], {"text": "Hello"})


def test_closing_ends_what_waits(server):
    """A closed service takes no calls, and those that wait for its limits end; closing twice is harmless."""
    raised = []
    with Translator(KEY, base_url=server.base_url) as service:
        service.call_many("slow", [{}] * 2)

        def wait():
            try:
                service.call("slow", {})
            except ClientClosedError as error:
                raised.append(error)

        waiter = Thread(target=wait)
        waiter.start()
        while not service.endpoint("slow").limiter.admission._line:
            pass
    waiter.join(5)
    service.close()
    assert raised
    with pytest.raises(ClientClosedError, match="Translator is closed"):
        service.call("slow", {})
