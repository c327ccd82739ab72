"""The platform as `pileway demo` runs it, in processes of its own, with a pile and a phone in the test's hands."""

import os
import signal
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from billing.charges import SessionCharge
from charging import session_curves, sessions
from charging.session_states import SessionState
from charging.sessions import ChargingSession
from device_sim.battery import PACKS, Battery
from device_sim.fleet import FleetThread
from payment_sim.faults import Faults
from pileway import demo_platform, home, settings, street
from pileway.demo_platform import DemoPlatform
from pileway.demo_riders import Phone, phone
from pileway.sim_process import read_fleet
from tests.settled_sessions import settled_once
from tests.waiting import wait_until

SPEED = 1200.0
PILE = "YQ-01"
PREPAID_FEN = 300
PART_LIMIT_S = 30.0
SESSION_LIMIT_S = 60.0
EVENING = datetime(2026, 6, 15, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Stage:
    """A running platform at 玉泉新村, its pile YQ-01, and a rider's phone."""

    platform: DemoPlatform
    fleet: FleetThread
    rider: Phone

    def charge(self, port_no: int, *, depth: float = 0.4) -> UUID:
        """A rider prepays 3 yuan at a socket, where a battery is plugged in already, once the pages are served."""
        wait_until(self._serves, limit_s=PART_LIMIT_S, what="the riders' pages")
        self.fleet.plug(PILE, port_no, Battery(PACKS[2], depth, seed=port_no))
        session_id, pay_url = self.rider.order(PILE, port_no, PREPAID_FEN)
        self.rider.pay(pay_url)
        return session_id

    def _serves(self) -> bool:
        """Whether the pages answer: a test may have killed what serves them and ended before it was back."""
        try:
            return self.rider.http.get(f"{self.rider.web_url}/api/rider/ports/{PILE}/1").is_success
        except httpx.TransportError:
            return False

    def session(self, session_id: UUID) -> ChargingSession:
        with self.platform.pool.connection() as conn:
            return sessions.get(conn, session_id)

    def wait_for(self, session_id: UUID, *states: SessionState) -> ChargingSession:
        """Wait until the session is in one of the states."""
        return wait_until(
            lambda: session if (session := self.session(session_id)).state in states else None,
            limit_s=SESSION_LIMIT_S,
            what=f"session {session_id} to be {' or '.join(states)}",
        )

    def sampled_dwh(self, session_id: UUID) -> int:
        """The most energy its samples show, in 0.1 Wh."""
        with self.platform.pool.connection() as conn:
            span = session_curves.span_of(sessions.get(conn, session_id))
            return session_curves.highest_energy_dwh(conn, span)

    def wait_energy(self, session_id: UUID, *, above_dwh: int) -> None:
        """Wait until the samples show more energy than so many 0.1 Wh."""
        wait_until(
            lambda: self.sampled_dwh(session_id) > above_dwh,
            limit_s=SESSION_LIMIT_S,
            what=f"more than {above_dwh} dWh in session {session_id}",
        )

    def pid(self, part: str) -> int | None:
        [state] = [state for state in self.platform.supervisor.states() if state.name == part]
        return state.pid

    def kill9(self, part: str) -> None:
        """Kill a part as a power cut would, and wait until the supervisor has another one running."""
        victim = self.pid(part)
        assert victim is not None, f"{part} does not run"
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: self.pid(part) not in (None, victim), limit_s=PART_LIMIT_S, what=f"a new {part}")

    @contextmanager
    def eavesdrop(self, message: str) -> Generator[list[bytes]]:
        """Hear what the pile says under this message's topic, beside the gateway."""
        overheard: list[bytes] = []
        chosen = self.platform.settings
        assert chosen.broker_url is not None
        address = urlsplit(chosen.broker_url)
        assert address.hostname is not None
        assert address.port is not None
        listening = threading.Event()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="eavesdropper", protocol=mqtt.MQTTv5)
        trust = ssl.create_default_context(cafile=chosen.broker_ca_path)
        assert chosen.gateway_certificate_path is not None
        trust.load_cert_chain(chosen.gateway_certificate_path, chosen.gateway_key_path)
        client.tls_set_context(trust)  # pyright: ignore[reportUnknownMemberType]  # paho leaves it untyped

        def hear(_client: mqtt.Client, _userdata: object, heard: mqtt.MQTTMessage) -> None:
            overheard.append(bytes(heard.payload))

        def subscribed(*_: object) -> None:
            listening.set()

        client.on_message = hear
        client.on_subscribe = subscribed
        client.connect(address.hostname, address.port)
        client.loop_start()
        client.subscribe(f"v1/+/{PILE}/up/{message}", qos=1)
        assert listening.wait(PART_LIMIT_S)
        try:
            yield overheard
        finally:
            client.disconnect()
            client.loop_stop()

    def put_faults(self, faults: Faults) -> None:
        """Set the simulated rail's faults."""
        url = self.platform.settings.wechat_pay_url
        answer = self.rider.http.put(f"{url}/sim/faults", json=faults.model_dump(mode="json"))
        assert answer.status_code == httpx.codes.OK, answer.text

    def assert_settled_once(self, session_id: UUID) -> SessionCharge:
        """Charged once, refunded once, split once, to the fen; the ledger balances."""
        return settled_once(self.platform.pool, session_id, prepaid_fen=PREPAID_FEN)


@contextmanager
def open_stage(**options: object) -> Generator[Stage]:
    """Run the platform at one site, by settings given as options, with its pile in this process."""
    chosen = settings.load(
        clock_speed=SPEED,
        port=home.free_port(),
        payment_sim_port=home.free_port(),
        enrolment_port=home.free_port(),
        **options,
    )
    sites = [replace(street.STREET[0], piles={PILE: 10})]
    with demo_platform.platform(chosen, sites=sites, start_at=EVENING, with_piles=False) as platform:
        configs = [replace(config, bystanders=None) for config in read_fleet(platform.fleet_path).configs()]
        with (
            FleetThread(configs, clock=platform.settings.clock.now, speed=SPEED) as fleet,
            phone(platform) as rider,
        ):
            fleet.wait_ready(PART_LIMIT_S)
            yield Stage(platform, fleet, rider)
