"""Endpoints: limits, schema and defaults in one frozen thing."""

from dataclasses import FrozenInstanceError, replace

import pytest

from llm_api_client.errors import ConfigurationError, InvalidInputError
from llm_api_client.service import CHAT_SCHEMA, Endpoint, RateLimiter, Schema

MESSAGES = [{"role": "user", "content": "Hello"}]


def test_a_payload_has_the_endpoints_defaults():
    """A payload is what is given, and for the rest the endpoint's defaults, by its schema."""
    endpoint = Endpoint("chat/completions", schema=CHAT_SCHEMA, config={"model": "small", "temperature": 1.0})
    assert endpoint.payload(messages=MESSAGES, temperature=0) == {
        "model": "small",
        "temperature": 0,
        "messages": MESSAGES,
    }
    with pytest.raises(InvalidInputError, match='no "messages"'):
        endpoint.payload(temperature=0)
    with pytest.raises(InvalidInputError, match="did you mean 'seed'"):
        endpoint.payload(messages=MESSAGES, sed=1)


def test_without_a_schema_any_name_goes():
    """An endpoint without a schema takes whatever it is given."""
    assert Endpoint("translate", config={"target": "de"}).payload(text="Hello") == {"target": "de", "text": "Hello"}


def test_an_endpoint_has_a_limiter(clock):
    """Its limiter has its limits, and keeps to the interval."""
    endpoint = Endpoint("translate", max_requests=2, max_tokens=100, interval=10, clock=clock)
    assert isinstance(endpoint.limiter, RateLimiter)
    assert endpoint.limiter.status()["interval"] == 10
    assert endpoint.limiter.request_permission(60)
    assert not endpoint.limiter.request_permission(60)
    assert endpoint.limiter.available_token_capacity == 40


def test_a_copy_has_a_limiter_of_its_own():
    """What is asked through one endpoint takes nothing of another's limits, however alike they are."""
    endpoint = Endpoint("translate", max_requests=1)
    copy = replace(endpoint)
    assert copy == endpoint
    assert hash(copy) == hash(endpoint)
    assert endpoint.limiter.request_permission()
    assert copy.limiter.request_permission()


def test_an_endpoint_is_frozen():
    """An endpoint does not change: services share what their class says."""
    config = {"target": "de"}
    endpoint = Endpoint("translate", config=config)
    config["target"] = "fr"
    assert endpoint.payload() == {"target": "de"}
    with pytest.raises(FrozenInstanceError):
        endpoint.path = "speak"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": ""}, "path"),
        ({"path": "/"}, "path"),
        ({"path": 7}, "path"),
        ({"path": "x", "max_requests": 0}, "max_requests"),
        ({"path": "x", "config": ["a"]}, "config is a list"),
        ({"path": "x", "schema": Schema(("text",)), "config": {"txt": 1}}, "config has 'txt'"),
    ],
)
def test_a_mistake_is_said_as_the_endpoint_is_made(options, said):
    """What no call could use fails at once, where it is written."""
    with pytest.raises(ConfigurationError, match=said):
        Endpoint(**options)
