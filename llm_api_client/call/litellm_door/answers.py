"""What LiteLLM makes of answers: streams collected, answers of a checkpoint revived, callbacks told."""

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from llm_api_client.call.litellm_door.library import litellm_module, or_none

Tap = Callable[[Any], bool]
"""Is shown a piece of a streamed answer, and says whether it wants more."""

OWN_CALL = "llm-api-client-"
"""Begins the call id of every call sent through this door, so that a callback can tell them from others."""

_SOUND = "HttpxBinaryResponseContent"
_ANSWERS = frozenset(
    {
        "EmbeddingResponse", "ImageResponse", "ModelResponse", "OpenAIModerationResponse", "RerankResponse",
        "ResponsesAPIResponse", "TextCompletionResponse",
    }
)  # fmt: skip


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
    if response_type == _SOUND:
        return or_none(_sound, **data)
    if response_type == "TranscriptionResponse":
        return or_none(_transcription, **data)
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


def collected(response: Any, params: Mapping[str, Any], tap: Tap | None = None) -> Any:
    """A streamed answer as if it had not been streamed; any other as it is.

    `tap` is shown each piece as it comes; if it wants no more, what came until then is the answer.
    """
    if not params.get("stream") or hasattr(response, "choices"):
        return response
    pieces = []
    for piece in response:
        pieces.append(piece)
        if tap is not None and not tap(piece):
            _hang_up(response)
            break
    litellm = litellm_module()
    done = next((piece.response for piece in reversed(pieces) if getattr(piece, "response", None) is not None), None)
    if done is not None:  # OpenAI's Responses end with the whole of it.
        return done
    whole = litellm.stream_chunk_builder(pieces, messages=params.get("messages"))
    hidden = getattr(whole, "_hidden_params", None)
    choice = next(iter(getattr(whole, "choices", None) or ()), None)
    if choice is not None and choice.finish_reason is None:
        # Of a completion LiteLLM reads the reason from the last piece, which is the one with the usage.
        choice.finish_reason = next(filter(None, map(_finish_reason, reversed(pieces))), None)
    told = next((piece.usage for piece in reversed(pieces) if getattr(piece, "usage", None) is not None), None)
    if told is not None and _tokens(whole.usage) != _tokens(told):
        # What LiteLLM puts together of a completion leaves out what the provider said of its tokens.
        whole.usage = told
        if isinstance(hidden, dict):
            hidden.pop("response_cost", None)
    if isinstance(hidden, dict) and or_none(litellm.get_model_info, model=params.get("model")) is None:
        # LiteLLM prices it by the name that the answer gives, which another provider's price list may know. What a
        # LiteLLM Proxy or OpenRouter says that it cost is in the usage.
        hidden["response_cost"] = getattr(getattr(whole, "usage", None), "cost", None)
    return whole


def _sound(content_base64: str, content_type: str) -> Any:
    """Speech as LiteLLM has it: an HTTP answer whose body is the sound."""
    import httpx  # noqa: PLC0415  slow to import, and needed with LiteLLM only

    content = base64.b64decode(content_base64)
    answer = httpx.Response(200, content=content, headers={"content-type": content_type})
    return getattr(litellm_module(), _SOUND)(answer)


def _transcription(text: str | None = None, usage: Any = None, **more: Any) -> Any:
    """What was said in a sound: LiteLLM's class for it is made of the text alone."""
    from pydantic import TypeAdapter  # noqa: PLC0415  needed with LiteLLM only, which has it

    made = litellm_module().TranscriptionResponse
    answer = made(text=text)
    kinds: Any = made.model_fields["usage"].annotation
    answer.usage = TypeAdapter(kinds).validate_python(usage)
    for name, value in more.items():
        setattr(answer, name, value)
    return answer


def _finish_reason(piece: Any) -> Any:
    return next((choice.finish_reason for choice in getattr(piece, "choices", None) or ()), None)


def _tokens(usage: Any) -> tuple[Any, Any]:
    return getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)


def _hang_up(response: Any) -> None:
    """Close the connection of a stream that nobody reads on."""
    for stream in (response, getattr(response, "completion_stream", None)):
        close = getattr(stream, "close", None)
        if callable(close):
            with suppress(Exception):  # Whatever it says to that, what came is the answer.
                close()
