"""Our own platform as the conformance kit wants one: the bench it is judged on.

Piles are registered as an operator does, charges are ordered and paid over HTTP as a rider does, and what became of
them is read from the books.
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from billing import charges, refunds
from billing.refunds import RefundState
from charging import (
    cards,
    clearing,
    configurations,
    enrolment,
    extensions,
    firmware_releases,
    firmware_rollouts,
    key_rotation,
    live_readings,
    locks,
    pile_states,
    piles,
    rejections,
    service_commands,
    sessions,
    start_codes,
)
from charging.firmware_rollouts import RolloutPileState, RolloutPlan
from charging.session_states import SessionState
from conformance.platform.bench import (
    Capability,
    Claim,
    FirmwareRelease,
    OrderRefused,
    SessionFacts,
    UpdateFacts,
)
from pileway import composition, demo_platform, firmware_desk, home, settings, street
from pileway.demo_platform import DemoPlatform
from pileway.demo_riders import Phone, RiderRefused, phone
from pileway.errors import NotReady
from protocol.examples import FIRMWARE_KEY

SPEED = 3600.0
"""An hour in a second: days pass while the kit runs, and what is measured in real seconds stays as it is."""
START_AT = datetime(2026, 6, 15, 9, 0, tzinfo=UTC)
PORT_COUNT = 4
PILE_POWER_W = 6_000
PREPAID_FEN = 300
SITE = replace(street.STREET[0], piles={}, service={"type": "ENERGY", "price": "9.00"})
"""Dear enough that a charge of 10 Wh costs something."""
CLAIM_LASTS = timedelta(days=365)
RESTART_LIMIT_S = 30.0
OPERATOR = "operator"
MORE_S = 1_800
MORE_DWH = 1_000
CODE_LIMIT_S = 20.0
"""A code is sold for a few minutes, which are a quarter of a second here: a payment that comes later is given back,
and the rider orders again."""
UPDATE_WINDOW = timedelta(days=7)
UPDATE_PATIENCE = timedelta(days=14)
_POLL_S = 0.05
_CHARGING = frozenset({SessionState.CHARGING, SessionState.STOPPING})
_UNDECIDED = frozenset({SessionState.CREATED, SessionState.PAID})
_SOLD_BY_CODE = frozenset({SessionState.AWAITING_CODE, SessionState.CODE_LAPSED})


class OwnPlatform:
    """A bench on a platform in processes of its own; `PlatformBench` says what each method is for."""

    name = "Pileway"
    speed = SPEED
    capabilities = frozenset(Capability)

    def __init__(self, platform: DemoPlatform, rider: Phone) -> None:
        self.platform = platform
        self._rider = rider
        self._lock = threading.Lock()
        self._piles = 0
        self._rollouts: dict[str, UUID] = {}
        self._waits = composition.waits(platform.settings)
        self._vault = composition.vault(platform.settings)

    @property
    def enrolment_url(self) -> str:
        """The enrolment server of the API process."""
        chosen = self.platform.settings
        return f"https://{chosen.reachable_host}:{chosen.enrolment_port}/device/v1/enroll"

    @property
    def enrolment_ca_pem(self) -> str:
        """Our own authority."""
        return (self.platform.settings.home / "secrets" / "service-ca.crt").read_text()

    def new_pile(self) -> Claim:
        """Register the next pile."""
        return self._registered(None)

    def new_child(self, host_id: str) -> Claim:
        """Register the next pile behind a host."""
        return self._registered(host_id)

    def _registered(self, host_id: str | None) -> Claim:
        with self._lock:
            self._piles += 1
            pile_id = f"KIT-{self._piles:03}"
        with self.platform.pool.connection() as conn:
            piles.register(
                conn,
                pile_id=pile_id,
                site_id=SITE.site_id,
                model=f"KIT-{PORT_COUNT}",
                port_count=PORT_COUNT,
                power_limit_w=PILE_POWER_W,
                parent_pile_id=host_id,
                now=self.platform.now,
            )
        return Claim(pile_id, self.new_claim(pile_id), PORT_COUNT)

    def new_claim(self, pile_id: str) -> str:
        """Another claim code."""
        now = self.platform.now
        with self.platform.pool.connection() as conn:
            return enrolment.issue_claim_code(conn, pile_id=pile_id, expires_at=now + CLAIM_LASTS, now=now)

    def order(self, pile_id: str, port: int) -> UUID:
        """A rider orders and pays."""
        try:
            session_id, pay_url = self._rider.order(pile_id, port, PREPAID_FEN)
        except RiderRefused as refused:
            raise OrderRefused(str(refused)) from None
        self._rider.pay(pay_url)
        return session_id

    def sell_code(self, pile_id: str, port: int) -> str:
        """A rider orders at a pile that is away and pays. Raises NotReady where no payment is in time."""
        deadline_s = time.monotonic() + CODE_LIMIT_S
        while time.monotonic() < deadline_s:
            digits = self._digits(self.order(pile_id, port), deadline_s)
            if digits is not None:
                return digits
        raise NotReady(f"no charge was paid in time for its code within {CODE_LIMIT_S:.0f} s")

    def _digits(self, session_id: UUID, deadline_s: float) -> str | None:
        """The code of a session once its payment has come; None for one that is paid back."""
        while time.monotonic() < deadline_s:
            with self.platform.pool.connection() as conn:
                state = sessions.get(conn, session_id).state
                code = start_codes.of_session(conn, session_id)
            if state not in _UNDECIDED:
                return code.digits if code is not None and state in _SOLD_BY_CODE else None
            time.sleep(_POLL_S)
        return None

    def stop(self, session_id: UUID) -> None:
        """The rider presses stop."""
        self._rider.http.post(
            f"{self._rider.web_url}/api/rider/sessions/{session_id}/stop"
        ).raise_for_status()

    def session(self, session_id: UUID) -> SessionFacts:
        """What the books say."""
        with self.platform.pool.connection() as conn:
            session = sessions.get(conn, session_id)
            reading = live_readings.newest(conn, [session]).get(session_id)
            charge = charges.get(conn, session_id)
            returned = refunds.of_session(conn, session_id)
        return SessionFacts(
            failed=session.state is SessionState.FAILED,
            charging=session.state in _CHARGING,
            over=session.closed_at is not None,
            energy_dwh=reading.energy_dwh if reading and session.energy_dwh is None else session.energy_dwh,
            prepaid_fen=session.prepaid_fen,
            charged_fen=None if charge is None else charge.charged_fen,
            refund_fen=sum(each.amount_fen for each in returned if each.state is RefundState.SUCCEEDED),
        )

    def online(self, pile_id: str) -> bool:
        """What the books say."""
        with self.platform.pool.connection() as conn:
            return piles.get(conn, pile_id).online

    def refused(self) -> Mapping[str, int]:
        """What was counted."""
        with self.platform.pool.connection() as conn:
            return {count.reason: count.messages for count in rejections.counts(conn)}

    def crash_gateway(self) -> None:
        """Kill the gateway with SIGKILL; the supervisor starts another. Raises NotReady."""
        victim = self._gateway_pid()
        if victim is None:
            raise NotReady("the gateway does not run")
        os.kill(victim, signal.SIGKILL)
        deadline_s = time.monotonic() + RESTART_LIMIT_S
        while self._gateway_pid() in (None, victim):
            if time.monotonic() > deadline_s:
                raise NotReady(f"no new gateway within {RESTART_LIMIT_S:.0f} s")
            time.sleep(_POLL_S)

    def revoke(self, pile_id: str) -> None:
        """The operator revokes."""
        with self.platform.pool.connection() as conn:
            pile_states.revoke(conn, pile_id, by=OPERATOR, reason="conformance", now=self.platform.now)

    def quarantine(self, pile_id: str) -> None:
        """The operator quarantines."""
        with self.platform.pool.connection() as conn:
            pile_states.quarantine(conn, pile_id, by=OPERATOR, reason="conformance", now=self.platform.now)

    def release(self, pile_id: str) -> None:
        """The operator lets it back."""
        with self.platform.pool.connection() as conn:
            pile_states.release(conn, pile_id, by=OPERATOR, reason="conformance", now=self.platform.now)

    def rotate_key(self, pile_id: str) -> None:
        """The operator has the secret replaced."""
        now = self.platform.now
        with self.platform.pool.connection() as conn:
            key_rotation.begin(conn, self._vault, pile_id, expires_at=now + self._waits.care, now=now)

    def configure(self, pile_id: str, settings: Mapping[str, int]) -> None:
        """The operator wants other settings."""
        with self.platform.pool.connection() as conn:
            configurations.want(
                conn,
                pile_id=pile_id,
                settings=settings,
                set_by=OPERATOR,
                table=composition.settings_table(),
                waits=self._waits,
                now=self.platform.now,
            )

    def locate(self, pile_id: str, port: int) -> None:
        """A technician looks for a port."""
        with self.platform.pool.connection() as conn:
            service_commands.locate(
                conn,
                pile_id=pile_id,
                duration_s=10,
                port_no=port,
                waits=self._waits,
                now=self.platform.now,
            )

    def extend(self, session_id: UUID) -> None:
        """A running charge gets half an hour and 100 Wh more."""
        with self.platform.pool.connection() as conn:
            session = sessions.get(conn, session_id)
            extensions.extend(
                conn,
                session_id=session_id,
                limit_s=session.limit_s + MORE_S,
                limit_dwh=session.limit_dwh + MORE_DWH,
                waits=self._waits,
                now=self.platform.now,
            )

    def register_card(self, pile_id: str, number: str) -> None:
        """A card for the pile's site."""
        with self.platform.pool.connection() as conn:
            site_id = piles.get(conn, pile_id).site_id
            cards.register(conn, site_id=site_id, number=number, label="conformance", now=self.platform.now)

    def clear_faults(self, pile_id: str) -> None:
        """Somebody has looked, and lifts every lock."""
        with self.platform.pool.connection() as conn:
            for lock in locks.held(conn, [pile_id]).get(pile_id, ()):
                clearing.lift(
                    conn,
                    lock_id=lock.lock_id,
                    by=OPERATOR,
                    reason="conformance",
                    override=False,
                    now=self.platform.now,
                )

    def update_firmware(self, pile_id: str, release: FirmwareRelease) -> None:
        """Upload a release and roll it out to one pile."""
        desk = firmware_desk.open_desk(self.platform.settings)
        now = self.platform.now
        with self.platform.pool.connection() as conn:
            kept = firmware_releases.publish(
                conn,
                firmware_releases.Manifest(*release.manifest),
                release.signature,
                [release.image],
                is_genuine=desk.is_genuine,
                now=now,
            )
            plan = RolloutPlan(
                release_id=kept.release_id,
                pile_ids=[pile_id],
                stages_percent=(100,),
                window_from=now,
                window_to=now + UPDATE_WINDOW,
                patience=UPDATE_PATIENCE,
            )
            rollout = firmware_rollouts.begin(conn, plan, image_url=desk.image_url(kept.sha256), now=now)
        self._rollouts[pile_id] = rollout.rollout_id

    def update(self, pile_id: str) -> UpdateFacts:
        """What its rollout says of a pile."""
        with self.platform.pool.connection() as conn:
            [part] = firmware_rollouts.piles_of(conn, self._rollouts[pile_id], limit=1)
        return UpdateFacts(
            done=part.state is RolloutPileState.DONE,
            failed=part.state is RolloutPileState.FAILED,
            error=part.error,
        )

    def _gateway_pid(self) -> int | None:
        states = self.platform.supervisor.states()
        return next(state.pid for state in states if state.name == "gateway")


@contextmanager
def own_platform() -> Generator[OwnPlatform]:
    """Run our platform in a temporary home while the block runs. Raises PilewayError."""
    with tempfile.TemporaryDirectory(prefix="pileway-conformance-") as folder:
        # The embedded servers may run under another account, which has to pass through.
        Path(folder).chmod(0o711)
        maker_key = Path(folder) / "maker.pub"
        maker_key.write_bytes(
            Ed25519PrivateKey.from_private_bytes(FIRMWARE_KEY)
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        chosen = settings.load(
            home=Path(folder) / "home",
            clock_speed=SPEED,
            port=home.free_port(),
            payment_sim_port=home.free_port(),
            enrolment_port=home.free_port(),
            firmware_public_key_path=maker_key,
        )
        with (
            demo_platform.platform(chosen, sites=[SITE], start_at=START_AT, with_piles=False) as platform,
            phone(platform) as rider,
        ):
            yield OwnPlatform(platform, rider)
