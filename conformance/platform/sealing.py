"""Frames sealed by hand, so that every part of one can be wrong: written from the contract, not on our envelope."""

from dataclasses import dataclass, field
from typing import Final

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.envelope import Counter

A256GCM: Final = 3
A128GCM: Final = 1
KID: Final = 4
PARTIAL_IV: Final = 6
_ALGORITHMS: Final = {A256GCM: ("A256GCM", 32), A128GCM: ("A128GCM", 16)}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a frame is made; by default as the contract says. `topic` is the one it is bound to.

    `algorithm` seals, `named` is what the protected header says; `kid` is the epoch it claims.
    """

    secret: bytes
    epoch: int
    topic: str
    counter: Counter
    algorithm: int = A256GCM
    named: int | None = None
    kid: int | None = None
    tagged: bool = True
    extra_headers: dict[int | str, object] = field(default_factory=dict[int | str, object])

    def seal(self, body: bytes) -> bytes:
        """The frame of a body."""
        name, key_bytes = _ALGORITHMS[self.algorithm]
        key = self._derived("key", name, key_bytes)
        base_iv = int.from_bytes(self._derived("iv", name, 12), "big")
        partial_iv = self.counter.to_bytes()
        nonce = (base_iv ^ int.from_bytes(partial_iv, "big")).to_bytes(12, "big")
        protected = cbor2.dumps({1: self.named or self.algorithm})
        associated = cbor2.dumps(["Encrypt0", protected, self.topic.encode()])
        ciphertext = AESGCM(key).encrypt(nonce, body, associated)
        kid = self.epoch if self.kid is None else self.kid
        unprotected = {KID: kid.to_bytes(4, "big"), PARTIAL_IV: partial_iv, **self.extra_headers}
        parts = [protected, unprotected, ciphertext]
        return cbor2.dumps(cbor2.CBORTag(16, parts) if self.tagged else parts)

    def _derived(self, purpose: str, algorithm: str, length: int) -> bytes:
        info = f"pileway-link/1 {purpose} up {algorithm} {self.epoch}".encode()
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self.secret)


def flipped(frame: bytes, *, at: int) -> bytes:
    """The frame with one bit turned over; `at` counts from the end when negative."""
    changed = bytearray(frame)
    changed[at] ^= 0x01
    return bytes(changed)
