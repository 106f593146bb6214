"""A provider's account as jobs use it: each call tried again where that may help, its failures this library's."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Protocol, runtime_checkable

from llm_api_client.call import litellm_door
from llm_api_client.call.failure import forget_frames, read_failure, scrub
from llm_api_client.call.judge import Where, judge_failure
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.clock import Clock
from llm_api_client.errors import APICallException, NotFoundError, RateLimitError, RequestTimeoutError, ServerError
from llm_api_client.records import Kind
from llm_api_client.secrets import scrubbed, secrets_in

logger = logging.getLogger(__name__)

MOST_TRIES = 5
"""How often a call is made at most that may succeed later."""

SECONDS_TO_ASK = 60.0
"""Longest time for a call that says how a job stands."""

SECONDS_TO_TRANSFER = 600.0
"""Longest time for a call that sends or fetches a file."""

PAGE = 100
MOST_PAGES = 10
"""Where a job is looked for that may have been made: among the newest thousand."""

_MAY_PASS = frozenset({Kind.RATE_LIMITED, Kind.TRANSIENT})
# What the judge advises of these is for requests: a job may have a wrong id, and has been tried again already.
_ADVISED_OTHERWISE = (NotFoundError, RateLimitError, RequestTimeoutError, ServerError)
_ADDRESSES = ("api_base", "base_url")
_CONNECTION = ("api_version", "azure_ad_token", "organization")


@runtime_checkable
class AsksForKey(Protocol):
    """A key that somebody is asked for."""

    def get(self) -> str:
        """The key; asks for it where it is not known."""

    def another(self, key: str, kind: Kind) -> bool:
        """Whether a call with `key`, which came to `kind`, may go again with another."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What all accounts of a client share.

    Attributes:
        retry: How long to wait between tries.
        clock: Tells the time, and waits.
        chance: A random number from 0 to 1.
        check_open: Raises if the client is closed.
        perform: Makes one call: LiteLLM's, by the name of its function.
    """

    retry: RetryPolicy
    clock: Clock
    chance: Callable[[], float]
    check_open: Callable[[], None]
    perform: Callable[..., Any] = litellm_door.file_call

    def sleep(self, seconds: float) -> None:
        """Wait."""
        until = self.clock.now() + seconds
        while (left := until - self.clock.now()) > 0:
            try:
                self.clock.wait(SimpleQueue[None](), left)
            except Empty:
                continue


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a provider, for the jobs of one model.

    Attributes:
        desk: What all accounts share.
        model: The model, as requests name it.
        provider: LiteLLM's name of the provider.
        connection: Where it is, and which part of it is asked; without a key.
        key: The key, or who is asked for it; None where LiteLLM finds one by itself.
    """

    desk: Desk
    model: str
    provider: str
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)
    key: str | AsksForKey | None = field(default=None, repr=False)

    @classmethod
    def of(cls, desk: Desk, model: str, provider: str, params: Mapping[str, Any]) -> "Account":
        """The account that a call with these parameters would be made with."""
        connection = {name: params[name] for name in _CONNECTION if params.get(name) is not None}
        base_url = next((params[name] for name in _ADDRESSES if params.get(name)), None)
        if base_url is not None:
            connection["api_base"] = str(base_url)
        return cls(desk, model, provider, connection, params.get("api_key"))

    @property
    def identity(self) -> tuple[Any, ...]:
        """By what accounts are told apart."""
        key = self.key if isinstance(self.key, str) else id(self.key)
        return self.model, self.provider, key, *sorted((name, str(value)) for name, value in self.connection.items())

    def call(
        self,
        name: str,
        what: str,
        *,
        seconds: float = SECONDS_TO_ASK,
        made: Callable[[], Any] = lambda: None,
        patient: bool = True,
        **arguments: Any,
    ) -> Any:
        """Call LiteLLM's function `name`, again where that may help.

        Args:
            name: The function's name.
            what: What is done, for messages: "uploading part 1 of 3".
            seconds: Longest time for one try.
            made: Looks for what a call has made that seemed to fail; None if there is none. Asked before each further
                try, since making it twice would be paid for twice.
            patient: Whether it is tried again at all.
            arguments: What the function takes.

        Raises:
            APICallException: It failed for good, or once too often.
        """
        tries, asked_again = 0, False
        while True:
            self.desk.check_open()
            key = self.key.get() if isinstance(self.key, AsksForKey) else self.key
            tries += 1
            try:
                answer = self._perform(name, key, seconds, arguments)
            except Exception as raised:  # noqa: BLE001  the judge says what it means
                kind, error = self._judged(raised, key, what, tries)
            else:
                if isinstance(self.key, AsksForKey):
                    # A key that has served may wear out, and another be asked for: jobs outlive many.
                    self.key.another(str(key), Kind.ANSWERED)
                return answer
            if kind is Kind.KEY_REFUSED and isinstance(self.key, AsksForKey) and not asked_again:
                asked_again = True
                if self.key.another(str(key), kind):
                    continue
            if kind not in _MAY_PASS or not patient or tries >= MOST_TRIES:
                raise error
            delay = self.desk.retry.delay(tries, error.retry_after, self.desk.chance())
            logger.warning("%s It is tried again in %.1f s.", error.message, delay)
            self.desk.sleep(delay)
            found = None if kind is Kind.RATE_LIMITED else made()
            if found is not None:
                return found

    def listed(self, name: str, what: str) -> Iterator[Mapping[str, Any]]:
        """What LiteLLM's function `name` lists, page by page, the newest first."""
        after: dict[str, Any] = {}
        for _ in range(MOST_PAGES):
            page = self.call(name, what, limit=PAGE, **after)
            data = page.get("data") or []
            yield from data
            if not data or not page.get("has_more"):
                return
            after = {"after": data[-1]["id"]}

    def upload(self, name: str, content: bytes, purpose: str, what: str) -> str:
        """Upload a file; gives the provider's id of it."""
        file = (name, content, "application/jsonl")
        return str(self.call("create_file", what, seconds=SECONDS_TO_TRANSFER, file=file, purpose=purpose)["id"])

    def content(self, file_id: str, what: str) -> bytes:
        """A file's content."""
        return bytes(self.call("file_content", what, seconds=SECONDS_TO_TRANSFER, file_id=file_id))

    def _perform(self, name: str, key: str | None, seconds: float, arguments: Mapping[str, Any]) -> Any:
        connection = {**self.connection, "timeout": seconds}
        if key is not None:
            connection["api_key"] = key
        return self.desk.perform(name, self.provider, connection, **arguments)

    def _judged(self, raised: Exception, key: str | None, what: str, tries: int) -> tuple[Kind, APICallException]:
        secrets = secrets_in(self.connection) | ({key} if key else set()) | litellm_door.keys_of_the_house()
        failure = read_failure(raised, self.desk.clock.wall())
        where = Where(self.model, self.provider, self.connection.get("api_base"))
        verdict = judge_failure(failure, where, secrets)
        error = verdict.error
        if not isinstance(error, APICallException):
            raise TypeError("the judge gave no error for a failure")
        scrub(raised, secrets)
        forget_frames(raised)
        message = f"{what} failed: {error.message}"
        if isinstance(error, _ADVISED_OTHERWISE):
            said = f"{failure.status} from {where}" if failure.status else f"no answer from {where}"
            advice = f"It was tried {tries} times; try again later." if tries >= MOST_TRIES else ""
            if isinstance(error, NotFoundError):
                advice = "Check the id, and that the key and base_url are those of the account that has it."
            message = f"{what} failed: {said}: {scrubbed(failure.message.rstrip('.'), secrets)}. {advice}".strip()
        facts = {name: value for name, value in vars(error).items() if name != "message"}
        again = type(error)(message, **facts)
        again.__cause__ = raised
        return verdict.kind, again
