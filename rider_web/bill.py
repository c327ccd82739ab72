"""The bill and the refund of a session, line by line with the formula of each line. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from billing.charges import ChargedFee
from billing.rating import LineKind, RatedLine
from billing.refunds import Refund, RefundState
from rider_web import formats
from rider_web.languages import Language, mark
from rider_web.session_facts import SessionFacts
from rider_web.wording import FEE_KINDS, REFUND_CAUSES, STOP_REASONS

_LINE_WORDS = {
    LineKind.FLAT: mark("Fixed amount"),
    LineKind.MIN_PRICE: mark("Up to the minimum"),
    LineKind.MAX_PRICE: mark("Down to the maximum"),
}


@dataclass(frozen=True)
class BillLine:
    """One priced line: its time of day, its formula in words and figures, and what it came to in yuan."""

    band: str
    formula: str
    amount: str


@dataclass(frozen=True)
class BillFee:
    """One fee with its lines; `waived` is what the prepayment did not cover and nobody pays."""

    kind: str
    name: str
    charged: str
    lines: tuple[BillLine, ...]
    waived: str | None


@dataclass(frozen=True)
class RefundStep:
    """One step on the money's way back; `at` is empty until it is known."""

    text: str
    at: str
    state: Literal["done", "doing", "todo"]


@dataclass(frozen=True)
class BillView:
    """Everything the bill prints, amounts in yuan."""

    charged: str
    refund: str
    summary: str
    formula: str
    fees: tuple[BillFee, ...]
    refund_steps: tuple[RefundStep, ...]


def build(facts: SessionFacts, language: Language) -> BillView | None:
    """The bill of a session; None while there is neither a charge nor a refund."""
    if facts.charge is None and not facts.refunds:
        return None
    prepaid_fen = facts.watched.session.prepaid_fen
    fees = facts.charge.fees if facts.charge is not None else ()
    charged_fen = sum(fee.charged_fen for fee in fees)
    return BillView(
        charged=formats.yuan(charged_fen),
        refund=formats.yuan(prepaid_fen - charged_fen),
        summary=_summary(facts, language),
        formula=_formula(prepaid_fen, fees, language),
        fees=tuple(_fee(fee, language) for fee in fees),
        refund_steps=tuple(step for refund in facts.refunds for step in _steps(refund, language)),
    )


def _summary(facts: SessionFacts, language: Language) -> str:
    session = facts.watched.session
    reason = language.say(STOP_REASONS.get(session.stop_reason or "unknown", STOP_REASONS["unknown"]))
    return language.say(
        mark("%(energy)s kWh in %(time)s · %(reason)s"),
        energy=formats.kilowatt_hours_exact(session.energy_dwh or 0),
        time=formats.duration(session.duration_s or 0),
        reason=reason,
    )


def _formula(prepaid_fen: int, fees: Sequence[ChargedFee], language: Language) -> str:
    parts = [language.say(mark("¥%(amount)s prepaid"), amount=formats.yuan(prepaid_fen))]
    parts += [
        f"¥{formats.yuan(fee.charged_fen)} {language.say(FEE_KINDS[fee.fee_kind.value]).lower()}"
        for fee in fees
    ]
    rest_fen = prepaid_fen - sum(fee.charged_fen for fee in fees)
    rest = language.say(mark("¥%(amount)s back to you"), amount=formats.yuan(rest_fen))
    return f"{' − '.join(parts)} = {rest}"


def _fee(fee: ChargedFee, language: Language) -> BillFee:
    waived_fen = fee.rated_fen - fee.charged_fen
    banded = any(line.band for line in fee.lines)
    return BillFee(
        kind=fee.fee_kind.value,
        name=language.say(FEE_KINDS[fee.fee_kind.value]),
        charged=formats.yuan(fee.charged_fen),
        lines=tuple(_line(line, language, beside_bands=banded) for line in fee.lines),
        waived=formats.yuan(waived_fen) if waived_fen else None,
    )


def _line(line: RatedLine, language: Language, *, beside_bands: bool) -> BillLine:
    price = formats.price(line.price_yuan)
    match line.kind:
        case LineKind.ENERGY:
            energy = formats.kilowatt_hours_exact(line.billed)
            formula = language.say(mark("%(energy)s kWh × ¥%(price)s"), energy=energy, price=price)
        case LineKind.TIME | LineKind.PARKING_TIME:
            time = formats.duration(line.billed)
            formula = language.say(mark("%(time)s × ¥%(price)s/h"), time=time, price=price)
        case LineKind.FLAT | LineKind.MIN_PRICE | LineKind.MAX_PRICE:
            formula = language.say(_LINE_WORDS[line.kind])
    band = line.band
    if not band and beside_bands and line.kind not in _LINE_WORDS:
        band = language.say(mark("other times"))
    return BillLine(band.replace("-", "–"), formula, formats.yuan(line.amount_fen))


def _steps(refund: Refund, language: Language) -> list[RefundStep]:
    say = language.say
    asked = RefundStep(
        say(mark("%(cause)s: refund asked for"), cause=say(REFUND_CAUSES[refund.cause.value])),
        formats.local_time_short(refund.requested_at),
        "done",
    )
    if refund.state is RefundState.SUCCEEDED and refund.succeeded_at is not None:
        at = formats.local_time_short(refund.succeeded_at)
        return [asked, RefundStep(say(mark("Returned to where you paid from")), at, "done")]
    doing = mark("The payment channel is sending it back")
    if refund.state is RefundState.ABNORMAL:
        doing = mark("The payment channel needs help with this one; we keep at it and your money is safe")
    back = mark("Back where you paid from")
    return [asked, RefundStep(say(doing), "", "doing"), RefundStep(say(back), "", "todo")]
