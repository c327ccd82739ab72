"""Frames are bound to key, counter and topic, and an independent COSE library agrees."""

import importlib
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from protocol import frames, topics
from protocol.envelope import MAX_FRAME_BYTES, Counter, Opener, Sealer
from protocol.errors import (
    BadTopic,
    Forged,
    Malformed,
    Oversized,
    ProtocolError,
    UnknownEpoch,
    UnsupportedAlgorithm,
)
from protocol.messages import Gone, TimeRequest
from protocol.topics import Direction

# pycose carries no types.
headers: Any = importlib.import_module("pycose.headers")
cose: Any = importlib.import_module("pycose.messages")
cose_keys: Any = importlib.import_module("pycose.keys")

SECRET = bytes(range(32))
TOPIC = "v1/3/P-1/up/meter"
COUNTER = Counter(7, 9)
UP = Direction.UP

counters = st.builds(Counter, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@pytest.fixture(scope="module")
def sealer() -> Sealer:
    """Seals as the pile does."""
    return Sealer(SECRET, epoch=1, direction=UP)


@pytest.fixture(scope="module")
def opener() -> Opener:
    """Opens as the platform does."""
    return Opener({1: SECRET}, direction=UP)


def derived(purpose: str, algorithm: str, length: int) -> bytes:
    """Key or Base IV, as the protocol's text says it."""
    info = f"pileway-link/1 {purpose} up {algorithm} 1".encode()
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(SECRET)


def nonce(algorithm: str, partial_iv: bytes) -> bytes:
    """Base IV xor the padded Partial IV."""
    base = derived("iv", algorithm, 12)
    return bytes(left ^ right for left, right in zip(base, partial_iv.rjust(12, b"\0"), strict=True))


@given(st.binary(max_size=2000), counters)
def test_what_was_sealed_opens(sealer: Sealer, opener: Opener, body: bytes, counter: Counter) -> None:
    opened = opener.open(TOPIC, sealer.seal(TOPIC, body, counter=counter))
    assert opened == (1, counter, body)


def test_an_independent_reader_opens_our_frames(sealer: Sealer) -> None:
    frame = sealer.seal(TOPIC, b"body", counter=COUNTER)
    assert frame[0] == 0xC0 + cose.Enc0Message.cbor_tag
    # Its own reading of the tag expects a list where newer CBOR libraries give a tuple.
    message = cose.Enc0Message.from_cose_obj(cbor2.loads(frame[1:]), True)
    assert message.uhdr[headers.KID] == b"\0\0\0\1"
    partial_iv = message.uhdr.pop(headers.PartialIV)
    assert partial_iv == bytes.fromhex("0000000700000009")
    message.uhdr[headers.IV] = nonce("A256GCM", partial_iv)
    message.external_aad = TOPIC.encode()
    message.key = cose_keys.SymmetricKey(derived("key", "A256GCM", 32))
    assert message.decrypt() == b"body"


@pytest.mark.parametrize(("algorithm", "key_bytes"), [("A256GCM", 32), ("A128GCM", 16)])
@pytest.mark.parametrize("tagged", [True, False])
def test_we_open_an_independent_writers_frames(
    opener: Opener, algorithm: str, key_bytes: int, tagged: bool
) -> None:
    partial_iv = COUNTER.to_bytes()
    message = cose.Enc0Message(
        phdr={headers.Algorithm: algorithm},
        uhdr={headers.IV: nonce(algorithm, partial_iv)},
        payload=b"body",
        external_aad=TOPIC.encode(),
    )
    message.key = cose_keys.SymmetricKey(derived("key", algorithm, key_bytes))
    protected, _, ciphertext = cbor2.loads(message.encode(tag=False))
    written = [protected, {4: b"\0\0\0\1", 6: partial_iv, 99: "ignored"}, ciphertext]
    frame = cbor2.dumps(cbor2.CBORTag(16, written) if tagged else written)
    assert opener.open(TOPIC, frame) == (1, COUNTER, b"body")


@given(st.integers(0), st.integers(1, 255))
def test_a_frame_changed_anywhere_is_refused(sealer: Sealer, opener: Opener, place: int, flip: int) -> None:
    frame = bytearray(sealer.seal(TOPIC, b"some body", counter=COUNTER))
    frame[place % len(frame)] ^= flip
    with pytest.raises(ProtocolError):
        opener.open(TOPIC, bytes(frame))


@given(
    st.binary(max_size=600),
    st.dictionaries(st.integers(0, 30), st.integers(0, 255), max_size=2),
    st.integers(-2, 2),
)
def test_a_frame_is_read_alike_with_its_tag_and_without(
    sealer: Sealer, opener: Opener, body: bytes, changes: dict[int, int], growth: int
) -> None:
    # The usual form, which begins with the tag, is read by its places; every other one as CBOR.
    frame = bytearray(sealer.seal(TOPIC, body, counter=COUNTER))
    for place, value in changes.items():
        if place:
            frame[place] = value
    tagged = bytes(frame[:growth]) if growth < 0 else bytes(frame) + bytes(growth)
    assert _opened(opener, tagged) == _opened(opener, tagged[1:])


def _opened(opener: Opener, frame: bytes) -> object:
    try:
        return opener.open(TOPIC, frame)
    except ProtocolError as error:
        return type(error), str(error)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(opener: Opener, frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        opener.open(TOPIC, frame)


@pytest.mark.parametrize(
    "topic", ["v1/3/P-2/up/meter", "v1/4/P-1/up/meter", "v1/3/P-1/down/meter", "v1/3/P-1/up/boot"]
)
def test_a_frame_cannot_move_to_another_topic(sealer: Sealer, opener: Opener, topic: str) -> None:
    with pytest.raises(Forged):
        opener.open(topic, sealer.seal(TOPIC, b"body", counter=COUNTER))


def test_directions_and_epochs_have_keys_of_their_own(sealer: Sealer) -> None:
    frame = sealer.seal(TOPIC, b"body", counter=COUNTER)
    with pytest.raises(Forged):
        Opener({1: SECRET}, direction=Direction.DOWN).open(TOPIC, frame)
    with pytest.raises(UnknownEpoch, match="epoch 1"):
        Opener({2: SECRET}, direction=UP).open(TOPIC, frame)
    other = Sealer(SECRET, epoch=2, direction=UP).seal(TOPIC, b"body", counter=COUNTER)
    assert other[-20:] != frame[-20:]
    assert Opener({1: SECRET, 2: SECRET}, direction=UP).open(TOPIC, other).epoch == 2


def test_other_algorithms_are_refused(sealer: Sealer, opener: Opener) -> None:
    _, unprotected, ciphertext = cbor2.loads(sealer.seal(TOPIC, b"body", counter=COUNTER)[1:])
    for protected in (b"", cbor2.dumps({1: 2}), cbor2.dumps({1: 24}), cbor2.dumps({1: 3, 5: b"iv"})):
        with pytest.raises(UnsupportedAlgorithm):
            opener.open(TOPIC, cbor2.dumps([protected, unprotected, ciphertext]))


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        [],
        [b"", {}],
        [b"", {}, b"", b""],
        ["", {4: b"\0\0\0\1", 6: bytes(8)}, b""],
        [b"", [], b""],
        [b"", {4: b"\1", 6: bytes(8)}, b""],
        [b"", {4: 1, 6: bytes(8)}, b""],
        [b"", {4: b"\0\0\0\1"}, b""],
        [b"", {4: b"\0\0\0\1", 6: bytes(7)}, b""],
        [b"", {4: b"\0\0\0\1", 6: bytes(8)}, None],
    ],
)
def test_another_structure_is_malformed(opener: Opener, envelope: object) -> None:
    with pytest.raises(Malformed):
        opener.open(TOPIC, cbor2.dumps(envelope))


