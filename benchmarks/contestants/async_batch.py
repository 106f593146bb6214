"""async-batch-llm, over its provider for OpenAI-compatible servers."""

import asyncio

from async_batch_llm import CharacterTokenEstimator, ProcessorConfig, RateLimitConfig, llm, process_prompts
from common import MODEL, Order, Perform, run


def make(order: Order) -> Perform:
    """Options are those of `ProcessorConfig`; `rate_limit` holds those of `RateLimitConfig`."""
    options = dict(order.options)
    if "rate_limit" in options:
        options["rate_limit"] = RateLimitConfig(**options["rate_limit"])
    if "token_estimator" in options:
        options["token_estimator"] = CharacterTokenEstimator(**options["token_estimator"])
    loop = asyncio.new_event_loop()

    def perform(texts: list[str]) -> int:
        strategy = llm(f"openai-compatible:{MODEL}", base_url=order.base_url)
        config = ProcessorConfig(concurrency=order.concurrency, **options)
        batch = loop.run_until_complete(process_prompts(strategy, texts, config=config))
        return sum(result.success for result in batch.results)

    return perform


run(make)
