"""An answer out of a checkpoint, where nobody makes the object again that it was."""

import copy
from typing import Any


class ReplayedAnswer:
    """Stored data that is read like LiteLLM's answers: `answer.choices[0].message.content`, or by `answer["choices"]`.

    Its objects within are of this class too. `model_dump()` gives the data as they are stored.
    """

    __slots__ = ("_data",)

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        # Python asks for names like `__deepcopy__`, and before `_data` is there.
        if name.startswith("_") or name not in self._data:
            message = f"the stored answer has no {name!r}"
            raise AttributeError(message)
        return _readable(self._data[name])

    def __getitem__(self, name: str) -> Any:
        return _readable(self._data[name])

    def __contains__(self, name: object) -> bool:
        return name in self._data

    def model_dump(self) -> dict[str, Any]:
        """The stored data: a copy that is the caller's own."""
        return copy.deepcopy(self._data)

    def __eq__(self, other: object) -> bool:
        return self._data == other._data if isinstance(other, ReplayedAnswer) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # its data can change

    def __repr__(self) -> str:
        return f"ReplayedAnswer({self._data!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ReplayedAnswer, (self._data,)


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return ReplayedAnswer(value)
    return [_readable(item) for item in value] if isinstance(value, list) else value
