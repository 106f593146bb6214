"""The one door to LiteLLM: the only module that imports it, and only when it is first needed.

Facts, tokens, prices, the objects that LiteLLM sends by, and the settings that it holds while a call is under way.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Lock
from types import ModuleType
from typing import Any

from llm_api_client.call.openai_chat import Chat
from llm_api_client.errors import ConfigurationError
from llm_api_client.records import ModelFacts, Usage
from llm_api_client.secrets import is_secret_name

OWN_CALL = "llm-api-client-"
"""Begins the call id of every call sent through this door, so that a callback can tell them from others."""

_ANSWERS = frozenset({"EmbeddingResponse", "ImageResponse", "ModelResponse", "TextCompletionResponse"})
_MORE_THAN_SENDING = (
    "_async_failure_callback", "_async_success_callback", "cache", "callbacks", "failure_callback", "input_callback",
    "max_budget", "model_alias_map", "model_fallbacks", "post_call_rules", "pre_call_rules",
    "service_callback", "success_callback",
)  # fmt: skip
# Tokenizers that LiteLLM would download: each count without network would wait about 24 s (and is not remembered).
_DOWNLOADED_TOKENIZERS = frozenset({"cohere", "llama2", "llama3"})
_DOWNLOADED_FOR = ("command-r", "llama-2", "llama-3", "replicate")
_MODELS_WITH_SEPARATE_WINDOWS = ("gemini", "gpt-5")


def completion() -> Callable[..., Any]:
    """`litellm.completion` as it is now."""
    call: Callable[..., Any] = litellm_module().completion
    return call


def append_success_callback(callback: Callable[..., None]) -> None:
    """Add to LiteLLM's success callbacks, once."""
    callbacks = litellm_module().success_callback
    if callback not in callbacks:
        callbacks.append(callback)
    with suppress(AttributeError, ImportError):
        # What calls functions is made at LiteLLM's first call only: functions that come later would never be called
        # if that one found callbacks, but none that is a function. (LiteLLM's Gemini route adds such a one.)
        from litellm.integrations.custom_logger import CustomLogger  # noqa: PLC0415
        from litellm.litellm_core_utils import litellm_logging  # noqa: PLC0415

        if litellm_logging.customLogger is None:
            litellm_logging.customLogger = CustomLogger()


def price(model: str, usage: Usage) -> float | None:
    """US dollars for `usage` by LiteLLM's table, or None where it has no price for `model`."""
    parts = _or_none(
        litellm_module().cost_per_token,
        model=model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )
    return None if parts is None else float(sum(parts))


def revive(response_type: str, data: Any) -> Any:
    """The answer that a checkpoint keeps as the object of LiteLLM's that it was; None for what is none of LiteLLM's."""
    if response_type not in _ANSWERS:
        return None
    made = getattr(litellm_module(), response_type, None)
    return None if made is None else _or_none(made, **data)


def strict_schema(model: type) -> dict[str, Any] | None:
    """JSON schema of a Pydantic class as OpenAI's strict mode takes it, or None where LiteLLM makes none.

    In it every object is closed and every property required.
    """
    litellm_module()
    try:
        from litellm.utils import type_to_response_format_param  # noqa: PLC0415
    except ImportError:
        return None
    made = _or_none(type_to_response_format_param, response_format=model)
    try:
        schema = made["json_schema"]["schema"]
    except (KeyError, TypeError):
        return None
    return schema if isinstance(schema, dict) else None


