"""An independent CDDL validator and our codec draw the same line."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import cddl, codec, examples, fields, reference, vectors
from protocol.errors import ProtocolError
from protocol.fields import Choice, Integer, Kind, Message, Octets, Rows, Text
from protocol.topics import Direction

# cddl-verifier carries no types.
VALIDATOR: Any = importlib.import_module("cddl_verifier").Validator(reference.CDDL.read_text())
EXAMPLES = {f"{message.direction}-{message.message}": message for message in examples.EXAMPLES}


def valid(rule: str, encoded: bytes) -> bool:
    """What the validator says."""
    return VALIDATOR.validate(encoded, root_type=rule).valid


def rule_of(message: Message) -> str:
    """The rule of a message's body."""
    return cddl.rule_name(message.direction, message.message)


@settings(deadline=None)
@given(st.data())
def test_any_message_is_valid(
    any_message: "Callable[[], st.SearchStrategy[Message]]", data: st.DataObject
) -> None:
    message = data.draw(any_message())
    assert valid(rule_of(message), codec.encode(message))


@pytest.mark.parametrize(
    "vector", vectors.build()["vectors"], ids=lambda vector: f"{vector['direction']}-{vector['message']}"
)
def test_every_vector_is_valid(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame_hex"])
    assert valid("frame", frame)
    assert valid(
        cddl.rule_name(Direction(vector["direction"]), vector["message"]), bytes.fromhex(vector["body_hex"])
    )
    _, unprotected, ciphertext = cbor2.loads(frame[1:])
    assert not valid("frame", cbor2.dumps(cbor2.CBORTag(16, [cbor2.dumps({1: 2}), unprotected, ciphertext])))


OTHER_TYPES: tuple[Any, ...] = (None, 1.5, "text", b"bytes", [], {}, True)


def at_the_bounds(kind: Kind, value: Any) -> Iterator[Any]:
    """Values just inside and just outside what a field may hold, and of other types.

    Left out is where readers are more patient than the CDDL, which says what may be written: numbers a vocabulary
    with `unknown` does not know, and texts that fit by their bytes and not by their characters. So is U+0000, which
    readers refuse and which the CDDL cannot leave out of a text of a size.
    """
    yield from OTHER_TYPES
    match kind:
        case Integer(low, high):
            yield from (low - 1, low, high, high + 1)
        case Text(max_chars):
            yield from ("x" * max_chars, "x" * (4 * max_chars + 1))
        case Octets(min_bytes, max_bytes):
            yield from (bytes(length) for length in (min_bytes - 1, min_bytes, max_bytes, max_bytes + 1))
        case Rows():
            yield from rows_at_the_bounds(kind, value[0])
        case Choice():
            yield from [int(member) for member in kind.choices]
            if "UNKNOWN" not in kind.choices.__members__:
                yield from (-1, len(kind.choices) + 1)
        case _:
            yield from (False, bytes(15), bytes(16), bytes(17))


def rows_at_the_bounds(rows: Rows, row: list[Any]) -> Iterator[list[list[Any]]]:
    """Too few and too many rows, short and long ones, and each element at its bounds."""
    yield from ([row] * count for count in (rows.min_rows, rows.max_rows, rows.max_rows + 1))
    yield from ([row[:-1]], [[*row, "later"]])
    for place, (_, kind) in enumerate(fields.row_schema(rows.row).columns):
        for cell in at_the_bounds(kind, row[place]):
            yield [[*row[:place], cell, *row[place + 1 :]]]


def taken(message: Message, body: bytes) -> bool:
    """What our codec says."""
    try:
        codec.decode(message.direction, message.message, body)
    except ProtocolError:
        return False
    return True


@pytest.mark.parametrize("message", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_both_take_and_refuse_the_same_values(message: Message) -> None:
    whole = cbor2.loads(codec.encode(message))
    for field in cddl.schema_of(type(message)).fields:
        for value in at_the_bounds(field.kind, whole.get(field.key)):
            body = cbor2.dumps({**whole, field.key: value}, canonical=True)
            assert valid(rule_of(message), body) == taken(message, body), (field.name, value)
        without = cbor2.dumps({key: item for key, item in whole.items() if key != field.key})
        assert valid(rule_of(message), without) == taken(message, without) == (not field.required), field.name
    assert valid(rule_of(message), cbor2.dumps({**whole, 99: {"later": 1.5}}))
