"""The contract between the lanes for embeddings and text completions: the same answer or error, with LiteLLM or not."""

import array
import base64
import gzip
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from llm_api_client.call.sender import Sender
from llm_api_client.operations import operation_named

from .conftest import KEY
from .raw import RawServer, Said
from .test_direct_contract import body_and_head, http, raw_server, seen

__all__ = ["raw_server"]

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
# LiteLLM's own object for vectors in base64 warns when it is dumped.

EMBEDDINGS = operation_named("embeddings")
ROUTES = {
    "embeddings": {
        "openai": "openai/text-embedding-3-small",
        "hosted_vllm": "hosted_vllm/some-model",
        "mistral": "mistral/mistral-embed",
        "together_ai": "together_ai/BAAI/bge-base-en-v1.5",
        "fireworks_ai": "fireworks_ai/nomic-ai/nomic-embed-text-v1.5",
    },
    "completion": {
        "openai": "openai/gpt-3.5-turbo-instruct",
        "text-completion-openai": "text-completion-openai/gpt-3.5-turbo-instruct",
        "hosted_vllm": "hosted_vllm/some-model",
        "together_ai": "together_ai/some/model",
        "fireworks_ai": "fireworks_ai/some-model",
    },
}


def vectors(number: int = 1, count: int = 2, **more: Any) -> dict[str, Any]:
    """An answer with embeddings, no two of which are the same; `usage` adds to that part, None leaves it out."""
    usage: dict[str, Any] | None = more.pop("usage", {})
    kind = more.pop("kind", list)
    data = []
    for index in range(count):
        floats = [0.5 / number, -1.25e-3 * index, 1.0 * number]
        vector = floats if kind is list else base64.b64encode(array.array("f", floats).tobytes()).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = {"prompt_tokens": 10 + number, "total_tokens": 10 + number}
    body = {"object": "list", "data": data, "model": "said"}
    return body | ({} if usage is None else {"usage": tokens | usage}) | more


def texts(number: int = 1, count: int = 1, **more: Any) -> dict[str, Any]:
    """An answer with completions; `choice` and `usage` add to those parts."""
    usage: dict[str, Any] | None = more.pop("usage", {})
    extra = more.pop("choice", {})
    choices = [
        {"text": f" text {number}.{index}", "index": index, "logprobs": None, "finish_reason": "stop"} | extra
        for index in range(count)
    ]
    tokens = {"prompt_tokens": 10 + number, "completion_tokens": number, "total_tokens": 10 + 2 * number}
    body = {"id": f"cmpl-{number}", "object": "text_completion", "created": 1_700_000_000 + number, "model": "said"}
    return body | {"choices": choices} | ({} if usage is None else {"usage": tokens | usage}) | more


ANSWERS = {"embeddings": vectors, "completion": texts}
ASKED: dict[str, dict[str, Any]] = {"embeddings": {"input": ["One", "Two"]}, "completion": {"prompt": "Once"}}


class Counted(Sender):
    """A sender that says how often it asked LiteLLM."""

    asked = 0

    def _by_litellm(self, *args: Any) -> Any:
        self.asked += 1
        return super()._by_litellm(*args)


@dataclass
class Lanes:
    slow: Counted
    fast: Counted

    def one(self, sender: Counted, server: RawServer, where: tuple[str, str], more: dict[str, Any]) -> tuple[Any, ...]:
        """All that is seen of one call: its outcome, what was sent, and whether it went without LiteLLM."""
        name, route = where
        params = {"model": ROUTES[name][route], "api_key": KEY, "api_base": server.base_url, "timeout": 5.0}
        operation = operation_named(name)

        def call(params: dict[str, Any], provider: str) -> Any:
            return sender(params, provider, operation=operation)

        before, asked = len(server.requests), sender.asked
        outcome = seen(call, params | ASKED[name] | more, route)
        return outcome, [body_and_head(request) for request in server.requests[before:]], sender.asked == asked

    def compare(self, server: RawServer, where: tuple[str, str], *said: Said, **more: Any) -> list[bool]:
        """Hold the lanes to the same for each answer, after such as warm the lane; which went without LiteLLM."""
        server.said = http(ANSWERS[where[0]](1))
        for _ in range(3):
            self.one(self.fast, server, where, more)
        direct = []
        for each in said:
            server.said = each
            ours, theirs = (self.one(sender, server, where, more) for sender in (self.fast, self.slow))
            assert ours[:2] == theirs[:2]
            assert len(ours[1]) == 1
            direct.append(ours[2])
        return direct