def test_trailing_bytes_are_malformed(sealer: Sealer, opener: Opener) -> None:
    with pytest.raises(Malformed, match="after the end"):
        opener.open(TOPIC, sealer.seal(TOPIC, b"body", counter=COUNTER) + b"\0")


def test_oversized_frames_are_neither_written_nor_read(sealer: Sealer, opener: Opener) -> None:
    with pytest.raises(Oversized):
        sealer.seal(TOPIC, bytes(MAX_FRAME_BYTES), counter=COUNTER)
    with pytest.raises(Oversized) as caught:
        opener.open(TOPIC, bytes(MAX_FRAME_BYTES + 1))
    assert caught.value.reason == "oversized"


def test_a_message_travels_in_one_call_each_way(sealer: Sealer, opener: Opener) -> None:
    frame = frames.seal(Gone(connection=4), sealer=sealer, pile_id="P-1", counter=COUNTER)
    topic = topics.parse(frame.topic)
    assert frames.open_frame(opener, topic=topic, payload=frame.payload) == (1, COUNTER, Gone(connection=4))


def test_a_foreign_shard_or_direction_is_a_bad_topic(sealer: Sealer, opener: Opener) -> None:
    frame = frames.seal(TimeRequest(at_ms=1), sealer=sealer, pile_id="P-1", counter=COUNTER)
    topic = topics.parse(frame.topic)
    foreign = topic._replace(shard=(topic.shard + 1) % topics.SHARD_COUNT)
    down = topic._replace(direction=Direction.DOWN)
    for wrong in (foreign, down):
        with pytest.raises(BadTopic):
            frames.open_frame(opener, topic=wrong, payload=frame.payload)


def test_a_message_is_not_sealed_for_the_other_direction() -> None:
    with pytest.raises(ValueError, match="does not go down"):
        frames.seal(
            Gone(1), sealer=Sealer(SECRET, epoch=1, direction=Direction.DOWN), pile_id="P", counter=COUNTER
        )
