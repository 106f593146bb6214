"""Requests on their way into files: made to fit their models, written as a provider takes them, and sorted."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from llm_api_client.call import litellm_door
from llm_api_client.call.failure import forget_frames, read_failure
from llm_api_client.call.judge import Where, judge_failure
from llm_api_client.errors import InvalidInputError, LLMAPIClientError, RequestTooLargeError
from llm_api_client.jobs.account import Account, Desk
from llm_api_client.jobs.lines import Asked, line_of
from llm_api_client.jobs.parts import Part, Pile, Refused
from llm_api_client.operations import Operation
from llm_api_client.records import Prepared
from llm_api_client.secrets import is_secret_name, secrets_in

PROVIDERS = ("openai", "azure")
"""Providers whose batches LiteLLM serves as OpenAI's."""

OPERATIONS = ("chat", "completion", "embeddings")
"""What may be asked for in batches."""

_WHERE_TO = frozenset(
    {"api_base", "api_version", "azure_ad_token", "base_url", "custom_llm_provider", "endpoint",
     "organization", "stream", "stream_options"}
)  # fmt: skip
_HEADERS = ("default_headers", "extra_headers", "headers")

Item = tuple[str | None, Any]
"""A request and the caller's own name of it, or None; an error in the request's place is why there is none."""


class Prepares(Protocol):
    """Makes a request fit its model."""

    def check(self, request: Any) -> str:
        """The request's model; raises for what is none."""

    def prepare(self, request: Mapping[str, Any], *, sanitize: bool, count_prompt: bool, exactly: bool) -> Prepared:
        """The request as it would be sent."""


@dataclass(frozen=True, slots=True)
class Drafting:
    """How requests become lines of files.

    Attributes:
        desk: What all accounts share.
        preparer: Makes a request fit its model.
        provider_of: LiteLLM's name of the provider that a call with these parameters goes to, or None.
        complete: Gives a request the parameters that it leaves open.
        sanitize: Whether requests are made to fit their models.
        max_requests: Requests of a file.
        max_bytes: Bytes of a file.
    """

    desk: Desk
    preparer: Prepares
    provider_of: Callable[[Mapping[str, Any]], str | None]
    complete: Callable[[Mapping[str, Any]], dict[str, Any]]
    sanitize: bool
    max_requests: int
    max_bytes: int

    def sort(self, items: Iterable[Item]) -> tuple[int, list[Part], dict[int, Refused]]:
        """How many requests there are, the files that they make, and those that can be in none."""
        piles: dict[tuple[Any, ...], Pile] = {}
        refused: dict[int, Refused] = {}
        number = 0
        for index, (name, request) in enumerate(items):
            number = index + 1
            try:
                self._add(piles, Asked(index, name, None), request)
            except LLMAPIClientError as error:
                error.index = index
                refused[index] = Refused(error.with_traceback(None), name)
        for pile in piles.values():
            pile.close()
        return number, [part for pile in piles.values() for part in pile.parts], refused

    def _add(self, piles: dict[tuple[Any, ...], Pile], asked: Asked, request: Any) -> None:
        if isinstance(request, LLMAPIClientError):
            raise request
        self.preparer.check(request)
        given = self.complete(request)
        prepared = self.preparer.prepare(given, sanitize=self.sanitize, count_prompt=False, exactly=False)
        operation = prepared.operation
        provider = _checked(prepared, prepared.provider or self.provider_of(prepared.params))
        account = Account.of(self.desk, prepared.model, provider, prepared.params)
        body = self._body(prepared, account, operation)
        try:
            line = line_of(asked.index, asked.name, operation.path, body)
        except (TypeError, ValueError, RecursionError) as wrong:
            raise InvalidInputError(f"the request has no form in JSON: {wrong}; give plain data") from None
        if len(line) > self.max_bytes:
            message = f"The request alone has {len(line):,} bytes, and a file may have {self.max_bytes:,}. Shorten it."
            raise RequestTooLargeError(message)
        key = (*account.identity, operation.path)
        if key not in piles:
            piles[key] = Pile(account, operation.path, self.max_requests, self.max_bytes)
        piles[key].add(asked, line, _weight(body))

    def _body(self, prepared: Prepared, account: Account, operation: Operation) -> dict[str, Any]:
        params = prepared.params
        for name in _HEADERS:
            if params.get(name):
                raise InvalidInputError(
                    f'"{name}" cannot be sent: the requests of a batch have no headers of their own'
                )
        sent = {name: value for name, value in params.items() if name not in _WHERE_TO and not is_secret_name(name)}
        try:
            return litellm_door.batch_body(sent, account.provider, is_chat=operation.is_chat)
        except Exception as raised:  # noqa: BLE001  whatever it is, it spoils this request only
            where = Where(account.model, account.provider)
            failure = read_failure(raised, self.desk.clock.wall())
            error = judge_failure(failure, where, secrets_in(params)).error or LLMAPIClientError(failure.message)
            forget_frames(raised)
            raise error from None


def _checked(prepared: Prepared, provider: str | None) -> str:
    """The provider, if it serves such requests in batches.

    Raises:
        InvalidInputError: It does not.
    """
    operation = prepared.operation
    if operation.name not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        raise InvalidInputError(f'"endpoint" is "{operation.name}", which batches do not take; they take {known}')
    if provider is None:
        raise InvalidInputError(
            f'"model" {prepared.model!r} is of no provider that LiteLLM knows; name it before the model, as in '
            f'"openai/{prepared.model}"'
        )
    if provider not in PROVIDERS:
        known = " and ".join(PROVIDERS)
        raise InvalidInputError(f'"model" is of {provider}, and batches go to {known} only; use make_requests for it')
    return provider


def _weight(body: Mapping[str, Any]) -> int:
    """How many requests it is to the provider, which counts texts to be embedded one by one."""
    texts = body.get("input")
    return len(texts) if isinstance(texts, list) and texts and isinstance(texts[0], (str, list)) else 1
