"""What a LiteLLM Proxy makes of a provider's refusals is read as the refusals that they were."""

import time

import pytest

from llm_api_client import errors

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]

MODELS = ["openai/gpt-4o-mini", "litellm_proxy/gpt-4o-mini"]
both = pytest.mark.parametrize("model", MODELS)


@both
def test_a_provider_behind_says_when_to_come_back(client, behind, model):
    """The proxy hands on the provider's Retry-After under a name of its own; it is waited for, no shorter or longer."""
    behind.next("429; retry-after=2")
    began = time.monotonic()
    assert client.chat("Hello", model).data == "Simulated answer to: Hello"
    assert 2 <= time.monotonic() - began < 8
    assert behind.counts.received == 2


@both
def test_a_spent_quota_behind_is_not_waited_for(make, behind, model):
    """The proxy's 429 has no code for it, but the provider's words; the request fails at once."""
    client = make(max_delay_seconds=5)
    behind.next("quota")
    with pytest.raises(errors.QuotaExceededError) as failed:
        client.chat("Hello", model)
    assert failed.value.status_code == 429
    assert behind.counts.received == 1


@both
def test_a_key_refused_behind_is_not_the_clients(client, model):
    """It is the proxy's own key for that model; the client's is good, and its other requests are answered."""
    texts = ["Hello [simulate: 401]", *["Hello"] * 9]
    requests = [{"model": model, "messages": [{"role": "user", "content": text}]} for text in texts]
    answers = client.make_requests(requests, max_workers=1)
    assert [answer is None for answer in answers] == [True] + [False] * 9
    [failure] = client.failures
    assert type(failure.error) is errors.AuthenticationError
    assert failure.error.status_code == 401


@both
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("context", errors.ContextWindowExceededError),
        ("content-filter", errors.ContentRefusedError),
        ("401", errors.AuthenticationError),
        ("html", errors.ServerError),
    ],
)
def test_a_refusal_behind_keeps_its_meaning(client, behind, model, fault, error):
    """By every way of asking: through LiteLLM, directly, and by plain HTTP."""
    asked = {"model": model.partition("/")[2], "messages": [{"role": "user", "content": "Hello"}]}
    for ask in (
        lambda: client.chat("Hello", model, max_retries=0),
        lambda: client.post_request("chat/completions", asked, max_retries=0),
    ):
        behind.next(fault)
        with pytest.raises(error):
            ask()
    assert behind.counts.received == 2
