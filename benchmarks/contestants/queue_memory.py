"""Memory of a batch whose first calls hang while all others wait: more than the caller's own dicts."""

import gc
import threading
import time
import tracemalloc
from pathlib import Path

from common import MODEL, messages, order, prompts, report

from llm_api_client import APIClient
from llm_api_client.testing import ScriptedAnswer


def rss() -> int:
    """Bytes that this process has resident now."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Look before, while all wait, and after all were answered."""
    told = order()
    options = dict(told.options)
    trace = options.pop("trace", False)
    opened, entered = threading.Event(), threading.Semaphore(0)

    def answer(**_: object) -> ScriptedAnswer:
        entered.release()
        opened.wait()
        return ScriptedAnswer()

    requests = [{"model": MODEL, "messages": messages(text)} for text in prompts(told.count, told.words, "question")]
    client = APIClient(api_call=answer, progress=False, max_workers=told.concurrency, **options)
    opened.set()
    client.make_requests(
        [{"model": MODEL, "messages": messages(text)} for text in prompts(told.warm_up, told.words, "warm-up")]
    )
    opened.clear()
    while entered.acquire(blocking=False):
        pass
    gc.collect()
    if trace:
        tracemalloc.start()
    look = (lambda: tracemalloc.get_traced_memory()[0]) if trace else rss
    before = look()
    answers: list[object] = []
    batch = threading.Thread(target=lambda: answers.extend(client.make_requests(requests)))
    batch.start()
    for _ in range(told.concurrency):
        entered.acquire()
    time.sleep(1.0)
    gc.collect()
    queued = look() - before
    opened.set()
    batch.join()
    gc.collect()
    kept = look() - before
    report(queued=queued / told.count, kept=kept / told.count, answered=sum(item is not None for item in answers))


main()