class Facts:
    """What LiteLLM knows of models: the `ModelDoor` of preparing."""

    def facts(self, model: str, params: Mapping[str, Any]) -> ModelFacts:
        """All that LiteLLM knows of `model`, asked as `params` would ask it."""
        litellm = litellm_module()
        found = _or_none(
            litellm.get_llm_provider,
            model=model,
            custom_llm_provider=params.get("custom_llm_provider"),
            api_base=params.get("api_base") or params.get("base_url"),
        )
        if found is None:
            return ModelFacts(model)
        # Without the provider before it: some of LiteLLM's lists know a model by its bare name only.
        bare, provider = found[:2]
        supported = _or_none(litellm.get_supported_openai_params, model=bare, custom_llm_provider=provider)
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
            takes_schema=self.takes_schema(bare, provider),
        )

    def max_input_tokens(self, model: str) -> int | None:
        """Largest prompt of `model` in tokens, or None if LiteLLM does not know it."""
        info = _or_none(litellm_module().get_model_info, model=model) or {}
        return info.get("max_input_tokens") or info.get("max_tokens")

    def takes_schema(self, model: str, provider: str | None) -> bool:
        """Whether `model` keeps to a JSON schema given as `response_format`; False where LiteLLM does not know."""
        return bool(_or_none(litellm_module().supports_response_schema, model=model, custom_llm_provider=provider))

    def count_tokens(self, model: str, messages: Sequence[Mapping[str, Any]], tools: Any = None) -> int:
        """Tokens of a prompt.

        Raises:
            LookupError: Counting would need a download.
            Exception: Whatever LiteLLM's counter raises.
        """
        self._check_tokenizer(model)
        count: int = litellm_module().token_counter(
            model=model, messages=list(messages), tools=tools, use_default_image_token_count=True
        )
        return count

    def _check_tokenizer(self, model: str) -> None:
        litellm_module()
        try:
            from litellm.utils import huggingface_tokenizer_kind  # noqa: PLC0415
        except ImportError:
            # Another version of LiteLLM: by the names that have needed a download so far.
            downloaded = any(name in model.lower() for name in _DOWNLOADED_FOR)
        else:
            downloaded = huggingface_tokenizer_kind(model) in _DOWNLOADED_TOKENIZERS
        if downloaded:
            message = f"The tokenizer of {model} is not on this machine."
            raise LookupError(message)


def openai_client(base: str, key: str, organization: str | None, http: Any) -> Any:
    """A client of OpenAI's SDK over the connections `http`, for LiteLLM to use."""
    import openai  # noqa: PLC0415  as slow to import as LiteLLM, which imports it

    class WithoutRetries(openai.OpenAI):
        """LiteLLM sets `max_retries` on the client it is given; here it stays 0."""

        max_retries = property(lambda _: 0, lambda _, __: None)

        @property
        def chat(self) -> Any:
            return Chat(super().chat)

    return WithoutRetries(base_url=base, api_key=key, organization=organization, http_client=http)


def http_handler(http: Any) -> Any:
    """What LiteLLM's own HTTP routes send by, over the connections `http`."""
    from litellm.llms.custom_httpx.http_handler import HTTPHandler  # noqa: PLC0415

    return HTTPHandler(client=http)


def connection_settings() -> dict[str, Any]:
    """How LiteLLM would connect: certificates to trust and to show, and headers."""
    from litellm.llms.custom_httpx import http_handler  # noqa: PLC0415

    return {
        "verify": http_handler.get_ssl_configuration(),
        "cert": os.getenv("SSL_CERTIFICATE", litellm_module().ssl_certificate),
        "headers": http_handler.get_default_headers(),
    }


def tls_context() -> Any:
    """The TLS context that LiteLLM's connections would have."""
    import httpx  # noqa: PLC0415  slow to import, and needed with LiteLLM only

    settings = connection_settings()
    return httpx.create_ssl_context(verify=settings["verify"], cert=settings["cert"])


def headers_of_provider(headers: Mapping[str, str]) -> Mapping[str, str]:
    """A provider's headers by the names that LiteLLM gives them in an answer."""
    try:
        from litellm.litellm_core_utils.core_helpers import process_response_headers  # noqa: PLC0415
    except ImportError:
        return {f"llm_provider-{name}": value for name, value in headers.items()}
    named: Mapping[str, str] = process_response_headers(dict(headers))
    return named


def only_sends() -> bool:
    """Whether LiteLLM, as the user has set it up, would do no more with a call than send it."""
    litellm = litellm_module()
    return not any(getattr(litellm, name, None) for name in _MORE_THAN_SENDING)


