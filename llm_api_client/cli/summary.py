"""What a run came to, for people. Never a prompt, an answer or a provider's words, which may quote either."""

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llm_api_client.errors import LLMAPIClientError

MAX_LINES_SHOWN = 20

_CURES = {
    "AdmissionTimeoutError": "Raise --max-delay, or the limits.",
    "AuthenticationError": "Set the provider's variable (OPENAI_API_KEY, …), or name another with --api-key-env.",
    "BatchTimeoutError": "Raise --timeout.",
    "BudgetExceededError": "Raise --max-cost, or set max_tokens.",
    "NetworkError": "Check --base-url, the network, and that the server runs.",
    "NotFoundError": "Check the model's name, and --base-url.",
    "QuotaExceededError": "Check the account's plan and billing.",
    "RateLimitTimeoutError": "Lower --rpm and --tpm to the account's own, or raise --max-delay.",
    "RequestTimeoutError": "Raise --request-timeout if answers take this long.",
    "RequestTooLargeError": "Raise --tpm, or shorten the request.",
}


class Tally:
    """Counts what requests came to, by reason."""

    def __init__(self) -> None:
        self.answered = 0
        self._reasons: Counter[type[LLMAPIClientError]] = Counter()
        self._first: dict[type[LLMAPIClientError], int] = {}

    @property
    def failed(self) -> int:
        """Requests and lines without an answer."""
        return self._reasons.total()

    def count(self, line: int, error: LLMAPIClientError | None) -> None:
        """One request, or faulty line, has come to its end."""
        if error is None:
            self.answered += 1
            return
        kind = type(error)
        self._reasons[kind] += 1
        self._first[kind] = min(line, self._first.get(kind, line))

    def __str__(self) -> str:
        total = self.answered + self.failed
        if not self.failed:
            return f"{self.answered} of {total} answered."
        lines = [f"{self.answered} of {total} answered, {self.failed} failed:"]
        for kind, number in self._reasons.most_common():
            lines.append(f"  {number} {kind.__name__} (first: line {self._first[kind]}). {_meaning(kind)}".rstrip())
        lines.append('The full reason of each stands in its line of the results, as "error".')
        return "\n".join(lines)


def _meaning(kind: type[LLMAPIClientError]) -> str:
    said = (kind.__doc__ or "").strip().partition("\n")[0] if kind is not LLMAPIClientError else ""
    return f"{said} {_CURES.get(kind.__name__, '')}".strip()


def say(text: str) -> None:
    """A message for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


class Remarks:
    """What is wrong with which lines of the input, the first of them one by one.

    Args:
        program: The command, which says it.
        source: The input's name.
    """

    def __init__(self, program: str, source: str) -> None:
        self._said = 0
        self._before = f"{program}: {source}"

    def add(self, line: int, remark: str) -> None:
        """Say it, unless as many were said already as anybody reads."""
        self._said += 1
        if self._said <= MAX_LINES_SHOWN:
            say_above_the_bar(f"{self._before}, line {line}: {remark}")

    def close(self) -> None:
        """Say how many more there were."""
        if self._said > MAX_LINES_SHOWN:
            say(f"{self._before}: likewise {self._said - MAX_LINES_SHOWN} further lines")


def report_lines(program: str, source: str, remarks: Sequence[tuple[int, str]]) -> None:
    """Say what is wrong with which lines, where all are known."""
    said = Remarks(program, source)
    for line, remark in remarks:
        said.add(line, remark)
    said.close()


def say_above_the_bar(text: str) -> None:
    """A message while a progress bar may be shown."""
    if "tqdm" not in sys.modules:
        say(text)
        return
    from tqdm.auto import tqdm  # noqa: PLC0415  only where there may be a bar

    tqdm.write(text, file=sys.stderr)


class _Messages(logging.Handler):
    """Shows the library's warnings, above the progress bar where there is one."""

    def __init__(self, program: str) -> None:
        super().__init__(logging.WARNING)
        self._program = program

    def filter(self, record: logging.LogRecord) -> bool:
        """All but the client's own summary of a batch, whose first reason is in the provider's words."""
        return record.funcName != "log_summary" and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        say_above_the_bar(f"{self._program}: warning: {record.getMessage()}")


@contextmanager
def library_messages(program: str) -> Iterator[None]:
    """Show the library's warnings as the program's own while a command works."""
    logger = logging.getLogger("llm_api_client")
    handler, propagate = _Messages(program), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)
