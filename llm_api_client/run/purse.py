"""What a request may cost at worst, and whether that may be spent."""

from collections.abc import Callable

from llm_api_client.admit.budget import Budget, Hold
from llm_api_client.admit.limiter import Place
from llm_api_client.errors import BudgetExceededError
from llm_api_client.prepare.prompt import prompt_of
from llm_api_client.prepare.tokens import most_tokens
from llm_api_client.records import Prepared, Usage


class Purse:
    """A budget, and the prices by which it is spent.

    Args:
        budget: The money.
        price: US dollars for a model's usage, or None where it is unknown.
        allow_unpriced: Whether calls whose price is unknown may go; they count as nothing.
    """

    def __init__(
        self, budget: Budget, price: Callable[[str, Usage], float | None], *, allow_unpriced: bool = False
    ) -> None:
        self._budget = budget
        self._price = price
        self._allow_unpriced = allow_unpriced

    def worst_cost(self, prepared: Prepared) -> float:
        """The most that one call can cost: every byte of the prompt a token, and the longest answer.

        Raises:
            BudgetExceededError: Nobody can say.
        """
        params, operation = prepared.params, prepared.operation
        # A schema for the answer is read like the tools.
        tokens = most_tokens(prompt_of(params, operation), [params.get("tools"), params.get("response_format")])
        answer = prepared.longest_answer
        cost = None
        if operation.priced_by_tokens:
            usage = Usage(max(tokens, prepared.prompt_tokens), 1 if answer is None else answer)
            cost = self._price(prepared.model, usage)
        if cost is None:
            if self._allow_unpriced:
                return 0.0
            message = (
                f"What {operation.name} by {prepared.model} may cost is not known before, so that max_cost could be "
                "passed unseen; it was not sent. Name the model as LiteLLM's price list does, or pass "
                "allow_unpriced=True, which counts it as nothing."
            )
            raise BudgetExceededError(message)
        if answer is None and cost > 0:
            message = (
                f"How long an answer of {prepared.model} may be is not known, so that max_cost could be passed; it was "
                "not sent. Set max_tokens."
            )
            raise BudgetExceededError(message)
        return cost

    def check(self, worst: float) -> None:
        """Refuse what could not be paid whatever calls under way give back.

        Raises:
            BudgetExceededError: It could not.
        """
        budget = self._budget.lacks(worst)
        if budget is not None:
            message = (
                f"It may cost ${worst:.4g}, and of max_cost=${budget.limit:g} ${budget.spent:.4g} is spent; it was not "
                "sent. Ask it again with a larger max_cost, or lower max_tokens, which bounds the worst case."
            )
            raise BudgetExceededError(message)

    def hold(self, worst: float, waiter: Place) -> Hold | None:
        """Take the worst case out, or None where it must wait for calls under way; `waiter` is woken then."""
        return self._budget.hold(worst, waiter)
