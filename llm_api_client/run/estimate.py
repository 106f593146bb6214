"""What requests would cost and take, told beforehand: every step of a request's way up to the call, and no call.

Requests are checked and prepared, refused and admitted by the code that does it for calls; what cannot be known is how
long the answers will be, so that every sum that depends on them has a least and a most.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache, reduce
from operator import add
from typing import Any, Protocol

from llm_api_client.admit.forecast import Forecast
from llm_api_client.admit.limiter import Limiter
from llm_api_client.admit.limits import Limits
from llm_api_client.admit.rates import RateLimit
from llm_api_client.errors import LLMAPIClientError
from llm_api_client.prepare.check import check_requests
from llm_api_client.prepare.messages import media
from llm_api_client.prepare.model import ModelDoor
from llm_api_client.prepare.prompt import prompt_of
from llm_api_client.records import Prepared, Usage
from llm_api_client.run.estimate_text import FEW, problems, report

ASSUMED_ANSWER_TOKENS = 500
"""Longest answer that is assumed where a request sets no bound; a model that gives less gives less."""

LEAST_ANSWER_TOKENS = 1
"""Shortest answer that is assumed of any request."""

_PRICES_REMEMBERED = 8_192
"""Prices, each of one model for one size, that are not asked for again: LiteLLM takes twice as long over a price as
all else here takes over a request, and short prompts are often of the same size."""

_BOUNDS = frozenset({"max_tokens", "max_completion_tokens"})
_NEVER_SENT = frozenset({"endpoint"})


class Prepares(Protocol):
    """Makes a request fit its model."""

    def check(self, request: Any) -> str:
        """The model by whose limits a request is admitted."""

    def prepare(self, request: Mapping[str, Any], *, sanitize: bool, count_prompt: bool, exactly: bool) -> Prepared:
        """The request as it would be sent, and its size."""


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """Sums over the requests to one model that would be sent.

    Attributes:
        requests: How many they are.
        prompt_tokens: Tokens of their prompts, after sanitizing and truncation.
        answer_tokens_low: Tokens of their answers, if each has one token.
        answer_tokens_high: Tokens of their answers, if each is as long as the request allows, or as is assumed.
        cost_low: US dollars for the prompts and the shortest answers; None where no price is known.
        cost_high: US dollars for the prompts and the longest answers; None where no price is known.
        unpriced: Requests whose price is not known; they are in neither cost.
        zero_priced: Requests that LiteLLM prices at nothing: free, or of a price that it does not know.
        assumed: Requests that set no bound on the answer, so that one was assumed.
        estimated: Requests whose prompt tokens are not counted but estimated: they have images, sounds or files, or
            the model's tokenizer is not on this machine.
        truncated: Requests whose messages would be cut.
        dropped: Names of parameters that would be dropped, each with the number of requests.
    """

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens_low: int = 0
    answer_tokens_high: int = 0
    cost_low: float | None = None
    cost_high: float | None = None
    unpriced: int = 0
    zero_priced: int = 0
    assumed: int = 0
    estimated: int = 0
    truncated: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "ModelEstimate") -> "ModelEstimate":
        """The sums over the requests of both."""
        return ModelEstimate(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.answer_tokens_low + other.answer_tokens_low,
            self.answer_tokens_high + other.answer_tokens_high,
            _sum(self.cost_low, other.cost_low),
            _sum(self.cost_high, other.cost_high),
            self.unpriced + other.unpriced,
            self.zero_priced + other.zero_priced,
            self.assumed + other.assumed,
            self.estimated + other.estimated,
            self.truncated + other.truncated,
            _merged(self.dropped, other.dropped),
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """A prompt that would be truncated.

    Attributes:
        index: Position of the request.
        tokens: Tokens of the prompt as given.
        left: Tokens of what would be sent.
    """

    index: int
    tokens: int
    left: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What requests would cost and take, each answered once.

    Retries are left out, and so are discounts, such as those for cached prompts.

    Attributes:
        by_model: The sums for each model, by the name that requests use.
        seconds_low: Seconds that the limits alone impose until the last request may go, if the answers are short; None
            where there are no limits. How long answers take to come, and how many are under way, is left out.
        seconds_high: The same, if the answers are long.
        refused: Requests that would fail before they are sent.
        refusals: Why, for the first of them; each error's `index` is the position of its request.
        cuts: The first prompts that would be truncated.
        answer_tokens: Longest answer that was assumed where a request sets no bound.
    """

    by_model: Mapping[str, ModelEstimate]
    seconds_low: float | None = None
    seconds_high: float | None = None
    refused: int = 0
    refusals: tuple[LLMAPIClientError, ...] = ()
    cuts: tuple[Cut, ...] = ()
    answer_tokens: int = ASSUMED_ANSWER_TOKENS

    @property
    def total(self) -> ModelEstimate:
        """The sums over all models."""
        return reduce(add, self.by_model.values(), ModelEstimate())

    @property
    def requests(self) -> int:
        """Requests that would be sent."""
        return self.total.requests

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return self.total.prompt_tokens

    @property
    def answer_tokens_low(self) -> int:
        """Tokens of all answers, if they are short."""
        return self.total.answer_tokens_low

    @property
    def answer_tokens_high(self) -> int:
        """Tokens of all answers, if they are long."""
        return self.total.answer_tokens_high

    @property
    def cost_low(self) -> float | None:
        """US dollars, if the answers are short; None where no price is known."""
        return self.total.cost_low

    @property
    def cost_high(self) -> float | None:
        """US dollars, if the answers are long; None where no price is known."""
        return self.total.cost_high

    @property
    def unpriced(self) -> int:
        """Requests whose price is not known; they are in neither cost."""
        return self.total.unpriced

    @property
    def problems(self) -> tuple[str, ...]:
        """What would not go as it was asked for, or is not known, each in a few lines."""
        return problems(self, "request {}".format)

    def report(self, place: Callable[[int], str]) -> str:
        """All of it for people, at most 80 columns wide; `place` names a request by its position."""
        return report(self, place)

    def __str__(self) -> str:
        return report(self, "request {}".format)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "total": asdict(self.total),
            "by_model": {model: asdict(sums) for model, sums in self.by_model.items()},
            "seconds_low": self.seconds_low,
            "seconds_high": self.seconds_high,
            "assumed_answer_tokens": self.answer_tokens,
            "refused": self.refused,
            "refusals": [
                {"index": error.index, "code": type(error).__name__, "message": error.message}
                for error in self.refusals
            ],
            "cuts": [asdict(cut) for cut in self.cuts],
        }


