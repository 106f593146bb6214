"""Copies of one object, in half the time that pickling takes: what it is made of is found out once.

An object tells by the protocol of `pickle` what it is made of. A mould follows it for plain data, and for objects that
are a class's `__new__` and a state, as Pydantic's are. Of all else it pickles the whole.
"""

import copyreg
import pickle
from collections.abc import Callable
from typing import Any

Make = Callable[[], Any]
"""Makes one more copy."""

_ATOMS = frozenset({bool, bytes, complex, float, int, str, type(None)})


class _NotFollowedError(Exception):
    """Something is made in another way, or has a part that is in two places."""


def mould(value: Any) -> Make:
    """What makes copies of `value` as it is now. No two of them have anything in common that can be changed.

    Raises:
        Exception: It has a part that cannot be pickled.
    """
    try:
        return _Mould().of(value)
    except (_NotFollowedError, RecursionError):
        pickled = pickle.dumps(value, protocol=5)
        return lambda: pickle.loads(pickled)  # noqa: S301  pickled by this process


class _Mould:
    """Follows one object into its parts."""

    def __init__(self) -> None:
        # What was met before, by identity; kept, for the identity of what is gone may be another's.
        self._met: dict[int, Any] = {}

    def of(self, value: Any) -> Make:
        """What makes copies of a part.

        Raises:
            _NotFollowedError: It must be pickled.
        """
        kind = type(value)
        if kind in _ATOMS:
            return lambda: value
        if id(value) in self._met:
            raise _NotFollowedError
        self._met[id(value)] = value
        if kind is dict:
            return self._of_dict(value)
        if kind is list:
            return self._of_list(value)
        if kind is set and _ATOMS.issuperset(map(type, value)):
            return set(value).copy
        return self._of_object(value)

    def _of_dict(self, value: dict[Any, Any]) -> Make:
        if not _ATOMS.issuperset(map(type, value)):
            raise _NotFollowedError
        # With a place for each part, so that a copy has them in their order.
        plain = {name: item if type(item) in _ATOMS else None for name, item in value.items()}
        makes = [(name, self.of(item)) for name, item in value.items() if type(item) not in _ATOMS]
        if not makes:
            return plain.copy

        def make() -> dict[Any, Any]:
            made = plain.copy()
            for name, part in makes:
                made[name] = part()
            return made

        return make

    def _of_list(self, value: list[Any]) -> Make:
        if _ATOMS.issuperset(map(type, value)):
            return list(value).copy
        makes = [self.of(item) for item in value]
        return lambda: [make() for make in makes]

    def _of_object(self, value: Any) -> Make:
        kind: Any = type(value)
        set_state = getattr(kind, "__setstate__", None)
        if set_state is None or kind.__reduce_ex__ is not object.__reduce_ex__:
            raise _NotFollowedError
        made_by, arguments, state, *items = value.__reduce_ex__(5)
        # What `pickle` itself names where an object is made by its class's `__new__`.
        if made_by is not copyreg.__newobj__ or arguments != (kind,) or any(part is not None for part in items):  # type: ignore[attr-defined]  # typeshed lacks it
            raise _NotFollowedError
        new, make_state = kind.__new__, self.of(state)

        def make() -> Any:
            made = new(kind)
            set_state(made, make_state())
            return made

        return make
