"""Which providers and models there are, what they take and cost: LiteLLM's table, offline and without a key."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from datetime import date
from difflib import get_close_matches
from math import isfinite
from textwrap import fill
from typing import Any, NamedTuple, Protocol, overload

from llm_api_client.errors import InvalidInputError

Row = Mapping[str, Any]

COLUMNS = 80
_MILLION = 1_000_000
_FEW = 3
_SUPPORTS = "supports_"
# Rows that price a size, a commitment or a class of models, and the sample: no request names them.
_NOT_A_MODEL = re.compile(
    r"(?:\d+|max)-x-(?:\d+|max)/|-month-commitment/|^(?:fireworks|together)-ai-|^sample_spec$", re.IGNORECASE
)


class ModelTable(Protocol):
    """What the catalog reads. No method asks the network."""

    def rows(self) -> Mapping[str, Row]:
        """A copy of LiteLLM's table as it is now: each model's row by its name there."""

    def provider(self, name: str) -> str | None:
        """LiteLLM's name of the provider that a request for `name` would go to, or None if it finds none."""

    def supported_params(self, name: str, mode: str | None) -> frozenset[str] | None:
        """OpenAI parameters that the model takes, or None if unknown."""

    def shares_window(self, name: str) -> bool:
        """Whether prompt and answer together must fit into the largest prompt."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What LiteLLM's table says of one model. None means that it does not say; no figure is made up.

    Prices are US dollars for one token, without surcharges for long prompts and without discounts by time of day.

    Attributes:
        model: The model as a request names it.
        provider: LiteLLM's name of the provider.
        mode: What it is for: "chat", "embedding", "image_generation", …
        max_input_tokens: Largest prompt in tokens.
        max_output_tokens: Largest answer in tokens.
        context_window: Prompt and answer together, in tokens.
        input_cost_per_token: Price of the prompt.
        output_cost_per_token: Price of the answer.
        cache_read_cost_per_token: Price of a prompt that the provider has in its cache.
        cache_write_cost_per_token: Price of a prompt that it puts there.
        batch_input_cost_per_token: Price of the prompt through the provider's own batch service.
        batch_output_cost_per_token: Price of the answer through it.
        output_vector_size: Dimensions of an embedding.
        deprecation_date: From when on the provider may no longer serve it.
        supported_params: OpenAI's parameters of chats and completions that it takes; others are dropped from requests.
        raw_info: A copy of the table's row, with whatever else it says.
    """

    model: str
    provider: str
    mode: str | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    context_window: int | None = None
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    cache_read_cost_per_token: float | None = None
    cache_write_cost_per_token: float | None = None
    batch_input_cost_per_token: float | None = None
    batch_output_cost_per_token: float | None = None
    output_vector_size: int | None = None
    deprecation_date: date | None = None
    supports_function_calling: bool | None = None
    supports_parallel_function_calling: bool | None = None
    supports_tool_choice: bool | None = None
    supports_response_schema: bool | None = None
    supports_system_messages: bool | None = None
    supports_assistant_prefill: bool | None = None
    supports_vision: bool | None = None
    supports_pdf_input: bool | None = None
    supports_audio_input: bool | None = None
    supports_audio_output: bool | None = None
    supports_video_input: bool | None = None
    supports_prompt_caching: bool | None = None
    supports_reasoning: bool | None = None
    supports_web_search: bool | None = None
    supports_computer_use: bool | None = None
    supported_params: frozenset[str] | None = None
    raw_info: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def input_cost_per_million(self) -> float | None:
        """US dollars for a million tokens of prompt."""
        return _per_million(self.input_cost_per_token)

    @property
    def output_cost_per_million(self) -> float | None:
        """US dollars for a million tokens of answer."""
        return _per_million(self.output_cost_per_token)

    def to_dict(self) -> dict[str, Any]:
        """All but `raw_info` as plain data that JSON can hold."""
        data = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "raw_info"}
        return data | {
            "input_cost_per_million": self.input_cost_per_million,
            "output_cost_per_million": self.output_cost_per_million,
            "deprecation_date": None if self.deprecation_date is None else self.deprecation_date.isoformat(),
            "supported_params": None if self.supported_params is None else sorted(self.supported_params),
        }

    def __str__(self) -> str:
        """What is known, a line for each part, at most 80 columns wide."""
        supports = [
            each.name.removeprefix(_SUPPORTS).replace("_", " ")
            for each in fields(self)
            if each.name.startswith(_SUPPORTS) and getattr(self, each.name)
        ]
        parts = {
            "tokens": _joined((self.context_window, "in all"), (self.max_output_tokens, "of answer"), as_text=tokens),
            "vectors": _joined((self.output_vector_size, "dimensions"), as_text=tokens),
            "price": _priced((self.input_cost_per_token, "in"), (self.output_cost_per_token, "out")),
            "cached": _priced((self.cache_read_cost_per_token, "read"), (self.cache_write_cost_per_token, "written")),
            "in batches": _priced((self.batch_input_cost_per_token, "in"), (self.batch_output_cost_per_token, "out")),
            "supports": ", ".join(supports),
            "deprecated": "" if self.deprecation_date is None else f"from {self.deprecation_date}",
        }
        head = f"{self.model} ({', '.join(filter(None, (self.provider, self.mode)))})"
        lines = [
            fill(f"  {name:<12}{text}", COLUMNS, subsequent_indent=" " * 14) for name, text in parts.items() if text
        ]
        return "\n".join([fill(head, COLUMNS, break_long_words=False, break_on_hyphens=False), *lines])


