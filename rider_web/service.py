"""What every endpoint of this package works with."""

from dataclasses import dataclass

from fastapi import Request
from fastapi.routing import APIRoute

from billing.rail_calls import RailDesk
from charging.start_codes import CodeDesk
from charging.waits import Waits
from rider_web import sockets
from rider_web.live_hub import LiveHub
from rider_web.session_facts import FactsReader, SessionFacts
from rider_web.sockets import PlacedOrder

UNKNOWN_PAYER_IP = "127.0.0.1"


@dataclass(frozen=True)
class RiderService:
    """Database, rails and clock (the desk), waits as the clock counts them, and where riders reach us.

    With `codes` piles without a link are sold by code; `clock_speed` is how much faster than real time the clock is.
    """

    desk: RailDesk
    waits: Waits
    rail_name: str
    public_url: str
    facts: FactsReader
    hub: LiveHub[SessionFacts]
    route_class: type[APIRoute]
    codes: CodeDesk | None = None
    clock_speed: float = 1.0

    def order(self, request: Request, *, pile_id: str, port_no: int, amount_fen: int) -> PlacedOrder:
        """Place an order for whoever sent the request; raises what `sockets.order` raises."""
        return sockets.order(
            self.desk,
            self.waits,
            pile_id=pile_id,
            port_no=port_no,
            amount_fen=amount_fen,
            rail_name=self.rail_name,
            payer_ip=request.client.host if request.client else UNKNOWN_PAYER_IP,
            public_url=self.public_url.rstrip("/"),
            codes=self.codes,
        )
