"""Who goes first, and how long the others wait."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llm_api_client.call.turns import FIRST, MOST_KINDS, Turns


class Line:
    """Those who come, in their order."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.went_on: list[int] = []

    def come(self, number: int, kind: bytes = b"one") -> bool:
        """Whether one goes first."""
        return self.turns.goes_first(kind, self._goes_on(number))

    def _goes_on(self, number: int) -> Callable[[], None]:
        return lambda: self.went_on.append(number)


def test_the_others_wait_until_it_is_known():
    """A few go first; what they learn frees all others, once, in their order, before the first have ended."""
    line = Line()
    assert [line.come(number) for number in range(5)] == [True] * FIRST + [False] * (5 - FIRST)
    assert line.went_on == []
    line.turns.known(b"one")
    assert line.went_on == list(range(FIRST, 5))
    for _ in range(FIRST):
        line.turns.ends(b"one", is_known=False)
    assert line.went_on == list(range(FIRST, 5))


def test_kinds_do_not_wait_for_each_other():
    """Those who go first of one kind hold up nobody of another."""
    line = Line()
    for number in range(FIRST + 1):
        line.come(number)
    assert line.come(9, b"other")
    line.turns.known(b"other")
    assert line.went_on == []


def test_where_nothing_can_be_learned_nobody_waits_again():
    """Once all who went first have ended the others go, and after that all that come go at once."""
    line = Line()
    for number in range(5):
        line.come(number)
    for _ in range(FIRST - 1):
        line.turns.ends(b"one", is_known=False)
        assert line.went_on == []
    line.turns.ends(b"one", is_known=False)
    assert line.went_on == list(range(FIRST, 5))
    assert all(line.come(number) for number in range(9))


def test_one_that_went_alone_has_not_shown_that_nothing_can_be_learned():
    """A single request before a batch leaves the batch as it would have been."""
    line = Line()
    assert line.come(0)
    line.turns.ends(b"one", is_known=False)
    assert [line.come(number) for number in range(FIRST + 1)] == [True] * FIRST + [False]


def test_an_end_that_shows_it_frees_the_others():
    """It need not be known before the end."""
    line = Line()
    for number in range(4):
        line.come(number)
    line.turns.ends(b"one", is_known=True)
    assert line.went_on == list(range(FIRST, 4))


def test_memory_is_bounded():
    """Kinds of which nobody goes first any more are forgotten, and no other."""
    line = Line()
    for number in range(FIRST + 1):
        line.come(number, b"waited for")
    for number in range(3 * MOST_KINDS):
        line.come(number, b"%d" % number)
        line.turns.ends(b"%d" % number, is_known=False)
        assert len(line.turns._kinds) <= MOST_KINDS
    line.turns.known(b"waited for")
    assert line.went_on == [FIRST]


class NobodyIsLeft(RuleBasedStateMachine):
    """Whatever happens, nobody waits for nobody, and whoever waited goes on once."""

    kinds = st.sampled_from([b"a", b"b"])

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.came = 0
        self.first: dict[bytes, int] = {}
        self.waiting: dict[bytes, list[int]] = {}

    @rule(kind=kinds)
    def come(self, kind: bytes) -> None:
        """One comes."""
        self.came += 1
        if self.line.come(self.came, kind):
            self.first[kind] = self.first.get(kind, 0) + 1
        else:
            self.waiting.setdefault(kind, []).append(self.came)

    @rule(kind=kinds, is_known=st.booleans())
    def end(self, kind: bytes, *, is_known: bool) -> None:
        """One that went first ends."""
        if self.first.get(kind):
            self.first[kind] -= 1
            self.line.turns.ends(kind, is_known=is_known)

    @rule(kind=kinds)
    def known(self, kind: bytes) -> None:
        """It is known."""
        self.line.turns.known(kind)

    @invariant()
    def nobody_waits_for_nobody(self) -> None:
        """Whoever waits, waits for somebody who goes first; and goes on once."""
        went_on = self.line.went_on
        assert len(set(went_on)) == len(went_on)
        for kind, waiting in self.waiting.items():
            if not self.first.get(kind):
                assert set(waiting) <= set(went_on)


TestNobodyIsLeft = NobodyIsLeft.TestCase