def both_lanes(litellm: ModuleType) -> Iterator[Lanes]:
    slow = Counted(litellm.completion, is_litellm=True, transport="litellm")
    fast = Counted(litellm.completion, is_litellm=True)
    yield Lanes(slow, fast)
    slow.close()
    fast.close()


lanes = pytest.fixture(both_lanes, scope="module")
"""Which may have been warmed by other tests."""
cold_lanes = pytest.fixture(both_lanes)

WAYS = [
    ("embeddings", "openai"), ("embeddings", "hosted_vllm"), ("completion", "openai"), ("completion", "hosted_vllm"),
]  # fmt: skip
every_way = pytest.mark.parametrize("where", WAYS)
"""Each of LiteLLM's own ways to do it; other routes are the same code under other names."""
ERROR = {"error": {"message": "as it is", "type": "some", "param": None, "code": None}}
LOGPROBS = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5}], "text_offset": [0]}


def varied(make: Any, **more: Any) -> list[Said]:
    return [http(make(number, **more)) for number in (2, 3, 4, 5)]


DIRECT = {
    ("embeddings", "ok"): varied(vectors),
    ("embeddings", "one"): varied(vectors, count=1),
    ("embeddings", "any number"): [http(vectors(number, count=number)) for number in (1, 2, 3, 5, 8)],
    ("embeddings", "named"): [http(vectors(number, id=f"embd-{number}", created=number)) for number in (1, 2, 3, 4)],
    ("embeddings", "base64"): varied(vectors, kind=str),
    ("embeddings", "in another order"): [http(vectors(n) | {"data": vectors(n, 3)["data"][::-1]}) for n in (1, 2, 3)],
    ("embeddings", "none spent"): varied(vectors, usage={"completion_tokens": 0, "prompt_tokens_details": None}),
    ("embeddings", "chunks"): [
        Said(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        )
        for body in (json.dumps(vectors(number)).encode() for number in (1, 2, 3))
    ],
    ("embeddings", "gzip"): [
        http(gzip.compress(json.dumps(vectors(n)).encode()), content_encoding="gzip") for n in (1, 2, 3)
    ],
    ("embeddings", "long"): [
        http(vectors(usage={"prompt_tokens": 200_000 + n, "total_tokens": 200_000 + n})) for n in range(4)
    ],
    ("completion", "ok"): varied(texts),
    ("completion", "two"): varied(texts, count=2),
    ("completion", "no text"): varied(texts, choice={"text": ""}),
    ("completion", "spaces, a tag"): varied(texts, choice={"text": " \n<think>x"}),
    ("completion", "cut off"): varied(texts, choice={"finish_reason": "length"}),
    ("completion", "cached"): [
        http(texts(n, usage={"prompt_tokens_details": {"cached_tokens": n, "audio_tokens": 0}})) for n in (1, 2, 3, 4)
    ],
    ("completion", "unknown fields"): varied(texts, odd={"a": [1]}, choice={"odder": None}),
    ("completion", "gzip"): [
        http(gzip.compress(json.dumps(texts(n)).encode()), content_encoding="gzip") for n in (1, 2, 3)
    ],
}


@pytest.mark.parametrize(("name", "case"), DIRECT)
def test_answers_that_are_like_others_are_the_same_without_litellm(lanes, raw_server, name, case):
    """Over each route, answers of a form that was seen twice are made without LiteLLM, each with its own numbers."""
    for route in ROUTES[name]:
        assert lanes.compare(raw_server, (name, route), *DIRECT[name, case])[2:].count(False) == 0, route


BY_LITELLM: dict[str, Any] = {
    "no usage": lambda make: http(make(usage=None)),
    "sum is wrong": lambda make: http(make(usage={"total_tokens": 99})),
    "negative": lambda make: http(make(usage={"prompt_tokens": -1, "total_tokens": 0})),
    "an error": lambda _: http(ERROR),
    "page": lambda _: http("<html>hello</html>", content_type="text/html"),
    "no JSON": lambda _: http('{"id": "x", "data": [{"ind'),
    "nothing": lambda _: http(""),
    "400": lambda _: http(ERROR, 400),
    "401": lambda _: http(ERROR, 401),
    "404": lambda _: http(ERROR, 404),
    "429": lambda _: http(ERROR, 429, retry_after="7"),
    "500": lambda _: http(ERROR, 500),
    "503": lambda _: http(ERROR, 503, retry_after="2"),
    "502 page": lambda _: http("<html>bad gateway</html>", 502, content_type="text/html"),
    "cut": lambda make: Said(http(make()).data[:-5], "close"),
    "reset": lambda _: Said(b"", "reset"),
    "closed without": lambda _: Said(b"", "close"),
}


