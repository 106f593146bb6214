"""A history fitted into a number of tokens. Pure: what counts the tokens of a message is an argument.

What is kept, in this order: instructions, the newest turn, then the history from its newest to its oldest. The first
unit on that way that does not fit is cut, and what is older is given up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from llm_api_client.prepare.messages import instructions, media, newest_turn, texts, units, with_texts, without_media
from llm_api_client.prepare.model import Message

MARKER = " […] "
"""Stands where the middle of a text was taken out."""

_MAX_TRIES = 16
"""The most times that one cut is counted; two or three are usual."""

Count = Callable[[Message], int]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Messages that fit, and their size.

    Attributes:
        messages: The messages in their order. Those that were not cut are the caller's own objects.
        tokens: Tokens of all of them together, the prompt's overhead included.
    """

    messages: list[Message]
    tokens: int


@dataclass(frozen=True, slots=True)
class _Sized:
    """A message and its tokens."""

    message: Message
    cost: int


_Kept = dict[int, _Sized]
"""Messages by their position in the history."""


def truncate(messages: Sequence[Message], limit: int, count: Count, overhead: int = 0) -> Fitted:
    """The most of `messages` that comes to at most `limit` tokens. The messages are not changed.

    Each message is counted at most once, and each cut a few times more, until it is within 2 % of the room that it has.
    Only a limit that is smaller than one empty message is exceeded: the result is never empty.

    Args:
        messages: A history, oldest first.
        limit: The most tokens that the result may have.
        count: Tokens of one message; those of several are taken to be their sum.
        overhead: Tokens of the prompt beside its messages.
    """
    if not messages:
        return Fitted([], overhead)
    kept = _cut_down(_History(messages, count), limit - overhead)
    return Fitted([kept[i].message for i in sorted(kept)], overhead + _cost(kept))


def truncate_text(text: str, limit: int, count: Count, *, keeps: str) -> str | None:
    """As much of a text's "beginning" or "end" as comes to at most `limit` tokens; None if not a character does."""
    message = {"role": "user", "content": text}
    cut = _cut(_Sized(message, count(message)), limit, count, keeps=keeps)
    return None if cut is None else str(cut.message["content"])


@dataclass(frozen=True, slots=True)
class _History:
    """Messages, each counted when it is first asked for: what is given up without being looked at costs nothing."""

    messages: Sequence[Message]
    count: Count
    _sized: _Kept = field(default_factory=dict)

    def pick(self, *groups: Sequence[int]) -> _Kept:
        for i in chain(*groups):
            if i not in self._sized:
                self._sized[i] = _Sized(self.messages[i], self.count(self.messages[i]))
        return {i: self._sized[i] for i in chain(*groups)}


def _cut_down(history: _History, room: int) -> _Kept:
    instructing = instructions(history.messages)
    turns = units(history.messages)
    start = newest_turn(history.messages, turns)
    older, newest = turns[:start], turns[start:]
    kept = history.pick(instructing, *newest)
    if newest[1:-1] and _cost(kept) > room:
        # A turn of many steps gives up its own oldest ones, but neither the question nor the last step.
        older, newest = newest[1:-1], [newest[0], newest[-1]]
        kept = history.pick(instructing, *newest)
    spare = room - _cost(kept)
    if spare < 0:
        return _squeezed(history, instructing, newest, room)
    for unit in reversed(older):
        whole = history.pick(unit)
        spare -= _cost(whole)
        if spare < 0:
            # The oldest message that is left keeps its end, for the talk goes on from there, and has no marker, for all
            # that was before it is gone as well. Answers to a call lose their middle: their heads say what they are.
            part = _shrunk(whole, spare + _cost(whole), history.count, keeps="ends" if len(unit) > 1 else "end")
            return kept | (part or {})
        kept |= whole
    return kept


