"""Keys that are asked for: a callable gives one when it is first needed, and another once that one was refused."""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from llm_api_client.call.failure import scrub
from llm_api_client.errors import ConfigurationError
from llm_api_client.records import Kind

_PROOFS = frozenset({Kind.ANSWERED, Kind.INVALID})


class AskedKey:
    """A key that a callable gives. Used from any thread; who needs the key while the callable is asked waits for it.

    The callable is asked again once for a key that was refused. What it gave then is refused for good, unless a call
    was answered with it before: keys wear out, but one that never served is no reason to ask for a third.

    Args:
        ask: Gives the key.
    """

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        # The lock guards which answer is the last. Nobody asks, or waits for an answer, under it.
        self._lock = Lock()
        self._last: _Answer | None = None

    @property
    def current(self) -> str | None:
        """The key, or None where it is not known. Asks for nothing."""
        last = self._last
        return None if last is None else last.key

    def get(self) -> str:
        """The key; asks for it where it is not known.

        Raises:
            ConfigurationError: The callable has raised, or has given no key. It is not asked again before `renew`.
        """
        with self._lock:
            last = self._last
            if last is None:
                last = self._last = _Answer(self._ask)
        return last.wait()

    def another(self, key: str, kind: Kind) -> bool:
        """Whether a call with `key`, which came to `kind`, may go again with another; asks for that one where need be.

        Raises:
            ConfigurationError: As for `get`.
        """
        last = self._last
        if kind is not Kind.KEY_REFUSED:
            if kind in _PROOFS and last is not None and last.key == key:
                last.served = True
            return False
        with self._lock:
            last = self._last
            if last is not None and last.key == key and not last.may_wear_out:
                last.is_over = True
                return False
            if last is None or last.key == key:
                last = self._last = _Answer(self._ask, instead_of=key)
        if last.wait() != key:
            return True
        last.is_over = True
        return False

    def renew(self) -> None:
        """Ask again for a key that could not be had, or was refused for good: a new batch may have better luck."""
        with self._lock:
            if self._last is not None and self._last.is_over:
                self._last = None


class CarriedKey:
    """The key of one request, whose parameters have it, or what asks for it, or neither."""

    __slots__ = ("_params", "_refused", "_went_again")

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._refused: Any = None
        self._went_again = False

    @property
    def current(self) -> Any:
        """The key that was refused, or else the one that a call would carry now; None where that is not known."""
        key = self._params.get("api_key")
        return (self._refused or key.current) if isinstance(key, AskedKey) else key

    @property
    def is_asked(self) -> bool:
        """Whether the key must be asked for, which may take any time."""
        return isinstance(self._params.get("api_key"), AskedKey)

    def params_to_send(self) -> Mapping[str, Any]:
        """The parameters with the key itself; waits where it must be asked for.

        Raises:
            ConfigurationError: It cannot be had.
        """
        key = self._params.get("api_key")
        return {**self._params, "api_key": key.get()} if isinstance(key, AskedKey) else self._params

    def goes_again(self, sent: Mapping[str, Any], kind: Kind) -> bool:
        """Whether a call, sent so and come to `kind`, goes again with another key: once, and that call for nothing.

        Raises:
            ConfigurationError: The other key cannot be had.
        """
        asked = self._params.get("api_key")
        if not isinstance(asked, AskedKey):
            return False
        if asked.another(sent["api_key"], kind) and not self._went_again:
            self._went_again = True
            return True
        if kind is Kind.KEY_REFUSED:
            self._refused = sent["api_key"]
        return False


class _Answer:
    """What the callable says when it is asked once: by the first who waits for it; the others wait for that one."""

    def __init__(self, ask: Callable[[], Any], *, instead_of: str | None = None) -> None:
        self._ask = ask
        self._instead_of = instead_of
        self._said: str | None = None
        self._raised: BaseException | None = None
        # Held while the callable is asked; guards what it said and raised.
        self._lock = Lock()
        self.key: str | None = None
        """The key, once it is known."""
        self.served = False
        """Whether a call was answered with it."""
        self.is_over = False
        """Whether there is no key, or none that is any good."""

    @property
    def may_wear_out(self) -> bool:
        """Whether a refusal of the key is a reason to ask for another."""
        return self._instead_of is None or (self.served and self.key != self._instead_of)

    def wait(self) -> str:
        """The key.

        Raises:
            ConfigurationError: There is none; a new one for each who waits.
        """
        with self._lock:
            if self.key is None and not self.is_over:
                self._find_out()
        if self.key is None:
            raise ConfigurationError(self._said or "") from self._raised
        return self.key

    def _find_out(self) -> None:
        try:
            key = self._ask()
        except BaseException as raised:
            scrub(raised, [self._instead_of] if self._instead_of else [])
            self.is_over, self._raised = True, raised
            self._said = f"The callable given as api_key raised {type(raised).__name__}; it is this error's __cause__."
            if not isinstance(raised, Exception):
                raise
        else:
            if _is_key(key):
                self.key = key
            else:
                self.is_over = True
                self._said = f"The callable given as api_key gave {_kind(key)}; it must give a non-empty string."


def key_or_asked(value: Any) -> str | AskedKey:
    """A key as an option gives it: itself, or what asks for it.

    Raises:
        ConfigurationError: It is neither a key nor a callable. The message does not show it.
    """
    if _is_key(value):
        return str(value)
    if callable(value):
        return AskedKey(value)
    message = f"api_key is {_kind(value)}; give a non-empty string, or a callable that gives one."
    raise ConfigurationError(message)


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _kind(value: Any) -> str:
    """What a value is, in words, without showing it."""
    return "an empty string" if isinstance(value, str) else "None" if value is None else f"a {type(value).__name__}"
