"""Nothing but a ProtocolError comes out of hostile bytes, and hostile frames are refused before they cost."""

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import codec, examples
from protocol.envelope import MAX_FRAME_BYTES, Counter
from protocol.errors import Malformed
from protocol.topics import Direction
from tests.fuzz import hostile

BODIES = [codec.encode(message) for message in examples.EXAMPLES]

PLAIN = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=40)
TREES = st.recursive(
    PLAIN | st.binary(max_size=60),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.integers(-3, 30) | st.text(max_size=3), inner)
    ),
    max_leaves=30,
)
KIND = st.integers(0, len(hostile.KINDS) - 1)


@given(st.binary(max_size=400) | TREES.map(cbor2.dumps))
def test_no_frame_breaks_the_envelope(frame: bytes) -> None:
    hostile.frame_is_opened_or_refused(frame)
    hostile.frame_is_opened_or_refused(b"\xd0" + frame)


@given(st.binary(max_size=4), st.binary(max_size=8), st.binary(max_size=8), st.binary(max_size=80), TREES)
def test_no_header_breaks_the_envelope(
    protected: bytes, kid: bytes, partial_iv: bytes, sealed: bytes, other: object
) -> None:
    envelope = [protected or b"\xa1\x01\x03", {4: kid or b"\0\0\0\1", 6: partial_iv, 9: other}, sealed]
    hostile.frame_is_opened_or_refused(cbor2.dumps(envelope))


@given(KIND, st.binary(max_size=400) | st.dictionaries(st.integers(0, 20), TREES).map(cbor2.dumps))
@example(0, b"")
def test_no_body_breaks_the_codec(kind: int, body: bytes) -> None:
    hostile.body_is_read_or_refused(kind, body)


@given(st.sampled_from(range(len(BODIES))), st.data())
def test_no_damage_to_a_body_breaks_the_codec(place: int, data: st.DataObject) -> None:
    body = bytearray(BODIES[place])
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(body)))
    kind = hostile.KINDS.index(type(examples.EXAMPLES[place]))
    hostile.body_is_read_or_refused(kind, bytes(body))
    hostile.body_is_read_or_refused(kind, bytes(body[:cut]))


@given(st.text(max_size=140) | st.from_regex(r"v1/\d{1,3}/[\w-]{1,70}/(up|down)/\w{0,40}", fullmatch=True))
def test_no_topic_breaks_the_parser(topic: str) -> None:
    hostile.topic_is_parsed_or_refused(topic)


@pytest.mark.parametrize("container", [[], {}], ids=["arrays", "maps"])
def test_thousands_of_empty_containers_are_refused_before_they_are_made(container: object) -> None:
    body = cbor2.dumps({1: [container] * 16_000})
    with pytest.raises(Malformed, match="more than 8000 arrays and maps"):
        codec.decode(Direction.UP, "meter", body)
    with pytest.raises(Malformed, match="more than 8000 arrays and maps"):
        hostile.OPENER.open(hostile.TOPIC, body)


def test_the_widest_frame_of_sealed_bytes_and_chinese_words_is_taken() -> None:
    room = MAX_FRAME_BYTES - 60
    # Every byte of these looks like the head of a container or of a text, as in no real text.
    words = ("充电" * room)[: room // 3].encode()
    frame = hostile.SEALER.seal(hostile.TOPIC, cbor2.dumps({1: words}), counter=Counter(1, 1))
    assert cbor2.loads(hostile.OPENER.open(hostile.TOPIC, frame).body) == {1: words}
