"""What the model will take: a request checked, freed of what the model refuses, fitted to its context, and measured."""

from llm_api_client.prepare.check import check_request, check_requests
from llm_api_client.prepare.model import ModelDoor
from llm_api_client.prepare.preparer import Preparer

__all__ = ["ModelDoor", "Preparer", "check_request", "check_requests"]
