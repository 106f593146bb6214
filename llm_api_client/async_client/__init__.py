"""The client for programs that run on `asyncio`: the same engine, awaited."""

from llm_api_client.async_client.client import AsyncAPIClient
from llm_api_client.async_client.results import AsyncResults
from llm_api_client.async_client.text import AsyncTextStream

__all__ = ["AsyncAPIClient", "AsyncResults", "AsyncTextStream"]
