"""The embedded parts of one installation: fills in what the settings leave open.

Secrets are made once and kept under the home folder; PostgreSQL and Mosquitto run as supervised parts unless the
settings name servers of your own. Whoever enters owns the home folder until leaving.
"""

import base64
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from payment_sim import keys as payment_sim_keys
from pileway import certificates, home
from pileway.embedded_broker import EmbeddedBroker
from pileway.embedded_postgres import EmbeddedPostgres
from pileway.errors import SettingsInvalid
from pileway.settings import KEY_SIZE_BYTES, Settings
from pileway.supervisor import Supervisor

_BROKER_CLIENT_FILES = ("broker_ca_path", "gateway_certificate_path", "gateway_key_path")


@dataclass(frozen=True)
class Installation:
    """Complete settings, and the supervisor that keeps the parts running and takes more of them."""

    settings: Settings
    supervisor: Supervisor


@contextmanager
def installation(settings: Settings, *, broker_addition: str = "") -> Generator[Installation]:
    """Run database and broker and have all secrets while the block runs; then stop every part, last one first.

    `broker_addition` ends the configuration of the embedded broker.
    Raises a `PilewayError` that says what is wrong: home in use, program missing, port, permission, disk.
    """
    folder = home.prepare(settings.home)
    with home.lock(folder), Supervisor(folder / "log") as supervisor:
        settings = settings.with_values(home=folder)
        complete = settings.with_values(**_open_secrets(settings, folder / "secrets"))
        complete = _with_database(complete, supervisor)
        yield Installation(
            settings=_with_broker(complete, supervisor, broker_addition), supervisor=supervisor
        )


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


def _with_broker(settings: Settings, supervisor: Supervisor, addition: str) -> Settings:
    if settings.broker_url is not None:
        for name in _BROKER_CLIENT_FILES:
            if getattr(settings, name) is None:
                raise SettingsInvalid(f"PILEWAY_{name.upper()}", "is not set; PILEWAY_BROKER_URL needs it")
        return settings.with_values(device_broker_url=settings.device_broker_url or settings.broker_url)
    settings = _with_revocation_list(settings)
    address = supervisor.add(
        EmbeddedBroker(
            folder=settings.home / "broker",
            secrets=settings.home / "secrets",
            log_path=settings.home / "log" / "mosquitto.log",
            device_port=settings.device_port,
            device_authority_path=settings.device_ca_path,
            revocation_list_path=settings.device_crl_path,
            addition=addition,
        )
    )
    return settings.with_values(
        broker_url=address.service_url,
        device_broker_url=settings.device_broker_url or address.device_url,
        broker_ca_path=address.server_ca_path,
        gateway_certificate_path=address.gateway_certificate_path,
        gateway_key_path=address.gateway_key_path,
    )


def _with_revocation_list(settings: Settings) -> Settings:
    """The broker starts with a list; the API process keeps it up to date."""
    certificate, key = settings.device_ca_path, settings.device_ca_key_path
    assert certificate is not None, "secrets are opened before the broker"
    assert key is not None, "secrets are opened before the broker"
    path = settings.device_crl_path or settings.home / "secrets" / "device-ca.crl"
    certificates.keep_revocation_list(path, certificates.load_authority(certificate, key))
    return settings.with_values(device_crl_path=path)


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
        values |= _open_simulated_rail(settings)
    if settings.server_certificate_path is None or settings.server_key_path is None:
        values |= _open_server_certificate(settings, folder)
    return values


def _open_server_certificate(settings: Settings, folder: Path) -> dict[str, Any]:
    authority = certificates.load_or_create_authority(folder, "service-ca")
    names = certificates.machine_names(settings.host)
    certificates.kept_server(folder, "web", authority=authority, names=names)
    return {"server_certificate_path": folder / "web.crt", "server_key_path": folder / "web.key"}


def _open_simulated_rail(settings: Settings) -> dict[str, Any]:
    folder = settings.payment_sim_folder or settings.home / "payment-sim"
    keys = payment_sim_keys.generate(folder)
    return {
        "payment_sim_folder": folder,
        "wechat_pay_url": f"http://{settings.reachable_host}:{settings.payment_sim_port}",
        "wechat_pay_app_id": keys.appid,
        "wechat_pay_merchant_id": keys.mchid,
        "wechat_pay_merchant_serial": keys.merchant_serial,
        "wechat_pay_merchant_key_path": payment_sim_keys.merchant_key_path(folder),
        "wechat_pay_public_key_id": keys.platform_serial,
        "wechat_pay_public_key_path": payment_sim_keys.platform_public_key_path(folder),
        "wechat_pay_api_v3_key": keys.api_v3_key.decode(),
    }


def _new_key() -> bytes:
    return base64.b64encode(os.urandom(KEY_SIZE_BYTES))
