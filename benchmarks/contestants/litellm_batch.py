"""LiteLLM's own way to send a list: `litellm.batch_completion`."""

import litellm
from common import MODEL, Order, Perform, messages, run


def make(order: Order) -> Perform:
    """Options are passed on to every call."""

    def perform(texts: list[str]) -> int:
        answers = litellm.batch_completion(
            model=MODEL,
            messages=[messages(text) for text in texts],
            max_workers=order.concurrency,
            api_base=order.base_url,
            **order.options,
        )
        return sum(not isinstance(answer, Exception) for answer in answers)

    return perform


run(make)