def openai_credentials(params: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Base URL, key and organization of a call to OpenAI, from wherever LiteLLM takes them."""
    from litellm.llms.openai.common_utils import get_openai_credentials as find  # noqa: PLC0415

    base, key, organization = find(
        params.get("api_base") or params.get("base_url"), params.get("api_key"), params.get("organization")
    )
    return base, key, organization


def wants_its_own() -> bool:
    """Whether the user has set LiteLLM up to connect in a way that these connections would not."""
    litellm = litellm_module()
    return bool(
        litellm.client_session is not None
        or litellm.force_ipv4
        or getattr(litellm, "http2", None)
        or getattr(litellm, "sync_transport", None) is not None
        or getattr(litellm, "network_mock", False)
        or os.getenv("LITELLM_HTTP2")
    )


def keys_of_the_house() -> set[str]:
    """Keys that LiteLLM finds by itself, in the environment and among its settings."""
    found = {value for name, value in os.environ.items() if is_secret_name(name)}
    own = vars(litellm_module()).items()
    found |= {value for name, value in own if name.endswith("_key") and isinstance(value, str)}
    return found


def ask_for_usage(sent: dict[str, Any], provider: str | None) -> None:
    """A streamed answer says what it used only if it is asked to; LiteLLM would guess."""
    supported_params = litellm_module().get_supported_openai_params
    supported = _or_none(supported_params, model=sent.get("model"), custom_llm_provider=provider)
    if "stream_options" in (supported or ()):
        sent.setdefault("stream_options", {"include_usage": True})


def collected(response: Any, params: Mapping[str, Any]) -> Any:
    """A streamed answer as if it had not been streamed; any other as it is."""
    if not params.get("stream") or hasattr(response, "choices"):
        return response
    litellm = litellm_module()
    whole = litellm.stream_chunk_builder(list(response), messages=params.get("messages"))
    hidden = getattr(whole, "_hidden_params", None)
    if isinstance(hidden, dict) and _or_none(litellm.get_model_info, model=params.get("model")) is None:
        # LiteLLM prices it by the name that the answer gives, which another provider's price list may know.
        hidden["response_cost"] = None
    return whole


def settings_of_call(params: Mapping[str, Any]) -> AbstractContextManager[None]:
    """LiteLLM's settings while a call is under way."""
    settings = {"suppress_debug_info": True, "num_retries": None}
    # At a stream's end LiteLLM counts what the provider did not, and would download the tokenizer for it.
    if params.get("stream"):
        settings["disable_hf_tokenizer_download"] = True
    return _settings(litellm_module(), **settings)


_settings_lock = Lock()
# Setting: calls that hold it, and its value before the first of them. Guarded by the lock.
_held: dict[str, tuple[int, Any]] = {}


@contextmanager
def _settings(litellm: ModuleType, **settings: Any) -> Iterator[None]:
    """Hold settings of LiteLLM's module, which has no such switch for one call.

    It prints advertisements on standard output, and retries by a number of its own behind any limiter's back. The last
    call under way puts back what the first found; a setting that somebody else changes meanwhile stays theirs.
    """
    with _settings_lock:
        for name, value in settings.items():
            users, was = _held.get(name, (0, None))
            _held[name] = (users + 1, was if users else getattr(litellm, name, None))
            setattr(litellm, name, value)
    try:
        yield
    finally:
        with _settings_lock:
            for name, value in settings.items():
                users, was = _held[name]
                _held[name] = (users - 1, was)
                if users == 1 and getattr(litellm, name, value) == value:
                    setattr(litellm, name, was)


def litellm_module() -> ModuleType:
    """LiteLLM, imported when it is first needed.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import litellm  # noqa: PLC0415  takes two seconds
    except ImportError as missing:
        message = f"LiteLLM cannot be imported ({missing}); install it with: pip install litellm"
        raise ConfigurationError(message) from missing
    module: ModuleType = litellm
    return module


def _or_none(ask: Callable[..., Any], **arguments: Any) -> Any:
    with _settings(litellm_module(), suppress_debug_info=True):
        try:
            return ask(**arguments)
        except Exception:  # noqa: BLE001  LiteLLM raises several unrelated classes for a model that it does not know
            return None
