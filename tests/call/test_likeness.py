"""What makes two answers alike, and what is learned of them."""

import gc
import json
import pickle
from types import ModuleType
from typing import Any

import pytest

from llm_api_client.call import likeness
from llm_api_client.call.likeness import LONG_PROMPT, LONGEST_KIND, MOST_TEMPLATES, Likenesses, Said
from llm_api_client.call.wire import Raw, merged

from .test_direct_contract import answer

JSON = [("content-type", "application/json")]


def said(body: Any, headers: list[tuple[str, str]] = JSON) -> Said | None:
    return Said.of(Raw(200, headers, body if isinstance(body, bytes) else json.dumps(body).encode()))


def price(response: Any) -> float | None:
    """Cached tokens have a price of their own."""
    usage = response.usage
    cached = getattr(usage.prompt_tokens_details, "cached_tokens", None) or 0
    return usage.prompt_tokens * 1e-6 - cached * 5e-7 + usage.completion_tokens * 4e-6


def made(litellm: ModuleType, body: dict[str, Any], **hidden: Any) -> Any:
    """What LiteLLM would make of an answer."""
    response = litellm.ModelResponse(**body)
    response._response_ms = 1.0
    response._hidden_params = {"response_cost": price(response), "additional_headers": dict(JSON_NAMED), **hidden}
    return response


JSON_NAMED = {"content-type": "application/json"}


@pytest.fixture
def likenesses() -> Likenesses:
    return Likenesses(price, dict)


def learn(likenesses: Likenesses, litellm: ModuleType, body: dict[str, Any], **hidden: Any) -> None:
    likenesses.learn(said(body), made(litellm, body, **hidden))


def test_what_may_differ_does_not_make_another_kind():
    """Id, time, texts and tokens, and the values of headers, may differ among answers that are alike."""
    first = said(answer("One", 1), [*JSON, ("date", "Mon")])
    second = said(answer("Two", 2), [*JSON, ("date", "Tue")])
    assert first.kind == second.kind
    assert (first.contents, second.tokens, second.id) == (["One"], [12, 2, 14], "chat-2")


@pytest.mark.parametrize(
    "other",
    [
        answer(model="other"),
        answer(choice={"finish_reason": "length"}),
        answer(message={"refusal": "No."}),
        answer(message={"role": "user"}),
        answer(odd=1),
        answer(usage={"odd": None}),
    ],
)
def test_all_else_makes_another_kind(other):
    """Any other part of an answer, known or not, makes it another kind."""
    assert said(other).kind != said(answer()).kind


def test_of_other_tokens_it_matters_whether_there_are_any():
    """How many tokens were cached, or how long it took, makes no other kind; whether there are any makes one."""
    kinds = [
        said(answer(usage={"details": {"cached_tokens": cached}, "seconds": seconds})).kind
        for cached, seconds in ((1, 0.5), (2, 0.25), (0, 0.5), (1, 0))
    ]
    assert kinds[0] == kinds[1]
    assert len(set(kinds)) == 3


@pytest.mark.parametrize("tokens", [LONG_PROMPT - 1, LONG_PROMPT])
def test_a_long_prompt_is_of_a_kind_of_its_own(tokens):
    """What the price list may price in another way is not proven by an answer that it prices as usual."""
    heard = said(answer(usage={"prompt_tokens": tokens, "total_tokens": tokens + 1}))
    assert (heard.kind == said(answer()).kind) == heard.is_plain == (tokens < LONG_PROMPT)


@pytest.mark.parametrize("headers", [[], [*JSON, ("x", "y")], [*JSON, *JSON], [("content-type", "text/plain")]])
def test_names_of_headers_and_the_type_of_the_content_are_of_the_kind(headers):
    """LiteLLM makes of an answer what its headers are, too: which there are, how often, and of what type it is."""
    assert said(answer(), headers).kind != said(answer()).kind


