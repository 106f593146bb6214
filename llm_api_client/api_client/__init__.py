"""The client: options in, stations built here and nowhere else, results out."""

from llm_api_client.api_client.client import APIClient

__all__ = ["APIClient"]
