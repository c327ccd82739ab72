"""A session as its rider sees it: one JSON object, with the same words and figures the page shows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from billing.refunds import Refund, RefundState
from billing.tariff_objects import FeeKind
from charging.alarm_kinds import Severity
from charging.notices import Notice
from charging.session_states import SessionState
from charging.sessions import ChargingSession
from rider_web import formats
from rider_web.languages import Language
from rider_web.session_facts import SessionFacts
from rider_web.wording import PHASES, START_FAILURES, STOP_REASONS

Phase = Literal[
    "waiting_payment",
    "starting",
    "enter_code",
    "code_lapsed",
    "plug_in",
    "charging",
    "topping_up",
    "finishing",
    "settling",
    "refunding",
    "done",
    "failed_refunding",
    "failed",
    "cancelled",
]

ENDED: frozenset[Phase] = frozenset({"done", "failed", "cancelled"})
"""Phases after which nothing changes any more."""
FLOAT_PHASE = 2
"""The meter's word for topping up a full battery."""

_BY_STATE: Mapping[SessionState, Phase] = {
    SessionState.CREATED: "waiting_payment",
    SessionState.PAID: "starting",
    SessionState.AWAITING_CODE: "enter_code",
    SessionState.CODE_LAPSED: "code_lapsed",
    SessionState.STARTING: "starting",
    SessionState.PENDING_PLUG: "plug_in",
    SessionState.CHARGING: "charging",
    SessionState.STOPPING: "finishing",
    SessionState.AWAITING_SETTLEMENT: "settling",
    SessionState.SETTLED: "refunding",
    SessionState.CLOSED: "done",
    SessionState.FAILED: "failed_refunding",
    SessionState.CANCELLED: "cancelled",
}


class Shown(BaseModel):
    """Figures as text, ready to show; widths in thousandths of the prepaid amount."""

    power: str
    energy: str
    time: str
    prepaid: str
    charged: str
    electricity: str
    service: str
    remaining: str
    spent_milli: int
    electricity_milli: int
    service_milli: int
    created: str
    started: str | None
    finished: str | None


class NoticeView(BaseModel):
    """Something the rider is told beside the charge: an alarm at the pile, a socket taken out of service."""

    notice_id: int
    severity: Severity = Field(description="`danger` asks the rider to keep away")
    words: str = Field(description="In the language asked for")
    created_at: datetime


class StartCodeView(BaseModel):
    """What to type in at the pile; shown only while it can start the charge."""

    digits: str = Field(description="Ten digits")
    groups: list[str] = Field(description="The digits in groups, as people read them")
    limit_wh: float = Field(description="Most energy it starts, in Wh")
    valid_until: datetime = Field(description="From then on the pile takes it no more")


class SessionView(BaseModel):
    """One charge, as the rider may see it."""

    model_config = ConfigDict(json_schema_extra={"description": "One charge, as its rider sees it."})

    session_id: UUID
    pile_id: str
    port_no: int
    site_name: str
    state: SessionState = Field(description="State of the session on the platform")
    phase: Phase = Field(description="What the rider's page shows")
    ended: bool = Field(description="Nothing changes any more")
    headline: str = Field(description="The phase in words, in the language asked for")
    explanation: str = Field(description="What it means and what happens next")
    cause: str | None = Field(description="Why the start failed, or why charging ended, as a machine word")
    power_w: float = Field(description="Power now, in W")
    energy_wh: float = Field(description="Energy delivered so far, in Wh, to 0.1")
    elapsed_s: int = Field(description="Charging time so far, in seconds")
    prepaid_fen: int = Field(description="Prepaid, in fen")
    electricity_fen: int = Field(description="Electricity fee so far, or as charged, in fen")
    service_fen: int = Field(description="Service and other fees so far, or as charged, in fen")
    charged_fen: int = Field(description="All fees so far, or as charged, in fen")
    remaining_fen: int = Field(description="What would go back, or goes back, to the rider, in fen")
    refund_state: RefundState | None = Field(description="State of the newest refund")
    refunded_fen: int = Field(description="Refunds that have arrived, in fen")
    pay_url: str | None = Field(description="Where to pay, while the payment is open")
    created_at: datetime
    start_code: StartCodeView | None = Field(
        description="At a pile without connection, once paid and until used, given up or too old"
    )
    notices: list[NoticeView] = Field(description="What the rider was told beside it, newest first")
    shown: Shown

    @property
    def has_curve(self) -> bool:
        """Whether there are samples to draw, or will be."""
        return self.elapsed_s > 0 or self.phase in ("charging", "topping_up", "finishing")