@every_way
@pytest.mark.parametrize("case", BY_LITELLM)
def test_all_else_is_what_litellm_makes_of_it_without_a_second_request(lanes, raw_server, where, case):
    """An odd answer, an error or none is given to LiteLLM, which answers or raises as it would have."""
    said = BY_LITELLM[case](ANSWERS[where[0]])
    assert lanes.compare(raw_server, where, said, said) == [False, False]


ODD_ANSWERS = {
    ("embeddings", "whole numbers"): vectors() | {"data": [{"object": "embedding", "index": 0, "embedding": [1, 0.5]}]},
    ("embeddings", "no vector"): vectors() | {"data": [{"object": "embedding", "index": 0, "embedding": []}]},
    ("embeddings", "null"): vectors() | {"data": [{"object": "embedding", "index": 0, "embedding": None}]},
    ("embeddings", "no data"): vectors() | {"data": []},
    ("embeddings", "more data"): vectors() | {"data": [vectors()["data"][0] | {"odd": 1}]},
    ("embeddings", "no index"): vectors() | {"data": [{"object": "embedding", "embedding": [0.5]}]},
    ("embeddings", "both"): vectors() | {"data": [vectors()["data"][0], vectors(kind=str)["data"][1]]},
    ("completion", "null"): texts(choice={"text": None}),
    ("completion", "no choices"): texts() | {"choices": []},
    ("completion", "no id"): texts(id=None),
}


@pytest.mark.parametrize(("name", "case"), ODD_ANSWERS)
def test_odd_answers_are_litellm_s(lanes, raw_server, name, case):
    """Data of a form that LiteLLM may make another of are never made without it."""
    for route in ROUTES[name]:
        said = http(ODD_ANSWERS[name, case])
        assert lanes.compare(raw_server, (name, route), *[said] * 3) == [False] * 3


def test_probabilities_are_litellm_s_to_shape(lanes, raw_server):
    """Completions with probabilities are the same, whoever makes them."""
    for route in ROUTES["completion"]:
        probable = [http(texts(n, choice={"logprobs": LOGPROBS | {"token_logprobs": [-n]}})) for n in (1, 2, 3)]
        lanes.compare(raw_server, ("completion", route), *probable, logprobs=1)


PARAMETERS: dict[str, dict[str, dict[str, Any]]] = {
    "embeddings": {
        "text": {"input": "One"},
        "one text": {"input": ["One"]},
        "many": {"input": [f"Text {number}" for number in range(50)]},
        "tokens": {"input": [1, 2, 3]},
        "lists of tokens": {"input": [[1, 2], [3]]},
        "dimensions": {"dimensions": 3},
        "floats": {"encoding_format": "float"},
        "base64": {"encoding_format": "base64"},
        "user": {"user": "me"},
        "headers": {"extra_headers": {"x-mine": "Yes"}},
        "body": {"extra_body": {"top_k": 3}},
        "unicode": {"input": ["Grüße", "日本語 \u2028 \x00"]},
    },
    "completion": {
        "texts": {"prompt": ["One", "Two"]},
        "one text": {"prompt": ["One"]},
        "tokens": {"prompt": [1, 2, 3]},
        "lists of tokens": {"prompt": [[1, 2], [3]]},
        "many": {"n": 2, "best_of": 3, "max_tokens": 5, "temperature": 0.5, "top_p": 0.9},
        "stop": {"stop": ["a", "b"], "seed": 7},
        "echo": {"echo": True, "suffix": "end"},
        "probabilities": {"logprobs": 2},
        "user": {"user": "me"},
        "headers": {"extra_headers": {"x-mine": "Yes"}},
        "body": {"extra_body": {"top_k": 3}},
    },
}


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in PARAMETERS for case in PARAMETERS[name]])
def test_what_is_sent_is_what_litellm_sends(lanes, raw_server, name, case):
    """With each parameter, and each form of a prompt, the same line, headers and body are sent."""
    for route in ROUTES[name]:
        if (case, route) == ("one text", "openai") or route in ("together_ai", "fireworks_ai"):
            continue
        said = varied(ANSWERS[name])
        direct = refused(lanes, raw_server, (name, route), PARAMETERS[name][case]) or lanes.compare(
            raw_server, (name, route), *said, **PARAMETERS[name][case]
        )
        if route == "openai":
            assert direct == [True] * 4


def refused(lanes: Lanes, server: RawServer, where: tuple[str, str], more: dict[str, Any]) -> bool:
    """Whether LiteLLM sends nothing for such a request, in either lane."""
    server.said = http(ANSWERS[where[0]]())
    ours, theirs = (lanes.one(sender, server, where, more) for sender in (lanes.fast, lanes.slow))
    assert ours[:2] == theirs[:2]
    return not ours[1]


