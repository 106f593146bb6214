"""The other library of this name: llm-api-client 0.1.8."""

import logging

from common import MODEL, Order, Perform, messages, run

from llm_api_client import APIClient


def make(order: Order) -> Perform:
    """Options are the client's, but for `sanitize` and `max_retries`, which are those of the batch."""
    logging.getLogger().addHandler(logging.NullHandler())
    options = dict(order.options)
    sanitize, max_retries = options.pop("sanitize", True), options.pop("max_retries", 0)
    client = APIClient(**options)

    def perform(texts: list[str]) -> int:
        answers = client.make_requests_with_retries(
            # It drops `api_base`; the address is in the environment.
            [{"model": MODEL, "messages": messages(text)} for text in texts],
            max_retries=max_retries,
            max_workers=order.concurrency,
            sanitize=sanitize,
        )
        return sum(answer is not None for answer in answers)

    return perform


run(make)
