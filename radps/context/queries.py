"""What the queries of the context have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from radps.context.base import Record
from radps.errors import SelectionError

T = TypeVar("T", bound=Record)


def matching(records: Iterable[T], **wanted: object) -> tuple[T, ...]:
    """Return the records whose fields have the values that are wanted; a wanted None is any value."""
    given = {name: value for name, value in wanted.items() if value is not None}
    return tuple(one for one in records if all(getattr(one, name) == value for name, value in given.items()))


def find_one(records: Iterable[T], value: str, what: str, key: str = "name") -> T:
    """Return the record whose field ``key`` has a value that no other has.

    Raises
    ------
    SelectionError
        There is none; lists those there are.
    """
    known = {str(getattr(one, key)): one for one in records}
    if value not in known:
        raise SelectionError(f"there is no {what} {value!r}; {what}s: {', '.join(known) or 'none'}")
    return known[value]


def check_word(word: str | None, allowed: Iterable[str], what: str) -> None:
    """Refuse a word that a query cannot ever find.

    Raises
    ------
    SelectionError
        The word is not among the allowed ones; lists them.
    """
    known = tuple(map(str, allowed))
    if word is not None and word not in known:
        raise SelectionError(f"there is no {what} {str(word)!r}; there are: {', '.join(known)}")
