"""Hundreds or thousands of simulated piles on the whole platform, each with an identity made beforehand."""

import base64
import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from charging import enrolment
from device_sim.configuration import PileConfig
from device_sim.fleet import FleetThread
from pileway import certificates, composition, demo_platform, home, settings
from pileway.demo_platform import DemoPlatform
from tests.street.block import SITE

PORTS = 10
BOOT_LIMIT_S = 300.0


@dataclass(frozen=True)
class Crowd:
    """A running platform with its piles, on a clock as fast as ours."""

    platform: DemoPlatform
    fleet: FleetThread
    pile_ids: Sequence[str]

    def connected(self) -> int:
        """How many piles have a connection."""
        return self.fleet.ask(lambda fleet: sum(pile.online.is_set() for pile in fleet.piles))

    def heard_since(self, at: datetime) -> int:
        """How many piles' heartbeats, received after an instant, are stored."""
        return self._count(
            "SELECT count(DISTINCT pile_id) FROM pile_telemetry WHERE received_at > %(at)s", at=at
        )

    def online(self) -> int:
        """How many piles the platform counts as online."""
        return self._count("SELECT count(*) FROM pile WHERE online")

    def boots(self) -> list[int]:
        """How often each pile has booted."""
        return self.fleet.ask(lambda fleet: [pile.pile.memory.boot for pile in fleet.piles])

    def _count(self, query: str, **values: object) -> int:
        with self.platform.pool.connection() as conn:
            row = conn.execute(query.encode(), values).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def open_crowd(folder: Path, *, count: int) -> Generator[Crowd]:
    """Run the platform with so many piles; all of them have booted."""
    pile_ids = [f"CROWD-{number:04}" for number in range(count)]
    chosen = settings.load(
        home=home.prepare(folder),
        clock_speed=1.0,
        port=home.free_port(),
        payment_sim_port=home.free_port(),
        enrolment_port=home.free_port(),
    )
    site = replace(SITE, piles=dict.fromkeys(pile_ids, PORTS))
    with demo_platform.platform(chosen, sites=[site], with_piles=False) as platform:
        configs = _enrolled(platform, pile_ids)
        with FleetThread(configs, clock=platform.settings.clock.now, speed=1.0) as fleet:
            fleet.wait_ready(BOOT_LIMIT_S)
            yield Crowd(platform, fleet, pile_ids)


def _enrolled(platform: DemoPlatform, pile_ids: Sequence[str]) -> list[PileConfig]:
    """Piles with everything enrolment would have given them."""
    chosen = platform.settings
    assert chosen.broker_ca_path is not None
    broker_ca = chosen.broker_ca_path.read_bytes()
    authority = certificates.load_or_create_authority(chosen.home / "secrets", "device-ca")
    now = chosen.clock.now()
    configs: list[PileConfig] = []
    with platform.pool.connection() as conn:
        for seed, pile_id in enumerate(pile_ids):
            secret = hashlib.sha256(pile_id.encode()).digest()
            enrolment.provision(
                conn,
                composition.vault(chosen),
                pile_id=pile_id,
                secret=secret,
                certificate_serial=pile_id,
                certificate_expires_at=now + timedelta(days=1),
                now=now,
            )
            folder = chosen.home / "sim" / pile_id
            folder.mkdir(parents=True)
            identity = certificates.issue_client(authority, pile_id)
            facts = {
                "broker_url": chosen.device_broker_url,
                "device_secret": base64.b64encode(secret).decode(),
                "key_epoch": 1,
            }
            (folder / "certificate.pem").write_bytes(identity.certificate_pem)
            (folder / "private_key.pem").write_bytes(identity.key_pem)
            (folder / "broker_ca.pem").write_bytes(broker_ca)
            (folder / "identity.json").write_text(json.dumps(facts))
            configs.append(
                PileConfig(
                    pile_id=pile_id,
                    port_count=PORTS,
                    folder=folder,
                    enrolment_url="https://nobody.invalid/",
                    seed=seed,
                )
            )
    return configs