@pytest.mark.parametrize(
    "body",
    [
        answer(""), answer(" "), answer(None), answer(" <think>x</think>y"), answer(["x"]), answer(usage=None),
        answer(id=""), answer(id=5), answer(created=1.0), answer(created=True), answer(choices=[]),
        answer(choices=None),
        answer(usage={"prompt_tokens": True}), answer(usage={"total_tokens": 5}), answer(usage={"tier": "high"}),
        answer(usage={"prompt_tokens": -1, "total_tokens": 0}), answer(usage={"details": {"cached_tokens": -1}}),
        answer(usage={"details": {"cached_tokens": True}}), answer(usage={"details": [1]}),
        answer(usage={"cached_tokens": 2**60}), answer(usage={"cost": float("nan")}),
        answer(odd="x" * LONGEST_KIND), [answer()], "x", 5, None, b"", b"\xff", b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_litellm_may_read_more_into_is_like_nothing(body):
    """Anything doubtful in an answer leaves it to LiteLLM."""
    assert said(body) is None


def test_headers_beyond_ascii_are_like_nothing():
    """How such a value is read is LiteLLM's affair."""
    assert said(answer(), [*JSON, ("x", "José")]) is None


def test_a_kind_is_proven_by_its_second_answer(likenesses, litellm):
    """One answer makes a template, a second one proves it; the third needs nobody."""
    for number in (1, 2):
        assert likenesses.answer(said(answer("x", 3)), 5.0, "call") is None
        learn(likenesses, litellm, answer("text", number))
    body = answer("Third", 3)
    response = likenesses.answer(said(body), 5.0, "call")
    assert response.model_dump() == made(litellm, body).model_dump()
    assert response._hidden_params["response_cost"] == pytest.approx(13e-6 + 3 * 4e-6, rel=1e-12)
    assert response._response_ms == 5.0


@pytest.mark.parametrize("frozen", [{"response_cost": 1.0}, {"number": None}])
def test_a_template_that_freezes_a_value_is_never_proven(likenesses, litellm, frozen):
    """Where LiteLLM's own object differs from the template in anything else, the kind is left to LiteLLM for good."""
    for number in (1, 2, 3, 3, 3):
        hidden = {name: value if value is not None else number for name, value in frozen.items()}
        learn(likenesses, litellm, answer("text", number), **hidden)
    assert likenesses.answer(said(answer("x", 3)), 5.0, "call") is None


def test_what_litellm_says_later_has_the_last_word(likenesses, litellm):
    """A proven template that LiteLLM contradicts is gone, with all others, and what it says now is proven anew."""
    for _ in range(2):
        learn(likenesses, litellm, answer())
        learn(likenesses, litellm, answer(odd=1))
    learn(likenesses, litellm, answer(), new=1)
    assert likenesses.answer(said(answer()), 5.0, "call") is None
    assert likenesses.answer(said(answer(odd=1)), 5.0, "call") is None
    learn(likenesses, litellm, answer(), new=1)
    assert likenesses.answer(said(answer()), 5.0, "call")._hidden_params["new"] == 1


def test_a_response_that_was_learned_from_is_left_as_it_is(likenesses, litellm):
    """The caller's answer keeps its text, and the template has none of it."""
    response = made(litellm, answer("secret words"))
    likenesses.learn(said(answer("secret words")), response)
    assert response.choices[0].message.content == "secret words"
    (template,) = likenesses._templates.values()
    assert b"secret" not in pickle.dumps(template.make())
    assert template.make().choices[0].message.content == ""


def test_templates_are_bounded_and_the_proven_ones_are_kept(likenesses, litellm):
    """Answers that are like no other do not push out those that are alike, nor grow in number."""
    for _ in range(2):
        learn(likenesses, litellm, answer())
    for number in range(MOST_TEMPLATES * 3):
        learn(likenesses, litellm, answer(odd=number))
        assert len(likenesses._templates) <= MOST_TEMPLATES
    assert likenesses.answer(said(answer()), 5.0, "call") is not None


def test_an_answer_leaves_nothing_behind(likenesses, litellm):
    """A thousand answers from a template leave no object behind."""
    for _ in range(2):
        learn(likenesses, litellm, answer())
    heard = said(answer())
    likenesses.answer(heard, 5.0, "call")
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1_000):
        likenesses.answer(heard, 5.0, "call")
    gc.collect()
    assert len(gc.get_objects()) - before < 100


def test_a_price_that_is_asked_is_asked_once(litellm):
    """The price list is asked for each kind of tokens once, not for each answer."""
    asked = []

    def listed(response: Any) -> float | None:
        asked.append(response)
        return price(response)

    likenesses = Likenesses(listed, dict)
    for _ in range(2):
        learn(likenesses, litellm, answer())
    for _ in range(5):
        likenesses.answer(said(answer()), 5.0, "call")
    assert len(asked) == 2


def test_a_price_of_cached_tokens_is_asked_for_each_answer(litellm):
    """Where tokens differ in price each answer has its own, and one that has none is not made."""
    asked = []

    def listed(response: Any) -> float | None:
        asked.append(response.usage.prompt_tokens)
        return None if response.usage.prompt_tokens > 20 else price(response)

    likenesses = Likenesses(listed, dict)
    bodies = [answer("x", n, usage={"prompt_tokens_details": {"cached_tokens": n}}) for n in (1, 2, 3, 4, 11)]
    for body in bodies[:2]:
        learn(likenesses, litellm, body)
    costs = [likenesses.answer(said(body), 5.0, "call") for body in bodies[2:]]
    assert [made._hidden_params["response_cost"] for made in costs[:2]] == [
        pytest.approx((10 + n) * 1e-6 - n * 5e-7 + n * 4e-6, rel=1e-12) for n in (3, 4)
    ]
    assert costs[2] is None
    assert asked == [12, 13, 14, 21]


def test_repeated_headers_are_joined():
    """As LiteLLM sees them."""
    assert merged([("a", "1"), ("b", "2"), ("a", "3")]) == {"a": "1, 3", "b": "2"}


def test_limits_are_said_to_be_what_they_are():
    """A template's own text does not count towards its size."""
    assert said(answer("x" * 3 * likeness.LONGEST_KIND)) is not None
