"""LiteLLM itself: imported when it is first needed, and the settings that it holds while a call is under way."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from types import ModuleType
from typing import Any

from llm_api_client.errors import ConfigurationError


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


def function(name: str) -> Callable[..., Any]:
    """LiteLLM's function of that name as it is now, such as `completion` or `embedding`."""
    found: Callable[..., Any] = getattr(litellm_module(), name)
    return found


def or_none(ask: Callable[..., Any], **arguments: Any) -> Any:
    """What LiteLLM says to a question, or None where it raises."""
    with _settings(litellm_module(), suppress_debug_info=True):
        try:
            return ask(**arguments)
        except Exception:  # noqa: BLE001  LiteLLM raises several unrelated classes for a model that it does not know
            return None


def settings_of_call(params: Mapping[str, Any]) -> AbstractContextManager[None]:
    """LiteLLM's settings while a call is under way."""
    settings = {"suppress_debug_info": True, "num_retries": None}
    # At a stream's end LiteLLM counts what the provider did not, and would download the tokenizer for it.
    if params.get("stream"):
        settings["disable_hf_tokenizer_download"] = True
    return _settings(litellm_module(), **settings)


@dataclass(slots=True)
class _Hold:
    """A setting that is held: by whom, and what it was before the first of them."""

    was: Any = None
    holders: set[object] = field(default_factory=set)


_settings_lock = Lock()
# Guarded by the lock.
_held: dict[str, _Hold] = {}


@contextmanager
def _settings(litellm: ModuleType, **settings: Any) -> Iterator[None]:
    """Hold settings of LiteLLM's module, which has no such switch for one call.

    It prints advertisements on standard output, and retries by a number of its own behind any limiter's back. The last
    call under way puts back what the first found; a setting that somebody else changes meanwhile stays theirs.
    """
    # Known by a token, not counted: an interrupt between any two steps leaves nothing held.
    token = object()
    try:
        with _settings_lock:
            for name, value in settings.items():
                hold = _held.setdefault(name, _Hold())
                if not hold.holders:
                    hold.was = getattr(litellm, name, None)
                hold.holders.add(token)
                setattr(litellm, name, value)
        yield
    finally:
        with _settings_lock:
            for name, value in settings.items():
                hold = _held.get(name, _Hold())
                if token in hold.holders:
                    hold.holders.remove(token)
                    if not hold.holders and getattr(litellm, name, value) == value:
                        setattr(litellm, name, hold.was)
