"""The simulator refuses requests it cannot prove to be the merchant's, and keeps its keys."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from billing.payment_rails.wechat_signature import RequestSigner
from payment_sim import keys, signing
from payment_sim.errors import ApiError
from payment_sim.keys import Keys


@pytest.fixture(scope="module")
def merchant(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return keys.generate(tmp_path_factory.mktemp("keys"))


def _authorization(
    merchant: Keys, *, at: datetime | None = None, key: rsa.RSAPrivateKey | None = None
) -> str:
    signer = RequestSigner(merchant.mchid, merchant.merchant_serial, key or merchant.merchant_key)
    return signer.authorization(method="GET", target="/v3/x", body=b"", now=at or datetime.now(UTC))


def _refused(merchant: Keys, authorization: str) -> bool:
    try:
        signing.verify_request(merchant, authorization=authorization, method="GET", target="/v3/x", body=b"")
    except ApiError as error:
        return (error.status, error.code) == (401, "SIGN_ERROR")
    return False


def test_a_request_is_refused_unless_every_part_is_right(merchant: Keys) -> None:
    good = _authorization(merchant)
    assert not _refused(merchant, good)
    other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert _refused(merchant, "")
    assert _refused(merchant, good.replace("RSA2048", "SM2"))
    assert _refused(merchant, good.replace(merchant.merchant_serial, "00"))
    assert _refused(merchant, good.replace(merchant.mchid, "1900000000"))
    assert _refused(merchant, good.replace("signature=", "sig="))
    assert _refused(merchant, good.replace('signature="', 'signature="*'))
    assert _refused(merchant, _authorization(merchant, key=other_key))
    assert _refused(merchant, _authorization(merchant, at=datetime.now(UTC) - timedelta(seconds=302)))
    assert _refused(merchant, _authorization(merchant, at=datetime.now(UTC) + timedelta(seconds=302)))


def test_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first, again = keys.generate(tmp_path / "k"), keys.generate(tmp_path / "k")
    assert first.merchant_key_pem == again.merchant_key_pem
    assert first.platform_public_key_pem == again.platform_public_key_pem
    assert (first.mchid, first.appid, first.api_v3_key) == (again.mchid, again.appid, again.api_v3_key)
    assert first.platform_serial.startswith("PUB_KEY_ID_")
    assert len(first.api_v3_key) == 32
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "k").iterdir()} == {0o600}
    assert "PRIVATE" not in repr(first)
    assert first.api_v3_key.decode() not in repr(first)
