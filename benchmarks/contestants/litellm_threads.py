"""Bare LiteLLM: `litellm.completion` in a plain thread pool."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import litellm
from common import MODEL, Order, Perform, messages, run


def make(order: Order) -> Perform:
    """Options are passed on to every call."""

    def ask(prompt: str) -> Any:
        return litellm.completion(model=MODEL, messages=messages(prompt), api_base=order.base_url, **order.options)

    pool = ThreadPoolExecutor(order.concurrency)

    def perform(texts: list[str]) -> int:
        answers = list(pool.map(ask, texts))  # kept, as by everybody else
        return sum(bool(answer.choices[0].message.content) for answer in answers)

    return perform


run(make)
