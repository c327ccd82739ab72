"""Messages of every type, made from their own declarations."""

import typing
from collections.abc import Callable
from types import NoneType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st

from protocol import fields
from protocol.fields import Integer, Message, Octets, Rows, Text, WireEnum


@pytest.fixture(scope="session")
def any_message() -> Callable[[], st.SearchStrategy[Message]]:
    """A strategy for any message of the catalogue."""
    return messages


@pytest.fixture(scope="session")
def messages_of_type() -> Callable[[type[Message]], st.SearchStrategy[Message]]:
    """A strategy for any message of one type."""
    return messages_of


def messages() -> st.SearchStrategy[Message]:
    """Any message of the catalogue."""
    return st.one_of([messages_of(cls) for cls in fields.catalogue()])


def messages_of(cls: type[Message]) -> st.SearchStrategy[Message]:
    """Any message of one type."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return st.builds(cls, **{name: _values(hint) for name, hint in hints.items() if name not in _NOT_FIELDS})


_NOT_FIELDS = frozenset({"message", "direction"})


def _values(hint: Any) -> st.SearchStrategy[Any]:
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Integer):
            return _optional(hint, st.integers(extra.low, extra.high))
        if isinstance(extra, Text):
            return _optional(
                hint,
                st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=extra.max_chars),
            )
        if isinstance(extra, Octets):
            return st.binary(min_size=extra.min_bytes, max_size=extra.max_bytes)
        if isinstance(extra, Rows):
            row_hints = typing.get_type_hints(extra.row, include_extras=True)
            row = st.builds(extra.row, **{name: _values(row_hints[name]) for name in extra.row._fields})
            return st.lists(row, min_size=extra.min_rows, max_size=min(5, extra.max_rows)).map(tuple)
    plain = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    options = [option for option in typing.get_args(plain) if option is not NoneType]
    if options:
        return st.none() | _values(options[0])
    if plain is bool:
        return st.booleans()
    if plain is UUID:
        return st.uuids()
    assert issubclass(plain, WireEnum)
    return st.sampled_from(plain)


def _optional(hint: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values if NoneType in typing.get_args(typing.get_args(hint)[0]) else values
