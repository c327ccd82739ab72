"""What every benchmark stands on: a database and a broker of its own, a site with piles, ways to the broker."""

import hashlib
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from psycopg_pool import ConnectionPool

from charging import enrolment
from database import migrations
from database.pool import Connection
from pileway import certificates, composition, embedded, home, street
from pileway.bench.clients import Access
from pileway.certificates import Authority
from pileway.embedded import Installation
from pileway.errors import SettingsInvalid
from pileway.settings import Settings, required

BENCH_FRAMES_PER_S = 10_000

Say = Callable[[str], None]
"""Told what is being done."""


@contextmanager
def installed(settings: Settings, *, progress: Say, broker_addition: str = "") -> Generator[Settings]:
    """The settings of `supervised` parts, for those who leave the parts alone. Raises PilewayError."""
    with supervised(settings, progress=progress, broker_addition=broker_addition) as installation:
        yield installation.settings


@contextmanager
def supervised(settings: Settings, *, progress: Say, broker_addition: str = "") -> Generator[Installation]:
    """A database with its tables and a broker, in a folder beside the home, on the same disk; leaves nothing behind.

    `broker_addition` is more of the broker's configuration. Raises PilewayError.
    """
    _refuse_foreign_parts(settings)
    beside = home.prepare(settings.home).parent
    with tempfile.TemporaryDirectory(prefix=".pileway-bench-", dir=beside) as name:
        folder = Path(name)
        folder.chmod(0o711)
        progress("starting PostgreSQL and Mosquitto")
        own = settings.with_values(
            home=folder / "home",
            payment_sim_port=home.free_port(),
            clock_speed=1.0,
            # A few piles are to say more than any pile on a street has to.
            flood_frames_per_s=BENCH_FRAMES_PER_S,
        )
        with embedded.installation(own, broker_addition=broker_addition) as installation:
            migrations.migrate(composition.database_url(installation.settings))
            yield installation


def provision(
    pool: ConnectionPool[Connection], settings: Settings, names: Sequence[str], *, port_count: int
) -> dict[str, bytes]:
    """Lay out one site with these piles, enrolled; gives their secrets."""
    site = replace(street.STREET[0], piles=dict.fromkeys(names, port_count))
    now = settings.clock.now()
    secrets = {name: hashlib.sha256(name.encode()).digest() for name in names}
    with pool.connection() as conn:
        street.lay_out(conn, sites=[site], enrolled=lambda _: True, now=now)
        for name, secret in secrets.items():
            enrolment.provision(
                conn,
                composition.vault(settings),
                pile_id=name,
                secret=secret,
                certificate_serial=name,
                certificate_expires_at=now + timedelta(days=1),
                now=now,
            )
    return secrets


def device_authority(settings: Settings) -> Authority:
    """Who signs the piles' certificates."""
    return certificates.load_or_create_authority(settings.home / "secrets", "device-ca")


def access(settings: Settings, authority: Authority, name: str) -> Access:
    """A certificate of that name, and the way of piles to the broker."""
    identity = certificates.issue_client(authority, name)
    folder = home.private_folder(settings.home / "bench")
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    home.write_private(certificate, identity.certificate_pem)
    home.write_private(key, identity.key_pem)
    return Access(
        broker_url=required(settings.device_broker_url, "PILEWAY_DEVICE_BROKER_URL"),
        broker_ca=required(settings.broker_ca_path, "PILEWAY_BROKER_CA_PATH"),
        certificate=certificate,
        key=key,
    )


def gateway_access(settings: Settings) -> Access:
    """The gateway's own way to the broker."""
    return Access(
        broker_url=required(settings.broker_url, "PILEWAY_BROKER_URL"),
        broker_ca=required(settings.broker_ca_path, "PILEWAY_BROKER_CA_PATH"),
        certificate=required(settings.gateway_certificate_path, "PILEWAY_GATEWAY_CERTIFICATE_PATH"),
        key=required(settings.gateway_key_path, "PILEWAY_GATEWAY_KEY_PATH"),
    )


def _refuse_foreign_parts(settings: Settings) -> None:
    """Raises SettingsInvalid when the settings name servers: a benchmark fills only what it makes itself."""
    for name in ("database_url", "broker_url"):
        if getattr(settings, name) is not None:
            raise SettingsInvalid(
                f"PILEWAY_{name.upper()}", "must not be set: the benchmark runs its own parts"
            )
