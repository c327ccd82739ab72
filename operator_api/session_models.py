"""Sessions as JSON: facts, money, history and curve."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from billing.charges import ChargedFee, SessionCharge
from billing.payments import Payment, PaymentState
from billing.rating import LineKind
from billing.refunds import Refund, RefundCause, RefundState
from billing.tariff_objects import FeeKind
from charging.live_readings import Reading
from charging.session_curves import CurvePoint
from charging.session_states import SessionSource, SessionState
from charging.sessions import ChargingSession, Transition


class SessionSummary(BaseModel):
    """A session's facts; figures of energy and time are those of the settlement once it is there."""

    session_id: UUID
    site_id: str
    pile_id: str
    port_no: int
    state: SessionState
    source: SessionSource = Field(
        description="What started it: the platform, a code typed in at the pile, or a card"
    )
    card_id: UUID | None = Field(
        description="The card, for a session by card: nothing is prepaid or charged then"
    )
    prepaid_fen: int = Field(description="Prepaid, in fen (1/100 yuan)")
    energy_wh: float | None = Field(description="Energy so far or as settled, in Wh, to 0.1")
    duration_s: int | None = Field(description="Charging time as settled, in seconds")
    power_w: float | None = Field(
        description="Power of the newest sample, in W, to 0.1; 0 once it is settled"
    )
    failure: str | None = Field(description="Why the start failed")
    stop_reason: str | None = Field(description="Why charging ended")
    tariff_version_id: int = Field(description="Prices frozen when it was ordered")
    agreement_version_id: int = Field(description="Shares frozen when it was ordered")
    limit_s: int = Field(description="Longest charging time, in seconds")
    limit_wh: float = Field(description="Most energy the prepayment buys, in Wh")
    created_at: datetime
    paid_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    settled_at: datetime | None
    closed_at: datetime | None


class SessionPage(BaseModel):
    """Sessions, newest first."""

    sessions: list[SessionSummary]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


class PaymentView(BaseModel):
    """The prepayment."""

    payment_id: UUID
    rail: str = Field(description="The way the money moved")
    out_trade_no: str = Field(description="Our number for it at the rail")
    rail_transaction_id: str | None = Field(description="The rail's number for it")
    amount_fen: int = Field(description="In fen")
    refund_fen: int = Field(description="Refunds asked for so far, in fen, those in flight included")
    state: PaymentState
    paid_at: datetime | None


class RefundView(BaseModel):
    """Money going back to the rider."""

    refund_id: UUID
    out_refund_no: str = Field(
        description="Our number for it at the rail; a new one only after the rail closed it"
    )
    cause: RefundCause
    amount_fen: int = Field(description="In fen")
    state: RefundState
    attempts: int = Field(description="How often the rail was told or asked")
    last_error: str | None
    requested_at: datetime
    succeeded_at: datetime | None


class LineView(BaseModel):
    """One priced line, rounded once, half up, to whole fen."""

    kind: LineKind = Field(description="ENERGY, TIME, PARKING_TIME, FLAT, MIN_PRICE or MAX_PRICE")
    band: str = Field(description="When its price applies; empty for always")
    price_yuan: str = Field(description="Yuan per kWh, per hour or once, as a decimal string")
    metered: int = Field(description="Used: 0.1 Wh for ENERGY, seconds for times, else pieces")
    billed: int = Field(description="Billed after the step size, in the same unit")
    amount_fen: int = Field(description="In fen")


class FeeView(BaseModel):
    """One fee kind: as rated, as charged after the prepayment caps it, and who gets it."""

    fee_kind: FeeKind
    rated_fen: int = Field(description="What the tariff asks, in fen")
    charged_fen: int = Field(description="What the rider pays, in fen")
    waived_fen: int = Field(description="What the prepayment did not cover and nobody pays, in fen")
    lines: list[LineView]
    shares_fen: dict[str, int] = Field(description="Party to fen; sums to `charged_fen`")


class ChargeView(BaseModel):
    """What the session cost: `prepaid_fen` = `charged_fen` + `refund_fen`."""

    entry_id: int = Field(description="Journal entry that booked it")
    energy_wh: float = Field(description="In Wh, to 0.1")
    duration_s: int = Field(description="In seconds")
    prepaid_fen: int = Field(description="In fen")
    charged_fen: int = Field(description="In fen")
    refund_fen: int = Field(description="In fen")
    charged_at: datetime
    fees: list[FeeView]
    shares_fen: dict[str, int] = Field(description="Party to fen over all fees; sums to `charged_fen`")


class TransitionView(BaseModel):
    """When and why a state was reached."""

    state: SessionState
    cause: str
    at: datetime


class PointView(BaseModel):
    """One meter sample."""

    sampled_at: datetime = Field(description="The pile's time of the reading")
    elapsed_s: int = Field(description="Seconds since charging began")
    power_w: float = Field(description="In W")
    voltage_v: float = Field(description="In V")
    current_a: float = Field(description="In A")
    energy_wh: float = Field(description="Since charging began, in Wh")
    temperature_c: float = Field(description="Of the socket, in degrees Celsius")
    phase: int = Field(description="0 constant current, 1 constant voltage, 2 float, 3 idle")


