"""This library."""

from common import MODEL, Order, Perform, messages, run

from llm_api_client import APIClient


def make(order: Order) -> Perform:
    """Options are the client's, but for `sanitize` and `max_retries`, which are those of the batch."""
    options = dict(order.options)
    sanitize, max_retries = options.pop("sanitize", True), options.pop("max_retries", 0)
    client = APIClient(base_url=order.base_url, progress=False, **options)

    def perform(texts: list[str]) -> int:
        answers = client.make_requests_with_retries(
            [{"model": MODEL, "messages": messages(text)} for text in texts],
            max_retries=max_retries,
            max_workers=order.concurrency,
            sanitize=sanitize,
        )
        return sum(answer is not None for answer in answers)

    return perform


run(make)
