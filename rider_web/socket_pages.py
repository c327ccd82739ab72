"""The page behind the QR code on a socket, its form, and the same facts as JSON."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from billing.errors import AgreementMissing, PaymentConflict, RailRefused, RailUnavailable, TariffMissing
from charging.errors import AmountBuysNothing, AmountRefused, PortUnavailable
from charging.starts import LEAST_PREPAID_FEN, MOST_PREPAID_FEN
from rider_web import formats, pages, price_card, problems, sockets
from rider_web.languages import Language
from rider_web.problems import PILE_ID_PATTERN, AmountUnreadable
from rider_web.service import RiderService
from rider_web.sockets import CHOICES_FEN, FIRST_CHOICE_FEN, Socket
from rider_web.wording import PORT_ADVICE, PORT_TITLES

PileId = Annotated[
    str, Path(max_length=64, pattern=PILE_ID_PATTERN, description="Pile id, as printed on the pile")
]
PortNo = Annotated[int, Path(ge=0, le=99, description="Socket number, as printed on the socket")]

CAN_START = frozenset({"free", "by_code"})
"""Conditions in which a charge can be paid for: at once, or with a code to type in."""
_SHOWN_ON_FORM = (
    AmountRefused,
    AmountBuysNothing,
    AmountUnreadable,
    PortUnavailable,
    TariffMissing,
    AgreementMissing,
    RailUnavailable,
    RailRefused,
    PaymentConflict,
)


@dataclass(frozen=True)
class AmountChoice:
    """One prepay button."""

    amount_fen: int
    yuan: str
    energy: str | None
    chosen: bool


class PriceNow(BaseModel):
    """One price at this moment."""

    fee_kind: str = Field(description="electricity, service or occupancy")
    price_yuan: str = Field(description="Price in yuan as a decimal string")
    unit: str = Field(description="What one unit is, in words")


class PriceBand(BaseModel):
    """A stretch of the local day (Asia/Shanghai), with a price for each entry of `prices_now`, in that order."""

    from_minute: int = Field(description="Minutes after local midnight, inclusive")
    to_minute: int = Field(description="Minutes after local midnight, exclusive")
    prices_yuan: list[str]
    now: bool


class PortView(BaseModel):
    """A socket and its price at this moment."""

    pile_id: str
    port_no: int
    site_id: str
    site_name: str
    address: str
    condition: str = Field(
        description="free, busy, offline, fault, disabled, over_power, safety, starts_kept_failing, no_price or by_code"
    )
    can_start: bool
    headline: str = Field(description="The condition in words, in the language asked for")
    advice: str
    free_ports: list[int] = Field(
        description="Other sockets of this pile that are free, where this one is not"
    )
    least_prepaid_fen: int = Field(description="Least that may be prepaid, in fen")
    most_prepaid_fen: int = Field(description="Most that may be prepaid, in fen")
    tariff_version_id: int | None = Field(
        description="None where no price is published; nothing is sold then"
    )
    prices_now: list[PriceNow]
    bands: list[PriceBand]


def create_router(service: RiderService) -> APIRouter:
    """The socket page, its form and its JSON."""
    router = APIRouter(route_class=service.route_class, tags=["Rider"])

    @router.get("/q/{pile_id}/{port_no}", include_in_schema=False)
    def socket_page(request: Request, pile_id: PileId, port_no: PortNo) -> Response:
        return _page(service, pages.language_of(request), _look(service, pile_id, port_no))

    @router.post("/q/{pile_id}/{port_no}", include_in_schema=False)
    def order_by_form(
        request: Request,
        pile_id: PileId,
        port_no: PortNo,
        amount: Annotated[str, Form(max_length=16)] = "",
        own_amount: Annotated[str, Form(max_length=16)] = "",
    ) -> Response:
        try:
            placed = service.order(
                request,
                pile_id=pile_id,
                port_no=port_no,
                amount_fen=sockets.read_amount(own_amount or amount),
            )
        except _SHOWN_ON_FORM as error:
            language = pages.language_of(request)
            problem = problems.of_error(error, language)
            socket = _look(service, pile_id, port_no)
            return _page(
                service,
                language,
                socket,
                status=problem.status,
                error=problem.explanation,
                own_amount=own_amount,
            )
        return RedirectResponse(placed.pay_url, status_code=303)

    @router.get("/api/rider/ports/{pile_id}/{port_no}", summary="A socket, its condition and its price")
    def port(request: Request, pile_id: PileId, port_no: PortNo) -> PortView:
        return _view(service, pages.language_of(request), _look(service, pile_id, port_no))

    return router


def _look(service: RiderService, pile_id: str, port_no: int) -> Socket:
    with service.desk.pool.connection() as conn:
        return sockets.look(
            conn,
            pile_id=pile_id,
            port_no=port_no,
            codes_sold=service.codes is not None,
            now=service.desk.clock(),
        )


def _page(
    service: RiderService,
    language: Language,
    socket: Socket,
    *,
    status: int = 200,
    error: str | None = None,
    own_amount: str = "",
) -> Response:
    view = _view(service, language, socket)
    now = service.desk.clock()
    card = None
    amounts: list[AmountChoice] = []
    if socket.tariff is not None:
        card = price_card.build(sockets.price_card(socket.tariff, now=now), language)
        for amount_fen in CHOICES_FEN:
            bought_dwh = sockets.bought_dwh(socket.tariff, amount_fen, now=now)
            amounts.append(
                AmountChoice(
                    amount_fen,
                    formats.yuan_short(amount_fen),
                    formats.kilowatt_hours_short(bought_dwh) if bought_dwh else None,
                    chosen=amount_fen == FIRST_CHOICE_FEN and not own_amount,
                )
            )
    return pages.page(
        "socket.html",
        language,
        status=status,
        socket=view,
        card=card,
        amounts=amounts,
        least_yuan=formats.yuan_short(LEAST_PREPAID_FEN),
        most_yuan=formats.yuan_short(MOST_PREPAID_FEN),
        error=error,
        own_amount=own_amount,
    )


def _view(service: RiderService, language: Language, socket: Socket) -> PortView:
    condition = socket.condition
    sold = socket.tariff is not None
    if condition in CAN_START and not sold:
        condition = "no_price"
    prices: list[PriceNow] = []
    bands: list[PriceBand] = []
    if socket.tariff is not None:
        card = price_card.build(sockets.price_card(socket.tariff, now=service.desk.clock()), language)
        prices = [
            PriceNow(fee_kind=part.kind, price_yuan=part.price, unit=part.unit) for part in card.now_parts
        ]
        bands = [
            PriceBand(
                from_minute=band.from_minute,
                to_minute=band.to_minute,
                prices_yuan=list(band.prices),
                now=band.now,
            )
            for band in card.bands
        ]
    return PortView(
        pile_id=socket.pile_id,
        port_no=socket.port_no,
        site_id=socket.site_id,
        site_name=socket.site_name,
        address=socket.address,
        condition=condition,
        can_start=condition in CAN_START,
        headline=language.say(PORT_TITLES[condition]),
        advice=language.say(PORT_ADVICE[condition]),
        free_ports=list(socket.free_ports),
        least_prepaid_fen=LEAST_PREPAID_FEN,
        most_prepaid_fen=MOST_PREPAID_FEN,
        tariff_version_id=socket.tariff.tariff_version_id if socket.tariff else None,
        prices_now=prices,
        bands=bands,
    )
