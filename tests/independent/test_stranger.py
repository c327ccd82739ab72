"""A pile written from docs/protocol.md alone charges and settles on the real platform."""

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from billing import charges, ledger
from billing.charges import SessionCharge
from charging import events, rejections, session_curves, sessions
from charging.events import EventKind
from charging.session_states import SessionState
from charging.sessions import ChargingSession
from pileway import demo_platform, home, settings, street
from pileway.demo_platform import DemoPlatform
from pileway.demo_riders import Phone, phone
from tests.waiting import wait_until

STRANGER = Path(__file__).parent / "stranger"
ROOT = Path(__file__).parents[2]
ALLOWED = {"cbor2", "cryptography", "paho", "pycose"}

PILE = "YQ-01"
SPEED = 300.0
PREPAID_FEN = 300
LIMIT_S = 90.0
EVENING = datetime(2026, 6, 15, 10, 0, tzinfo=UTC)
ENDED = (SessionState.CLOSED, SessionState.FAILED)
BATTERY_DWH = 3_000


def imported(module: Path) -> set[str]:
    """The first names of what a module imports, by statement or by importlib."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "nothing above the folder"
            names.add(node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names.add(str(ast.literal_eval(node.args[0])))
    return {name.partition(".")[0] for name in names}


def test_the_stranger_knows_nothing_of_ours() -> None:
    modules = {file.stem: file for file in STRANGER.glob("*.py")}
    assert {"__main__", "wire"} <= modules.keys()
    strange = {name for file in modules.values() for name in imported(file)} - modules.keys()
    assert strange - sys.stdlib_module_names == ALLOWED
    assert not {path.name for path in ROOT.iterdir() if path.is_dir()} & (modules.keys() | ALLOWED)


@dataclass(frozen=True)
class Scene:
    """A platform with a stranger's pile at its street."""

    platform: DemoPlatform
    rider: Phone
    pile: subprocess.Popen[str]

    def session(self, session_id: UUID) -> ChargingSession:
        with self.platform.pool.connection() as conn:
            return sessions.get(conn, session_id)

    def sampled_dwh(self, session_id: UUID) -> int:
        with self.platform.pool.connection() as conn:
            span = session_curves.span_of(sessions.get(conn, session_id))
            return session_curves.highest_energy_dwh(conn, span)

    def wait_for(self, session_id: UUID, *states: SessionState) -> ChargingSession:
        return wait_until(
            lambda: session if (session := self.session(session_id)).state in states else None,
            limit_s=LIMIT_S,
            what=f"session {session_id} to be {' or '.join(states)}",
        )

    def kill_broker(self) -> None:
        """Kill the broker as a power cut would; the supervisor starts another."""
        [victim] = [state.pid for state in self.platform.supervisor.states() if state.name == "broker"]
        assert victim is not None
        os.kill(victim, signal.SIGKILL)

    def stored_frames(self) -> int:
        """The pile's frames: one for each instant."""
        with self.platform.pool.connection() as conn:
            row = conn.execute("SELECT count(*) FROM meter_frame WHERE pile_id = %s", (PILE,)).fetchone()
        assert row is not None
        return row[0]

    def assert_nothing_was_odd(self) -> None:
        """No frame was refused, and nothing contradicted another thing."""
        with self.platform.pool.connection() as conn:
            assert rejections.counts(conn) == []
            told = {event.kind for event in events.newest(conn, PILE, limit=100)}
        assert told <= {
            EventKind.REGISTERED,
            EventKind.ENROLLED,
            EventKind.STATE_CHANGED,
            EventKind.BOOTED,
            # It wakes without a date, as a pile may whose clock has no battery.
            EventKind.CLOCK_JUMPED,
            EventKind.LINK_UP,
            EventKind.LINK_LOST,
        }

    def charged(self, session_id: UUID) -> SessionCharge:
        """Paid once, settled once, refunded once; the ledger balances."""
        with self.platform.pool.connection() as conn:
            kinds = sorted(entry.kind for entry in ledger.of_session(conn, session_id))
            charge = charges.get(conn, session_id)
            report = ledger.audit(conn)
        assert kinds == ["payment_received", "refund_paid", "session_settled"]
        assert report.clean, report.findings
        assert charge is not None
        return charge

    def order(self, port_no: int) -> UUID:
        """Prepay at a socket as soon as the platform has the pile in service."""
        address = f"{self.rider.web_url}/api/rider/ports/{PILE}/{port_no}"
        wait_until(
            lambda: self.rider.http.get(address).json()["can_start"],
            limit_s=LIMIT_S,
            what="the stranger's pile to be in service",
        )
        session_id, pay_url = self.rider.order(PILE, port_no, PREPAID_FEN)
        self.rider.pay(pay_url)
        return session_id

    def stop(self, session_id: UUID) -> None:
        """The rider has seen energy flow, and has had enough."""
        wait_until(
            lambda: self.sampled_dwh(session_id) > 100,
            limit_s=LIMIT_S,
            what="a sample with energy",
        )
        answer = self.rider.http.post(f"{self.rider.web_url}/api/rider/sessions/{session_id}/stop")
        assert answer.is_success, answer.text


