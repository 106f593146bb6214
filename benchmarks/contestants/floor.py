"""The floor: threads of the standard library that post the same JSON over kept connections and parse the answer."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from common import MODEL, Order, Perform, messages, run


def make(order: Order) -> Perform:
    """One connection for each thread."""
    address = urlsplit(order.base_url)
    headers = {"content-type": "application/json", "authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    own = threading.local()

    def ask(prompt: str) -> Any:
        if not hasattr(own, "connection"):
            own.connection = HTTPConnection(str(address.hostname), address.port)
        body = json.dumps({"model": MODEL, "messages": messages(prompt)}).encode()
        own.connection.request("POST", f"{address.path}/chat/completions", body, headers)
        return json.loads(own.connection.getresponse().read())

    pool = ThreadPoolExecutor(order.concurrency)

    def perform(texts: list[str]) -> int:
        answers = list(pool.map(ask, texts))
        return sum(bool(answer["choices"][0]["message"]["content"]) for answer in answers)

    return perform


run(make)
