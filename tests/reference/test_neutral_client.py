"""The provider-neutral client, indoxRouter: a test for each row of its table."""

import inspect

import pytest

import llm_api_client
from llm_api_client import APIClient, ModelInfo, errors
from llm_api_client.errors import APICallException, AuthenticationError, InvalidInputError, RequestTimeoutError
from llm_api_client.responses import (
    CallUsage,
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    EmbeddingResponse,
    ImageResponse,
)
from llm_api_client.secrets import MASK

from .conftest import KEY

MODEL = "openai/gpt-4o-mini"
HELLO = [{"role": "user", "content": "Hello, world!"}]
REQUIRED = inspect.Parameter.empty


def signature(function):
    """The parameters that may be given by position, with their defaults, and the name of what takes all others."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    positional = [(each.name, each.default) for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    others = [each.name for each in parameters if each.kind is each.VAR_KEYWORD]
    return positional, *others


def options(client):
    """The client's options by their names."""
    return inspect.signature(type(client)).parameters


@pytest.fixture
def answer(client):
    return client.chat(HELLO, MODEL)


def test_client(client):
    """One class for all providers: the same that performs lists of requests."""
    assert type(client) is APIClient
    assert all(callable(getattr(client, name)) for name in ("chat", "completion", "embeddings", "image"))


def test_api_key(make, provider):
    """The key of what a request names none for; None unless it is given."""
    client = make(api_key="sk-other-0123456789abcdef")
    client.chat(HELLO, MODEL)
    assert provider.requests[0].headers["authorization"] == "Bearer sk-other-0123456789abcdef"
    assert options(client)["api_key"].default is None


def test_api_key_variable(client, provider, monkeypatch):
    """Where none is given, it is the provider's own variable; that of the router, whose keys are others, is not."""
    monkeypatch.setenv("INDOX_ROUTER_API_KEY", "sk-router-0123456789abcdef")
    client.chat(HELLO, MODEL)
    assert provider.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_base_url(make, provider, monkeypatch):
    """Where requests go; unless it is given, to the provider that the model names."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    client = make(base_url=provider.base_url)
    assert client.chat(HELLO, MODEL).success
    assert options(client)["base_url"].default is None


def test_timeout(make):
    """`request_timeout` is the longest time for one call, in seconds; unless it is given, it is LiteLLM's own."""
    client = make(request_timeout=0.1)
    with pytest.raises(RequestTimeoutError):
        client.chat("[simulate: hang]", MODEL, max_retries=0)
    assert options(client)["request_timeout"].default is None


def test_auto_refresh(make, provider):
    """An `api_key` that is a callable is asked again when a key was refused, and the call goes again."""
    issued = iter(["sk-expired-0123456789abc", "sk-fresh-0123456789abcde"])
    client = make(api_key=lambda: next(issued))
    provider.next("401")
    assert client.chat(HELLO, MODEL, max_retries=0).success
    assert [seen.headers["authorization"][7:16] for seen in provider.requests] == ["sk-expire", "sk-fresh-"]


def test_chat():
    """Its parameters have the names, order and defaults of the document."""
    assert signature(APIClient.chat) == (
        [
            ("messages", REQUIRED),
            ("model", REQUIRED),
            ("temperature", 0.7),
            ("max_tokens", None),
            ("stream", False),
            ("return_generator", False),
        ],
        "kwargs",
    )


def test_messages(client, provider):
    """They are dicts with `role` and `content`."""
    client.chat(messages=HELLO, model=MODEL)
    assert provider.requests[0].body["messages"] == HELLO


