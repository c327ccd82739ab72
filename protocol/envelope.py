"""The envelope around every message: COSE_Encrypt0 (RFC 9052) with AES-GCM.

Sealed frame, in CDDL::

    frame = #6.16([ protected: bstr .cbor { 1: 3 },   ; alg A256GCM (A128GCM, 1, is also read)
                    { 4: epoch, 6: partial-iv },
                    ciphertext: bstr ])               ; with its 16 byte tag
    epoch = bstr .size 4                              ; big-endian
    partial-iv = bstr .size 8                         ; boot counter and sequence, 32 bits each, big-endian

The nonce is Base IV xor the Partial IV padded on the left; the external AAD is the MQTT topic, so that a
frame is bound to its pile, direction and message type. Key and Base IV come from the device secret of the
epoch by HKDF-SHA256 (RFC 5869) with no salt and the info ``pileway-link/1 {key|iv} {up|down}
{A256GCM|A128GCM} {epoch}``.

A Partial IV must never be used twice under one epoch and direction: the sender owns that promise.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol import codec
from protocol.errors import Forged, Malformed, Oversized, UnknownEpoch, UnsupportedAlgorithm
from protocol.topics import Direction

MAX_FRAME_BYTES: Final = 16 * 1024
SECRET_BYTES: Final = 32
MAX_EPOCH: Final = (1 << 32) - 1

_TAG_16: Final = 0xD0
_HEADER_ALG: Final = 1
_HEADER_KID: Final = 4
_HEADER_PARTIAL_IV: Final = 6
_IV_BYTES: Final = 12


class _Algorithm(NamedTuple):
    name: str
    key_bytes: int
    protected: bytes


_A256GCM: Final = _Algorithm("A256GCM", 32, cbor2.dumps({_HEADER_ALG: 3}))
_A128GCM: Final = _Algorithm("A128GCM", 16, cbor2.dumps({_HEADER_ALG: 1}))
_BY_PROTECTED: Final = {algorithm.protected: algorithm for algorithm in (_A256GCM, _A128GCM)}

# As deterministic CBOR writes a frame, every part has its place, and only the ciphertext's length varies.
_USUAL_HEAD: Final = Struct(">9sI2sQB")
_USUAL_BEGIN: Final = (
    bytes((_TAG_16, 0x83)) + cbor2.dumps(_A256GCM.protected) + bytes((0xA2, _HEADER_KID, 0x44))
)
_USUAL_BETWEEN: Final = bytes((_HEADER_PARTIAL_IV, 0x48))
_LENGTH_IN_1: Final = 0x58
_LENGTH_IN_2: Final = 0x59

_ENC_STRUCTURE: Final = {
    protected: bytes((0x83,)) + cbor2.dumps("Encrypt0") + cbor2.dumps(protected)
    for protected in _BY_PROTECTED
}
"""How the Enc_structure begins, up to the external data."""

_MASK_32: Final = (1 << 32) - 1
_new: Callable[..., Any] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of any
"""A named tuple's own way to be made is a call of Python's, for every frame."""


class Counter(NamedTuple):
    """The Partial IV: boot counter and sequence within the boot; they order what one sender says."""

    boot: int
    seq: int

    def to_bytes(self) -> bytes:
        """The eight bytes on the wire; raises OverflowError outside 32 bits each."""
        return self.boot.to_bytes(4, "big") + self.seq.to_bytes(4, "big")


class Opened(NamedTuple):
    """An authenticated frame: the epoch and counter it was sealed with, and its body."""

    epoch: int
    counter: Counter
    body: bytes


class _Key:
    """Cipher and Base IV of one secret, epoch, direction and algorithm."""

    def __init__(self, secret: bytes, epoch: int, direction: Direction, algorithm: _Algorithm) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a device secret has {SECRET_BYTES} bytes")
        if not 1 <= epoch <= MAX_EPOCH:
            raise ValueError(f"an epoch is in 1..{MAX_EPOCH}")

        def derive(purpose: str, length: int) -> bytes:
            info = f"pileway-link/1 {purpose} {direction} {algorithm.name} {epoch}".encode()
            return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)

        self.aes = AESGCM(derive("key", algorithm.key_bytes))
        self._base_iv = int.from_bytes(derive("iv", _IV_BYTES), "big")

    def nonce(self, partial_iv: int) -> bytes:
        return (self._base_iv ^ partial_iv).to_bytes(_IV_BYTES, "big")


class Sealer:
    """Seals frames of one pile in one direction under one epoch. Keep it: it holds the derived key."""

    def __init__(self, secret: bytes, *, epoch: int, direction: Direction) -> None:
        self.epoch = epoch
        self.direction = direction
        self._key = _Key(secret, epoch, direction, _A256GCM)
        self._kid = epoch.to_bytes(4, "big")

    def seal(self, topic: str, body: bytes, *, counter: Counter) -> bytes:
        """The frame of a body for a topic. Raises Oversized."""
        partial_iv = counter.to_bytes()
        associated = _associated_data(_A256GCM.protected, topic)
        nonce = self._key.nonce(int.from_bytes(partial_iv, "big"))
        ciphertext = self._key.aes.encrypt(nonce, body, associated)
        unprotected = {_HEADER_KID: self._kid, _HEADER_PARTIAL_IV: partial_iv}
        frame = bytes((_TAG_16,)) + cbor2.dumps([_A256GCM.protected, unprotected, ciphertext])
        if len(frame) > MAX_FRAME_BYTES:
            raise Oversized(size_bytes=len(frame), limit_bytes=MAX_FRAME_BYTES)
        return frame


class Opener:
    """Opens frames of one pile in one direction, under any of the epochs it has a secret for."""

    def __init__(self, secrets: Mapping[int, bytes], *, direction: Direction) -> None:
        self.direction = direction
        self._secrets = dict(secrets)
        self._keys: dict[tuple[int, bytes], _Key] = {}

    def open(self, topic: str, frame: bytes) -> Opened:
        """The body of a frame that arrived under a topic.

        Raises Oversized, Malformed, UnsupportedAlgorithm, UnknownEpoch or Forged. Replays open well:
        whether a counter was seen before is the caller's question, to be asked after this.
        """
        protected, epoch, partial_iv, ciphertext = _parse_usual(frame) or _parse(frame)
        key = self._keys.get((epoch, protected)) or self._key(epoch, protected)
        try:
            body = key.aes.decrypt(key.nonce(partial_iv), ciphertext, _associated_data(protected, topic))
        except InvalidTag as error:
            raise Forged("the authentication tag does not fit") from error
        counter = _new(Counter, (partial_iv >> 32, partial_iv & _MASK_32))
        return _new(Opened, (epoch, counter, body))

    def _key(self, epoch: int, protected: bytes) -> _Key:
        algorithm = _BY_PROTECTED.get(protected)
        if algorithm is None:
            raise UnsupportedAlgorithm("the protected header is not {1: 3} or {1: 1}")
        secret = self._secrets.get(epoch)
        if secret is None:
            raise UnknownEpoch(epoch)
        key = self._keys[epoch, protected] = _Key(secret, epoch, self.direction, algorithm)
        return key


_Parts = tuple[bytes, int, int, bytes]
"""Protected header, epoch, Partial IV, ciphertext."""


def _parse_usual(frame: bytes) -> _Parts | None:
    """The parts of a frame as deterministic CBOR writes it; None for any other, which `_parse` reads or refuses."""
    if not _USUAL_HEAD.size + 2 <= len(frame) <= codec.MAX_CONTAINER_HEADS:
        return None
    begin, epoch, between, partial_iv, head = _USUAL_HEAD.unpack_from(frame)
    if begin != _USUAL_BEGIN or between != _USUAL_BETWEEN:
        return None
    if head == _LENGTH_IN_2:
        length, start = frame[24] << 8 | frame[25], 26
    elif head == _LENGTH_IN_1:
        length, start = frame[24], 25
    else:
        return None
    return (_A256GCM.protected, epoch, partial_iv, frame[start:]) if len(frame) == start + length else None


def _parse(frame: bytes) -> _Parts:
    """The parts of any frame. The tag is optional, other headers are ignored."""
    if len(frame) > MAX_FRAME_BYTES:
        raise Oversized(size_bytes=len(frame), limit_bytes=MAX_FRAME_BYTES)
    parts: Any = codec.read_item(frame[1:] if frame[:1] == bytes((_TAG_16,)) else frame)
    if parts.__class__ is not list or len(parts) != 3:
        raise Malformed("envelope: expected an array of three")
    protected, unprotected, ciphertext = parts
    if protected.__class__ is not bytes or ciphertext.__class__ is not bytes:
        raise Malformed("envelope: protected header and ciphertext are byte strings")
    if unprotected.__class__ is not dict:
        raise Malformed("envelope: the unprotected header is a map")
    kid, partial_iv = unprotected.get(_HEADER_KID), unprotected.get(_HEADER_PARTIAL_IV)
    if kid.__class__ is not bytes or len(kid) != 4:
        raise Malformed("envelope: kid is the epoch in 4 bytes")
    if partial_iv.__class__ is not bytes or len(partial_iv) != 8:
        raise Malformed("envelope: Partial IV has 8 bytes")
    return protected, int.from_bytes(kid, "big"), int.from_bytes(partial_iv, "big"), ciphertext


@lru_cache(maxsize=65_536)
def _associated_data(protected: bytes, topic: str) -> bytes:
    """The Enc_structure of RFC 9052, section 5.3."""
    external = topic.encode()
    if 24 <= len(external) < 256:
        # As below; a topic has nearly always this length.
        return _ENC_STRUCTURE[protected] + bytes((_LENGTH_IN_1, len(external))) + external
    return cbor2.dumps(["Encrypt0", protected, external])