def _squeezed(history: _History, instructing: Sequence[int], newest: Sequence[Sequence[int]], room: int) -> _Kept:
    """What must be kept and does not fit: texts lose their middles, the longest first; see the order of sacrifices."""
    count = history.count
    whole = history.pick(instructing)
    turn = history.pick(*newest)
    question = history.pick(newest[0] if newest else instructing[-1:])
    sacrifices: tuple[tuple[_Kept, _Kept], ...] = (
        (whole, turn),
        ({}, whole | turn),
        ({}, _textual(whole | turn, count)),
        ({}, _textual(question, count)),
    )
    for untouched, cut in sacrifices:
        fitted = _shrunk(cut, room - _cost(untouched), count, keeps="ends")
        if fitted is not None:
            return untouched | fitted
    return {i: _emptied(item, count) for i, item in question.items()}


def _textual(kept: _Kept, count: Count) -> _Kept:
    """The same without media, which cannot be cut."""
    return {i: _without_media(item, count) if media(item.message) else item for i, item in kept.items()}


def _without_media(item: _Sized, count: Count) -> _Sized:
    message = without_media(item.message)
    if not message["content"]:
        message = {**message, "content": MARKER.strip()}
    return _Sized(message, count(message))


def _emptied(item: _Sized, count: Count) -> _Sized:
    message = {**item.message, "content": ""} if item.message.get("content") else item.message
    return _Sized(message, count(message))


def _shrunk(kept: _Kept, room: int, count: Count, *, keeps: str) -> _Kept | None:
    """The same messages within `room`, or None if one of them would lose all its text.

    The room is shared like water: short messages stay whole, and the long ones share what is left evenly.
    """
    result: _Kept = {}
    waiting = sorted(kept, key=lambda i: (any(texts(kept[i].message)), kept[i].cost))
    for position, i in enumerate(waiting):
        share = room // (len(waiting) - position)
        item: _Sized | None = kept[i]
        if any(texts(kept[i].message)) and kept[i].cost > share:
            item = _cut(kept[i], share, count, keeps=keeps) if share > 0 else None
        if item is None:
            return None
        result[i] = item
        room -= item.cost
    return result if room >= 0 else None


def _cut(item: _Sized, room: int, count: Count, *, keeps: str) -> _Sized | None:
    """As much of a message's text as fits into `room`, or None if not a character does.

    Only the tokenizer knows what a piece of text costs, so the number of characters is sought by counting: each try
    interpolates between the largest known to fit and the smallest known not to. Where that misled, for a text may be
    much denser in one place than in another, the next try halves the gap.
    """
    old = texts(item.message)
    fits, too_many = 0, sum(map(len, old))
    fits_cost, too_many_cost = count(with_texts(item.message, [""] * len(old))), item.cost
    if fits_cost > room:
        return None
    best: _Sized | None = None
    tolerance = room // 64
    misled = False
    for _ in range(_MAX_TRIES):
        gap = too_many - fits
        if gap <= 1 or (best and room - best.cost <= tolerance):
            break
        part = 0.5 if misled else (room - tolerance / 2 - fits_cost) / max(too_many_cost - fits_cost, 1)
        guess = min(max(fits + int(gap * part), fits + 1), too_many - 1)
        message = with_texts(item.message, _ends(old, guess, keeps=keeps))
        cost = count(message)
        if cost <= room:
            fits, fits_cost, best = guess, cost, _Sized(message, cost)
        else:
            too_many, too_many_cost = guess, cost
        misled = too_many - fits > gap / 2
    return best


def _ends(old: Sequence[str], characters: int, *, keeps: str) -> list[str]:
    """The texts with so many characters left: their "beginning", their "end", or both "ends" about a marker."""
    head = {"beginning": characters, "end": 0, "ends": (characters + 1) // 2}[keeps]
    gap_from, gap_to = head, sum(map(len, old)) - (characters - head)
    new, at = [], 0
    for text in old:
        start, end = (min(max(edge - at, 0), len(text)) for edge in (gap_from, gap_to))
        marker = MARKER if keeps == "ends" and at <= gap_from < at + len(text) else ""
        new.append(text[:start] + marker + text[end:])
        at += len(text)
    return new


def _cost(kept: _Kept) -> int:
    return sum(item.cost for item in kept.values())
