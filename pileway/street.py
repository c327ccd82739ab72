"""The simulated street of the demo: sites, parties, tariffs, agreements and piles, as an operator registers them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing import agreements, parties, tariff_objects, tariffs
from billing.errors import AgreementMissing, TariffMissing
from billing.parties import PartyKind
from billing.tariff_objects import FeeKind
from charging import enrolment, piles
from charging import sites as site_books
from charging.errors import PileUnknown
from charging.piles import Rhythm
from database.pool import Connection

CLAIM_HOURS = 24
IN_FORCE = timedelta(days=1)
"""How long the first tariffs and agreements have held when the street is laid out."""
PILE_POWER_W = 6000
RHYTHM = Rhythm(reconnect_jitter_s=3)
"""A dozen piles need not spread their return."""


@dataclass(frozen=True)
class Band:
    """A time of day and its price; the first of several that holds counts."""

    start: str
    end: str
    yuan_per_kwh: str


@dataclass(frozen=True)
class StreetSite:
    """A site with its piles (ports each), prices, and shares of each fee in basis points."""

    site_id: str
    name: str
    address: str
    piles: Mapping[str, int]
    service: Mapping[str, str]
    shares: Mapping[FeeKind, Mapping[str, int]]


PARTIES: tuple[tuple[str, PartyKind, str], ...] = (
    ("pileway", PartyKind.PLATFORM, "Pileway 平台"),
    ("lvdian", PartyKind.OPERATOR, "绿电运营"),
    ("yuquan-wuye", PartyKind.PROPERTY, "玉泉物业"),
    ("wutong-wuye", PartyKind.PROPERTY, "梧桐物业"),
    ("binjiang-wuye", PartyKind.PROPERTY, "滨江停车"),
    ("laowang", PartyKind.SUB_MERCHANT, "老王便利店"),
    ("chepeng", PartyKind.SUB_MERCHANT, "小李车棚"),
)

ELECTRICITY_BANDS = (
    Band("23:00", "07:00", "0.3103"),
    Band("10:00", "15:00", "0.8203"),
    Band("18:00", "21:00", "0.8203"),
)
ELECTRICITY_FLAT = "0.5103"


def _shares(electricity: str, property_id: str, sub_merchant: str) -> Mapping[FeeKind, Mapping[str, int]]:
    return {
        FeeKind.ELECTRICITY: {electricity: 10_000},
        FeeKind.SERVICE: {"lvdian": 5500, property_id: 2500, sub_merchant: 1000, "pileway": 1000},
    }


STREET: tuple[StreetSite, ...] = (
    StreetSite(
        site_id="yuquan",
        name="玉泉新村",
        address="杭州市西湖区玉泉路 12 号",
        piles={"YQ-01": 10, "YQ-02": 10, "YQ-03": 10, "YQ-04": 12},
        service={"type": "ENERGY", "price": "0.45"},
        shares=_shares("yuquan-wuye", "yuquan-wuye", "laowang"),
    ),
    StreetSite(
        site_id="wutong",
        name="梧桐里",
        address="杭州市拱墅区梧桐街 3 号",
        piles={"WT-01": 12, "WT-02": 12, "WT-03": 10, "WT-04": 8, "WT-05": 10},
        service={"type": "ENERGY", "price": "0.38"},
        shares=_shares("wutong-wuye", "wutong-wuye", "chepeng"),
    ),
    StreetSite(
        site_id="binjiang",
        name="滨江地铁口车棚",
        address="杭州市滨江区江南大道 588 号",
        piles={"BJ-01": 16, "BJ-02": 2, "BJ-03": 20},
        service={"type": "TIME", "price": "0.12"},
        shares=_shares("lvdian", "binjiang-wuye", "chepeng"),
    ),
)


def sockets() -> list[tuple[str, int]]:
    """Every socket of the street: pile id and port number."""
    return [
        (pile_id, port_no)
        for site in STREET
        for pile_id, port_count in site.piles.items()
        for port_no in range(1, port_count + 1)
    ]


@dataclass(frozen=True)
class Claim:
    """A pile of the street that still has to enrol, and its one-time code; None once enrolled."""

    pile_id: str
    port_count: int
    code: str | None


def lay_out(
    conn: Connection,
    *,
    sites: Sequence[StreetSite] = STREET,
    enrolled: Callable[[str], bool] = lambda _: False,
    now: datetime,
) -> list[Claim]:
    """Register what is not registered yet, and give each pile that is not `enrolled` a fresh claim code."""
    for party_id, kind, name in PARTIES:
        parties.add(conn, party_id=party_id, kind=kind, name=name, now=now)
    return [claim for site in sites for claim in _lay_out_site(conn, site, enrolled, now=now)]


def _lay_out_site(
    conn: Connection, site: StreetSite, enrolled: Callable[[str], bool], *, now: datetime
) -> list[Claim]:
    site_books.add(conn, site_id=site.site_id, name=site.name, address=site.address, now=now)
    try:
        tariffs.current(conn, site_id=site.site_id, at=now)
    except TariffMissing:
        tariffs.publish(
            conn, site_id=site.site_id, tariffs=_tariffs(site, now), effective_from=now - IN_FORCE, now=now
        )
    try:
        agreements.current(conn, site_id=site.site_id, at=now)
    except AgreementMissing:
        agreements.publish(
            conn, site_id=site.site_id, shares=site.shares, effective_from=now - IN_FORCE, now=now
        )
    for pile_id, port_count in site.piles.items():
        _register(conn, site, pile_id, port_count, now=now)
    return [
        Claim(pile_id, port_count, None if enrolled(pile_id) else _claim_code(conn, pile_id, now=now))
        for pile_id, port_count in site.piles.items()
    ]


def _register(conn: Connection, site: StreetSite, pile_id: str, port_count: int, *, now: datetime) -> None:
    try:
        piles.get(conn, pile_id)
    except PileUnknown:
        piles.register(
            conn,
            pile_id=pile_id,
            site_id=site.site_id,
            model=f"PW-{port_count}",
            port_count=port_count,
            power_limit_w=PILE_POWER_W,
            rhythm=RHYTHM,
            now=now,
        )


def _claim_code(conn: Connection, pile_id: str, *, now: datetime) -> str:
    return enrolment.issue_claim_code(
        conn, pile_id=pile_id, expires_at=now + timedelta(hours=CLAIM_HOURS), now=now
    )


def _tariffs(site: StreetSite, now: datetime) -> dict[FeeKind, tariff_objects.Tariff]:
    bands = [
        {
            "price_components": [{"type": "ENERGY", "price": band.yuan_per_kwh}],
            "restrictions": {"start_time": band.start, "end_time": band.end},
        }
        for band in ELECTRICITY_BANDS
    ]
    flat = {"price_components": [{"type": "ENERGY", "price": ELECTRICITY_FLAT}]}
    service = {"price_components": [dict(site.service)]}
    return {
        FeeKind.ELECTRICITY: _tariff(f"{site.site_id}-electricity", [*bands, flat], now),
        FeeKind.SERVICE: _tariff(f"{site.site_id}-service", [service], now),
    }


def _tariff(tariff_id: str, elements: Sequence[Mapping[str, object]], now: datetime) -> tariff_objects.Tariff:
    return tariff_objects.parse(
        {"id": tariff_id, "currency": "CNY", "elements": elements, "last_updated": now.isoformat()}
    )
