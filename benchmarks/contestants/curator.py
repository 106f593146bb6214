"""bespokelabs-curator, over its online backend for OpenAI-compatible servers."""

import importlib.util
import os
from pathlib import Path

# Set before it is imported: nothing is reported anywhere, nothing is shown, and nothing is kept from one run to the
# next. It writes its requests and answers to files, which is its way, and part of what is measured.
_litellm = importlib.util.find_spec("litellm")
assert _litellm is not None and _litellm.origin is not None
os.environ |= {
    "CURATOR_CACHE_DIR": str(Path.cwd() / "curator"),
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "CURATOR_VIEWER": "0",
    "HF_DATASETS_OFFLINE": "1",
    "TELEMETRY_ENABLED": "0",
    # Where LiteLLM, which it brings along, has the tokens that it would fetch otherwise.
    "TIKTOKEN_CACHE_DIR": str(Path(_litellm.origin).parent / "litellm_core_utils" / "tokenizers"),
}

from bespokelabs import curator
from common import MODEL, Order, Perform, run


def make(order: Order) -> Perform:
    """Options are those of its backend (`backend_params`); the limits are high where they name none."""
    params = {"max_requests_per_minute": 10_000_000, "max_tokens_per_minute": 2_000_000_000, **order.options}

    def perform(texts: list[str]) -> int:
        llm = curator.LLM(
            model_name=MODEL,
            backend="openai",
            backend_params={"base_url": order.base_url, "max_concurrent_requests": order.concurrency, **params},
        )
        answers = llm(texts).dataset
        return sum(bool(row["response"]) for row in answers)

    return perform


run(make)
