"""How a batch is going, on one line."""

import sys
from math import inf
from typing import Any

from llm_api_client.records import Result

REFRESH_SECONDS = 1.0
_WORTH_SAYING_SECONDS = 1.0


class Progress:
    """A tqdm bar with rate, tokens, cost, failures, and what the batch is waiting for.

    Shown in a notebook and on a terminal; elsewhere only when asked for, and never when declined. Used by one thread.
    """

    def __init__(self, total: int | None, *, wanted: bool | None = None) -> None:
        self._bar: Any = None
        self._tokens = 0
        self._cost = 0.0
        self._failed = 0
        self._waiting = ""
        if wanted or (wanted is None and _watched()):
            from tqdm.auto import tqdm  # noqa: PLC0415  only those who look at a bar pay for it

            self._bar = tqdm(total=total, unit="req", dynamic_ncols=True, disable=False)

    @property
    def refresh_seconds(self) -> float:
        """How often `show` wants to be called while nothing happens; infinite when nobody looks."""
        return inf if self._bar is None else REFRESH_SECONDS

    def ended(self, result: Result) -> None:
        """A request has ended."""
        if self._bar is None:
            return
        self._tokens += result.usage.total_tokens if result.usage else 0
        self._cost += 0.0 if result.replayed else result.cost or 0.0
        self._failed += result.error is not None
        self._bar.set_postfix_str(self._sums(), refresh=False)
        self._bar.update()

    def show(self, waiting_for: str, seconds: float) -> None:
        """Say what the batch is waiting for, and for how long, if it is worth saying."""
        if self._bar is None:
            return
        worth_it = waiting_for and _WORTH_SAYING_SECONDS <= seconds < inf
        waiting = f"{waiting_for}, {seconds:.0f} s" if worth_it else ""
        if waiting != self._waiting:
            self._waiting = waiting
            self._bar.set_postfix_str(self._sums())

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _sums(self) -> str:
        # The most important first: a narrow terminal cuts the end off.
        failed = f"{self._failed} failed" if self._failed else ""
        cost = f"${self._cost:.{2 if self._cost >= 1 else 4}f}" if self._cost else ""
        tokens = f"{_short(self._tokens)} tok" if self._tokens else ""
        return ", ".join(filter(None, [self._waiting, failed, cost, tokens]))


def _short(number: int) -> str:
    if number < 1_000:  # noqa: PLR2004
        return str(number)
    return f"{number / 1_000:.1f}k" if number < 1_000_000 else f"{number / 1_000_000:.2f}M"  # noqa: PLR2004


def _watched() -> bool:
    """Whether somebody looks: on a terminal, or in a notebook, whose output is not a terminal."""
    ipython = sys.modules.get("IPython")
    if ipython is not None:
        shell = ipython.get_ipython()
        if shell is not None and type(shell).__name__ == "ZMQInteractiveShell":
            return True
    return sys.stderr is not None and sys.stderr.isatty()
