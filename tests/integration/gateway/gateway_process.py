"""A gateway in a process of its own, for tests that kill it; its argument is JSON."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

from charging.enrolment import SecretVault
from charging.waits import Waits
from database.pool import open_pool
from gateway import service
from gateway.link import LinkLimits, TlsFiles
from gateway.service import Gateway, GatewayParts


def main() -> None:
    """Serve until killed, and say READY once connected."""
    given = json.loads(sys.argv[1])
    with open_pool(given["dsn"], min_size=1, max_size=4, timeout_s=10) as pool:
        parts = GatewayParts(
            pool=pool,
            listen_dsn=given["dsn"],
            broker_url=given["broker_url"],
            tls=TlsFiles(
                broker_ca=Path(given["broker_ca"]),
                certificate=Path(given["certificate"]),
                key=Path(given["key"]),
            ),
            vault=SecretVault(b"k" * 32),
            owner=f"process-{os.getpid()}",
            clock=lambda: datetime.now(UTC),
            waits=Waits(),
            lease_s=given["lease_s"],
            link_limits=LinkLimits(receive_maximum=100),
        )
        service.run(parts, stop=Event(), watch=_announce)


def _announce(gateway: Gateway) -> None:
    def wait_and_say() -> None:
        while not gateway.health.ready:
            Event().wait(0.02)
        sys.stdout.write("READY\n")
        sys.stdout.flush()

    Thread(target=wait_and_say, daemon=True).start()


if __name__ == "__main__":
    main()
