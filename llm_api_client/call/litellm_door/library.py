"""LiteLLM itself: imported when it is first needed, and the settings that it holds while a call is under way."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
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
