"""Keys and identity of the simulated merchant and of the simulated WeChat Pay, kept in files of one directory."""

from __future__ import annotations

import json
import os
import secrets
import string
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

RSA_BITS = 2048

_IDENTITY_FILE = "merchant.json"
_MERCHANT_KEY_FILE = "merchant_key.pem"
_PLATFORM_KEY_FILE = "platform_key.pem"
_PLATFORM_PUBLIC_KEY_FILE = "platform_public_key.pem"
_ALPHANUMERIC = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Keys:
    """One merchant at the simulator: who it is, and both sides' keys. The platform key is in PUB_KEY_ID_ mode."""

    mchid: str
    appid: str
    merchant_serial: str
    merchant_key: RSAPrivateKey = field(repr=False)
    platform_serial: str
    platform_key: RSAPrivateKey = field(repr=False)
    api_v3_key: bytes = field(repr=False)

    @property
    def merchant_public_key(self) -> RSAPublicKey:
        """What the simulator verifies requests with."""
        return self.merchant_key.public_key()

    @property
    def platform_public_key(self) -> RSAPublicKey:
        """What the merchant verifies answers and notifications with."""
        return self.platform_key.public_key()

    @property
    def merchant_key_pem(self) -> bytes:
        """The merchant's private key, unencrypted PKCS#8 PEM."""
        return _private_pem(self.merchant_key)

    @property
    def platform_public_key_pem(self) -> bytes:
        """The platform's public key, PEM."""
        return _public_pem(self.platform_public_key)


def merchant_key_path(directory: Path) -> Path:
    """Where the merchant finds its private key."""
    return directory / _MERCHANT_KEY_FILE


def platform_public_key_path(directory: Path) -> Path:
    """Where the merchant finds WeChat Pay's public key."""
    return directory / _PLATFORM_PUBLIC_KEY_FILE


def generate(directory: Path) -> Keys:
    """Make the keys of a new merchant in `directory`, or load those that are there already."""
    if (directory / _IDENTITY_FILE).exists():
        return load(directory)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = Keys(
        mchid="19" + "".join(secrets.choice(string.digits) for _ in range(8)),
        appid="wx" + secrets.token_hex(8),
        merchant_serial=secrets.token_hex(20).upper(),
        merchant_key=rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS),
        platform_serial="PUB_KEY_ID_0" + "".join(secrets.choice(string.digits) for _ in range(30)),
        platform_key=rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS),
        api_v3_key="".join(secrets.choice(_ALPHANUMERIC) for _ in range(32)).encode(),
    )
    _write_private(directory / _MERCHANT_KEY_FILE, keys.merchant_key_pem)
    _write_private(directory / _PLATFORM_KEY_FILE, _private_pem(keys.platform_key))
    _write_private(directory / _PLATFORM_PUBLIC_KEY_FILE, keys.platform_public_key_pem)
    identity = {
        "mchid": keys.mchid,
        "appid": keys.appid,
        "merchant_serial": keys.merchant_serial,
        "platform_serial": keys.platform_serial,
        "api_v3_key": keys.api_v3_key.decode(),
    }
    # Last, because its presence says that the set is complete.
    _write_private(directory / _IDENTITY_FILE, json.dumps(identity, indent=2).encode())
    return keys


def load(directory: Path) -> Keys:
    """Load the keys that `generate` made; raises FileNotFoundError."""
    identity: dict[str, str] = json.loads((directory / _IDENTITY_FILE).read_bytes())
    return Keys(
        mchid=identity["mchid"],
        appid=identity["appid"],
        merchant_serial=identity["merchant_serial"],
        merchant_key=_load_private(directory / _MERCHANT_KEY_FILE),
        platform_serial=identity["platform_serial"],
        platform_key=_load_private(directory / _PLATFORM_KEY_FILE),
        api_v3_key=identity["api_v3_key"].encode(),
    )


def _load_private(path: Path) -> RSAPrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError(f"{path} holds no RSA key")
    return key


def _private_pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(key: RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
