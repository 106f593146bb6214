"""What LiteLLM sends by: its clients, connections, keys and addresses, and what it was set up to do besides."""

import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from llm_api_client.call.litellm_door.library import litellm_module
from llm_api_client.call.openai_chat import Chat
from llm_api_client.secrets import is_secret_name

_MORE_THAN_SENDING = (
    "_async_failure_callback", "_async_success_callback", "cache", "callbacks", "failure_callback", "input_callback",
    "max_budget", "model_alias_map", "model_fallbacks", "modify_params", "network_mock", "num_retries_per_request",
    "post_call_rules", "pre_call_rules", "service_callback", "set_verbose",
)  # fmt: skip
_OF_CONNECTING = ("client_session", "force_ipv4", "http2", "network_mock", "sync_transport")
_SETTINGS_OF_WHAT_IS_SENT = frozenset(
    {
        "api_base", "api_version", "cost_discount_config", "cost_margin_config", "credential_list", "drop_params",
        "headers", "openai_system_messages_first", "organization", "project", "proxy_auth", "request_timeout",
        "route_all_chat_openai_to_responses", "secret_manager_client", "ssl_certificate", "ssl_verify",
        "success_callback", "use_client", "use_litellm_proxy",
    }
)  # fmt: skip


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
    """A provider's headers by the names that LiteLLM gives them in an answer: some twice over, their values as sent."""
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
    # LiteLLM's Gemini route leaves the callbacks of a cache behind, with or without one.
    idle = "cache" if settings.get("cache") is None else None
    return not any(settings.get(name) not in (None, [idle]) and settings[name] for name in _MORE_THAN_SENDING) and all(
        callback == idle or str(getattr(callback, "__module__", "")).startswith("llm_api_client.")
        for callback in settings.get("success_callback") or ()
    )


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What it depends on, beside a request, what LiteLLM does with it.

    Attributes:
        only_sends: As `only_sends` said.
    """

    environment: Mapping[Any, Any] = field(repr=False)
    settings: Sequence[Any] = field(repr=False)
    only_sends: bool


class Watch:
    """Sees whether the environment, or a setting of LiteLLM's, has changed. In any thread."""

    def __init__(self) -> None:
        self._last: Surroundings | None = None

    def look(self) -> Surroundings:
        """What there is now: the same object as before, if nothing has changed."""
        settings = vars(litellm_module())
        # The environment as it is held: through `os.environ` each look would decode all of it.
        environment = getattr(os.environ, "_data", os.environ)
        found = list(map(settings.get, _names_of_settings()))
        last = self._last
        if last is None or last.environment != environment or last.settings != found:
            kept = [copy(value) if type(value) in (list, dict) else value for value in found]
            last = self._last = Surroundings(dict(environment), kept, only_sends())
        return last


@cache
def _names_of_settings() -> tuple[str, ...]:
    found = vars(litellm_module())
    keys = {name for name in found if name.endswith("_key")}
    return tuple(keys | _SETTINGS_OF_WHAT_IS_SENT | set(_MORE_THAN_SENDING) | set(_OF_CONNECTING))


def openai_credentials(params: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Base URL, key and organization of a call to OpenAI, from wherever LiteLLM takes them."""
    from litellm.llms.openai.common_utils import get_openai_credentials as find  # noqa: PLC0415

    base, key, organization = find(
        params.get("api_base") or params.get("base_url"), params.get("api_key"), params.get("organization")
    )
    return base, key, organization


def credentials(params: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Base URL and key of a call to any provider, from wherever LiteLLM takes them; there is no organization."""
    litellm = litellm_module()
    *_, key, base = litellm.get_llm_provider(
        model=params.get("model"),
        custom_llm_provider=params.get("custom_llm_provider"),
        api_base=params.get("api_base") or params.get("base_url"),
        api_key=params.get("api_key"),
    )
    return base, params.get("api_key") or litellm.api_key or key, None


def draws_by_sdk(provider: str) -> bool:
    """Whether images of a provider are made by OpenAI's SDK."""
    from litellm.types.utils import LlmProviders  # noqa: PLC0415
    from litellm.utils import ProviderConfigManager  # noqa: PLC0415

    if provider not in litellm_module().openai_compatible_providers:
        return False
    own = ProviderConfigManager.get_provider_image_generation_config(model="", provider=LlmProviders(provider))
    return own is None or provider == "xinference"  # whose images go that way all the same


def wants_its_own() -> bool:
    """Whether the user has set LiteLLM up to connect in a way that these connections would not."""
    settings = vars(litellm_module())
    return bool(os.getenv("LITELLM_HTTP2")) or any(settings.get(name) not in (None, False) for name in _OF_CONNECTING)


def keys_of_the_house() -> set[str]:
    """Keys that LiteLLM finds by itself, in the environment and among its settings."""
    found = {value for name, value in os.environ.items() if is_secret_name(name)}
    own = vars(litellm_module()).items()
    found |= {value for name, value in own if name.endswith("_key") and isinstance(value, str)}
    return found