class _Named(NamedTuple):
    """A row of the table, and how requests reach its model."""

    model: str
    provider: str
    row: Row


class Catalog:
    """Providers and models that requests can name.

    What the user adds with `litellm.register_model` is there at once. Safe to use from many threads.

    Args:
        table: Where it is read.
    """

    def __init__(self, table: ModelTable) -> None:
        self._table = table
        # (key of a row, its provider): the name and the provider of requests, or None. Finding one takes 30 µs, and
        # there are thousands; each stays as it is, so that threads may find the same one twice.
        self._routes: dict[tuple[str, str | None], tuple[str, str] | None] = {}

    def providers(self) -> list[str]:
        """LiteLLM's names of all providers that have models in its table, sorted."""
        return sorted({named.provider for named in self._listed().values()})

    def models(self, provider: str | None = None, *, mode: str | None = None) -> list[str]:
        """Models as requests name them, sorted.

        Args:
            provider: LiteLLM's name of a provider. Left out, models of all.
            mode: What they are for: "chat", "embedding", "image_generation", … Left out, all.

        Raises:
            InvalidInputError: The table has no models of this provider, or none at all of this mode.
        """
        listed = self._listed().values()
        if provider is not None:
            _check("no models of the provider", provider, {named.provider for named in listed})
        if mode is not None:
            _check("no models of the mode", mode, {str(named.row.get("mode")) for named in listed})
        return sorted(
            named.model
            for named in listed
            if provider in (None, named.provider) and (mode is None or mode == named.row.get("mode"))
        )

    @overload
    def model_info(self, model: str, /) -> ModelInfo: ...
    @overload
    def model_info(self, *, model: str) -> ModelInfo: ...
    @overload
    def model_info(self, provider: str | None, model: str) -> ModelInfo: ...
    def model_info(self, provider: str | None = None, model: str | None = None) -> ModelInfo:
        """What the table says of one model, named as a request would: `model_info("gpt-4o-mini")`.

        Args:
            provider: LiteLLM's name of its provider; may be left out.
            model: The model, with or without its provider before it.

        Raises:
            InvalidInputError: The table has no such model.
        """
        if model is None:
            provider, model = None, provider
        if not isinstance(model, str):
            raise InvalidInputError("model_info takes the name of a model, such as model_info('gpt-4o-mini')")
        for name in (model,) if provider is None else (model, f"{provider}/{model}"):
            named = self._find(name)
            if named is not None and provider in (None, named.provider):
                return self._info(named)
        raise InvalidInputError(self._unknown(provider, model))

    def infos(self, models: Iterable[str]) -> list[ModelInfo]:
        """What the table says of each of the models that `models()` gives; others are left out."""
        listed = self._listed()
        return [self._info(listed[model]) for model in models if model in listed]

    def counts(self, mode: str | None = None) -> dict[str, int]:
        """How many models each provider has, by its name, sorted; as for `models`."""
        listed = self._listed()
        return dict(sorted(Counter(listed[model].provider for model in self.models(mode=mode)).items()))

    def _listed(self) -> dict[str, _Named]:
        found: dict[str, _Named] = {}
        for key, row in self._table.rows().items():
            named = self._named(key, row)
            # Some models have a row under their bare name too, which no request could use.
            if named is not None and (key == named.model or named.model not in found):
                found[named.model] = named
        return found

    def _named(self, key: str, row: Row) -> _Named | None:
        """A row with the name that leads LiteLLM to its provider: its key, or its key after its provider."""
        place = key, row.get("litellm_provider")
        if place not in self._routes:
            self._routes[place] = self._route(*place)
        route = self._routes[place]
        return None if route is None else _Named(*route, row)

    def _route(self, key: str, provider: str | None) -> tuple[str, str] | None:
        if _NOT_A_MODEL.search(key):
            return None
        names = [key]
        if provider is not None:
            # Amazon Nova's rows begin with "amazon-nova/", and requests with "amazon_nova/".
            names.append(f"{provider}/{key.removeprefix(provider.replace('_', '-') + '/')}")
        return next(((name, found) for name in names if (found := self._table.provider(name))), None)

    def _find(self, name: str) -> _Named | None:
        rows = self._table.rows()
        for key in (name, name.partition("/")[2]):
            if key not in rows:
                continue
            named = self._named(key, rows[key])
            if named is not None and key == name:
                return named
            provider = self._table.provider(name)
            if named is not None and named.provider == provider:
                return named
            # Registered by the user for whoever serves it.
            if named is None and provider is not None and rows[key].get("litellm_provider") is None:
                return _Named(name, provider, rows[key])
        return self._listed().get(name)

    def _info(self, named: _Named) -> ModelInfo:
        model, provider, row = named
        mode = row.get("mode")
        supports = (each.name for each in fields(ModelInfo) if each.name.startswith(_SUPPORTS))
        most_in = _whole(row.get("max_input_tokens")) or _whole(row.get("max_tokens"))
        most_out = _whole(row.get("max_output_tokens"))
        apart = not self._table.shares_window(model)
        return ModelInfo(
            model,
            provider,
            mode if isinstance(mode, str) else None,
            max_input_tokens=most_in,
            max_output_tokens=most_out,
            context_window=most_in + (most_out or 0) if most_in and apart else most_in,
            input_cost_per_token=_price(row, "input_cost_per_token"),
            output_cost_per_token=_price(row, "output_cost_per_token"),
            cache_read_cost_per_token=_price(row, "cache_read_input_token_cost"),
            cache_write_cost_per_token=_price(row, "cache_creation_input_token_cost"),
            batch_input_cost_per_token=_price(row, "input_cost_per_token_batches"),
            batch_output_cost_per_token=_price(row, "output_cost_per_token_batches"),
            output_vector_size=_whole(row.get("output_vector_size")),
            deprecation_date=_date(row.get("deprecation_date")),
            supported_params=self._table.supported_params(model, mode),
            raw_info=deepcopy(dict(row)),
            **{name: row[name] for name in supports if isinstance(row.get(name), bool)},
        )

    def _unknown(self, provider: str | None, model: str) -> str:
        listed = self._listed().values()
        if provider is not None:
            _check("no models of the provider", provider, {named.provider for named in listed})
        names = [named.model for named in listed if provider in (None, named.provider)]
        whose = "" if provider is None else f" of {provider}"
        return f"LiteLLM's table has no model {model!r}{whose}{_hint(model, names)}"


