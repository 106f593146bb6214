"""What LiteLLM makes of answers: streams collected, answers of a checkpoint revived, callbacks told."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from llm_api_client.call.litellm_door.library import litellm_module, or_none

OWN_CALL = "llm-api-client-"
"""Begins the call id of every call sent through this door, so that a callback can tell them from others."""

_ANSWERS = frozenset({"EmbeddingResponse", "ImageResponse", "ModelResponse", "TextCompletionResponse"})


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


def revive(response_type: str, data: Any) -> Any:
    """The answer that a checkpoint keeps as the object of LiteLLM's that it was; None for what is none of LiteLLM's."""
    if response_type not in _ANSWERS:
        return None
    made = getattr(litellm_module(), response_type, None)
    return None if made is None else or_none(made, **data)


def ask_for_usage(sent: dict[str, Any], provider: str | None) -> None:
    """A streamed answer says what it used only if it is asked to; LiteLLM would guess."""
    supported_params = litellm_module().get_supported_openai_params
    supported = or_none(supported_params, model=sent.get("model"), custom_llm_provider=provider)
    if "stream_options" in (supported or ()):
        sent.setdefault("stream_options", {"include_usage": True})


def collected(response: Any, params: Mapping[str, Any]) -> Any:
    """A streamed answer as if it had not been streamed; any other as it is."""
    if not params.get("stream") or hasattr(response, "choices"):
        return response
    litellm = litellm_module()
    whole = litellm.stream_chunk_builder(list(response), messages=params.get("messages"))
    hidden = getattr(whole, "_hidden_params", None)
    if isinstance(hidden, dict) and or_none(litellm.get_model_info, model=params.get("model")) is None:
        # LiteLLM prices it by the name that the answer gives, which another provider's price list may know.
        hidden["response_cost"] = None
    return whole
