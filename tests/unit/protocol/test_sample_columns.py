"""Meter frames read by column are what `codec.decode` reads one by one, and what it refuses is read by neither."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import codec, examples, sample_columns
from protocol.errors import ProtocolError
from protocol.fields import Message
from protocol.messages import MeterFrame, PortSample
from protocol.sample_columns import FEWEST_BODIES
from protocol.topics import Direction
from protocol.words import ClockState, Phase, ReceiptWish

[USUAL] = [example for example in examples.EXAMPLES if isinstance(example, MeterFrame)]
BODY = codec.encode(USUAL)
LOOKS_LIKE_A_SAMPLE = bytes((0x8E, 0x01, 0x50))


def one_by_one(bodies: Sequence[bytes]) -> Sequence[object]:
    read: list[object] = []
    for body in bodies:
        try:
            read.append(codec.decode(Direction.UP, "meter", body))
        except ProtocolError:
            read.append(None)
    return read


def by_column(bodies: Sequence[bytes]) -> Sequence[object]:
    """What is read of so many that columns are tried."""
    return sample_columns.decode([*bodies, *[BODY] * FEWEST_BODIES])[: len(bodies)]


@settings(deadline=None)
@given(data=st.data())
def test_any_frames_are_read_alike(
    data: st.DataObject, messages_of_type: Callable[[type[Message]], st.SearchStrategy[Message]]
) -> None:
    said = data.draw(st.lists(messages_of_type(MeterFrame), max_size=4))
    bodies = [codec.encode(message) for message in said]
    assert by_column(bodies) == one_by_one(bodies) == said


@settings(deadline=None)
@given(data=st.data())
def test_bodies_changed_in_any_places_are_read_or_refused_alike(
    data: st.DataObject, messages_of_type: Callable[[type[Message]], st.SearchStrategy[Message]]
) -> None:
    bodies: list[bytes] = []
    for message in data.draw(st.lists(messages_of_type(MeterFrame), min_size=1, max_size=3)):
        body = bytearray(codec.encode(message))
        for place in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=3)):
            patch = data.draw(
                st.binary(max_size=3) | st.sampled_from([LOOKS_LIKE_A_SAMPLE, b"\x8e", b"\x8f"])
            )
            body[place : place + data.draw(st.integers(0, 3))] = patch
        bodies.append(bytes(body))
    assert by_column(bodies) == one_by_one(bodies)


@settings(deadline=None)
@given(bodies=st.lists(st.binary(max_size=60) | st.just(BODY), max_size=5))
def test_any_bytes_are_read_or_refused_alike(bodies: list[bytes]) -> None:
    assert by_column(bodies) == one_by_one(bodies)


def test_every_byte_of_a_body_has_its_say() -> None:
    bodies = [
        BODY[:place] + bytes((changed,)) + BODY[place + 1 :]
        for place in range(len(BODY))
        for changed in {
            0x00,
            0x17,
            0x18,
            0x19,
            0x1A,
            0x1B,
            0x38,
            0x58,
            0xFF,
            BODY[place] ^ 1,
            BODY[place] ^ 0x80,
        }
    ]
    assert by_column(bodies) == one_by_one(bodies)


def test_a_body_cut_anywhere_is_read_by_neither() -> None:
    bodies = [BODY[:length] for length in range(len(BODY))]
    assert by_column(bodies) == [None] * len(BODY)


def test_usual_frames_are_read_by_column() -> None:
    crowd = replace(USUAL, samples=tuple(USUAL.samples[0]._replace(port=port) for port in range(1, 21)))
    colder = replace(USUAL, samples=(USUAL.samples[0]._replace(temperature_dc=-1_000, phase=Phase.IDLE),))
    wishing = replace(USUAL, clock=ClockState.NONE, receipt=ReceiptWish.LATER)
    said = [USUAL, crowd, colder, wishing]
    assert sample_columns.read([codec.encode(message) for message in said]) == said


def test_an_id_that_looks_like_a_sample_keeps_its_frame_from_no_way() -> None:
    sample: PortSample = USUAL.samples[0]
    odd = replace(USUAL, samples=(sample._replace(session_id=UUID(bytes=LOOKS_LIKE_A_SAMPLE + bytes(13))),))
    assert by_column([codec.encode(odd), BODY]) == [odd, USUAL]


def test_bodies_full_of_what_looks_like_samples_are_read_by_neither() -> None:
    usual = BODY[: BODY.index(b"\x8e")]
    bodies = [usual + LOOKS_LIKE_A_SAMPLE * times + BODY[-2:] for times in (1, 20, 21, 1_300, 5_000)]
    assert by_column([*bodies, BODY]) == one_by_one([*bodies, BODY]) == [*[None] * 5, USUAL]


def test_a_frames_samples_are_a_sequence_like_the_tuple_they_equal() -> None:
    [read] = sample_columns.read([BODY])
    assert read is not None
    assert read == USUAL
    assert hash(read) == hash(USUAL)
    assert (len(read.samples), read.samples[0], read.samples[-1:]) == (
        len(USUAL.samples),
        USUAL.samples[0],
        USUAL.samples[-1:],
    )
    assert repr(read) == repr(USUAL)


def test_nothing_is_read_of_nothing() -> None:
    assert sample_columns.decode([]) == sample_columns.read([]) == []
