"""The signed strings and sealed resources of WeChat Pay API v3, against documented strings and a second writer."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.payment_rails import wechat_signature
from billing.payment_rails.wechat_signature import RequestSigner, ResponseVerifier, SignatureRefused
from payment_sim import signing
from payment_sim.errors import ApiError
from payment_sim.keys import Keys

KEYS = Keys(
    mchid="1900009191",
    appid="wxd678efh567hg6787",
    merchant_serial="1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C",
    merchant_key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
    platform_serial="PUB_KEY_ID_0112345678901234567890123456789",
    platform_key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
    api_v3_key=b"0123456789abcdefghijklmnopqrstuv",
)
SIGNER = RequestSigner(KEYS.mchid, KEYS.merchant_serial, KEYS.merchant_key)
VERIFIER = ResponseVerifier({KEYS.platform_serial: KEYS.platform_public_key})

bodies = st.binary(max_size=200)
targets = st.from_regex(r"/v3/[a-z/\-]{1,40}(\?mchid=[0-9]{1,10})?", fullmatch=True)


def _now() -> datetime:
    return datetime.now(UTC)


def test_the_request_string_is_the_documented_one() -> None:
    message = wechat_signature.request_message(
        method="GET",
        target="/v3/refund/domestic/refunds/123123123123",
        timestamp="1554208460",
        nonce="593BEC0C930BF1AFEB40B4A08C8FB242",
        body=b"",
    )
    assert message == (
        b"GET\n/v3/refund/domestic/refunds/123123123123\n1554208460\n593BEC0C930BF1AFEB40B4A08C8FB242\n\n"
    )


def test_the_response_string_is_the_documented_one() -> None:
    message = wechat_signature.response_message(
        timestamp="1722850421", nonce="d824f2e086d3c1df967785d13fcd22ef", body='{"a":"微信"}'.encode()
    )
    assert message == b"1722850421\nd824f2e086d3c1df967785d13fcd22ef\n" + '{"a":"微信"}\n'.encode()


def test_the_authorization_names_merchant_key_and_moment_and_signs_the_bytes() -> None:
    now, body = _now(), '{"description":"充电"}'.encode()
    header = SIGNER.authorization(method="POST", target="/v3/pay/transactions/h5", body=body, now=now)
    match = re.fullmatch(
        r'WECHATPAY2-SHA256-RSA2048 mchid="1900009191",nonce_str="([0-9A-F]{32})",timestamp="(\d+)",'
        r'serial_no="1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C",signature="([A-Za-z0-9+/=]+)"',
        header,
    )
    assert match is not None
    nonce, timestamp, signature = match.groups()
    assert int(timestamp) == int(now.timestamp())
    signed = f"POST\n/v3/pay/transactions/h5\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
    key = KEYS.merchant_public_key
    key.verify(base64.b64decode(signature), signed, PKCS1v15(), SHA256())
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature), signed + b"x", PKCS1v15(), SHA256())


@settings(max_examples=30, deadline=None)
@given(method=st.sampled_from(["GET", "POST"]), target=targets, body=bodies)
def test_what_the_client_signs_the_platform_accepts(method: str, target: str, body: bytes) -> None:
    header = SIGNER.authorization(method=method, target=target, body=body, now=_now())
    signing.verify_request(KEYS, authorization=header, method=method, target=target, body=body)
    with pytest.raises(ApiError):
        signing.verify_request(KEYS, authorization=header, method=method, target=target, body=body + b" ")
    with pytest.raises(ApiError):
        signing.verify_request(KEYS, authorization=header, method=method, target=target + "x", body=body)


@settings(max_examples=30, deadline=None)
@given(body=bodies)
def test_what_the_platform_signs_the_client_accepts_and_nothing_else(body: bytes) -> None:
    headers = signing.signed_headers(KEYS, body)
    VERIFIER.verify(headers, body, now=_now())
    VERIFIER.verify({name.lower(): value for name, value in headers.items()}, body, now=_now())
    with pytest.raises(SignatureRefused) as refused:
        VERIFIER.verify(headers, body + b"\n", now=_now())
    assert refused.value.reason == "forged"


@pytest.mark.parametrize("skew_s", [-299, 299])
def test_a_signature_within_five_minutes_is_fresh(skew_s: int) -> None:
    VERIFIER.verify(signing.signed_headers(KEYS, b"{}"), b"{}", now=_now() + timedelta(seconds=skew_s))


@pytest.mark.parametrize("skew_s", [-302, 302, 30 * 86_400])
def test_a_signature_beyond_five_minutes_is_stale(skew_s: int) -> None:
    with pytest.raises(SignatureRefused) as refused:
        VERIFIER.verify(signing.signed_headers(KEYS, b"{}"), b"{}", now=_now() + timedelta(seconds=skew_s))
    assert refused.value.reason == "stale"


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("Wechatpay-Signature", "", "unsigned"),
        ("Wechatpay-Signature", "not base64!", "forged"),
        ("Wechatpay-Signature", "5ouJ5Y+W5pys", "forged"),
        ("Wechatpay-Timestamp", "", "unsigned"),
        ("Wechatpay-Timestamp", "１５５４２０８４６０", "malformed_timestamp"),
        ("Wechatpay-Timestamp", "-1", "malformed_timestamp"),
        ("Wechatpay-Timestamp", "9" * 12, "stale"),
        ("Wechatpay-Timestamp", "9" * 13, "malformed_timestamp"),
        ("Wechatpay-Timestamp", "9" * 400, "malformed_timestamp"),
        ("Wechatpay-Timestamp", "9" * 5_000, "malformed_timestamp"),
        ("Wechatpay-Nonce", "", "unsigned"),
        ("Wechatpay-Nonce", "another", "forged"),
        ("Wechatpay-Serial", "", "unknown_serial"),
        ("Wechatpay-Serial", "PUB_KEY_ID_2", "unknown_serial"),
        ("Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3", "unknown_algorithm"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_each_header_must_be_right(header: str, value: str, reason: str) -> None:
    headers = dict(signing.signed_headers(KEYS, b"{}")) | {header: value}
    with pytest.raises(SignatureRefused) as refused:
        VERIFIER.verify(headers, b"{}", now=_now())
    assert refused.value.reason == reason


def test_a_missing_signature_type_means_rsa() -> None:
    headers = dict(signing.signed_headers(KEYS, b"{}"))
    del headers["Wechatpay-Signature-Type"]
    VERIFIER.verify(headers, b"{}", now=_now())


def test_the_probe_that_must_fail_fails() -> None:
    with pytest.raises(SignatureRefused) as refused:
        VERIFIER.verify(signing.signed_headers(KEYS, b"{}", probe=True), b"{}", now=_now())
    assert refused.value.reason == "signtest_probe"


@given(plaintext=st.binary(max_size=300), associated=st.sampled_from(["", "transaction", "refund"]))
def test_what_the_platform_seals_the_client_opens(plaintext: bytes, associated: str) -> None:
    sealed = signing.seal(KEYS, plaintext, associated_data=associated)
    opened = wechat_signature.decrypt(
        KEYS.api_v3_key,
        nonce=sealed["nonce"],
        associated_data=sealed["associated_data"],
        ciphertext=sealed["ciphertext"],
    )
    assert opened == plaintext


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nonce": "short"}, "malformed_nonce"),
        ({"nonce": "000000000000"}, "undecryptable"),
        ({"associated_data": "refund"}, "undecryptable"),
        ({"ciphertext": "AAAA"}, "undecryptable"),
        ({"ciphertext": "***"}, "undecryptable"),
    ],
)
def test_a_resource_that_was_touched_does_not_open(change: dict[str, str], reason: str) -> None:
    plaintext = json.dumps({"a": 1}).encode()
    sealed = signing.seal(KEYS, plaintext, associated_data="transaction") | change
    with pytest.raises(SignatureRefused) as refused:
        wechat_signature.decrypt(
            KEYS.api_v3_key,
            nonce=sealed["nonce"],
            associated_data=sealed["associated_data"],
            ciphertext=sealed["ciphertext"],
        )
    assert refused.value.reason == reason
