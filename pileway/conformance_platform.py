"""`pileway conformance platform`: our own platform on parts of its own, as the conformance kit wants one.

Piles are registered as an operator does, charges are ordered and paid over HTTP as a rider does, and what became of
them is read from the books.
"""

import asyncio
import os
import signal
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from billing import charges, refunds
from billing.refunds import RefundState
from charging import (
    configurations,
    enrolment,
    extensions,
    key_rotation,
    pile_states,
    piles,
    rejections,
    service_commands,
    sessions,
)
from charging.session_states import SessionState
from conformance import run
from conformance.case import Case
from conformance.platform import catalogue, judging
from conformance.platform.bench import Capability, Claim, PlatformBench, SessionFacts
from conformance.platform.outside import OPERATOR_HOOKS, Hooks, OutsidePlatform, read_claims
from conformance.platform.scene import Scene
from conformance.report import Report
from conformance.run import Progress
from pileway import composition, demo_platform, home, settings, street
from pileway.demo_platform import DemoPlatform
from pileway.demo_riders import Phone, phone
from pileway.errors import NotReady, PilewayError

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
_POLL_S = 0.05


class Unusable(PilewayError):
    """What was said of another platform does not suffice to play with it."""


_CHARGING = frozenset({SessionState.CHARGING, SessionState.STOPPING})


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
        session_id, pay_url = self._rider.order(pile_id, port, PREPAID_FEN)
        self._rider.pay(pay_url)
        return session_id

    def stop(self, session_id: UUID) -> None:
        """The rider presses stop."""
        self._rider.http.post(
            f"{self._rider.web_url}/api/rider/sessions/{session_id}/stop"
        ).raise_for_status()

    def session(self, session_id: UUID) -> SessionFacts:
        """What the books say."""
        with self.platform.pool.connection() as conn:
            session = sessions.get(conn, session_id)
            charge = charges.get(conn, session_id)
            returned = refunds.of_session(conn, session_id)
        return SessionFacts(
            failed=session.state is SessionState.FAILED,
            charging=session.state in _CHARGING,
            over=session.closed_at is not None,
            energy_dwh=session.last_energy_dwh if session.energy_dwh is None else session.energy_dwh,
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

    def _gateway_pid(self) -> int | None:
        states = self.platform.supervisor.states()
        return next(state.pid for state in states if state.name == "gateway")


def every_case(patterns: Sequence[str]) -> list[Case[Scene]]:
    """The cases whose ids match, or all."""
    return run.chosen(catalogue.CASES, patterns)


def judge(bench: PlatformBench, chosen: Sequence[Case[Scene]], *, progress: Progress) -> Report:
    """Play cases against a platform."""
    return asyncio.run(judging.judge(bench, chosen, progress=progress))


def judge_own(chosen: Sequence[Case[Scene]], *, progress: Progress) -> Report:
    """Play cases against our own platform. Raises PilewayError when it cannot be opened."""
    with own_platform() as bench:
        return judge(bench, chosen, progress=progress)


def outside(
    enrolment_url: str, *, claim_codes: Path | None, trust: Path | None, hooks: Hooks, speed: float
) -> OutsidePlatform:
    """A platform that is not ours. Raises Unusable for files that cannot be used."""
    if claim_codes is None:
        raise Unusable("--enrol-at needs --claim-codes, the piles to play")
    try:
        return OutsidePlatform(
            enrolment_url=enrolment_url,
            enrolment_ca_pem=None if trust is None else trust.read_text(),
            claims=read_claims(claim_codes),
            hooks=hooks,
            speed=speed,
        )
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from None


def with_operator(hooks: Hooks, commands: Sequence[str]) -> Hooks:
    """Hooks with an operator's commands, each `name=command`. Raises Unusable."""
    split = [command.partition("=") for command in commands]
    named = {name: command for name, _, command in split}
    unknown = named.keys() - OPERATOR_HOOKS
    if unknown or "" in named.values():
        raise Unusable(
            f"--operator-command wants NAME=COMMAND, NAME one of {', '.join(sorted(OPERATOR_HOOKS))}"
        )
    return replace(hooks, **named)


@contextmanager
def own_platform() -> Generator[OwnPlatform]:
    """Run our platform in a temporary home while the block runs. Raises PilewayError."""
    with tempfile.TemporaryDirectory(prefix="pileway-conformance-") as folder:
        # The embedded servers may run under another account, which has to pass through.
        Path(folder).chmod(0o711)
        chosen = settings.load(
            home=Path(folder) / "home",
            clock_speed=SPEED,
            port=home.free_port(),
            payment_sim_port=home.free_port(),
            enrolment_port=home.free_port(),
        )
        with (
            demo_platform.platform(chosen, sites=[SITE], start_at=START_AT, with_piles=False) as platform,
            phone(platform) as rider,
        ):
            yield OwnPlatform(platform, rider)
