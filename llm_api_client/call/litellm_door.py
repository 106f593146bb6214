"""The one door to LiteLLM: the only module that imports it, and only when it is first needed.

It asks for facts, counts tokens and sends calls, and undoes three of LiteLLM's habits call by call, since nothing
global of LiteLLM's may be changed: inner retries that no limiter sees, connection pools of 100 with 20 kept alive, and
advertisements on standard output.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from types import ModuleType
from typing import Any

from llm_api_client.errors import ConfigurationError
from llm_api_client.records import ModelFacts, Usage

OWN_CALL = "llm-api-client-"
"""Begins the call id of every call sent through this door, so that a callback can tell them from others."""

_NO_INNER_RETRIES = {"max_retries": 0, "num_retries": 0}
# Their LiteLLM routes take an `HTTPHandler` as `client=` and ignore anything else.
_HTTPX_ROUTES = frozenset(
    {
        "anthropic", "cohere", "cohere_chat", "deepseek", "fireworks_ai", "gemini", "groq", "hosted_vllm", "mistral",
        "ollama", "ollama_chat", "openrouter", "together_ai", "xai",
    }
)  # fmt: skip
# Tokenizers that LiteLLM would download: each count without network would wait about 24 s (and is not remembered).
_DOWNLOADED_TOKENIZERS = frozenset({"cohere", "llama2", "llama3"})
_MODELS_WITH_SEPARATE_WINDOWS = ("gemini", "gpt-5")


def completion() -> Callable[..., Any]:
    """`litellm.completion` as it is now."""
    call: Callable[..., Any] = _litellm().completion
    return call


def append_success_callback(callback: Callable[..., None]) -> None:
    """Add to LiteLLM's success callbacks, once."""
    callbacks = _litellm().success_callback
    if callback not in callbacks:
        callbacks.append(callback)


def price(model: str, usage: Usage) -> float | None:
    """US dollars for `usage` by LiteLLM's table, or None where it has no price for `model`."""
    try:
        prompt, answer = _litellm().cost_per_token(
            model=model, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens
        )
    except Exception:  # noqa: BLE001  LiteLLM raises several unrelated classes for a model that it does not know
        return None
    return float(prompt + answer)


class Facts:
    """What LiteLLM knows of models: the `ModelDoor` of preparing."""

    def facts(self, model: str, params: Mapping[str, Any]) -> ModelFacts:
        """All that LiteLLM knows of `model`, asked as `params` would ask it."""
        litellm = _litellm()
        with _quiet(litellm):
            try:
                _, provider, _, _ = litellm.get_llm_provider(
                    model=model,
                    custom_llm_provider=params.get("custom_llm_provider"),
                    api_base=params.get("api_base") or params.get("base_url"),
                )
            except Exception:  # noqa: BLE001  an unknown provider is a fact, not a failure
                return ModelFacts(model)
            supported = _or_none(litellm.get_supported_openai_params, model=model, custom_llm_provider=provider)
            info = _or_none(litellm.get_model_info, model=model, custom_llm_provider=provider)
        if supported is None and info is None:
            return ModelFacts(model, provider)
        name = model.rpartition("/")[2]
        return ModelFacts(
            model,
            provider,
            known=True,
            supported_params=None if supported is None else frozenset(supported),
            max_input_tokens=None if info is None else info.get("max_input_tokens") or info.get("max_tokens"),
            max_output_tokens=None if info is None else info.get("max_output_tokens"),
            shared_window=not name.startswith(_MODELS_WITH_SEPARATE_WINDOWS),
        )

    def max_input_tokens(self, model: str) -> int | None:
        """Largest prompt of `model` in tokens, or None if LiteLLM does not know it."""
        litellm = _litellm()
        with _quiet(litellm):
            info = _or_none(litellm.get_model_info, model=model) or {}
        return info.get("max_input_tokens") or info.get("max_tokens")

    def count_tokens(self, model: str, messages: Sequence[Mapping[str, Any]], tools: Any = None) -> int:
        """Tokens of a prompt.

        Raises:
            LookupError: Counting would need a download.
            Exception: Whatever LiteLLM's counter raises.
        """
        self._check_tokenizer(model)
        count: int = _litellm().token_counter(
            model=model, messages=list(messages), tools=tools, use_default_image_token_count=True
        )
        return count

    def encode(self, model: str, text: str) -> list[int]:
        """The tokens of `text`. Raises as `count_tokens` does."""
        self._check_tokenizer(model)
        tokens = _litellm().encode(model=model, text=text)
        return list(getattr(tokens, "ids", tokens))

    def decode(self, model: str, tokens: Sequence[int]) -> str:
        """The text of `tokens`. Raises as `count_tokens` does."""
        self._check_tokenizer(model)
        text: str = _litellm().decode(model=model, tokens=list(tokens))
        return text

    def _check_tokenizer(self, model: str) -> None:
        _litellm()
        from litellm.utils import huggingface_tokenizer_kind  # noqa: PLC0415

        if huggingface_tokenizer_kind(model) in _DOWNLOADED_TOKENIZERS:
            message = f"The tokenizer of {model} is not on this machine."
            raise LookupError(message)