def estimate(
    requests: Iterable[Mapping[str, Any]],
    *,
    preparer: Prepares,
    door: ModelDoor,
    price: Callable[[str, Usage], float | None],
    limits: Limits,
    complete: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
    sanitize: bool = True,
    answer_tokens: int | None = None,
) -> Estimate:
    """What requests would cost and take. Nothing is sent, and no limit is used up.

    The requests are read once, one by one, and none is kept.

    Args:
        requests: As for a batch.
        preparer: Makes a request fit its model.
        door: What is known of models.
        price: US dollars for a model's usage, or None where that is not known.
        limits: Which limiter admits which model. A request is held to be too large as by a client that has seen no
            answers yet.
        complete: Gives a request the parameters that it leaves open. Default: none.
        sanitize: Whether requests are made to fit their models.
        answer_tokens: Longest answer to assume where a request sets no bound, in tokens. Default 500. Of a model whose
            answers are shorter, its own most.

    Raises:
        InvalidInputError: `requests` is not a list of requests. A single bad request is counted as refused.
    """
    assumed = ASSUMED_ANSWER_TOKENS if answer_tokens is None else answer_tokens
    survey = _Survey(preparer, door, price, limits, complete, assumed, sanitize=sanitize)
    for index, request in enumerate(check_requests(requests)):
        survey.take(index, request)
    return survey.result()


