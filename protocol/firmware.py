"""What a firmware signature covers, and its check: Ed25519 over a manifest in deterministic CBOR. Pure."""

import re
from typing import Final, NamedTuple

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_CONTEXT: Final = "pileway-firmware/1"
_NUMBERS: Final = re.compile(r"\d+")


class Manifest(NamedTuple):
    """What is signed: for which model, which version, what it needs to be installed over, and which bytes."""

    model: str
    version: str
    minimum_version: str
    size_bytes: int
    sha256: bytes

    def encoded(self) -> bytes:
        """The signed bytes: a CBOR array of the context and the five fields, in this order."""
        return cbor2.dumps([_CONTEXT, *self], canonical=True)


def sign(key: Ed25519PrivateKey, manifest: Manifest) -> bytes:
    """The maker's signature of 64 bytes."""
    return key.sign(manifest.encoded())


def is_genuine(key: Ed25519PublicKey, manifest: Manifest, signature: bytes) -> bool:
    """Whether the maker signed exactly this."""
    try:
        key.verify(signature, manifest.encoded())
    except InvalidSignature:
        return False
    return True


def version_order(version: str) -> tuple[int, ...]:
    """The order of versions: their numbers from left to right, other letters ignored (1.9 before 1.10)."""
    return tuple(int(number) for number in _NUMBERS.findall(version)[:8])