class SessionDetail(SessionSummary):
    """A session with everything known of it."""

    payment: PaymentView | None
    refunds: list[RefundView]
    charge: ChargeView | None = Field(description="Null until it is settled")
    transitions: list[TransitionView]
    curve: list[PointView] = Field(
        description="Thinned evenly to at most `points`; the last sample always stays"
    )


def summary(session: ChargingSession, reading: Reading | None) -> SessionSummary:
    """A session's facts as JSON, with its newest reading while it is under way."""
    energy_dwh = session.energy_dwh
    if energy_dwh is None and reading is not None:
        energy_dwh = reading.energy_dwh
    return SessionSummary(
        session_id=session.session_id,
        site_id=session.site_id,
        pile_id=session.pile_id,
        port_no=session.port_no,
        state=session.state,
        source=session.source,
        card_id=session.card_id,
        prepaid_fen=session.prepaid_fen,
        energy_wh=None if energy_dwh is None else energy_dwh / 10,
        duration_s=session.duration_s,
        power_w=_power_w(session, reading),
        failure=session.failure,
        stop_reason=session.stop_reason,
        tariff_version_id=session.tariff_version_id,
        agreement_version_id=session.agreement_version_id,
        limit_s=session.limit_s,
        limit_wh=session.limit_dwh / 10,
        created_at=session.created_at,
        paid_at=session.paid_at,
        started_at=session.started_at,
        ended_at=session.ended_at,
        settled_at=session.settled_at,
        closed_at=session.closed_at,
    )


def detail(
    session: ChargingSession,
    reading: Reading | None,
    *,
    payment: Payment | None,
    refunds: list[Refund],
    charge: SessionCharge | None,
    transitions: list[Transition],
    curve: list[CurvePoint],
) -> SessionDetail:
    """Everything known of a session as JSON."""
    return SessionDetail(
        **summary(session, reading).model_dump(),
        payment=None if payment is None else _payment(payment),
        refunds=[_refund(refund) for refund in refunds],
        charge=None if charge is None else _charge(charge),
        transitions=[TransitionView(state=each.state, cause=each.cause, at=each.at) for each in transitions],
        curve=[_point(point) for point in curve],
    )


def _power_w(session: ChargingSession, reading: Reading | None) -> float | None:
    if session.settled_at is not None:
        return 0.0
    return None if reading is None else reading.power_dw / 10


def _payment(payment: Payment) -> PaymentView:
    return PaymentView(
        payment_id=payment.payment_id,
        rail=payment.rail,
        out_trade_no=payment.out_trade_no,
        rail_transaction_id=payment.rail_transaction_id,
        amount_fen=payment.amount_fen,
        refund_fen=payment.refund_fen,
        state=payment.state,
        paid_at=payment.paid_at,
    )


def _refund(refund: Refund) -> RefundView:
    return RefundView(
        refund_id=refund.refund_id,
        out_refund_no=refund.out_refund_no,
        cause=refund.cause,
        amount_fen=refund.amount_fen,
        state=refund.state,
        attempts=refund.attempts,
        last_error=refund.last_error,
        requested_at=refund.requested_at,
        succeeded_at=refund.succeeded_at,
    )


def _charge(charge: SessionCharge) -> ChargeView:
    return ChargeView(
        entry_id=charge.entry_id,
        energy_wh=charge.energy_dwh / 10,
        duration_s=charge.duration_s,
        prepaid_fen=charge.prepaid_fen,
        charged_fen=charge.charged_fen,
        refund_fen=charge.refund_fen,
        charged_at=charge.charged_at,
        fees=[_fee(fee) for fee in charge.fees],
        shares_fen=charge.shares_fen,
    )


def _fee(fee: ChargedFee) -> FeeView:
    return FeeView(
        fee_kind=fee.fee_kind,
        rated_fen=fee.rated_fen,
        charged_fen=fee.charged_fen,
        waived_fen=fee.waived_fen,
        lines=[
            LineView(
                kind=line.kind,
                band=line.band,
                price_yuan=format(line.price_yuan, "f"),
                metered=line.metered,
                billed=line.billed,
                amount_fen=line.amount_fen,
            )
            for line in fee.lines
        ],
        shares_fen=dict(fee.shares_fen),
    )


def _point(point: CurvePoint) -> PointView:
    return PointView(
        sampled_at=point.sampled_at,
        elapsed_s=point.elapsed_s,
        power_w=point.power_dw / 10,
        voltage_v=point.voltage_dv / 10,
        current_a=point.current_ma / 1000,
        energy_wh=point.energy_dwh / 10,
        temperature_c=point.temperature_dc / 10,
        phase=point.phase,
    )
