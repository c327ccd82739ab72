"""Section 5 of docs/protocol.md, with pycose: a frame is one COSE_Encrypt0."""

import importlib
from typing import Any

import cbor2
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# pycose carries no types.
headers: Any = importlib.import_module("pycose.headers")
messages: Any = importlib.import_module("pycose.messages")
keys: Any = importlib.import_module("pycose.keys")

KID = 4
PARTIAL_IV = 6


class Direction:
    """Key and Base IV of one direction under one epoch."""

    def __init__(self, secret: bytes, *, epoch: int, way: str) -> None:
        def derive(purpose: str, length: int) -> bytes:
            info = f"pileway-link/1 {purpose} {way} A256GCM {epoch}".encode()
            return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)

        self._kid = epoch.to_bytes(4, "big")
        self._key = keys.SymmetricKey(derive("key", 32))
        self._base_iv = derive("iv", 12)

    def seal(self, topic: str, body: bytes, *, boot: int, seq: int) -> bytes:
        """The frame of a body for a topic."""
        partial_iv = boot.to_bytes(4, "big") + seq.to_bytes(4, "big")
        message = messages.Enc0Message(
            phdr={headers.Algorithm: "A256GCM"},
            uhdr={headers.IV: self._nonce(partial_iv)},
            payload=body,
            external_aad=topic.encode(),
        )
        message.key = self._key
        parts = [message.phdr_encoded, {KID: self._kid, PARTIAL_IV: partial_iv}, message.encrypt()]
        return cbor2.dumps(cbor2.CBORTag(16, parts), canonical=True)

    def open(self, topic: str, frame: bytes) -> tuple[tuple[int, int], bytes]:
        """Counter and body of a frame; raises whatever pycose raises for one that does not open."""
        parts = cbor2.loads(frame)
        parts = parts.value if isinstance(parts, cbor2.CBORTag) else parts
        protected, unprotected, ciphertext = parts
        if unprotected[KID] != self._kid:
            raise ValueError("another epoch")
        partial_iv = unprotected[PARTIAL_IV]
        uhdr = {headers.IV.identifier: self._nonce(partial_iv)}
        message = messages.Enc0Message.from_cose_obj([protected, uhdr, ciphertext], True)
        message.external_aad = topic.encode()
        message.key = self._key
        counter = (int.from_bytes(partial_iv[:4], "big"), int.from_bytes(partial_iv[4:], "big"))
        return counter, message.decrypt()

    def _nonce(self, partial_iv: bytes) -> bytes:
        padded = bytes(4) + partial_iv
        return bytes(left ^ right for left, right in zip(self._base_iv, padded, strict=True))
