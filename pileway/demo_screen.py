"""What `pileway demo` draws: where to go, a QR code, and the street as it is this second."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from uuid import UUID

import segno
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from billing import charges, ledger
from billing.charges import SessionCharge
from billing.ledger import PartyBalance
from billing.tariff_elements import LOCAL
from charging import live_readings, overview, views
from charging.live_readings import Reading
from charging.overview import SiteNow
from charging.session_states import SessionState
from charging.sessions import ChargingSession
from pileway.demo_platform import DemoPlatform
from pileway.demo_riders import Riders
from pileway.telemetry.server import PORT_AFTER_FIRST, port_of

NEWEST_SESSIONS = 5
FINISHED_SESSIONS = 4
SIDE_BY_SIDE_COLUMNS = 105
"""A narrower terminal shows the sessions without the parties beside them."""
QR_PORT = "YQ-01/1"


@dataclass(frozen=True)
class Look:
    """The street at one instant."""

    now: datetime
    sites: list[SiteNow]
    shown: list[tuple[ChargingSession, SessionCharge | None]]
    readings: dict[UUID, Reading]
    balances: tuple[PartyBalance, ...]
    balanced: bool
    served: int
    turned_away: int
    parts_down: list[str]


def look(platform: DemoPlatform, riders: Riders, *, audit: bool, balanced: bool) -> Look:
    """Read the street; the whole ledger is audited only when asked, `balanced` is the verdict until then."""
    with platform.pool.connection() as conn:
        newest = views.session_page(conn, limit=NEWEST_SESSIONS)
        finished = views.session_page(conn, limit=FINISHED_SESSIONS, state=SessionState.CLOSED)
        return Look(
            now=platform.now,
            sites=overview.sites_now(conn, now=platform.now),
            shown=[(session, charges.get(conn, session.session_id)) for session in newest + finished],
            readings=live_readings.newest(conn, newest),
            balances=ledger.party_balances(conn),
            balanced=ledger.audit(conn).clean if audit else balanced,
            served=riders.served,
            turned_away=riders.turned_away,
            parts_down=[state.name for state in platform.supervisor.states() if state.pid is None],
        )


def welcome(platform: DemoPlatform) -> RenderableType:
    """Addresses to open, the token they need, and a QR code for a phone."""
    web_url = platform.settings.web_url
    qr_url = f"{web_url}/q/{QR_PORT}"
    token = platform.settings.operator_token
    assert token is not None, "the installation made one"
    addresses = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    addresses.add_row("rider, as if the QR were scanned", f"[link]{qr_url}[/]")
    addresses.add_row("operator's API, with documentation", f"[link]{web_url}/docs[/]")
    addresses.add_row("  its bearer token", token.get_secret_value())
    addresses.add_row("logs", str(platform.settings.home / "log" / "pileway.log"))
    for process in PORT_AFTER_FIRST:
        if port := port_of(platform.settings, process):
            shown = f"http://{platform.settings.metrics_host}:{port}"
            addresses.add_row(f"{process}: /metrics /ready /health", f"[link]{shown}/metrics[/]")
    addresses.add_row("time series", platform.migrated.time_series.words)
    addresses.add_row("clock", f"{platform.settings.clock_speed:g} times real time; Ctrl-C stops everything")
    qr = segno.make(qr_url, error="l")
    return Panel(Group(addresses, Text(_drawn(qr))), title="Pileway", title_align="left")


def _drawn(qr: segno.QRCode) -> str:
    """The code in half blocks, two modules a character, with its quiet zone; dark on light either way."""
    rows = [list(row) for row in qr.matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    blocks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    return "\n".join(
        "".join(blocks[int(bool(upper)), int(bool(lower))] for upper, lower in zip(top, bottom, strict=True))
        for top, bottom in zip(rows[::2], rows[1::2], strict=True)
    )


class Screen:
    """Redraws in place on a terminal, prints one line a look elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, look: Look) -> None:
        """Draw one look at the street."""
        if self._console.is_terminal:
            wide = self._console.width >= SIDE_BY_SIDE_COLUMNS
            self._live.update(_drawing(look, wide=wide), refresh=True)
        else:
            self._console.print(_line(look))


def _drawing(look: Look, *, wide: bool) -> RenderableType:
    if not wide:
        return Group(_sites(look), _sessions(look), Text(_line(look), style="dim"))
    lower = Table.grid(padding=(0, 4), expand=False)
    lower.add_row(_sessions(look), _parties(look))
    return Group(_sites(look), lower, Text(_line(look), style="dim"))


def _sites(look: Look) -> Table:
    table = Table(title=f"{look.now.astimezone(LOCAL):%a %d %b %H:%M} in Shanghai", title_justify="left")
    for heading in ("site", "piles online", "sockets taken", "power", "settled", "energy"):
        table.add_column(heading, justify="left" if heading == "site" else "right")
    for site in look.sites:
        table.add_row(
            site.name,
            f"{site.piles_online}/{site.piles}",
            f"{site.ports_taken}/{site.ports}",
            f"{site.power_dw / 10_000:.2f} kW",
            str(site.sessions_settled),
            f"{site.energy_dwh / 10_000:.1f} kWh",
        )
    return table


def _sessions(look: Look) -> Table:
    table = Table(
        title="newest sessions, and the last ones that ended", title_justify="left", box=None, padding=(0, 1)
    )
    for heading in ("socket", "state", "power", "energy", "prepaid", "charged", "back"):
        table.add_column(heading, justify="left" if heading in ("socket", "state") else "right")
    for session, charge in look.shown:
        reading = look.readings.get(session.session_id)
        energy_dwh = session.energy_dwh
        if energy_dwh is None:
            energy_dwh = reading.energy_dwh if reading else 0
        table.add_row(
            f"{session.pile_id}/{session.port_no}",
            Text(session.state, style=_style(session.state)),
            f"{(reading.power_dw if reading else 0) / 10:.0f} W",
            f"{energy_dwh / 10:.0f} Wh",
            yuan(session.prepaid_fen),
            yuan(charge.charged_fen) if charge else "",
            yuan(charge.refund_fen) if charge else "",
        )
    return table


def _style(state: SessionState) -> str:
    if state is SessionState.FAILED:
        return "red"
    return "green" if state is SessionState.CHARGING else ""


def _parties(look: Look) -> Table:
    table = Table(title="shares earned", title_justify="left", box=None, padding=(0, 1))
    table.add_column("party")
    table.add_column("balance", justify="right")
    by_party: dict[str, int] = defaultdict(int)
    for balance in look.balances:
        by_party[balance.name] += balance.balance_fen
    for name, balance_fen in sorted(by_party.items(), key=lambda item: -item[1]):
        table.add_row(name, yuan(balance_fen))
    return table


def _line(look: Look) -> str:
    taken = sum(site.ports_taken for site in look.sites)
    power_dw = sum(site.power_dw for site in look.sites)
    settled = sum(site.sessions_settled for site in look.sites)
    online = sum(site.piles_online for site in look.sites)
    verdict = "the ledger balances" if look.balanced else "THE LEDGER DOES NOT BALANCE"
    down = f"; restarting {', '.join(look.parts_down)}" if look.parts_down else ""
    return (
        f"{look.now.astimezone(LOCAL):%d %b %H:%M}  {online} piles online, {taken} sockets taken, "
        f"{power_dw / 10_000:.2f} kW, {settled} sessions settled, {look.served} riders served, "
        f"{look.turned_away} turned away; {verdict}{down}"
    )


def yuan(amount_fen: int) -> str:
    """An amount for people: ¥1.23."""
    return f"¥{amount_fen // 100}.{amount_fen % 100:02d}"
