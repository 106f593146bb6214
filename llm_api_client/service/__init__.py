"""Parts to build API services of, each of use by itself: limiters, endpoints, payloads, utilities, and a base for all.

Nothing here needs an `APIClient`.
"""

from llm_api_client.api_tracker import StatusTracker
from llm_api_client.call.http_door import HTTPDoor
from llm_api_client.prepare.payloads import (
    CHAT_SCHEMA,
    FINE_TUNING_SCHEMA,
    Schema,
    chat_payload,
    create_payload,
    fine_tuning_payload,
)
from llm_api_client.records import Usage
from llm_api_client.service.base import BaseService
from llm_api_client.service.counting import count_payload_tokens
from llm_api_client.service.endpoint import Endpoint
from llm_api_client.service.rate_limiter import RateLimiter, Reservation, SimpleRateLimiter
from llm_api_client.service.utilities import (
    MAY_PASS,
    CachedGet,
    endpoint_from_url,
    retry,
    upload_file_with_retry,
)

__all__ = [
    "CHAT_SCHEMA",
    "FINE_TUNING_SCHEMA",
    "MAY_PASS",
    "BaseService",
    "CachedGet",
    "Endpoint",
    "HTTPDoor",
    "RateLimiter",
    "Reservation",
    "Schema",
    "SimpleRateLimiter",
    "StatusTracker",
    "Usage",
    "chat_payload",
    "count_payload_tokens",
    "create_payload",
    "endpoint_from_url",
    "fine_tuning_payload",
    "retry",
    "upload_file_with_retry",
]
