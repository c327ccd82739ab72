"""The embedded parts of one installation: fills in what the settings leave open.

Secrets are made once and kept under the home folder; PostgreSQL and Mosquitto run as supervised parts unless the
settings name servers of your own. Whoever enters owns the home folder until leaving.
"""

import base64
import os
import secrets as random_secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pileway import certificates, home
from pileway.embedded_broker import EmbeddedBroker
from pileway.embedded_postgres import EmbeddedPostgres
from pileway.errors import SettingsInvalid
from pileway.settings import KEY_SIZE_BYTES, Settings
from pileway.supervisor import Supervisor

_RSA_BITS = 2048

# What the simulated WeChat Pay knows its one merchant by.
_SIMULATED_MERCHANT = {
    "wechat_pay_app_id": "wx70696c6577617931",
    "wechat_pay_merchant_id": "1700000001",
    "wechat_pay_merchant_serial": "70696C657761792D6D65726368616E74",
    "wechat_pay_public_key_id": "PUB_KEY_ID_0117000000012026010100000000000000",
}
_BROKER_CLIENT_FILES = ("broker_ca_path", "gateway_certificate_path", "gateway_key_path")


@dataclass(frozen=True)
class Installation:
    """Complete settings, and the supervisor that keeps the parts running and takes more of them."""

    settings: Settings
    supervisor: Supervisor


@contextmanager
def installation(settings: Settings) -> Generator[Installation]:
    """Run database and broker and have all secrets while the block runs; then stop every part, last one first.

    Raises a `PilewayError` that says what is wrong: home in use, program missing, port, permission, disk.
    """
    folder = home.prepare(settings.home)
    with home.lock(folder), Supervisor(folder / "log") as supervisor:
        complete = settings.with_values(home=folder, **_open_secrets(settings, folder / "secrets"))
        complete = _with_database(complete, supervisor)
        yield Installation(settings=_with_broker(complete, supervisor), supervisor=supervisor)


@contextmanager
def database(settings: Settings) -> Generator[Settings]:
    """Run only the database while the block runs, unless the settings name one."""
    if settings.database_url is not None:
        yield settings
        return
    folder = home.prepare(settings.home)
    with home.lock(folder), Supervisor(folder / "log") as supervisor:
        yield _with_database(settings.with_values(home=folder), supervisor)


def _with_database(settings: Settings, supervisor: Supervisor) -> Settings:
    if settings.database_url is not None:
        return settings
    server = EmbeddedPostgres(
        folder=settings.home / "postgres",
        secrets=settings.home / "secrets",
        log_path=settings.home / "log" / "postgres.log",
        port=settings.database_port,
    )
    return settings.with_values(database_url=supervisor.add(server))


def _with_broker(settings: Settings, supervisor: Supervisor) -> Settings:
    if settings.broker_url is not None:
        for name in _BROKER_CLIENT_FILES:
            if getattr(settings, name) is None:
                raise SettingsInvalid(f"PILEWAY_{name.upper()}", "is not set; PILEWAY_BROKER_URL needs it")
        return settings.with_values(device_broker_url=settings.device_broker_url or settings.broker_url)
    address = supervisor.add(
        EmbeddedBroker(
            folder=settings.home / "broker",
            secrets=settings.home / "secrets",
            log_path=settings.home / "log" / "mosquitto.log",
            device_port=settings.device_port,
            device_authority_path=settings.device_ca_path,
        )
    )
    return settings.with_values(
        broker_url=address.service_url,
        device_broker_url=settings.device_broker_url or address.device_url,
        broker_ca_path=address.server_ca_path,
        gateway_certificate_path=address.gateway_certificate_path,
        gateway_key_path=address.gateway_key_path,
    )


def _open_secrets(settings: Settings, folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if settings.key_encryption_key is None:
        key = home.secret_bytes(folder / "key-encryption-key", make=_new_key)
        values["key_encryption_key"] = key.decode()
    if settings.operator_token is None:
        values["operator_token"] = home.secret(folder / "operator-token")
    if settings.device_ca_path is None or settings.device_ca_key_path is None:
        certificates.load_or_create_authority(folder, "device-ca")
        values["device_ca_path"] = folder / "device-ca.crt"
        values["device_ca_key_path"] = folder / "device-ca.key"
    if settings.wechat_pay_url is None:
        values |= _open_simulated_rail(settings, folder)
    return values


def _open_simulated_rail(settings: Settings, folder: Path) -> dict[str, Any]:
    merchant_key = _rsa_key(folder / "wechat-merchant.key")
    platform_key = _rsa_key(folder / "wechat-platform.key")
    public_path = folder / "wechat-platform.pub"
    home.write_private(public_path, _public_pem(platform_key.read_bytes()))
    return _SIMULATED_MERCHANT | {
        "wechat_pay_url": f"http://127.0.0.1:{settings.payment_sim_port}",
        "wechat_pay_merchant_key_path": merchant_key,
        "wechat_pay_public_key_path": public_path,
        "wechat_pay_api_v3_key": home.secret_bytes(
            folder / "wechat-api-v3-key", make=_new_api_v3_key
        ).decode(),
        "payment_sim_key_path": platform_key,
    }


def _new_key() -> bytes:
    return base64.b64encode(os.urandom(KEY_SIZE_BYTES))


def _new_api_v3_key() -> bytes:
    return random_secrets.token_hex(16).encode()


def _rsa_key(path: Path) -> Path:
    home.secret_bytes(path, make=_new_rsa_key)
    return path


def _new_rsa_key() -> bytes:
    return rsa.generate_private_key(public_exponent=65_537, key_size=_RSA_BITS).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key_pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(key_pem, password=None)
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
