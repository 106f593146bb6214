"""What LiteLLM does beside single calls: files, batches of requests, and fine-tuning jobs at a provider."""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from llm_api_client.call.connections import connect, exchange
from llm_api_client.call.failure import note_heard
from llm_api_client.call.litellm_door.library import function, litellm_module, or_none, settings_of_call
from llm_api_client.call.litellm_door.sending import connection_settings, openai_client, openai_credentials

_OF_THE_MAPPING = ("additional_drop_params", "allowed_openai_params", "drop_params")
# LiteLLM's own, in the bodies of the calls that it makes; a line of a batch is sent by nobody but the provider.
_NOT_SENT = frozenset(
    {
        "default_headers", "deployment_id", "extra_headers", "max_retries", "request_timeout", "stream",
        "stream_options", "timeout", *_OF_THE_MAPPING,
    }
)  # fmt: skip


def file_call(name: str, provider: str, connection: Mapping[str, Any], **arguments: Any) -> Any:
    """One call of LiteLLM's function `name` for files, batches or fine-tuning jobs, without inner retries.

    OpenAI's are made by the SDK that LiteLLM makes them with: LiteLLM would open connections that nobody closes.

    Args:
        name: The function's name, such as "create_batch".
        provider: LiteLLM's name of the provider.
        connection: Key, address, `timeout` in seconds, and whatever else says where to send it.
        arguments: What the function takes besides.

    Returns:
        Plain data; bytes for a file's content.

    Raises:
        Exception: Whatever LiteLLM raises, or OpenAI's SDK.
    """
    if provider == "openai":
        return _asked_of_openai(name, connection, arguments)
    with settings_of_call({}):
        return _plain(function(name)(custom_llm_provider=provider, max_retries=0, **connection, **arguments))


_OPENAI: dict[str, Callable[..., Any]] = {
    "cancel_batch": lambda client, **arguments: client.batches.cancel(**arguments),
    "cancel_fine_tuning_job": lambda client, **arguments: client.fine_tuning.jobs.cancel(**arguments),
    "create_batch": lambda client, **arguments: client.batches.create(**arguments),
    "create_file": lambda client, **arguments: client.files.create(**arguments),
    "create_fine_tuning_job": lambda client, **arguments: client.fine_tuning.jobs.create(**arguments),
    "file_content": lambda client, **arguments: client.files.content(**arguments),
    "list_batches": lambda client, **arguments: client.batches.list(**arguments),
    "list_fine_tuning_jobs": lambda client, **arguments: client.fine_tuning.jobs.list(**arguments),
    "retrieve_batch": lambda client, **arguments: client.batches.retrieve(**arguments),
    "retrieve_fine_tuning_job": lambda client, **arguments: client.fine_tuning.jobs.retrieve(**arguments),
}
"""LiteLLM's functions, as OpenAI's SDK has them."""


def _asked_of_openai(name: str, connection: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    timeout = connection.get("timeout")
    with closing(connect(**connection_settings())) as http, exchange(timeout, lambda: None) as wire:
        try:
            base, key, organization = openai_credentials(connection)
            if not key:
                raise ValueError("no key is set")  # noqa: TRY301  as the SDK's own failures
            client = openai_client(base, key, organization, http)
            return _plain(_OPENAI[name](client, timeout=timeout, **arguments))
        except Exception as raised:
            note_heard(raised, wire.heard())
            raise


def _plain(answer: Any) -> Any:
    content = getattr(answer, "content", None)
    if isinstance(content, bytes):
        return content
    dump = getattr(answer, "model_dump", None)
    return dump(mode="json", warnings=False) if callable(dump) else answer


def batch_body(params: Mapping[str, Any], provider: str, *, is_chat: bool) -> dict[str, Any]:
    """The JSON that LiteLLM would send to `provider` for a call with these parameters.

    Args:
        params: Of the call; nothing of where and how it goes.
        provider: LiteLLM's name of the provider.
        is_chat: Whether it is a chat completion. Of other calls LiteLLM changes no more than the model's name.

    Raises:
        Exception: Whatever LiteLLM raises for parameters that the model does not take.
    """
    litellm = litellm_module()
    bare: str = litellm.get_llm_provider(model=params["model"], custom_llm_provider=provider)[0]
    try:
        from litellm.types.utils import LlmProviders  # noqa: PLC0415
        from litellm.utils import (  # noqa: PLC0415
            ProviderConfigManager,
            filter_out_litellm_params,
            get_optional_params,
        )
    except ImportError:  # Another version of LiteLLM: what is meant for OpenAI goes as it is.
        body = {**params, **(params.get("extra_body") or {}), "extra_body": None, "model": bare}
        return {name: value for name, value in body.items() if value is not None and name not in _NOT_SENT}
    body = {name: value for name, value in filter_out_litellm_params(params).items() if value is not None}
    if is_chat:
        given = {name: value for name, value in body.items() if name not in {"messages", "model"}}
        given |= {name: params[name] for name in _OF_THE_MAPPING if params.get(name) is not None}
        with settings_of_call({}):
            mapped = get_optional_params(model=bare, custom_llm_provider=provider, **given)
            more = mapped.pop("extra_body", None) or {}
            made = ProviderConfigManager.get_provider_chat_config(model=bare, provider=LlmProviders(provider))
            body = made.transform_request(
                model=bare, messages=list(params["messages"]), optional_params=mapped, litellm_params={}, headers={}
            )
        body |= more
    return {name: value for name, value in (body | {"model": bare}).items() if name not in _NOT_SENT}


def batch_price(model: str, provider: str, usage: Mapping[str, Any]) -> float | None:
    """US dollars for a line of a batch: by the table's prices for batches, or else half of the usual; None if unknown.

    Args:
        model: The model asked, with its provider before it or without.
        provider: LiteLLM's name of the provider.
        usage: What the provider reports, as it reports it.
    """
    litellm = litellm_module()
    bare = model.removeprefix(f"{provider}/")
    info = or_none(litellm.get_model_info, model=bare, custom_llm_provider=provider)
    counted = or_none(litellm.Usage, **usage)
    if info is None or counted is None:
        return None
    try:
        from litellm.cost_calculator import batch_cost_calculator  # noqa: PLC0415
    except ImportError:  # Another version of LiteLLM.
        tokens = {"prompt_tokens": counted.prompt_tokens, "completion_tokens": counted.completion_tokens}
        parts = or_none(litellm.cost_per_token, model=f"{provider}/{bare}", **tokens)
        return None if parts is None else float(sum(parts)) / 2
    parts = or_none(batch_cost_calculator, usage=counted, model=bare, custom_llm_provider=provider)
    return None if parts is None else float(sum(parts))
