"""The OpenAI SDK by itself: one client in a plain thread pool."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from common import MODEL, Order, Perform, messages, run


def make(order: Order) -> Perform:
    """Options are passed on to the SDK's client."""
    client = openai.OpenAI(base_url=order.base_url, **order.options)

    def ask(prompt: str) -> Any:
        return client.chat.completions.create(model=MODEL, messages=messages(prompt))

    pool = ThreadPoolExecutor(order.concurrency)

    def perform(texts: list[str]) -> int:
        answers = list(pool.map(ask, texts))  # kept, as by everybody else
        return sum(bool(answer.choices[0].message.content) for answer in answers)

    return perform


run(make)