class Sender:
    """Sends a client's calls: `api_call(**params)` without inner retries, on connections of its own.

    Only LiteLLM's own `completion` gets the connections; another callable gets the request and nothing more.
    """

    def __init__(self, api_call: Callable[..., Any], *, is_litellm: bool) -> None:
        self._api_call = api_call
        self._is_litellm = is_litellm
        # The lock guards the connections and SDK clients, and that they are made once.
        self._lock = Lock()
        self._http: Any = None
        self._clients: dict[tuple[Any, ...], Any] = {}

    def __call__(self, params: Mapping[str, Any], provider: str | None) -> Any:
        """Perform one call, a streamed one to its end; raises whatever the callable raises."""
        sent = {**params, **_NO_INNER_RETRIES}
        if not self._is_litellm:
            return _collected(self._api_call(**sent), params)
        litellm = _litellm()
        sent.setdefault("litellm_call_id", OWN_CALL + uuid.uuid4().hex)
        if "client" not in params and provider is not None:
            client = self._client(litellm, params, provider)
            if client is not None:
                sent["client"] = client
        with _quiet(litellm):
            return _collected(self._api_call(**sent), params)

    def close(self) -> None:
        """Close the connections; calls in flight fail."""
        with self._lock:
            self._clients.clear()
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def _client(self, litellm: ModuleType, params: Mapping[str, Any], provider: str) -> Any:
        """A client for LiteLLM to use, or None where LiteLLM's own must do."""
        if provider == "openai" and litellm.client_session is None:
            from litellm.llms.openai.common_utils import get_openai_credentials  # noqa: PLC0415

            base, key, organization = get_openai_credentials(
                params.get("api_base") or params.get("base_url"), params.get("api_key"), params.get("organization")
            )
            if not key:
                return None
            return self._cached(("openai", base, key, organization), self._openai_client)
        if provider in _HTTPX_ROUTES:
            return self._cached(("httpx",), self._http_handler)
        return None

    def _cached(self, identity: tuple[Any, ...], make: Callable[..., Any]) -> Any:
        with self._lock:
            client = self._clients.get(identity)
            if client is None:
                client = self._clients[identity] = make(*identity[1:])
            return client

    def _openai_client(self, base: str, key: str, organization: str | None) -> Any:
        import openai  # noqa: PLC0415  as slow to import as LiteLLM, which imports it

        class WithoutRetries(openai.OpenAI):
            """LiteLLM sets `max_retries` on the client it is given; here it stays 0."""

            max_retries = property(lambda _: 0, lambda _, __: None)  # type: ignore[assignment]

        return WithoutRetries(
            base_url=base, api_key=key, organization=organization, http_client=self._connections()
        )

    def _http_handler(self) -> Any:
        from litellm.llms.custom_httpx.http_handler import HTTPHandler  # noqa: PLC0415

        return HTTPHandler(client=self._connections())

    def _connections(self) -> Any:
        """One pool for all, with as many connections as calls in flight, all kept alive. Called under the lock."""
        if self._http is None:
            import httpx  # noqa: PLC0415
            from litellm.llms.custom_httpx.http_handler import get_ssl_configuration  # noqa: PLC0415

            self._http = httpx.Client(
                verify=get_ssl_configuration(),
                follow_redirects=True,
                timeout=None,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            )
        return self._http


_quiet_lock = Lock()
_quiet_users = 0
_quiet_was = False


@contextmanager
def _quiet(litellm: ModuleType) -> Iterator[None]:
    """LiteLLM prints advertisements on standard output unless a setting of its module says not to.

    There is no such switch for one call, so the setting is held while any call is under way, and the last one out
    puts it back as it was.
    """
    global _quiet_users, _quiet_was  # noqa: PLW0603
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_was = litellm.suppress_debug_info
            litellm.suppress_debug_info = True
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                litellm.suppress_debug_info = _quiet_was


def _litellm() -> ModuleType:
    try:
        import litellm  # noqa: PLC0415  takes two seconds
    except ImportError as missing:
        message = f"LiteLLM cannot be imported ({missing}); install it with: pip install litellm"
        raise ConfigurationError(message) from missing
    return litellm


def _or_none(ask: Callable[..., Any], **arguments: Any) -> Any:
    try:
        return ask(**arguments)
    except Exception:  # noqa: BLE001  LiteLLM raises several unrelated classes for a model that it does not know
        return None


def _collected(response: Any, params: Mapping[str, Any]) -> Any:
    """A streamed answer as if it had not been streamed; any other as it is."""
    if not params.get("stream") or hasattr(response, "choices"):
        return response
    return _litellm().stream_chunk_builder(list(response), messages=params.get("messages"))
