"""Every message survives the wire; nothing else does, and the refusal names the field."""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec, examples, fields, vectors
from protocol.errors import Malformed, MissingField, OutOfRange, Oversized, ProtocolError, WrongType
from protocol.fields import Message, message_schema
from protocol.messages import Boot, Gone, Heartbeat, MeterFrame, PortSample, Stop, UnknownMessage
from protocol.topics import Direction
from protocol.words import ClockState, Phase, StopReason

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = {f"{message.direction}-{message.message}": message for message in examples.EXAMPLES}
NAMES = st.sampled_from([(cls.direction, cls.message) for cls in fields.catalogue()])


@pytest.mark.parametrize("message", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_message_survives_the_wire(message: Message) -> None:
    assert codec.decode(message.direction, message.message, codec.encode(message)) == message


@given(st.data())
def test_any_message_survives_the_wire(
    any_message: "Callable[[], st.SearchStrategy[Message]]", data: st.DataObject
) -> None:
    message = data.draw(any_message())
    assert codec.decode(message.direction, message.message, codec.encode(message)) == message


@pytest.mark.parametrize("message", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_bodies_are_deterministic_cbor(message: Message) -> None:
    body = codec.encode(message)
    assert cbor2.dumps(cbor2.loads(body), canonical=True) == body


@given(NAMES, st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(name: tuple[Direction, str], body: bytes) -> None:
    with suppress(ProtocolError):
        codec.decode(*name, body)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 20), inner, max_size=4),
    max_leaves=10,
)


@given(NAMES, st.dictionaries(st.integers(0, 20), VALUES, max_size=20))
def test_arbitrary_maps_raise_nothing_but_protocol_errors(
    name: tuple[Direction, str], body: dict[int, Any]
) -> None:
    try:
        message = codec.decode(*name, cbor2.dumps(body))
    except ProtocolError:
        return
    assert isinstance(message, Message)


@given(st.sampled_from(list(EXAMPLES)), st.data())
def test_a_damaged_body_is_refused_or_a_message(name: str, data: st.DataObject) -> None:
    message = EXAMPLES[name]
    body = bytearray(codec.encode(message))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(ProtocolError):
        codec.decode(message.direction, name, bytes(body))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "CBOR"),
        (b"\xff", "CBOR"),
        (b"\xa1\x01", "CBOR"),
        (b"\xbf\xff", "CBOR"),
        (b"\xa2\x01\x01\x01\x02", "CBOR"),
        (b"\xa1\x01\xc2\x41\x01", "CBOR"),
        (b"\xa1\x01\xd8\x23\x61\x28", "CBOR"),
        (b"\xa1\x01\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01", "CBOR"),
        (b"\x81" * 9 + b"\x01", "CBOR"),
        (b"\xa1\x01\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "CBOR"),
        (b"\xa1\x01\x01\x00", "1 bytes after the end"),
        (b"\x01", "expected map"),
        (b"\x80", "expected map"),
    ],
)
def test_what_is_not_one_plain_map_is_malformed(body: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why) as caught:
        codec.decode(Direction.UP, "gone", body)
    assert caught.value.reason == "malformed"


def changed(message: Message, change: dict[int, Any]) -> bytes:
    """A message's body with some keys set anew, or left out where None."""
    wire: dict[int, Any] = {**cbor2.loads(codec.encode(message)), **change}
    return cbor2.dumps({key: value for key, value in wire.items() if value is not None})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(MissingField, match=r"^mains_dv: missing$"):
        codec.decode(
            Direction.UP, "heartbeat", changed(EXAMPLES["up-heartbeat"], {6: None, 5: None, 7: None})
        )


@pytest.mark.parametrize("wrong", [1.0, True, "1", b"1", [1]])
def test_a_wrong_type_is_named(wrong: object) -> None:
    with pytest.raises(WrongType, match=r"^signal_dbm: expected integer"):
        codec.decode(Direction.UP, "heartbeat", changed(EXAMPLES["up-heartbeat"], {3: wrong}))


