"""`pileway firmware keygen` and `sign`: the maker's side of a release, with nothing but files.

The private key signs; its public half is built into piles and given to the platform. A signed manifest is JSON.
"""

import hashlib
import json
from pathlib import Path

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from pileway import home
from pileway.errors import PilewayError
from protocol import firmware
from protocol.firmware import Manifest
from protocol.messages.ranges import FIRMWARE_MAX_BYTES

MANIFEST_ENDING = ".manifest.json"
_READ_BYTES = 1 << 20


def keygen(key_path: Path) -> None:
    """Make a signing key; refuses to overwrite one. Raises PilewayError."""
    public_path = key_path.with_name(key_path.name + ".pub")
    for path in (key_path, public_path):
        if path.exists():
            raise PilewayError(f"{path} exists; a signing key is never overwritten")
    key = Ed25519PrivateKey.generate()
    try:
        home.write_private(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key()
        public_path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        raise PilewayError(f"cannot write {key_path}: {error.strerror}") from None
    typer.echo(f"private key: {key_path} (keep it offline)")
    typer.echo(
        f"public key:  {public_path} (PILEWAY_FIRMWARE_PUBLIC_KEY_PATH; raw: {public.public_bytes_raw().hex()})"
    )


def sign(
    image_path: Path, *, model: str, version: str, minimum_version: str, key_path: Path, out: Path | None
) -> Path:
    """Write the signed manifest of an image and return its path. Raises PilewayError."""
    key = _private_key(key_path)
    size_bytes, sha256 = _measure(image_path)
    if not 1 <= size_bytes <= FIRMWARE_MAX_BYTES:
        raise PilewayError(f"{image_path} has {size_bytes} bytes; 1 to {FIRMWARE_MAX_BYTES} can be installed")
    manifest = Manifest(model, version, minimum_version, size_bytes, sha256)
    signed = {
        "model": model,
        "version": version,
        "minimum_version": minimum_version,
        "size_bytes": size_bytes,
        "sha256": sha256.hex(),
        "signature": firmware.sign(key, manifest).hex(),
    }
    path = out or image_path.with_name(image_path.name + MANIFEST_ENDING)
    try:
        path.write_text(json.dumps(signed, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise PilewayError(f"cannot write {path}: {error.strerror}") from None
    typer.echo(f"{model} {version}, {size_bytes} bytes, SHA-256 {sha256.hex()}")
    typer.echo(f"signed manifest: {path}")
    return path


def public_key(path: Path) -> Ed25519PublicKey:
    """The maker's public key in a PEM file. Raises ValueError for anything else."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no public key (PEM)") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("holds a public key that is not Ed25519")
    return key


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise PilewayError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PilewayError(f"{path} holds no unencrypted private key (PEM)") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise PilewayError(f"{path} holds a key that is not Ed25519")
    return key


def _measure(path: Path) -> tuple[int, bytes]:
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
                size_bytes += len(piece)
    except OSError as error:
        raise PilewayError(f"cannot read {path}: {error.strerror}") from None
    return size_bytes, digest.digest()
