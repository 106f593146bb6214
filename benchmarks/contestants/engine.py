"""This library's engine alone: calls that return at once, or a plain thread pool that makes the same calls."""

from concurrent.futures import ThreadPoolExecutor

from common import MODEL, Meter, messages, order, prompts, report

from llm_api_client import APIClient
from llm_api_client.testing import ScriptedAnswer


def answer(**_: object) -> ScriptedAnswer:
    """The answer to everything."""
    return ScriptedAnswer()


def main() -> None:
    """Warm up, then measure."""
    told = order()
    options = dict(told.options)
    sanitize = options.pop("sanitize", True)
    warm, texts = prompts(told.warm_up, told.words, "warm-up"), prompts(told.count, told.words, "question")
    warm_requests, requests = (
        [{"model": MODEL, "messages": messages(text)} for text in some] for some in (warm, texts)
    )
    if options.pop("plain", False):
        pool = ThreadPoolExecutor(told.concurrency)
        list(pool.map(lambda request: answer(**request), warm_requests))
        meter = Meter()
        answers = list(pool.map(lambda request: answer(**request), requests))
    else:
        client = APIClient(api_call=answer, progress=False, max_workers=told.concurrency, **options)
        client.make_requests(warm_requests, sanitize=sanitize)
        meter = Meter()
        answers = client.make_requests(requests, sanitize=sanitize)
    report(answered=sum(item is not None for item in answers), **meter.read())


main()