def _check(what: str, name: str, known: Iterable[str]) -> None:
    if name not in (known := set(known)):
        message = f"LiteLLM's table has {what} {name!r}{_hint(name, known)}"
        raise InvalidInputError(message)


def _hint(name: str, known: Iterable[str]) -> str:
    """The end of a message: names that may have been meant. First those that have it in them, the shortest first."""
    by_lower = {each.lower(): each for each in sorted(known, reverse=True)}
    wanted = name.lower()
    bare = wanted.rpartition("/")[2]
    found = sorted((each for each in by_lower if each == bare or wanted in each), key=lambda each: (len(each), each))
    found = found or get_close_matches(wanted, by_lower, _FEW) or get_close_matches(bare, by_lower, _FEW)
    return f"; did you mean {' or '.join(by_lower[each] for each in found[:_FEW])}?" if name and found else ""


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _price(row: Row, name: str) -> float | None:
    """A row's own price, else that of the first of its tiers, which holds for short prompts."""
    tiers = row.get("tiered_pricing")
    first = tiers[0] if isinstance(tiers, list) and tiers and isinstance(tiers[0], dict) else {}
    return _number(first.get(name) if row.get(name) is None else row[name])


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):  # a user's registration may hold anything
        return None
    return number if isfinite(number) else None


def _date(value: Any) -> date | None:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def _per_million(price: float | None) -> float | None:
    # Rounded: 5e-08 times a million is 0.049999999999999996.
    return None if price is None else round(price * _MILLION, 9)


def tokens(number: int | None) -> str:
    """A number of tokens, or a dash where it is not known."""
    return "-" if number is None else f"{number:,}"


def dollars(amount: float | None) -> str:
    """US dollars with two digits after the point, or as many as there are up to six; a dash where not known."""
    if amount is None:
        return "-"
    whole, _, rest = f"{amount:,.6f}".partition(".")
    return f"{whole}.{rest.rstrip('0'):0<2}"


def _joined(*parts: tuple[Any, str], as_text: Any) -> str:
    return ", ".join(f"{as_text(value)} {what}" for value, what in parts if value is not None)


def _priced(*parts: tuple[float | None, str]) -> str:
    text = _joined(*parts, as_text=lambda price: f"${dollars(_per_million(price))}")
    return text and f"{text}, per million tokens"
