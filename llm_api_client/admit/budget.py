"""Money: each call's worst case is held before it goes, and what it came to is settled after it."""
# ruff: noqa: SLF001  a budget and what is held of it are one thing, under one lock

from contextlib import AbstractContextManager
from threading import RLock

from llm_api_client.admit.limiter import Place

_ROUNDING = 1e-9


class Hold:
    """What one call may cost at worst, out of its budgets until it is settled: once, and later does nothing."""

    __slots__ = ("_budget", "_worst")

    def __init__(self, budget: "Budget", worst: float) -> None:
        self._budget = budget
        self._worst: float | None = worst

    def settle(self, cost: float | None) -> None:
        """The call has ended: it cost so many US dollars; None where that is unknown, so that the worst case stays."""
        self._budget._settle(self, cost)


class Budget:
    """US dollars that may be spent, and never more: by itself, and within a larger budget where there is one.

    Args:
        limit: US dollars.
        within: A budget that all of this one's calls are paid from as well.
    """

    def __init__(self, limit: float, within: "Budget | None" = None) -> None:
        self.limit = limit
        self._all: tuple[Budget, ...] = (self, *(within._all if within else ()))
        # The largest budget's lock guards the amounts and the waiting of all within it. Re-entrant, for a garbage
        # collection under it may end a call.
        self._lock: AbstractContextManager[bool] = within._lock if within else RLock()
        self._waiting: set[Place] = within._waiting if within else set()
        self._spent = 0.0
        self._held = 0.0

    @property
    def spent(self) -> float:
        """US dollars of the calls that have ended, at their worst where the cost is unknown."""
        return self._spent

    def lacks(self, worst: float) -> "Budget | None":
        """A budget that could not pay `worst` whatever is given back, or None."""
        with self._lock:
            return next((budget for budget in self._all if budget._spent + worst > budget._most), None)

    def hold(self, worst: float, waiter: Place) -> Hold | None:
        """Take `worst` out, or None where calls under way hold too much; `waiter` is woken when one has ended."""
        with self._lock:
            if any(budget._spent + budget._held + worst > budget._most for budget in self._all):
                self._waiting.add(waiter)
                return None
            for budget in self._all:
                budget._held += worst
            return Hold(self, worst)

    @property
    def _most(self) -> float:
        return self.limit * (1 + _ROUNDING)

    def _settle(self, hold: Hold, cost: float | None) -> None:
        with self._lock:
            worst, hold._worst = hold._worst, None
            if worst is None:
                return
            for budget in self._all:
                budget._held -= worst
                budget._spent += worst if cost is None else cost
            woken = list(self._waiting)
            self._waiting.clear()
        for waiter in woken:
            waiter.wake()
