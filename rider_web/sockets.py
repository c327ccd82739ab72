"""A socket as riders see it: condition, price, what an amount buys; and the order that starts a charge."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from billing import affordability, price_cards, rail_calls, tariffs
from billing.errors import PaymentConflict, TariffMissing
from billing.rail_calls import RailDesk
from billing.tariff_objects import TariffVersion
from charging import piles, ports, sites, starts, ways_to_start
from charging.ports import PortState
from charging.session_states import StartFailure
from charging.start_codes import CodeDesk
from charging.waits import Waits
from rider_web.problems import AmountUnreadable

CHOICES_FEN = (100, 200, 300, 500)
FIRST_CHOICE_FEN = 200
USUAL_CHARGE_S = 10 * 3600

_CONDITIONS = {
    StartFailure.PILE_OFFLINE: "offline",
    StartFailure.PILE_OUT_OF_SERVICE: "disabled",
    StartFailure.PORT_BUSY: "busy",
    StartFailure.PORT_FAULT: "fault",
    StartFailure.PILE_OVER_POWER: "over_power",
    StartFailure.PILE_LOCKED: "safety",
    StartFailure.PORT_LOCKED: "safety",
    StartFailure.ALARM_LASTS: "safety",
    StartFailure.STARTS_KEPT_FAILING: "starts_kept_failing",
}


@dataclass(frozen=True)
class Socket:
    """A socket with its place; `condition` is one of rider_web.wording.PORT_TITLES.

    `free_ports` are the sockets of its pile that can be started instead, where it cannot.
    """

    pile_id: str
    port_no: int
    site_id: str
    site_name: str
    address: str
    condition: str
    state: PortState
    free_ports: tuple[int, ...]
    tariff: TariffVersion | None


@dataclass(frozen=True)
class PlacedOrder:
    """An order the rail knows of, and where to pay it."""

    session_id: UUID
    pay_url: str


def look(
    conn: Connection[TupleRow], *, pile_id: str, port_no: int, codes_sold: bool, now: datetime
) -> Socket:
    """What a rider finds at a socket. Raises PileUnknown, PortUnknown."""
    ways = ways_to_start.of_pile(conn, pile_id, codes_sold=codes_sold, now=now)
    port = ports.get(conn, pile_id=pile_id, port_no=port_no)
    way = ways[port_no]
    pile = piles.get(conn, pile_id)
    site = sites.get(conn, pile.site_id)
    startable = "by_code" if way.by_code else "free"
    condition = startable if way.obstacle is None else _CONDITIONS[way.obstacle]
    startable_too = [number for number, other in ways.items() if other.obstacle is None]
    try:
        tariff = tariffs.current(conn, site_id=site.site_id, at=now)
    except TariffMissing:
        tariff = None
    return Socket(
        pile_id=pile_id,
        port_no=port_no,
        site_id=site.site_id,
        site_name=site.name,
        address=site.address,
        condition=condition,
        state=port.state,
        free_ports=tuple(startable_too) if way.obstacle is not None else (),
        tariff=tariff,
    )


def price_card(tariff: TariffVersion, *, now: datetime) -> price_cards.PriceCard:
    """The tariff as a price card for this moment."""
    return price_cards.describe(tariff, now)


def bought_dwh(tariff: TariffVersion, amount_fen: int, *, now: datetime) -> int:
    """Energy, in 0.1 Wh, an amount surely buys in a charge that starts now."""
    return affordability.affordable(
        tariff, amount_fen=amount_fen, longest_s=USUAL_CHARGE_S, at=now
    ).energy_dwh


def read_amount(typed: str) -> int:
    """What a rider typed in yuan, in fen. Raises AmountUnreadable."""
    try:
        yuan = Decimal(typed.strip().replace(",", ".").removeprefix("¥"))
    except InvalidOperation:
        raise AmountUnreadable(typed) from None
    if not yuan.is_finite() or abs(yuan) > 1_000_000 or yuan * 100 != int(yuan * 100):
        raise AmountUnreadable(typed)
    return int(yuan * 100)


def order(
    desk: RailDesk,
    waits: Waits,
    *,
    pile_id: str,
    port_no: int,
    amount_fen: int,
    rail_name: str,
    payer_ip: str,
    public_url: str,
    codes: CodeDesk | None = None,
) -> PlacedOrder:
    """Create a session and have the rail open its payment; the call to the rail is outside any transaction.

    Raises what `starts.order` and `rail_calls.place_payment` raise.
    """
    rail = desk.rail(rail_name)
    with desk.pool.connection() as conn:
        placed = starts.order(
            conn,
            pile_id=pile_id,
            port_no=port_no,
            amount_fen=amount_fen,
            rail=rail.name,
            waits=waits,
            now=desk.clock(),
            codes=codes,
        )
    session_id = placed.session.session_id
    payment = rail_calls.place_payment(
        desk.pool,
        rail,
        payment_id=placed.payment.payment_id,
        description=f"电动自行车充电 {pile_id}-{port_no}",
        payer_ip=payer_ip,
        return_url=f"{public_url}/s/{session_id}",
    )
    if payment.pay_url is None:
        raise PaymentConflict(payment.out_trade_no, "pay_url")
    return PlacedOrder(session_id, payment.pay_url)