def test_a_value_out_of_range_is_named_with_its_range() -> None:
    with pytest.raises(OutOfRange, match=r"^port: 21 is not in 1\.\.20$"):
        codec.decode(Direction.DOWN, "stop", changed(EXAMPLES["down-stop"], {3: 21}))


def test_a_wrong_sample_is_named_with_its_row() -> None:
    row = cbor2.loads(codec.encode(EXAMPLES["up-meter"]))[2][0]
    for index, value, found in ((4, -1, "voltage_dv"), (1, b"short", "session_id"), (13, 9, "phase")):
        rows = [row, [*row[:index], value, *row[index + 1 :]]]
        with pytest.raises(OutOfRange, match=rf"^samples\[1\]\.{found}: "):
            codec.decode(Direction.UP, "meter", changed(EXAMPLES["up-meter"], {2: rows}))
    with pytest.raises(MissingField, match=r"^samples\[0\]\.phase: missing$"):
        codec.decode(Direction.UP, "meter", changed(EXAMPLES["up-meter"], {2: [row[:13]]}))
    with pytest.raises(OutOfRange, match="21 rows"):
        codec.decode(Direction.UP, "meter", changed(EXAMPLES["up-meter"], {2: [row] * 21}))


def test_unknown_keys_and_surplus_elements_are_ignored() -> None:
    row = cbor2.loads(codec.encode(EXAMPLES["up-meter"]))[2][0]
    body = changed(EXAMPLES["up-meter"], {2: [[*row, "new"]], 99: {"deep": [1.5]}})
    assert codec.decode(Direction.UP, "meter", body) == EXAMPLES["up-meter"]


def test_an_unknown_message_is_no_error() -> None:
    assert codec.decode(Direction.UP, "juggle", b"\xa0") == UnknownMessage(Direction.UP, "juggle")
    assert codec.decode(Direction.DOWN, "boot", b"\xa0") == UnknownMessage(Direction.DOWN, "boot")


def test_an_unknown_reason_is_kept_as_unknown_where_the_vocabulary_grows() -> None:
    stop = codec.decode(Direction.DOWN, "stop", changed(EXAMPLES["down-stop"], {4: 4_000}))
    assert isinstance(stop, Stop)
    assert stop.reason is StopReason.UNKNOWN
    assert stop.reason.word == "unknown"


def test_an_oversized_body_is_refused_unread() -> None:
    with pytest.raises(Oversized):
        codec.decode(Direction.UP, "gone", b"\xff" * (codec.MAX_BODY_BYTES + 1))


def test_what_may_not_be_read_may_not_be_written() -> None:
    with pytest.raises(OutOfRange, match="connection"):
        codec.encode(Gone(connection=-1))
    sample = PortSample(0, UUID(int=0), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, Phase.CC)
    with pytest.raises(OutOfRange, match=r"samples\[0\]\.port"):
        codec.encode(MeterFrame(1, (sample,), ClockState.RTC))


@pytest.mark.parametrize("firmware", ["1.0\x00", "\x00"])
def test_a_text_with_a_nul_is_neither_read_nor_written(firmware: str) -> None:
    schema = message_schema(Direction.UP, "boot")
    assert schema is not None
    key = next(field.key for field in schema.fields if field.name == "firmware")
    with pytest.raises(OutOfRange, match=r"^firmware: U\+0000 "):
        codec.decode(Direction.UP, "boot", changed(EXAMPLES["up-boot"], {key: firmware}))
    boot = EXAMPLES["up-boot"]
    assert isinstance(boot, Boot)
    with pytest.raises(OutOfRange, match=r"^firmware: U\+0000 "):
        codec.encode(replace(boot, firmware=firmware))


def test_every_message_has_a_schema_and_an_example() -> None:
    for cls in fields.catalogue():
        assert message_schema(cls.direction, cls.message) is not None
        assert f"{cls.direction}-{cls.message}" in EXAMPLES
    assert Heartbeat.message == "heartbeat"


def test_the_vectors_on_file_are_those_of_the_code() -> None:
    assert vectors.PATH.read_text() == vectors.as_text(), "run python -m protocol.vectors"
    vectors.check()
