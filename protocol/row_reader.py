"""Readers of rows in one expression a row, made once of the ranges the row's type declares.

A meter frame has up to twenty rows of fourteen values: checking them rule by rule costs more than all else that is
done to read the frame. The source made here reads, shortened to three values::

    for row in wire:
        if row.__class__ is not list or len(row) < 3:
            return None
        v0, v1, v2, *_ = row
        if not (
            v0.__class__ is int and 1 <= v0 <= 20
            and v1.__class__ is bytes and len(v1) == 16
            and v2.__class__ is int and 0 <= v2 <= 10000000
        ):
            return None
        append(new(cls, (v0, uuid(v1), v2)))

None says that something is unusual or wrong: then `fields` asks its rules one by one, and they name what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

QuickReader = Callable[[list[Any]], tuple[Any, ...] | None]


class Term(NamedTuple):
    """Source that speaks of one wire value: under which condition it is taken, and what is made of it.

    `names` are what the source needs beside Python's own.
    """

    condition: str
    made: str
    names: Mapping[str, Any] = {}


def variable(place: int) -> str:
    """What the value at a place is called in the source."""
    return f"v{place}"


def compile_rows(cls: type[Any], terms: Sequence[Term]) -> QuickReader:
    """The reader of lists of rows of a NamedTuple; `terms` are those of its fields in order."""
    values = ", ".join(variable(place) for place in range(len(terms)))
    source = f"""
new = tuple.__new__

def read(wire):
    rows = []
    append = rows.append
    for row in wire:
        if row.__class__ is not list or len(row) < {len(terms)}:
            return None
        if len(row) > {len(terms)}:
            row = row[:{len(terms)}]
        ({values},) = row
        if not ({" and ".join(term.condition for term in terms)}):
            return None
        append(new(cls, ({", ".join(term.made for term in terms)},)))
    return tuple(rows)
"""
    scope: dict[str, Any] = {"cls": cls}
    for term in terms:
        scope |= term.names
    exec(compile(source, f"<rows of {cls.__name__}>", "exec"), scope)  # noqa: S102  # made of our declarations alone
    return scope["read"]