@contextmanager
def running(work_folder: Path, *, settle: int) -> Generator[Scene]:
    """The platform, a rider's phone, and the stranger's pile in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="stranger-", dir=work_folder))
    chosen = settings.load(
        home=folder / "platform",
        clock_speed=SPEED,
        port=home.free_port(),
        payment_sim_port=home.free_port(),
        enrolment_port=home.free_port(),
    )
    sites = [replace(street.STREET[0], piles={PILE: 10})]
    with (
        demo_platform.platform(chosen, sites=sites, start_at=EVENING, with_piles=False) as platform,
        phone(platform) as rider,
        (folder / "stranger.log").open("w") as complaints,
    ):
        fleet = json.loads(platform.fleet_path.read_text())
        told = {
            "--pile": PILE,
            "--ports": "10",
            "--enrol-at": fleet["enrolment_url"],
            "--trust": fleet["enrolment_ca"],
            "--code": fleet["piles"][0]["claim_code"],
            "--folder": str(folder / "memory"),
            "--settle": str(settle),
            "--speed": str(SPEED),
        }
        arguments = [word for pair in told.items() for word in pair]
        pile = subprocess.Popen(
            [sys.executable, str(STRANGER), *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
        try:
            yield Scene(platform, rider, pile)
        finally:
            pile.kill()
            pile.communicate(timeout=LIMIT_S)


def test_a_stranger_charges_and_settles_through_a_broken_connection(work_folder: Path) -> None:
    with running(work_folder, settle=2) as scene:
        filled = scene.order(1)
        stopped = scene.order(2)
        scene.stop(stopped)
        scene.wait_for(stopped, *ENDED)
        scene.kill_broker()
        scene.wait_for(filled, *ENDED)
        report = json.loads(scene.pile.communicate(timeout=LIMIT_S)[0])
        assert report["settled"] == 2
        assert report["connections"] > 1
        assert report["unopened"] == 0
        assert report["frames_said_again"] >= report["frames_of_lost_receipt"] > 0
        assert report["frames_refused"] == 0
        wait_until(
            lambda: scene.stored_frames() == report["frames"],
            limit_s=LIMIT_S,
            what="every frame to be stored once",
        )
        full, early = scene.charged(filled), scene.charged(stopped)
        assert full.energy_dwh >= BATTERY_DWH > early.energy_dwh > 0
        ends = [scene.session(session_id).stop_reason for session_id in (filled, stopped)]
        assert ends == ["full", "user_stop_app"]
        assert all(sum(fee.shares_fen.values()) > 0 for fee in full.fees)
        scene.assert_nothing_was_odd()
