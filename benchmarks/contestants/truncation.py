"""Cuts a history to half its tokens. Both libraries of the name have the same method for it."""

import logging
import os
import time

from common import MODEL, messages, order, prompts, report

from llm_api_client import APIClient


def main() -> None:
    """Count the history, then cut it to half."""
    told = order()
    logging.disable()
    client = APIClient()
    texts = prompts(told.count, told.words, "turn")
    history = [{"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(texts)]
    client.truncate_to_max_context_tokens(messages("Load what is loaded on first use."), MODEL)
    tokens = client.count_messages_tokens(history, model=MODEL)
    os.environ["MAX_INPUT_TOKENS_OVERRIDE"] = str(tokens // 2)
    # A client that has not seen this history, with everything else warm.
    client = APIClient()
    client.truncate_to_max_context_tokens(messages("Load what is loaded on first use."), MODEL)
    wall, cpu = time.perf_counter(), time.process_time()
    kept = client.truncate_to_max_context_tokens(history, MODEL)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    left = client.count_messages_tokens(kept, model=MODEL)
    report(wall=wall, cpu=cpu, tokens=tokens, left=left, limit=tokens // 2, turns=len(kept))


main()
