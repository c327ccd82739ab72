"""`pileway demo --once`: one paid charge from the QR code to the refund, told to the fen."""

import json
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from billing import charges, ledger, parties, refunds
from billing.charges import ChargedFee, SessionCharge
from billing.refunds import RefundState
from charging import piles, sessions
from charging.sessions import ChargingSession
from pileway import demo_platform, street
from pileway.demo_platform import DemoPlatform
from pileway.demo_riders import Phone, phone
from pileway.demo_screen import yuan
from pileway.errors import NotReady, PilewayError
from pileway.settings import Settings

SPEED = 1200.0
PILE_ID = "YQ-01"
PORT_NO = 3
AMOUNT_FEN = 300
START_AT = datetime(2026, 6, 15, 9, 30, tzinfo=UTC)
"""17:30 in Shanghai: once everything is up, a charge that begins in the evening's peak and ends in the valley."""
DEEPEST_DISCHARGE = 0.8
READY_LIMIT_S = 30.0
CHARGE_LIMIT_S = 90.0
POLL_S = 0.1
"""Real seconds between two looks at the session."""


class ChargeFailed(PilewayError):
    """The session ended, but not with a charge."""


@dataclass(frozen=True)
class Story:
    """What one charge came to; money in fen, energy in 0.1 Wh."""

    session: ChargingSession
    charge: SessionCharge
    refunded_fen: int
    shares_fen: dict[str, int]
    party_names: dict[str, str]
    ledger_balanced: bool
    entries: int
    seconds: float

    @property
    def adds_up(self) -> bool:
        """Whether every fen paid is either back with the rider or somebody's share, and the ledger agrees."""
        split_fen = sum(self.shares_fen.values())
        return self.ledger_balanced and self.charge.prepaid_fen == self.refunded_fen + split_fen

    def fee_fen(self, fee_kind: str) -> int:
        """What was charged of one fee kind."""
        return sum(fee.charged_fen for fee in self.charge.fees if fee.fee_kind == fee_kind)

    def as_json(self) -> str:
        """The story as one JSON object."""
        return json.dumps(
            {
                "session_id": str(self.session.session_id),
                "paid_fen": self.charge.prepaid_fen,
                "electricity_fen": self.fee_fen("electricity"),
                "service_fen": self.fee_fen("service"),
                "refunded_fen": self.refunded_fen,
                "shares_fen": self.shares_fen,
                "energy_wh": self.charge.energy_dwh / 10,
                "duration_s": self.charge.duration_s,
                "stop_reason": self.session.stop_reason,
                "ledger_balanced": self.ledger_balanced,
                "seconds": round(self.seconds, 1),
            },
            ensure_ascii=False,
        )


def run(settings: Settings, *, as_json: bool, speed: float | None) -> int:
    """One charge in a home of its own; returns the exit code: 0 only if everything adds up."""
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    began_s = time.monotonic()
    folder = settings.home / "once"
    shutil.rmtree(folder, ignore_errors=True)
    fresh = settings.with_values(home=folder, clock_speed=speed or SPEED)
    sites = [replace(street.STREET[0], piles={PILE_ID: street.STREET[0].piles[PILE_ID]})]
    with (
        console.status("starting") as status,
        demo_platform.platform(
            fresh,
            sites=sites,
            start_at=START_AT if fresh.database_url is None else datetime.now(UTC),
            deepest_discharge=DEEPEST_DISCHARGE,
            leave_early_share=0,
            progress=status.update,
        ) as platform,
    ):
        status.update(f"waiting for pile {PILE_ID} to enrol and connect")
        _wait_online(platform)
        status.stop()
        console.print(f"[bold]{platform.migrated.time_series.words}[/]")
        session_id = _charge(platform, console)
        story = _read(platform, session_id, seconds=time.monotonic() - began_s)
    _tell(console, story)
    if as_json:
        print(story.as_json())
    return 0 if story.adds_up else 1


