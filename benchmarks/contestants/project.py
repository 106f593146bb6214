"""This library."""

from typing import Any

from common import MODEL, Order, Perform, messages, run

from llm_api_client import APIClient


def make(order: Order) -> Perform:
    """Options are the client's, but for some.

    `sanitize` and `max_retries` are those of the batch; with `stream` it is `iter_requests`, which keeps no answers;
    with `checkpoint` a file in the current folder keeps them.
    """
    options: dict[str, Any] = dict(order.options)
    stream, keeps = options.pop("stream", False), options.pop("checkpoint", False)
    batch = {"sanitize": options.pop("sanitize", True), "max_retries": options.pop("max_retries", 0)}
    client = APIClient(
        base_url=order.base_url,
        progress=False,
        max_workers=order.concurrency,
        checkpoint="kept.db" if keeps else None,
        **options,
    )

    def perform(texts: list[str]) -> int:
        requests = ({"model": MODEL, "messages": messages(text)} for text in texts)
        if stream:
            return sum(result.error is None for result in client.iter_requests(requests, **batch))
        answers = client.make_requests_with_retries(list(requests), **batch)
        return sum(answer is not None for answer in answers)

    return perform


run(make)
