"""The server's process: a `SimulatedProvider` by the order in the first argument, until SIGTERM.

The first line of its output is the address; the last, when it has stopped, what it saw, as JSON.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from random import Random
from time import monotonic
from typing import Any

from llm_api_client.simulator import SimulatedProvider
from llm_api_client.simulator.answers import CHARS_PER_TOKEN, TOKENS_PER_MESSAGE, count_tokens, said
from llm_api_client.simulator.books import SeenRequest
from llm_api_client.simulator.faults import NO_FAULT, Fault, FaultPlan, parse_fault

WARM_UP = "warm-up"
"""How the prompts begin that contestants warm up with."""


class StubbornPlan(FaultPlan):
    """Refuses every so-many-th distinct prompt with a 429, until the Retry-After that it named has passed.

    Args:
        every: One prompt in so many is refused.
        retry_after: Seconds that it is refused for, from when it was first seen.
    """

    def __init__(self, every: int, retry_after: float) -> None:
        super().__init__({}, Random(0))
        self._every = every
        self._retry_after = retry_after
        self._due: dict[str, float] = {}
        self.refused = 0
        self.early = 0

    def choose(self, header: str | None, prompt: str) -> Fault:
        """An answer, or a 429 that says how much longer."""
        if prompt.startswith(WARM_UP):
            return NO_FAULT
        now = monotonic()
        due = self._due.get(prompt)
        if due is None:
            stubborn = (len(self._due) + 1) % self._every == 0
            due = self._due[prompt] = now + self._retry_after if stubborn else 0.0
        elif now < due:
            self.early += 1
        if now >= due:
            return NO_FAULT
        self.refused += 1
        return replace(parse_fault("429"), retry_after=due - now, latency=0.0)

    def forget(self) -> None:
        """Begin anew."""
        super().forget()
        self._due.clear()
        self.refused = self.early = 0


def length_of_answer(prompt: str, least: int, most: int) -> int:
    """Tokens of the answer to a prompt: evenly spread, and the same for the same prompt."""
    return Random(prompt).randint(least, most)


def per_minute(requests: Sequence[SeenRequest], span: tuple[int, int] | None) -> dict[str, list[int]]:
    """Answers, and tokens of prompts and answers, in each minute from the first request on."""
    if not requests:
        return {"answers": [], "tokens": []}
    first = requests[0].arrived
    minutes = int((requests[-1].arrived - first) // 60) + 1
    answers, tokens = [0] * minutes, [0] * minutes
    for seen in requests:
        if seen.status != 200:
            continue
        minute = int((seen.arrived - first) // 60)
        answers[minute] += 1
        tokens[minute] += sum(TOKENS_PER_MESSAGE + count_tokens(str(m["content"])) for m in seen.body["messages"])
        tokens[minute] += length_of_answer(said(seen.body), *span) if span else 0
    return {"answers": answers, "tokens": tokens}


def main() -> None:
    """Serve."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    options: dict[str, Any] = order.get("provider", {})
    span = tuple(order["answer_tokens"]) if order.get("answer_tokens") else None
    if span:
        options["answer"] = lambda body: "abc " * (length_of_answer(said(body), *span) * CHARS_PER_TOKEN // 4)
    provider = SimulatedProvider(**options)
    plan = None
    if order.get("stubborn"):
        # No option of the provider's refuses by prompt; its plan of faults is where that belongs.
        plan = provider._service._plan = StubbornPlan(**order["stubborn"])
    provider.serve_forever(lambda url: print(url, flush=True))
    seen: dict[str, Any] = asdict(provider.counts)
    if order.get("timeline"):
        seen["per_minute"] = per_minute(provider.requests, span)
    if plan:
        seen |= {"stubborn_refused": plan.refused, "early": plan.early}
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
