"""Lists of prompts, an API key with limits, and every answer: concurrent, rate-limited LLM calls on LiteLLM.

Names are loaded when first used: importing this package imports neither LiteLLM nor anything else that is slow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm_api_client.admit.rates import RateLimit as RateLimit
    from llm_api_client.api_client import APIClient as APIClient
    from llm_api_client.api_tracker import APIUsageTracker as APIUsageTracker
    from llm_api_client.api_tracker import StatusTracker as StatusTracker
    from llm_api_client.async_client import AsyncAPIClient as AsyncAPIClient
    from llm_api_client.call.retry import RetryPolicy as RetryPolicy
    from llm_api_client.catalog import ModelInfo as ModelInfo
    from llm_api_client.errors import APICallException as APICallException
    from llm_api_client.errors import LLMAPIClientError as LLMAPIClientError
    from llm_api_client.jobs import BatchJob as BatchJob
    from llm_api_client.jobs import FineTuningJob as FineTuningJob
    from llm_api_client.prepare.build import chat_requests as chat_requests
    from llm_api_client.record.cache import ResponseCache as ResponseCache
    from llm_api_client.record.frame import results_to_frame as results_to_frame
    from llm_api_client.records import Result as Result
    from llm_api_client.responses import ChatMessage as ChatMessage
    from llm_api_client.run.estimate import Estimate as Estimate
    from llm_api_client.simulator import SimulatedProvider as SimulatedProvider

_HOMES = {
    "APICallException": "errors",
    "APIClient": "api_client",
    "APIUsageTracker": "api_tracker",
    "AsyncAPIClient": "async_client",
    "BatchJob": "jobs",
    "ChatMessage": "responses",
    "Estimate": "run.estimate",
    "FineTuningJob": "jobs",
    "LLMAPIClientError": "errors",
    "ModelInfo": "catalog",
    "RateLimit": "admit.rates",
    "ResponseCache": "record.cache",
    "Result": "records",
    "RetryPolicy": "call.retry",
    "SimulatedProvider": "simulator",
    "StatusTracker": "api_tracker",
    "chat_requests": "prepare.build",
    "results_to_frame": "record.frame",
}

__all__ = [
    "APICallException",
    "APIClient",
    "APIUsageTracker",
    "AsyncAPIClient",
    "BatchJob",
    "ChatMessage",
    "Estimate",
    "FineTuningJob",
    "LLMAPIClientError",
    "ModelInfo",
    "RateLimit",
    "ResponseCache",
    "Result",
    "RetryPolicy",
    "SimulatedProvider",
    "StatusTracker",
    "chat_requests",
    "results_to_frame",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  slow, and rarely asked for

        return version("llm-api-client")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