class _Survey:
    """Goes through requests and adds up."""

    def __init__(
        self,
        preparer: Prepares,
        door: ModelDoor,
        price: Callable[[str, Usage], float | None],
        limits: Limits,
        complete: Callable[[Mapping[str, Any]], dict[str, Any]],
        assumed: int,
        *,
        sanitize: bool,
    ) -> None:
        self._preparer = preparer
        self._door = door
        self._price = lru_cache(_PRICES_REMEMBERED)(price)
        self._limits = limits
        self._complete = complete
        self._assumed = assumed
        self._sanitize = sanitize
        self._by_model: dict[str, ModelEstimate] = {}
        self._countable: dict[str, bool] = {}
        self._gates: dict[Limiter, _Gate] = {}
        self._refused = 0
        self._refusals: list[LLMAPIClientError] = []
        self._cuts: list[Cut] = []

    def take(self, index: int, request: Any) -> None:
        """Add one request to the sums, or to the refused."""
        try:
            self._preparer.check(request)
            self._add(index, self._complete(request))
        except LLMAPIClientError as error:
            self._refused += 1
            if len(self._refusals) < FEW:
                error.index = index
                # Its frames would keep the request.
                self._refusals.append(error.with_traceback(None))

    def result(self) -> Estimate:
        """What all came to."""
        gates = [gate for gate in self._gates.values() if gate.limited]
        return Estimate(
            self._by_model,
            max((gate.low.seconds for gate in gates), default=None),
            max((gate.high.seconds for gate in gates), default=None),
            self._refused,
            tuple(self._refusals),
            tuple(self._cuts),
            self._assumed,
        )

    def _add(self, index: int, given: dict[str, Any]) -> None:
        prepared = self._preparer.prepare(given, sanitize=self._sanitize, count_prompt=True, exactly=True)
        model, params, tokens = prepared.model, prepared.params, prepared.prompt_tokens
        low, high = self._answer(prepared)
        bounded = prepared.max_answer_tokens is not None
        self._gate_of(model).admit(tokens, low, high, bounded=bounded)
        prompt = {name: given[name] for name in prepared.operation.prompt if name in given}
        cut = any(params[name] is not value for name, value in prompt.items())
        if cut and len(self._cuts) < FEW:
            whole = {**params, **prompt, "endpoint": prepared.operation.name}
            before = self._preparer.prepare(whole, sanitize=False, count_prompt=True, exactly=True)
            self._cuts.append(Cut(index, before.prompt_tokens, tokens))
        name = _name_with_provider(prepared)
        by_tokens = prepared.operation.priced_by_tokens
        least, most = (self._price(name, Usage(tokens, answer)) if by_tokens else None for answer in (low, high))
        known = least is not None and most is not None
        self._by_model[model] = self._by_model.get(model, ModelEstimate()) + ModelEstimate(
            requests=1,
            prompt_tokens=tokens,
            answer_tokens_low=low,
            answer_tokens_high=high,
            cost_low=least if known else None,
            cost_high=most if known else None,
            unpriced=not known,
            zero_priced=known and most == 0,
            assumed=not bounded,
            estimated=not self._can_count(model) or any(map(media, prompt_of(params, prepared.operation))),
            truncated=cut,
            dropped=dict.fromkeys(_dropped(given, params), 1),
        )

    def _gate_of(self, model: str) -> "_Gate":
        limiter = self._limits.of(model)
        if limiter not in self._gates:
            self._gates[limiter] = _Gate(limiter.limit)
        return self._gates[limiter]

    def _answer(self, prepared: Prepared) -> tuple[int, int]:
        """The least and the most tokens of all the answers to one request."""
        if not prepared.operation.generates:
            return 0, 0
        n = prepared.params.get("n")
        answers = n if isinstance(n, int) and n > 1 else 1
        high = prepared.max_answer_tokens or answers * self._assumed
        if prepared.longest_answer:
            high = min(high, prepared.longest_answer)
        return answers * LEAST_ANSWER_TOKENS, high

    def _can_count(self, model: str) -> bool:
        if model not in self._countable:
            try:
                self._door.count_tokens(model, [])
            except Exception:  # noqa: BLE001  a door may raise anything, and so says that it cannot
                self._countable[model] = False
            else:
                self._countable[model] = True
        return self._countable[model]


class _Gate:
    """What one limiter makes of the requests that it would admit: whether each may go at all, and how late."""

    def __init__(self, limit: RateLimit) -> None:
        self.limited = limit != RateLimit()
        self.low = Forecast(limit)
        self.high = Forecast(limit)

    def admit(self, prompt_tokens: int, low: int, high: int, *, bounded: bool) -> None:
        """Admit a request with the shortest and with the longest answer.

        Raises:
            RequestTooLargeError: The request alone is larger than the limit.
        """
        if self.limited:
            # The longer one first: what it cannot take is in neither sum.
            self.high.admit(prompt_tokens, high, bounded=bounded)
            self.low.admit(prompt_tokens, low, bounded=bounded)


def _name_with_provider(prepared: Prepared) -> str:
    """The model's name as a price list knows it: the same model costs what its provider asks."""
    provider, model = prepared.provider, prepared.model
    return model if provider is None or model.startswith(f"{provider}/") else f"{provider}/{model}"


def _dropped(given: Mapping[str, Any], params: Mapping[str, Any]) -> Iterable[str]:
    """Parameters that would not be sent; a bound on the answer that goes by its other name is not one."""
    gone = given.keys() - params.keys() - _NEVER_SENT
    return gone - _BOUNDS if gone and not _BOUNDS.isdisjoint(params) else gone


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


def _merged(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    if not other or not one:
        return one or other
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
