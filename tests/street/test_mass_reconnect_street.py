"""The broker dies under a crowd of piles: every one comes back, and is heard.

`PILEWAY_TEST_CROWD=2000 .venv/bin/pytest -s tests/street/test_mass_reconnect_street.py` runs it with two thousand and
says how long they took; without that there are fewer, for the sake of time.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.street.crowd import Crowd, open_crowd
from tests.waiting import wait_until

PILES = int(os.environ.get("PILEWAY_TEST_CROWD", "200"))
LIMIT_S = 240.0


def pid_of(crowd: Crowd, part: str) -> int | None:
    """The process of a part of the platform."""
    return next(state.pid for state in crowd.platform.supervisor.states() if state.name == part)


def test_all_piles_come_back_when_their_broker_was_killed(work_folder: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="crowd-", dir=work_folder))
    began_s = time.monotonic()
    with open_crowd(folder, count=PILES) as crowd:
        booted_s = time.monotonic()
        assert crowd.online() == PILES
        boots, gateway, broker = crowd.boots(), pid_of(crowd, "gateway"), pid_of(crowd, "broker")
        assert broker is not None
        killed_at, killed_s = crowd.platform.now, time.monotonic()
        os.kill(broker, signal.SIGKILL)
        wait_until(lambda: crowd.connected() < PILES, limit_s=LIMIT_S, what="the piles to notice")
        wait_until(lambda: crowd.connected() == PILES, limit_s=LIMIT_S, what="all piles to be connected")
        connected_s = time.monotonic()
        wait_until(
            lambda: crowd.heard_since(killed_at) == PILES, limit_s=LIMIT_S, what="all heartbeats to be stored"
        )
        wait_until(lambda: crowd.online() == PILES, limit_s=LIMIT_S, what="all piles to be online")
        heard_s = time.monotonic()
        assert crowd.boots() == boots
        assert pid_of(crowd, "gateway") == gateway
        links = link_events(folder)
    sys.stdout.write(
        f"{PILES} piles: up in {booted_s - began_s:.0f} s, connected again {connected_s - killed_s:.1f} s after the "
        f"kill, all heard after {heard_s - killed_s:.1f} s\n"
    )
    assert links == ["link_up", "link_down", "link_up"]


def link_events(folder: Path) -> list[str]:
    """How the gateway's connection went up and down so far, from its log."""
    log = (folder / "log" / "pileway.log").read_text()
    return [
        word for line in log.splitlines() for word in ("link_up", "link_down") if f'"event": "{word}"' in line
    ]
