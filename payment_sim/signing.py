"""The platform's side of API v3 signatures: verify requests, sign answers, seal and sign notifications.

Written from the documented strings and not shared with the client that talks to it, so that a mistake on either
side shows as a refused signature.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from payment_sim.errors import sign_error
from payment_sim.keys import Keys

ALGORITHM = "WECHATPAY2-SHA256-RSA2048"
MAX_SKEW_S = 300
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_PARAMETERS = ("mchid", "nonce_str", "timestamp", "serial_no", "signature")


def verify_request(keys: Keys, *, authorization: str, method: str, target: str, body: bytes) -> None:
    """Raise SIGN_ERROR unless the merchant signed exactly this request within five minutes."""
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise sign_error("Http头Authorization中的认证类型不正确")
    given: dict[str, str] = dict(_PARAMETER.findall(rest))
    if any(not given.get(name) for name in _PARAMETERS):
        raise sign_error("Http头Authorization中缺少参数")
    if given["mchid"] != keys.mchid or given["serial_no"] != keys.merchant_serial:
        raise sign_error("商户号或商户证书序列号有误")
    timestamp = given["timestamp"]
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > MAX_SKEW_S:
        raise sign_error("Http头Authorization中的timestamp与发起请求的时间不得超过5分钟")
    message = b"".join(
        part + b"\n"
        for part in (method.encode(), target.encode(), timestamp.encode(), given["nonce_str"].encode(), body)
    )
    try:
        signature = base64.b64decode(given["signature"], validate=True)
        keys.merchant_public_key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (binascii.Error, InvalidSignature):
        raise sign_error("签名错误，请检查后再试") from None


def signed_headers(keys: Keys, body: bytes, *, probe: bool = False) -> Mapping[str, str]:
    """Headers that sign an answer or a notification; `probe` signs like the documented SIGNTEST traffic."""
    timestamp = str(int(time.time()))
    nonce = secrets.token_urlsafe(24)
    message = b"".join(part + b"\n" for part in (timestamp.encode(), nonce.encode(), body))
    signature = base64.b64encode(
        keys.platform_key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    ).decode()
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": f"WECHATPAY/SIGNTEST/{signature}" if probe else signature,
        "Wechatpay-Serial": keys.platform_serial,
        "Wechatpay-Signature-Type": ALGORITHM,
    }


def seal(keys: Keys, plaintext: bytes, *, associated_data: str) -> dict[str, str]:
    """Encrypt a notification's resource with the merchant's APIv3 key."""
    nonce = secrets.token_hex(6)
    sealed = AESGCM(keys.api_v3_key).encrypt(nonce.encode(), plaintext, associated_data.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(sealed).decode(),
        "nonce": nonce,
        "associated_data": associated_data,
        "original_type": associated_data,
    }
