"""Identities: equal exactly where the same is sent."""

import copy
import json
from enum import StrEnum
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from llm_api_client.errors import InvalidInputError
from llm_api_client.record.identity import CONTROLS, SIZE, identity_of

REQUEST = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Größe?"}],
    "temperature": 0.5,
    "base_url": "https://api.example.com/v1",
}

texts = st.text(max_size=5)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


class Colour(BaseModel):
    name: str
    depth: int = 8


class Shade(BaseModel):
    name: str


class Level(StrEnum):
    LOW = "low"


def identity(**changes):
    return identity_of({**REQUEST, **changes})


def turned(value):
    """The same data, every dict in the opposite order, every list a tuple."""
    if isinstance(value, dict):
        return {name: turned(item) for name, item in reversed(value.items())}
    return tuple(turned(item) for item in value) if isinstance(value, list) else value


def test_the_form_is_a_contract():
    """A known request has a known identity, and it is the hash of JSON that anybody can make."""
    assert identity().hex() == "152c08891238692f6cea3211b6a3cfef"
    assert len(identity()) == SIZE


def test_the_order_of_names_and_the_kind_of_sequence_do_not_count():
    """The same data in another order, or in tuples, are the same request."""
    assert identity_of(turned(REQUEST)) == identity()


@given(first=st.dictionaries(texts, data, max_size=3), second=st.dictionaries(texts, data, max_size=3))
def test_identities_are_equal_where_the_json_is(first, second):
    """Parameters have the same identity exactly where their JSON with sorted keys is the same."""
    as_json = [json.dumps(params, sort_keys=True) for params in (first, second, turned(first))]
    identities = [identity(extra_body=params) for params in (first, second, turned(first))]
    assert (identities[0] == identities[1]) == (as_json[0] == as_json[1])
    assert identities[0] == identities[2]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gpt-4o"},
        {"temperature": 0.6},
        {"temperature": None},
        {"messages": REQUEST["messages"][1:]},
        {"messages": REQUEST["messages"][::-1]},
        {"max_tokens": 5},
        {"seed": 1},
        {"user": "me"},
        {"base_url": "https://other.example.com/v1"},
        {"extra_headers": {"OpenAI-Beta": "new"}},
        {"extra_body": {"top_k": 3}},
        {"response_format": {"type": "json_object"}},
        {"drop_params": True},
        {"mock_response": "Big"},
        {"custom_llm_provider": "azure"},
        {"api_version": "2024-06-01"},
    ],
    ids="".join,
)
def test_what_is_sent_counts(change):
    """Another value of anything that is sent, or that says what is sent, is another request."""
    assert identity(**change) != identity()


@pytest.mark.parametrize("name", [*sorted(CONTROLS), "input_cost_per_token", "output_cost_per_second"])
def test_what_only_controls_the_call_does_not_count(name):
    """How long a call may take, over which connection, and who is told of it, is no part of the request."""
    assert identity(**{name: object()}) == identity()


@pytest.mark.parametrize("name", ["api_key", "azure_ad_token", "aws_secret_access_key", "azure_ad_token_provider"])
def test_secrets_do_not_count(name):
    """A key can be changed, and what was paid for is still known."""
    assert identity(**{name: "sk-one"}) == identity(**{name: lambda: "sk-two"}) == identity()


@pytest.mark.parametrize("headers", ["headers", "extra_headers"])
def test_secret_headers_do_not_count(headers):
    """Of the headers, those that hold no secret count."""
    kept = identity(**{headers: {"X-Team": "a"}})
    assert identity(**{headers: {"X-Team": "a", "Authorization": "Bearer one", "x-api-key": "two"}}) == kept
    assert identity(**{headers: {"X-Team": "b"}}) != kept


def test_the_base_url_has_two_names_and_no_secrets():
    """`api_base` is `base_url`, which wins where both are given; a password or key in it does not count."""
    url = "https://example.com/v1"
    plain = {name: value for name, value in REQUEST.items() if name != "base_url"}
    assert identity_of(plain | {"api_base": url}) == identity_of(plain | {"base_url": url})
    assert identity_of(plain | {"api_base": "https://not.used", "base_url": url}) == identity(base_url=url)
    one, two = (identity(base_url=f"https://me:{word}@example.com/v1") for word in ("one-secret", "two-secret"))
    assert one == two != identity(base_url="https://me:one-secret@example.org/v1")
    one, two = (identity(base_url=f"{url}?key={word}") for word in ("one-secret", "two-secret"))
    assert one == two


def test_none_is_as_good_as_not_given():
    """A parameter of None is left out."""
    assert identity(seed=None, api_base=None) == identity()


def test_numbers_as_keys_are_what_json_makes_of_them():
    """A dict's keys may be numbers, alone or among strings, at any depth."""
    assert identity(logit_bias={9: 1, 10: 2}) == identity(logit_bias={"10": 2, "9": 1})
    assert identity(extra_body={"a": {1: 2, "b": 3}}) == identity(extra_body={"a": {"b": 3, "1": 2}})


def test_pydantic_models_count_by_what_is_in_them():
    """An object of Pydantic's is its dump, wherever it stands, and a class its schema."""
    assert identity(extra_body={"it": Colour(name="red")}) == identity(extra_body={"it": {"name": "red", "depth": 8}})
    assert identity(response_format=Colour) == identity(response_format=Colour.model_json_schema())
    assert identity(response_format=Colour) != identity(response_format=Shade)


def test_other_mappings_and_enums_are_plain_data():
    """A mapping counts as a dict, and a string that is an enum's member as that string."""
    assert identity(extra_body=MappingProxyType({"level": Level.LOW})) == identity(extra_body={"level": "low"})


def test_nothing_that_python_can_write_stops_it():
    """Half characters, NaN, infinity, large numbers and control characters have identities of their own."""
    odd = ["\ud800", "\udfff", "\x00", float("nan"), float("inf"), 10**300, "\u2028"]
    assert len({identity(it=value) for value in odd}) == len(odd)


circle: list[object] = []
circle.append(circle)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Exception("spoken of"),
        {"spoken of"},
        Level,
        circle,
        {(1, 2): 3},
        {1: 2, "1": 3},
        10**5000,
    ],
    ids=["object", "exception", "set", "class", "circle", "key", "double key", "endless"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_has_no_form_is_refused(value, nested):
    """What JSON has no form for is refused by the name of its parameter, and is not shown."""
    with pytest.raises(InvalidInputError, match=r'"odd" .*a checkpoint knows a request') as caught:
        identity(odd=[{"a": value}] if nested else value, fine=[1])
    assert "spoken of" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_the_request_stays_as_it_is():
    """Nothing of the parameters is changed."""
    given_ = {**REQUEST, "api_base": "x", "extra_headers": {"x-api-key": "k"}, "logit_bias": {1: 2}}
    before = copy.deepcopy(given_)
    identity_of(given_)
    assert given_ == before
