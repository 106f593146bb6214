"""A provider on loopback that can be misused: OpenAI-shaped answers, real limits, and faults on request.

It speaks HTTP, so that clients are tested with everything between them and a provider in place:

    with SimulatedProvider(requests_per_minute=600, error_rate=0.01) as provider:
        ask(base_url=provider.base_url)
        print(provider.counts)
"""

from .books import Counts, SeenRequest
from .provider import SimulatedProvider

__all__ = ["Counts", "SeenRequest", "SimulatedProvider"]