def test_chat_message(client, provider):
    """They may be `ChatMessage`s too, and both mixed."""
    assert "ChatMessage" in llm_api_client.__all__
    client.chat([ChatMessage(role="system", content="Be brief."), *HELLO], MODEL)
    assert provider.requests[0].body["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]


def test_model(client, provider):
    """It is named as `provider/model`; the provider is asked for the part after its name."""
    client.chat(HELLO, MODEL)
    assert provider.requests[0].body["model"] == "gpt-4o-mini"


def test_no_model(client, provider):
    """Left out, as in two of the document's examples, it is an error that names it; nothing is sent."""
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'model'"):
        client.chat(messages=HELLO)
    assert provider.counts.received == 0


def test_temperature(client, make, provider):
    """It is sent, 0.7 where nobody says, `model_defaults` neither, and left out where the model takes none."""
    client.chat(HELLO, MODEL)
    client.chat(HELLO, MODEL, temperature=0)
    client.chat(HELLO, "openai/o3-mini")
    make(model_defaults={MODEL: {"temperature": 0.1}}).chat(HELLO, MODEL)
    assert [seen.body.get("temperature") for seen in provider.requests] == [0.7, 0, None, 0.1]


def test_max_tokens(client):
    """It bounds the answer."""
    cut = client.chat(HELLO, MODEL, max_tokens=3)
    assert (cut.usage.tokens_completion, cut.finish_reason) == (3, "length")


def test_stream(client, provider):
    """The provider sends the answer in pieces, and they are put together; the usage is the real one."""
    whole = client.chat(HELLO, MODEL, stream=True)
    assert provider.requests[0].body["stream"] is True
    assert whole.data == "Simulated answer to: Hello, world!"
    assert whole.usage.tokens_total > 0


def test_return_generator(client):
    """With `stream`, the pieces come as they are; then `response` has the whole and `usage` the tokens."""
    stream = client.chat(HELLO, MODEL, stream=True, return_generator=True)
    assert iter(stream) is stream
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == stream.response.data == "Simulated answer to: Hello, world!"
    assert stream.usage.tokens_total > 0


def test_chat_kwargs(client, provider):
    """Whatever else is given is sent."""
    client.chat(HELLO, MODEL, top_p=0.5, user="me")
    assert (provider.requests[0].body["top_p"], provider.requests[0].body["user"]) == (0.5, "me")


def test_chat_response(answer):
    """A chat's answer is a `ChatResponse`."""
    assert type(answer) is ChatResponse


def test_data(answer):
    """`data` is the text."""
    assert answer.data == "Simulated answer to: Hello, world!"


def test_answering_model(answer):
    """`model` is the model, as it was asked for."""
    assert answer.model == MODEL


def test_answering_provider(answer):
    """`provider` is LiteLLM's name of the provider."""
    assert answer.provider == "openai"


def test_success(client, answer):
    """`success` is True: what fails is raised, so that no answer says otherwise."""
    assert answer.success is True
    with pytest.raises(APICallException):
        client.chat("[simulate: 400]", MODEL)


def test_message(answer):
    """`message` says in a line what came."""
    assert answer.message == "openai/gpt-4o-mini answered with a text."


def test_usage(answer):
    """`usage` has the tokens, and cost, time and date of the call."""
    assert isinstance(answer.usage, CallUsage)
    usage = answer.usage
    assert usage.tokens_prompt + usage.tokens_completion == usage.tokens_total > 0
    assert all(value > 0 for value in (usage.cost, usage.latency, usage.timestamp))


def test_finish_reason(answer):
    """`finish_reason` is the provider's."""
    assert answer.finish_reason == "stop"


def test_raw_response(answer):
    """`raw_response` is LiteLLM's object with all that the provider said."""
    assert answer.raw_response.choices[0].message.content == answer.data


def test_completion(client, provider):
    """Its parameters are those of `chat`, with a `prompt` for the messages."""
    of_chat, _ = signature(APIClient.chat)
    assert signature(APIClient.completion) == ([("prompt", REQUIRED), *of_chat[1:]], "kwargs")
    client.completion("Once upon a time", "openai/gpt-3.5-turbo-instruct", 0.2, 5, seed=1)
    body = provider.requests[0].body
    assert (body["prompt"], body["temperature"], body["max_tokens"], body["seed"]) == ("Once upon a time", 0.2, 5, 1)


def test_completion_stream(client):
    """`stream` and `return_generator` are those of `chat`."""
    assert client.completion("Once", MODEL, stream=True).success
    assert "".join(client.completion("Once", MODEL, stream=True, return_generator=True)).startswith("Simulated")


def test_completion_response(client):
    """It has the attributes of a chat's answer; models that only chat are asked in a chat."""
    told = client.completion("Once upon a time", MODEL)
    assert isinstance(told, CompletionResponse)
    assert isinstance(told, ChatResponse)
    assert told.data.startswith("Simulated answer")
    assert told.finish_reason == "stop"


def test_embeddings():
    """Its parameters have the names and order of the document."""
    assert signature(APIClient.embeddings) == ([("text", REQUIRED), ("model", REQUIRED)], "kwargs")


def test_text(client, provider):
    """It is one text or a list of them; what else is given is sent."""
    client.embeddings("one", "openai/text-embedding-3-small")
    client.embeddings(["one", "two"], "openai/text-embedding-3-small", dimensions=8)
    assert [seen.body["input"] for seen in provider.requests] == [["one"], ["one", "two"]]
    assert provider.requests[1].body["dimensions"] == 8


def test_embedding_response(client):
    """It has the attributes of every answer, and `data` with a vector for each text."""
    found = client.embeddings(["one", "two"], "openai/text-embedding-3-small")
    assert type(found) is EmbeddingResponse
    assert [len(vector) for vector in found.data] == [1536, 1536]
    assert (found.model, found.provider, found.success) == ("openai/text-embedding-3-small", "openai", True)
    assert found.usage.tokens_prompt > 0
    assert found.message
    assert found.raw_response.data


def test_dimensions(client):
    """They are those of the vectors that came."""
    assert client.embeddings("one", "openai/text-embedding-3-small", dimensions=8).dimensions == 8


def test_image(client, provider):
    """Its parameters have the names, order and defaults of the document; what else is given is sent."""
    assert signature(APIClient.image) == ([("prompt", REQUIRED), ("model", REQUIRED), ("size", "512x512")], "kwargs")
    client.image("A city", "openai/dall-e-2", n=2)
    body = provider.requests[0].body
    assert (body["prompt"], body["size"], body["n"]) == ("A city", "512x512", 2)


def test_image_response(client):
    """It has the attributes of every answer, and `data` with each image's address, or the image in base64."""
    drawn = client.image("A city", "openai/dall-e-2", n=2)
    assert type(drawn) is ImageResponse
    assert len(drawn.data) == 2
    assert all(address.startswith("http") for address in drawn.data)
    assert (drawn.model, drawn.provider, drawn.success) == ("openai/dall-e-2", "openai", True)
    assert drawn.message
    assert drawn.raw_response.data
    assert isinstance(drawn.usage, CallUsage)
    [image] = client.image("A city", "openai/dall-e-2", response_format="b64_json").data
    assert not image.startswith("http")


def test_providers(client, provider):
    """It is a list of LiteLLM's names of the providers; nothing is asked for it."""
    providers = client.providers()
    assert type(providers) is list
    assert {"openai", "anthropic"} < set(providers)
    assert provider.counts.received == 0


def test_models(client):
    """It is a list of models as requests name them; `model_info` has each one's dict."""
    models = client.models()
    assert {"gpt-4o-mini", "gpt-4o"} < set(models)
    by_provider = {name: [client.model_info(m).to_dict() for m in client.models(name)] for name in ("openai",)}
    assert {"model": "gpt-4o-mini", "provider": "openai"}.items() <= next(
        row.items() for row in by_provider["openai"] if row["model"] == "gpt-4o-mini"
    )


def test_models_of_a_provider(client):
    """With `provider` they are that provider's; an unknown one is an error that names those like it."""
    assert set(client.models(provider="openai")) < set(client.models())
    assert "gpt-4o-mini" not in client.models(provider="anthropic")
    with pytest.raises(InvalidInputError, match="did you mean openai"):
        client.models(provider="opnai")


def test_model_info(client):
    """It takes a provider and a model, and gives a `ModelInfo`; what the table does not say is None."""
    info = client.model_info(provider="openai", model="gpt-4o-mini")
    assert type(info) is ModelInfo
    assert (info.provider, info.model, info.context_window) == ("openai", "gpt-4o-mini", 128_000)
    with pytest.raises(InvalidInputError, match="did you mean"):
        client.model_info(provider="openai", model="gpt-4o-miny")


def test_get_usage(client, answer):
    """It is a dict of what this client's calls came to."""
    usage = client.get_usage()
    assert type(usage) is dict
    assert usage["total_requests"] == usage["by_provider"]["openai"]["requests"] == 1
    assert usage["total_tokens"] == answer.usage.tokens_total
    assert usage["total_cost"] == answer.cost


def test_get_user_info(client, provider):
    """It is a dict: of a proxy's account, or where there is none, which keys this machine has, masked."""
    info = client.get_user_info()
    assert info["providers"]["openai"] == MASK + KEY[-4:]
    assert provider.counts.received == 0


def test_context_manager(provider):
    """`with` gives the client, and closes it at the end."""
    with APIClient() as client:
        client.chat(HELLO, MODEL)
    with pytest.raises(RuntimeError, match="closed"):
        client.chat(HELLO, MODEL)


def test_close(client):
    """It ends the client; calling twice is harmless."""
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.chat(HELLO, MODEL)


def test_exceptions(client):
    """Failures are raised, each with the class that says what it means, all of one tree."""
    with pytest.raises(AuthenticationError) as raised:
        client.chat("[simulate: 401]", MODEL)
    assert isinstance(raised.value, errors.LLMAPIClientError)
    kinds = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]
    assert all(issubclass(kind, errors.LLMAPIClientError) for kind in kinds)
