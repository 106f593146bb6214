"""Copies of objects, made quickly."""

import gc
import pickle
from collections import OrderedDict
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr

from llm_api_client.call import mould as module
from llm_api_client.call.mould import mould


class Inner(BaseModel):
    """What is within another."""

    number: int = 0


class Loose(BaseModel):
    """Takes anything."""

    model_config = ConfigDict(extra="allow")
    a: Any = None
    inner: Inner | None = None
    _hidden: dict[str, Any] = PrivateAttr(default_factory=dict)


atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
plain = st.recursive(
    atoms,
    lambda part: (
        st.lists(part)
        | st.dictionaries(atoms, part)
        | st.sets(atoms, max_size=1)
        | st.tuples(part, part)
        | st.builds(Loose, a=part)
    ),
)


class Odd:
    """Is made in its own way."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return Odd, (self.number,)


@pytest.fixture
def nothing_pickled(monkeypatch):
    """Fails where an object is pickled."""
    monkeypatch.setattr(module, "pickle", None)


@given(plain)
def test_a_copy_is_what_it_is_a_copy_of(value):
    """Whatever it is made of, to the order of its parts, as pickling has it."""
    copy = mould(value)()
    assert copy == value
    assert repr(copy) == repr(value)


def within(value: Any) -> list[Any]:
    """A value that can be changed, and all such parts of it."""
    if isinstance(value, BaseModel):
        return [value, *within(value.__getstate__())]
    if isinstance(value, dict):
        return [value, *(part for item in value.values() for part in within(item))]
    if isinstance(value, list | tuple):
        return [*[value][: isinstance(value, list)], *(part for item in value for part in within(item))]
    return [value] if isinstance(value, set) else []


@given(plain)
def test_copies_have_nothing_in_common(value):
    """What somebody does to a copy is seen in no other, nor in what it was made of, nor in later copies."""
    make = mould(value)
    some = [value, make(), make()]
    parts = [part for each in some for part in within(each)]
    assert len({id(part) for part in parts}) == sum(len({id(part) for part in within(each)}) for each in some)


def test_what_litellm_makes_is_copied_without_pickling(litellm: ModuleType, nothing_pickled):
    """An answer with all that LiteLLM hides in it: that is what moulds are for."""
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 1}}
    response = litellm.ModelResponse(choices=[{"message": {"content": "Hi"}}, {"index": 1}], usage=usage, odd=[{}])
    response._hidden_params = {"additional_headers": {"a": "b"}, "response_cost": 1e-6}
    copy = mould(response)()
    assert type(copy) is litellm.ModelResponse
    assert copy.model_dump() == response.model_dump()
    assert copy.model_dump(exclude_unset=True) == response.model_dump(exclude_unset=True)
    assert copy._hidden_params == response._hidden_params
    assert copy._hidden_params is not response._hidden_params


def test_later_changes_are_not_copied():
    """A mould is of what was there when it was made."""
    value = Loose(a={"list": [1]}, inner=Inner(number=1))
    make = mould(value)
    value.a["list"].append(2)
    value.inner.number = 2
    value.more = 3
    assert make() == Loose(a={"list": [1]}, inner=Inner(number=1))


@pytest.mark.parametrize("value", [(1, [2]), OrderedDict(a=[1]), Odd(3), {("a",): [1]}, Inner, len, frozenset({1})])
def test_what_is_made_in_another_way_is_pickled(value):
    """Nothing is guessed of an object that does not say that it is a class and a state."""
    copy = mould([value])()[0]
    assert type(copy) is type(value)
    assert getattr(copy, "__dict__", copy) == getattr(value, "__dict__", value)


def test_what_is_in_two_places_stays_one():
    """As in the original, and also where it is within itself."""
    shared = [1]
    copy = mould({"a": shared, "b": [shared]})()
    assert copy["a"] is copy["b"][0]
    shared.append(shared)
    copy = mould(shared)()
    assert copy[1] is copy


def test_what_cannot_be_copied_is_said_at_once():
    """Not when a copy is wanted."""
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        mould([lambda: 1])


def test_a_copy_leaves_nothing_behind():
    """A thousand copies leave no object behind."""
    make = mould([Loose(a={"x": [1]})])
    make()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1_000):
        make()
    assert len(gc.get_objects()) - before < 100