def build(facts: SessionFacts, language: Language) -> SessionView:
    """The view of a session in a language."""
    session = facts.watched.session
    phase = _phase(facts)
    reading = facts.watched.reading
    energy_dwh = (
        session.energy_dwh if session.energy_dwh is not None else reading.energy_dwh if reading else 0
    )
    elapsed_s = session.duration_s if session.duration_s is not None else facts.watched.elapsed_s
    power_dw = reading.power_dw if reading and phase in ("charging", "topping_up", "finishing") else 0
    charged_fen = sum(facts.fees_fen.values())
    electricity_fen = facts.fees_fen.get(FeeKind.ELECTRICITY, 0)
    headline, explanation = _words(facts, phase, language)
    newest = facts.refunds[-1] if facts.refunds else None
    return SessionView(
        session_id=session.session_id,
        pile_id=session.pile_id,
        port_no=session.port_no,
        site_name=facts.watched.site_name,
        state=session.state,
        phase=phase,
        ended=phase in ENDED and not any(_under_way(refund) for refund in facts.refunds),
        headline=headline,
        explanation=explanation,
        cause=session.failure or session.stop_reason,
        power_w=power_dw / 10,
        energy_wh=energy_dwh / 10,
        elapsed_s=elapsed_s,
        prepaid_fen=session.prepaid_fen,
        electricity_fen=electricity_fen,
        service_fen=charged_fen - electricity_fen,
        charged_fen=charged_fen,
        remaining_fen=session.prepaid_fen - charged_fen,
        refund_state=newest.state if newest else None,
        refunded_fen=sum(each.amount_fen for each in facts.refunds if each.state is RefundState.SUCCEEDED),
        pay_url=facts.pay_url,
        created_at=session.created_at,
        start_code=_start_code(facts),
        notices=[_notice(notice, language) for notice in facts.notices],
        shown=_shown(session, facts.fees_fen, power_dw=power_dw, energy_dwh=energy_dwh, elapsed_s=elapsed_s),
    )


def _start_code(facts: SessionFacts) -> StartCodeView | None:
    if facts.code is None:
        return None
    digits = facts.code.digits
    return StartCodeView(
        digits=digits,
        groups=[digits[:4], digits[4:7], digits[7:]],
        limit_wh=facts.watched.session.limit_dwh / 10,
        valid_until=facts.code.valid_until,
    )


def _notice(notice: Notice, language: Language) -> NoticeView:
    return NoticeView(
        notice_id=notice.notice_id,
        severity=notice.severity,
        words=notice.words_zh if language.code.startswith("zh") else notice.words_en,
        created_at=notice.created_at,
    )


def _phase(facts: SessionFacts) -> Phase:
    session = facts.watched.session
    phase = _BY_STATE[session.state]
    reading = facts.watched.reading
    if phase == "charging" and reading is not None and reading.phase == FLOAT_PHASE:
        return "topping_up"
    if phase == "failed_refunding" and not any(_under_way(refund) for refund in facts.refunds):
        return "failed"
    return phase


def _under_way(refund: Refund) -> bool:
    return refund.state is not RefundState.SUCCEEDED


def _words(facts: SessionFacts, phase: Phase, language: Language) -> tuple[str, str]:
    session = facts.watched.session
    title, explanation = PHASES[phase]
    parts: list[str] = []
    if session.failure is not None and phase in ("failed", "failed_refunding"):
        parts.append(language.say(START_FAILURES.get(session.failure, START_FAILURES["refused_by_pile"])))
    parts.append(language.say(explanation, port_no=session.port_no))
    headline = language.say(title)
    if session.stop_reason is not None and phase in ("refunding", "done"):
        headline = language.say(STOP_REASONS.get(session.stop_reason, STOP_REASONS["unknown"]))
    return headline, ("" if language.code.startswith("zh") else " ").join(parts)


def _shown(
    session: ChargingSession,
    fees_fen: Mapping[FeeKind, int],
    *,
    power_dw: int,
    energy_dwh: int,
    elapsed_s: int,
) -> Shown:
    charged_fen = sum(fees_fen.values())
    electricity_fen = fees_fen.get(FeeKind.ELECTRICITY, 0)
    whole_fen = max(1, session.prepaid_fen)
    spent_milli = min(1000, charged_fen * 1000 // whole_fen)
    electricity_milli = min(1000, electricity_fen * 1000 // whole_fen)
    return Shown(
        power=formats.watts(power_dw),
        energy=formats.kilowatt_hours(energy_dwh),
        time=formats.duration(elapsed_s),
        prepaid=formats.yuan(session.prepaid_fen),
        charged=formats.yuan(charged_fen),
        electricity=formats.yuan(electricity_fen),
        service=formats.yuan(charged_fen - electricity_fen),
        remaining=formats.yuan(session.prepaid_fen - charged_fen),
        spent_milli=spent_milli,
        electricity_milli=electricity_milli,
        service_milli=spent_milli - electricity_milli,
        created=formats.local_time(session.created_at),
        started=formats.local_time(session.started_at) if session.started_at else None,
        finished=formats.local_time(session.ended_at) if session.ended_at else None,
    )
