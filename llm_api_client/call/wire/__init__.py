"""HTTP/1.1 as far as a client needs it that posts and reads answers whole: one connection for each call in flight.

`answer` reads, `poller` waits, `wire` connects. Nothing here knows what is sent, nor what an answer means.
"""

from llm_api_client.call.wire.answer import MAX_HEAD, Raw, WireError, merged
from llm_api_client.call.wire.poller import KEPT_SECONDS, Ended
from llm_api_client.call.wire.wire import Target, Wire

__all__ = ["KEPT_SECONDS", "MAX_HEAD", "Ended", "Raw", "Target", "Wire", "WireError", "merged"]
