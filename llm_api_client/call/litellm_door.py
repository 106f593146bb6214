"""The one door to LiteLLM: the only module that imports it, and only when it is first needed.

Facts, tokens, prices, the objects that LiteLLM sends by, and the settings that it holds while a call is under way.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
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
    "max_budget", "model_alias_map", "model_fallbacks", "modify_params", "network_mock", "num_retries_per_request",
    "post_call_rules", "pre_call_rules", "service_callback", "set_verbose",
)  # fmt: skip
_SETTINGS_OF_WHAT_IS_SENT = frozenset(
    {
        "api_base", "api_version", "cost_discount_config", "cost_margin_config", "credential_list", "drop_params",
        "headers", "openai_system_messages_first", "organization", "project", "proxy_auth", "request_timeout",
        "route_all_chat_openai_to_responses", "secret_manager_client", "ssl_certificate", "ssl_verify", "use_client",
        "use_litellm_proxy",
    }
)  # fmt: skip
# Tokenizers that LiteLLM would download: each count without network would wait about 24 s (and is not remembered).
_DOWNLOADED_TOKENIZERS = frozenset({"cohere", "llama2", "llama3"})
_DOWNLOADED_FOR = ("command-r", "llama-2", "llama-3", "replicate")
_MODELS_WITH_SEPARATE_WINDOWS = ("gemini", "gpt-5")
_PROVIDERS_WITH_LOGIN = frozenset({"chatgpt", "github_copilot"})
# What LiteLLM lists for models of other modes are parameters of chats too.
_MODES_WITH_PARAMS = frozenset({"chat", "completion", "responses"})


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


def _shares_window(model: str) -> bool:
    return not model.rpartition("/")[2].startswith(_MODELS_WITH_SEPARATE_WINDOWS)


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
        return ModelFacts(
            model,
            provider,
            known=True,
            supported_params=None if supported is None else frozenset(supported),
            max_input_tokens=None if info is None else info.get("max_input_tokens") or info.get("max_tokens"),
            max_output_tokens=None if info is None else info.get("max_output_tokens"),
            shared_window=_shares_window(model),
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
    """A provider's headers by the names that LiteLLM gives them in an answer: some of them twice over."""
    try:
        from litellm.litellm_core_utils.core_helpers import process_response_headers  # noqa: PLC0415
        from litellm.litellm_core_utils.llm_response_utils.get_headers import get_response_headers  # noqa: PLC0415

        named: Mapping[str, str] = process_response_headers(
            get_response_headers(headers), preserve_litellm_internal_headers=True
        )
    except (ImportError, TypeError):
        return {}  # Another version of LiteLLM: no answer will look like its own, and all will go through it.
    return named


def only_sends() -> bool:
    """Whether LiteLLM, as the user has set it up, would do no more with a call than send it.

    This library's own callbacks leave out the calls that pass through this door.
    """
    settings = vars(litellm_module())
    return not any(settings.get(name) for name in _MORE_THAN_SENDING) and all(
        str(getattr(callback, "__module__", "")).startswith("llm_api_client.")
        for callback in settings.get("success_callback") or ()
    )


def surroundings() -> tuple[Any, ...]:
    """The environment, and LiteLLM's settings by which it sends what it sends: keys, addresses, what is dropped."""
    settings = vars(litellm_module())
    # The environment as it is held: through `os.environ` each look would decode all of it.
    environment = getattr(os.environ, "_data", os.environ)
    return dict(environment), [settings.get(name) for name in _names_of_settings()]


@cache
def _names_of_settings() -> tuple[str, ...]:
    found = vars(litellm_module())
    return tuple(name for name in found if name.endswith("_key") or name in _SETTINGS_OF_WHAT_IS_SENT)


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


class Table:
    """LiteLLM's table of models: the `ModelTable` of the catalog.

    Rows are read as they stand. `litellm.get_model_info` makes an unknown price 0, and asks Ollama's server.
    """

    shares_window = staticmethod(_shares_window)

    def rows(self) -> Mapping[str, Mapping[str, Any]]:
        """The table as it is now, with what the user has registered."""
        return dict(litellm_module().model_cost)

    def provider(self, name: str) -> str | None:
        """LiteLLM's name of the provider that a request for `name` would go to, or None if it finds none."""
        return _wants_login(name) or self._route(name)[1]

    def supported_params(self, name: str, mode: str | None) -> frozenset[str] | None:
        """OpenAI parameters that the model takes, or None if unknown."""
        if mode not in _MODES_WITH_PARAMS or _wants_login(name):
            return None
        bare, provider = self._route(name)
        found = _or_none(litellm_module().get_supported_openai_params, model=bare, custom_llm_provider=provider)
        return None if found is None else frozenset(found)

    def _route(self, name: str) -> tuple[str, str | None]:
        bare, provider, *_ = _or_none(litellm_module().get_llm_provider, model=name) or (name, None)
        return bare, provider


def _wants_login(name: str) -> str | None:
    """The provider before `name`, if LiteLLM would begin a login or make a folder where it is asked about it."""
    return next((provider for provider in _PROVIDERS_WITH_LOGIN if name.startswith(f"{provider}/")), None)


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
