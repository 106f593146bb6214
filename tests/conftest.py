import asyncio
import gc
import inspect
import os
import warnings
from collections.abc import Iterator
from types import ModuleType

import pytest

# LiteLLM reads it when it is imported: no test waits for a price list from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


def pytest_configure(config: pytest.Config) -> None:
    """Let warnings be errors except those about LiteLLM's own types, which it builds at its first call."""
    config.addinivalue_line("filterwarnings", "ignore:Item .* on TypedDict class:UserWarning")
    config.addinivalue_line("filterwarnings", "ignore:Accessing the 'model_:DeprecationWarning")


@pytest.fixture(scope="session")
def litellm() -> Iterator[ModuleType]:
    """LiteLLM, imported once."""
    import litellm

    yield litellm
    # LiteLLM does not close its own connections.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for client in litellm.in_memory_llm_clients_cache.cache_dict.values():
            close = getattr(client, "close", None)
            if callable(close) and not inspect.iscoroutinefunction(close):
                close()
        litellm.in_memory_llm_clients_cache.flush_cache()
        gc.collect()


@pytest.fixture(autouse=True)
def _no_loop_is_left() -> Iterator[None]:
    """LiteLLM makes an event loop in the main thread; dropped unclosed, it would warn in somebody else's test."""
    yield
    loop = getattr(getattr(asyncio.get_event_loop_policy(), "_local", None), "_loop", None)
    if loop is not None and not loop.is_running():
        loop.close()
        asyncio.set_event_loop(None)
