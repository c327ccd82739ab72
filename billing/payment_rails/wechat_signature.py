"""Signatures and encryption of WeChat Pay API v3 (微信支付 APIv3): RSA-2048 with SHA-256, and AES-256-GCM.

Our requests are signed with the merchant's key over five lines; answers and notifications are signed with the
platform's key over three. A signature is only good for five minutes of real time around its timestamp.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

SCHEME = "WECHATPAY2-SHA256-RSA2048"
MAX_SKEW_S = 300
"""How far a signature's timestamp may be from our clock, in seconds."""

MAX_TIMESTAMP_DIGITS = 12
"""Seconds since 1970 for the next thirty thousand years; longer ones are not even read as numbers."""

API_V3_KEY_BYTES = 32
_PROBE_PREFIX = "WECHATPAY/SIGNTEST/"
_AES_NONCE_BYTES = 12


@dataclass(eq=False)
class SignatureRefused(Exception):
    """What was received is not proven to come from WeChat Pay; `reason` is one word for logs."""

    reason: str


def request_message(*, method: str, target: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """The five signed lines of a request; `target` is the path with its query."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def response_message(*, timestamp: str, nonce: str, body: bytes) -> bytes:
    """The three signed lines of an answer or a notification."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


@dataclass(frozen=True)
class RequestSigner:
    """Signs requests with the merchant's key; `serial_no` names its certificate at WeChat Pay."""

    mchid: str
    serial_no: str
    private_key: RSAPrivateKey

    def authorization(self, *, method: str, target: str, body: bytes, now: datetime) -> str:
        """The Authorization header of a request that is sent with exactly these bytes."""
        timestamp = str(int(now.timestamp()))
        nonce = secrets.token_hex(16).upper()
        message = request_message(method=method, target=target, timestamp=timestamp, nonce=nonce, body=body)
        signature = base64.b64encode(self.private_key.sign(message, PKCS1v15(), SHA256())).decode()
        return (
            f'{SCHEME} mchid="{self.mchid}",nonce_str="{nonce}",timestamp="{timestamp}",'
            f'serial_no="{self.serial_no}",signature="{signature}"'
        )


@dataclass(frozen=True)
class ResponseVerifier:
    """Verifies answers and notifications; `platform_keys` by serial (`PUB_KEY_ID_...` or a certificate's)."""

    platform_keys: Mapping[str, RSAPublicKey]

    def verify(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> None:
        """Raise SignatureRefused unless the platform signed these bytes within MAX_SKEW_S of `now`.

        WeChat Pay probes receivers with signatures that must fail; they are refused as `signtest_probe`.
        """
        lowered = {name.lower(): value for name, value in headers.items()}
        signature = lowered.get("wechatpay-signature", "")
        if signature.startswith(_PROBE_PREFIX):
            raise SignatureRefused("signtest_probe")
        timestamp = lowered.get("wechatpay-timestamp", "")
        nonce = lowered.get("wechatpay-nonce", "")
        if not (signature and timestamp and nonce):
            raise SignatureRefused("unsigned")
        if lowered.get("wechatpay-signature-type", SCHEME) != SCHEME:
            raise SignatureRefused("unknown_algorithm")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= MAX_TIMESTAMP_DIGITS):
            raise SignatureRefused("malformed_timestamp")
        if abs(now.timestamp() - int(timestamp)) > MAX_SKEW_S:
            raise SignatureRefused("stale")
        key = self.platform_keys.get(lowered.get("wechatpay-serial", ""))
        if key is None:
            raise SignatureRefused("unknown_serial")
        try:
            signed = base64.b64decode(signature, validate=True)
            message = response_message(timestamp=timestamp, nonce=nonce, body=body)
            key.verify(signed, message, PKCS1v15(), SHA256())
        except (binascii.Error, ValueError, InvalidSignature):
            raise SignatureRefused("forged") from None


def decrypt(api_v3_key: bytes, *, nonce: str, associated_data: str, ciphertext: str) -> bytes:
    """Open a notification's resource (AEAD_AES_256_GCM, tag at the end of the base64 ciphertext).

    Raises SignatureRefused when it was not sealed with our key.
    """
    nonce_bytes = nonce.encode()
    if len(nonce_bytes) != _AES_NONCE_BYTES:
        raise SignatureRefused("malformed_nonce")
    try:
        sealed = base64.b64decode(ciphertext, validate=True)
        return AESGCM(api_v3_key).decrypt(nonce_bytes, sealed, associated_data.encode())
    except (binascii.Error, ValueError, InvalidTag):
        raise SignatureRefused("undecryptable") from None
