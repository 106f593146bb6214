"""The one door to LiteLLM: only here is it imported, and only when it is first needed."""

from llm_api_client.call.litellm_door.answers import (
    OWN_CALL,
    append_success_callback,
    ask_for_usage,
    collected,
    revive,
)
from llm_api_client.call.litellm_door.facts import Facts, Table, price, provider_of, strict_schema
from llm_api_client.call.litellm_door.files import batch_body, batch_price, file_call
from llm_api_client.call.litellm_door.library import function, litellm_module, settings_of_call
from llm_api_client.call.litellm_door.sending import (
    Watch,
    connection_settings,
    credentials,
    draws_by_sdk,
    headers_of_provider,
    http_handler,
    keys_of_the_house,
    only_sends,
    openai_client,
    openai_credentials,
    tls_context,
    wants_its_own,
)

__all__ = [
    "OWN_CALL",
    "Facts",
    "Table",
    "Watch",
    "append_success_callback",
    "ask_for_usage",
    "batch_body",
    "batch_price",
    "collected",
    "connection_settings",
    "credentials",
    "draws_by_sdk",
    "file_call",
    "function",
    "headers_of_provider",
    "http_handler",
    "keys_of_the_house",
    "litellm_module",
    "only_sends",
    "openai_client",
    "openai_credentials",
    "price",
    "provider_of",
    "revive",
    "settings_of_call",
    "strict_schema",
    "tls_context",
    "wants_its_own",
]