@every_way
def test_an_answer_that_does_not_come_in_time_is_litellm_s_timeout(lanes, raw_server, where):
    """A server that hangs ends as it does with LiteLLM, after one request."""
    lanes.compare(raw_server, where, Said(b"", "hang"), timeout=0.1)


ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "empty": ("embeddings", {"input": ""}),
    "none": ("embeddings", {"input": []}),
    "an empty one": ("embeddings", {"input": ["One", ""]}),
    "mixed": ("embeddings", {"input": ["One", 2]}),
    "half a character": ("embeddings", {"input": ["x\ud800y"]}),
    "twice": ("embeddings", {"extra_body": {"input": ["Other"]}}),
    "stranger": ("embeddings", {"made_up": 1}),
    "spaces": ("completion", {"prompt": " "}),
    "no prompt": ("completion", {"prompt": []}),
    "yes": ("completion", {"prompt": [True]}),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_requests_are_what_they_are_with_litellm(lanes, raw_server, case):
    """What LiteLLM may look at twice does with a warm lane what it does without one."""
    name, more = ODD[case]
    raw_server.said = http(ANSWERS[name]())
    for _ in range(3):
        lanes.one(lanes.fast, raw_server, (name, "openai"), {})
    ours, theirs = (lanes.one(sender, raw_server, (name, "openai"), more) for sender in (lanes.fast, lanes.slow))
    assert ours == theirs


def test_what_stands_in_for_litellm_is_asked_each_time(cold_lanes, raw_server, litellm, monkeypatch):
    """A function that was put in the place of LiteLLM's is called, however warm the lane is."""
    where = ("embeddings", "openai")
    raw_server.said = http(vectors())
    assert [cold_lanes.one(cold_lanes.fast, raw_server, where, {})[2] for _ in range(3)] == [False, False, True]
    monkeypatch.setattr(
        litellm, "embedding", lambda **_: litellm.EmbeddingResponse(model="mine", hidden_params={"response_cost": 1.0})
    )
    outcome, sent, direct = cold_lanes.one(cold_lanes.fast, raw_server, where, {})
    assert (outcome[1]["model"], sent, direct) == ("mine", [], False)


def test_no_caller_gets_what_another_changes(lanes, raw_server):
    """Vectors, and all around them, are a caller's own."""
    params = {"model": "openai/text-embedding-3-small", "api_key": KEY, "api_base": raw_server.base_url}
    raw_server.said = http(vectors())
    first, *_, third = (lanes.fast(params | {"input": "One"}, "openai", operation=EMBEDDINGS) for _ in range(4))
    whole = third.model_dump()
    for changed in (first, third):
        changed.data[0]["embedding"].append(2.0)
        changed.data[0]["object"] = "mine"
        changed.data.pop()
    assert lanes.fast(params | {"input": "One"}, "openai", operation=EMBEDDINGS).model_dump() == whole


def test_a_template_keeps_no_vector(cold_lanes, raw_server):
    """However large the answers are, what is remembered of them is small."""
    raw_server.said = http(vectors(count=500))
    for _ in range(3):
        cold_lanes.one(cold_lanes.fast, raw_server, ("embeddings", "openai"), {})
    (plan,) = cold_lanes.fast._plans._plans.values()
    (template,) = plan.likenesses._templates.values()
    assert len(pickle.dumps(template.make())) < 3_000


def test_the_same_words_asked_for_something_else_are_another_kind(cold_lanes, raw_server):
    """What was learned of one operation is not used for another, be all that is said in the request the same."""
    for name in ("embeddings",) * 3 + ("completion",) * 3 + ("embeddings",):
        raw_server.said = http(ANSWERS[name]())
        more = {"model": "openai/some-model", next(iter(ASKED[name])): "The same"}
        sent = cold_lanes.one(cold_lanes.fast, raw_server, (name, "openai"), more)[1]
        assert sent[0][0][0] == f"POST /v1/{'embeddings' if name == 'embeddings' else 'completions'} HTTP/1.1"


def test_a_prompt_that_is_said_twice_is_sent_as_litellm_sends_it(cold_lanes, raw_server):
    """What `extra_body` says of the prompt has the last word in each call, whatever the calls before it asked."""
    raw_server.said = http(vectors())
    for asked in ("One", "One", "One", "Two"):
        more = {"input": asked, "extra_body": {"input": "One"}}
        (sent,) = cold_lanes.one(cold_lanes.fast, raw_server, ("embeddings", "openai"), more)[1]
        assert sent[0][1]["input"] == "One"
