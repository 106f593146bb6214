"""What LiteLLM knows of models and tokens, asked without network."""

import socket

import pytest
import responses

from llm_api_client.call.litellm_door import Facts, price
from llm_api_client.records import Usage


def test_a_known_model_has_its_facts(litellm):
    """Provider, sizes and parameters of a known model are LiteLLM's."""
    facts = Facts().facts("gpt-4o-mini", {})
    assert (facts.provider, facts.known, facts.max_input_tokens, facts.max_output_tokens) == (
        "openai", True, 128_000, 16_384
    )  # fmt: skip
    assert "temperature" in (facts.supported_params or ())
    assert Facts().max_input_tokens("gpt-4o-mini") == 128_000


def test_an_unknown_model_of_a_known_provider_has_a_provider(litellm):
    """Of a model that LiteLLM's table lacks, the provider is known and the sizes are not."""
    facts = Facts().facts("hosted_vllm/my-model", {})
    assert (facts.provider, facts.max_input_tokens, facts.max_output_tokens) == ("hosted_vllm", None, None)


def test_the_provider_may_be_named_by_the_request(litellm):
    """`custom_llm_provider` names the provider of a model that says none."""
    assert Facts().facts("my-model", {"custom_llm_provider": "openai"}).provider == "openai"


def test_prices_are_litellm_s(litellm):
    """A known model has its price, and 150 of a million's part is what it is."""
    assert price("gpt-4o-mini", Usage(1_000_000, 0)) == pytest.approx(0.15)
    assert price("hosted_vllm/gpt-4o-mini", Usage(1_000_000, 0)) is None


NEEDS_DOWNLOAD = ["groq/llama-3.3-70b-versatile", "meta-llama/Llama-3-8b", "replicate/meta/llama-2-70b-chat"]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments: object, **_: object) -> None:
        message = f"a test must not touch the network: {arguments}"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with responses.RequestsMock():  # no response is registered: any request fails
        yield


@pytest.mark.parametrize("model", NEEDS_DOWNLOAD)
def test_a_tokenizer_is_never_downloaded(litellm, no_network, model):
    """Counting that would need a download says so at once, and nothing touches the network."""
    with pytest.raises(LookupError, match="is not on this machine"):
        Facts().count_tokens(model, [{"role": "user", "content": "Hi"}])


def test_command_r_s_tokenizer_is_never_downloaded(litellm, no_network, monkeypatch):
    """Nor is Cohere's."""
    monkeypatch.setattr(litellm, "cohere_models", {*litellm.cohere_models, "command-r"})
    with pytest.raises(LookupError, match="is not on this machine"):
        Facts().count_tokens("command-r", [{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-sonnet-4-5", "hosted_vllm/my-model"])
def test_tokens_are_counted_offline(litellm, no_network, model):
    """Tokenizers that come with LiteLLM count without network."""
    assert Facts().count_tokens(model, [{"role": "user", "content": "Hello there"}]) > 2


def test_counting_goes_without_what_litellm_does_not_promise(litellm, monkeypatch):
    """Without the semi-private `huggingface_tokenizer_kind`, names decide which tokenizers would be downloaded."""
    monkeypatch.delattr("litellm.utils.huggingface_tokenizer_kind")
    with pytest.raises(LookupError):
        Facts().count_tokens("groq/llama-3.3-70b-versatile", [{"role": "user", "content": "Hi"}])
    assert Facts().count_tokens("gpt-4o-mini", [{"role": "user", "content": "Hi"}]) > 0
