"""Rows read in one expression are what the rules make of them one by one, and are refused in the same words."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import cddl, codec, examples
from protocol.errors import ProtocolError
from protocol.fields import Rows, row_schema
from protocol.topics import Direction

USUAL = {
    row_type: rows
    for message in examples.EXAMPLES
    for field in cddl.schema_of(type(message)).fields
    if isinstance(field.kind, Rows) and (row_type := field.kind.row)
    for rows in [field.kind.dump(getattr(message, field.name), field.name)]
}
ODD: tuple[Any, ...] = (
    True,
    False,
    None,
    1.0,
    0.0,
    "",
    "1",
    b"",
    bytes(15),
    bytes(16),
    bytes(17),
    [],
    {},
    -1,
    1 << 40,
)
ODDITIES = (
    st.sampled_from(ODD) | st.integers(-(1 << 66), 1 << 66) | st.text(max_size=3) | st.binary(max_size=20)
)


@pytest.mark.parametrize("row_type", cddl.rows(), ids=lambda row_type: row_type.__name__)
@given(data=st.data())
def test_rows_changed_in_any_places_are_read_or_refused_as_the_rules_say(
    row_type: type[Any], data: st.DataObject
) -> None:
    usual = USUAL[row_type][0]
    rows: list[Any] = []
    for _ in range(data.draw(st.integers(0, 3))):
        changes = data.draw(st.dictionaries(st.integers(0, len(usual) - 1), ODDITIES, max_size=2))
        row: list[Any] = [changes.get(place, value) for place, value in enumerate(usual)]
        forms: list[Any] = [row, row, row, row[:-1], [*row, 1.5], None, "row"]
        rows.append(data.draw(st.sampled_from(forms)))
    assert _read(row_type, rows) == _by_rules(row_type, rows)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_each_value_of_a_sample_has_its_own_rule(odd: object) -> None:
    [sample_type] = [row_type for row_type in cddl.rows() if row_type.__name__ == "PortSample"]
    usual = USUAL[sample_type][0]
    for place in range(len(usual)):
        rows = [usual, [*usual[:place], odd, *usual[place + 1 :]]]
        assert _read(sample_type, rows) == _by_rules(sample_type, rows)


def test_rows_are_left_as_they_were_decoded() -> None:
    for row_type, rows in USUAL.items():
        before = cbor2.dumps(rows)
        _read(row_type, rows)
        assert cbor2.dumps(rows) == before


def test_the_example_of_a_meter_frame_is_read_at_once() -> None:
    [sample_type] = [row_type for row_type in cddl.rows() if row_type.__name__ == "PortSample"]
    [frame] = [example for example in examples.EXAMPLES if example.message == "meter"]
    assert row_schema(sample_type).read(USUAL[sample_type]) is not None
    assert codec.decode(Direction.UP, "meter", codec.encode(frame)) == frame


def _read(row_type: type[Any], rows: list[Any]) -> object:
    """What a message makes of such rows; an error as its class and its words."""
    try:
        return Rows(row_type, max_rows=20).load(_copy(rows), "rows")
    except ProtocolError as error:
        return type(error), str(error)


def _by_rules(row_type: type[Any], rows: list[Any]) -> object:
    """What the rules say, asked one by one."""
    schema = row_schema(row_type)
    try:
        return tuple([schema.load(row, "rows", place) for place, row in enumerate(_copy(rows))])
    except ProtocolError as error:
        return type(error), str(error)


def _copy(rows: list[Any]) -> list[Any]:
    """The rules may write into what they read."""
    return [row.copy() if isinstance(row, list) else row for row in rows]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # any row
