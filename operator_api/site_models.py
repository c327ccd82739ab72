"""Sites, piles and ports as JSON."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from charging.locks import Lock
from charging.overview import SiteNow
from charging.piles import Pile, PileState
from charging.ports import Port, PortState
from operator_api import alarm_models
from operator_api.alarm_models import LockView
from operator_api.parameters import PILE_ID_PATTERN, PRINTABLE_PATTERN, SITE_ID_PATTERN


class SiteView(BaseModel):
    """A compound or car park where piles stand."""

    site_id: str
    name: str
    address: str
    created_at: datetime
    piles: int = Field(description="Piles registered here")
    piles_online: int = Field(description="Piles with a live connection")
    ports: int = Field(description="Sockets of all piles")
    ports_taken: int = Field(description="Sockets that a session holds now")
    power_w: float = Field(description="Power of all sessions now, in W")
    sessions_settled: int = Field(description="Sessions settled so far")
    energy_wh: float = Field(description="Energy of the settled sessions, in Wh")


class PortView(BaseModel):
    """A socket, as its pile reported it last."""

    port_no: int
    state: PortState
    fault: str | None = Field(description="The pile's word for the fault, in state `fault`")
    plugged: bool = Field(description="Something is plugged in")
    power_w: float = Field(description="Power, in W, to 0.1")
    reported_at: datetime


class PileView(BaseModel):
    """A pile with its sockets."""

    pile_id: str
    site_id: str
    model: str
    state: PileState
    online: bool = Field(description="Whether its connection is live")
    port_count: int
    power_limit_w: int = Field(description="What all sockets together may draw, in W")
    shard: int = Field(description="Part of its topics, 0 to 63")
    parent_pile_id: str | None = Field(description="The host that hands on its messages, if it has one")
    firmware: str | None
    hardware: str | None
    signal_dbm: int | None = Field(description="Signal strength of its modem, in dBm")
    last_seen_at: datetime | None
    registered_at: datetime
    ports: list[PortView]
    locks: list[LockView] = Field(description="Why nothing may start on sockets or the whole pile")


class PilePage(BaseModel):
    """Piles by id."""

    piles: list[PileView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


class NewPile(BaseModel):
    """A pile to put on the books."""

    pile_id: str = Field(
        pattern=PILE_ID_PATTERN, max_length=64, description="1 to 64 of A-Z a-z 0-9 _ -; also on the label"
    )
    site_id: str = Field(pattern=SITE_ID_PATTERN, max_length=63)
    model: str = Field(pattern=PRINTABLE_PATTERN, max_length=64, description="The maker's name for it")
    port_count: int = Field(ge=2, le=20, description="Number of sockets")
    power_limit_w: int = Field(gt=0, le=100_000, description="What all sockets together may draw, in W")
    parent_pile_id: str | None = Field(
        default=None,
        pattern=PILE_ID_PATTERN,
        max_length=64,
        description="The host of the same site that hands on its messages; null for one with its own connection",
    )


class ClaimView(BaseModel):
    """A one-time code with which the pile enrols; shown this once only."""

    pile_id: str
    claim_code: str = Field(description="Four groups of four; case and hyphens do not matter")
    expires_at: datetime


class RegisteredPile(BaseModel):
    """The pile and the code with which it enrols."""

    pile: PileView
    claim: ClaimView


def site_view(site: SiteNow) -> SiteView:
    """A site as JSON."""
    return SiteView(
        site_id=site.site_id,
        name=site.name,
        address=site.address,
        created_at=site.created_at,
        piles=site.piles,
        piles_online=site.piles_online,
        ports=site.ports,
        ports_taken=site.ports_taken,
        power_w=site.power_dw / 10,
        sessions_settled=site.sessions_settled,
        energy_wh=site.energy_dwh / 10,
    )


def pile_view(pile: Pile, ports: list[Port], locks: Sequence[Lock] = ()) -> PileView:
    """A pile as JSON."""
    return PileView(
        pile_id=pile.pile_id,
        site_id=pile.site_id,
        model=pile.model,
        state=pile.state,
        online=pile.online,
        port_count=pile.port_count,
        power_limit_w=pile.power_limit_w,
        shard=pile.shard,
        parent_pile_id=pile.parent_pile_id,
        firmware=pile.firmware,
        hardware=pile.hardware,
        signal_dbm=pile.signal_dbm,
        last_seen_at=pile.last_seen_at,
        registered_at=pile.registered_at,
        ports=[
            PortView(
                port_no=port.port_no,
                state=port.state,
                fault=port.fault,
                plugged=port.plugged,
                power_w=port.power_dw / 10,
                reported_at=port.reported_at,
            )
            for port in ports
        ],
        locks=[alarm_models.lock_view(lock) for lock in locks],
    )