def _wait_online(platform: DemoPlatform) -> None:
    deadline_s = time.monotonic() + READY_LIMIT_S
    while True:
        with platform.pool.connection() as conn:
            if platform.enrolled(PILE_ID) and piles.get(conn, PILE_ID).online:
                return
        if time.monotonic() > deadline_s:
            raise NotReady(f"pile {PILE_ID} did not come online within {READY_LIMIT_S:.0f} s")
        time.sleep(POLL_S)


def _charge(platform: DemoPlatform, console: Console) -> UUID:
    with phone(platform) as rider:
        console.print(f"the rider scans {rider.web_url}/q/{PILE_ID}/{PORT_NO}")
        session_id, pay_url = rider.order(PILE_ID, PORT_NO, AMOUNT_FEN)
        console.print(f"and prepays {yuan(AMOUNT_FEN)} at {pay_url.split('?')[0]}")
        rider.pay(pay_url)
        _watch(rider, session_id, console)
    return session_id


def _watch(rider: Phone, session_id: UUID, console: Console) -> None:
    """Follow the session until the money is back, telling each turn once."""
    deadline_s = time.monotonic() + CHARGE_LIMIT_S
    told = ""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=AMOUNT_FEN, figures="")
        while True:
            seen = rider.look(session_id)
            figures = f"{seen.power_w:6.1f} W {seen.energy_wh:7.1f} Wh {yuan(seen.charged_fen)}"
            progress.update(bar, completed=seen.charged_fen, description=seen.headline, figures=figures)
            if seen.headline != told:
                told = seen.headline
                progress.console.print(f"  {seen.headline}")
            if seen.ended:
                return
            if time.monotonic() > deadline_s:
                raise NotReady(f"the charge had not ended after {CHARGE_LIMIT_S:.0f} s: {seen.phase}")
            time.sleep(POLL_S)


def _read(platform: DemoPlatform, session_id: UUID, *, seconds: float) -> Story:
    with platform.pool.connection() as conn:
        charge = charges.get(conn, session_id)
        if charge is None:
            raise ChargeFailed(f"session {session_id} ended without a charge")
        report = ledger.audit(conn)
        returned = refunds.of_session(conn, session_id)
        names = {party.party_id: party.name for party in parties.list_all(conn)}
        return Story(
            session=sessions.get(conn, session_id),
            charge=charge,
            refunded_fen=sum(each.amount_fen for each in returned if each.state is RefundState.SUCCEEDED),
            shares_fen=_shares(charge),
            party_names=names,
            ledger_balanced=report.clean,
            entries=report.entries,
            seconds=seconds,
        )


def _shares(charge: SessionCharge) -> dict[str, int]:
    shares: dict[str, int] = {}
    for fee in charge.fees:
        for party_id, share_fen in fee.shares_fen.items():
            shares[party_id] = shares.get(party_id, 0) + share_fen
    return shares


def _tell(console: Console, story: Story) -> None:
    session, charge = story.session, story.charge
    hours, minutes = divmod(charge.duration_s // 60, 60)
    console.print(
        f"charged {charge.energy_dwh / 10:.1f} Wh in {hours} h {minutes:02d} min, ended by: {session.stop_reason}"
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("prepaid", yuan(charge.prepaid_fen))
    for fee in charge.fees:
        table.add_row(f"{fee.fee_kind} fee", yuan(fee.charged_fen), _formula(fee))
    table.add_row("refunded", yuan(story.refunded_fen), "by the original route")
    for party_id, share_fen in sorted(story.shares_fen.items(), key=lambda item: -item[1]):
        table.add_row(f"share of {party_id}", yuan(share_fen), story.party_names[party_id])
    console.print(table)
    verdict = "balances" if story.ledger_balanced else "[red]DOES NOT BALANCE[/]"
    split_fen = sum(story.shares_fen.values())
    sign = "=" if story.adds_up else "≠"
    console.print(
        f"{charge.prepaid_fen} fen paid {sign} {story.refunded_fen} refunded + {split_fen} split; "
        f"the ledger of {story.entries} entries {verdict}; {story.seconds:.1f} s"
    )


def _formula(fee: ChargedFee) -> str:
    return " + ".join(
        f"{line.billed / 10_000:.4f} kWh × {line.price_yuan}" + (f" ({line.band})" if line.band else "")
        for line in fee.lines
    )
