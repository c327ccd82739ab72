"""Settlements: the pile's final record of a session turns into money, once.

The record is kept first, whatever it says. A known session is then rated with the tariff it froze, charged, split and
refunded in the same transaction; the pile hears of it only after the commit. What the record contradicts (registers,
samples, the clock) is written down as an event for the operator.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from billing import charges
from billing.rating import ChargingPeriod
from charging import cards, energy_witnesses, events, ports, session_curves, sessions, start_failures
from charging.energy_witnesses import TOLERANCE_DWH, Witnesses
from charging.errors import SettlementInconsistent
from charging.events import EventKind
from charging.half_hours import SLOT, SLOT_EPOCH
from charging.session_states import FINAL, SessionSource, SessionState
from charging.sessions import CLOCK_TOLERANCE, ChargingSession

RECORD_REJECTED = "settlement_rejected"
"""Why a session waits for its samples alone."""


class Outcome(StrEnum):
    """What became of a settlement; the pile keeps its record until it hears one of these."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    UNKNOWN_SESSION_KEPT = "unknown_session_kept"


@dataclass(frozen=True)
class SettledSlot:
    """Energy (0.1 Wh) and seconds in one half-hour slot, by the pile's clock."""

    slot_at: datetime
    energy_dwh: int
    duration_s: int


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """A pile's final record; `body` is the whole message as it came, for the books. In 0.1 Wh and 0.1 W."""

    pile_id: str
    session_id: UUID
    port_no: int
    started_at: datetime
    ended_at: datetime
    duration_s: int
    start_register_dwh: int
    end_register_dwh: int
    energy_dwh: int
    max_power_dw: int
    slots: Sequence[SettledSlot]
    stop_reason: str
    body: Mapping[str, Any]


def settle(conn: Connection[TupleRow], settlement: Settlement, *, now: datetime) -> Outcome:
    """Keep a settlement and, where the session is ours, charge it. The first record of a session counts.

    Raises SettlementInconsistent when the record contradicts itself: then nothing is stored.
    """
    _check(settlement)
    session = _lock_session(conn, settlement)
    outcome = Outcome.STORED if session is not None else Outcome.UNKNOWN_SESSION_KEPT
    if not _keep(conn, settlement, outcome, now=now):
        return Outcome.DUPLICATE
    if session is None:
        _tell(conn, settlement, EventKind.SETTLEMENT_ORPHAN, {}, now=now)
        _follow_register(conn, settlement, now=now)
        return outcome
    if session.state in FINAL or session.settled_at is not None:
        facts = {"state": session.state, "energy_dwh": settlement.energy_dwh}
        _tell(conn, settlement, EventKind.SETTLEMENT_TOO_LATE, facts, now=now)
        _follow_register(conn, settlement, now=now)
        return outcome
    _settle(conn, settlement, session, now=now)
    return outcome


def rejected(conn: Connection[TupleRow], settlement: Settlement, *, why: str, now: datetime) -> None:
    """A record that contradicts itself says all the same that the session is over: its samples will settle it soon.

    Told to the operator once. A sound record that comes first still counts.
    """
    session = _lock_session(conn, settlement)
    if session is not None and session.settled_at is None:
        waits = SessionState.AWAITING_SETTLEMENT
        if sessions.move(conn, session, waits, cause=RECORD_REJECTED, now=now):
            _tell(conn, settlement, EventKind.SETTLEMENT_REJECTED, {"why": why}, now=now)


def settle_kept(conn: Connection[TupleRow], session: ChargingSession, *, now: datetime) -> None:
    """Settle a locked session whose settlement came before anybody knew of it; nothing without one."""
    settlement = _kept(conn, session)
    if settlement is not None:
        _settle(conn, settlement, session, now=now)


def settle_by_samples(conn: Connection[TupleRow], session_id: UUID, *, now: datetime) -> None:
    """Settle a session whose pile never said how it ended: by its samples, so nobody waits for a dead pile.

    What the pile may still say later is kept and told, and changes no money by itself.
    """
    session = sessions.lock_with_port(conn, session_id)
    if session is None or session.state is not SessionState.AWAITING_SETTLEMENT:
        return
    begin = session.started_at or session.paid_at or session.created_at
    # Nothing else speaks for this session: a wrong clock must not hide its samples.
    span = session_curves.everywhere(session, now=now)
    told = session_curves.periods(session_curves.slots(conn, span), started_at=begin)
    max_power_dw = session_curves.highest_power_dw(conn, span)
    periods = energy_witnesses.possible(told, max_power_dw=max_power_dw)
    duration_s = sum(period.duration_s for period in periods)
    end = _End(
        started_at=begin,
        ended_at=begin + timedelta(seconds=duration_s),
        stop_reason="settlement_missing",
        energy_dwh=sum(period.energy_dwh for period in periods),
        duration_s=duration_s,
    )
    _charge(conn, session, periods, end, now=now)
    told_dwh = sum(period.energy_dwh for period in told)
    facts = {"session_id": str(session_id), "port_no": session.port_no, "energy_dwh": told_dwh}
    facts |= {"charged_dwh": end.energy_dwh, "max_power_dw": max_power_dw}
    events.record(conn, pile_id=session.pile_id, kind=EventKind.SETTLED_BY_SAMPLES, now=now, detail=facts)
    if told_dwh > end.energy_dwh:
        events.record(conn, pile_id=session.pile_id, kind=EventKind.SETTLEMENT_DIFFERS, now=now, detail=facts)


def _settle(
    conn: Connection[TupleRow], settlement: Settlement, session: ChargingSession, *, now: datetime
) -> None:
    timed = _by_our_clock(conn, _believed(conn, settlement, session, now=now), session, now=now)
    _follow_register(conn, timed, now=now)
    end = _End(
        started_at=timed.started_at,
        ended_at=timed.ended_at,
        stop_reason=timed.stop_reason,
        energy_dwh=timed.energy_dwh,
        duration_s=timed.duration_s,
    )
    _charge(conn, session, _periods(timed), end, now=now)
    start_failures.ended(conn, session, stop_reason=end.stop_reason, energy_dwh=end.energy_dwh, now=now)


@dataclass(frozen=True)
class _End:
    started_at: datetime
    ended_at: datetime
    stop_reason: str
    energy_dwh: int
    duration_s: int


def _charge(
    conn: Connection[TupleRow],
    session: ChargingSession,
    periods: Sequence[ChargingPeriod],
    end: _End,
    *,
    now: datetime,
) -> None:
    if session.source is SessionSource.CARD:
        _close_card_session(conn, session, periods, end, now=now)
        return
    charge = charges.charge_session(
        conn,
        session_id=session.session_id,
        tariff_version_id=session.tariff_version_id,
        agreement_version_id=session.agreement_version_id,
        periods=periods,
        session_started_at=end.started_at,
        now=now,
    )
    _record_end(conn, session.session_id, end, now=now)
    sessions.move(conn, session, SessionState.SETTLED, cause=end.stop_reason, now=now)
    if charge.refund_fen == 0:
        settled = sessions.get(conn, session.session_id)
        sessions.move(conn, settled, SessionState.CLOSED, cause="nothing_to_refund", now=now)


def _close_card_session(
    conn: Connection[TupleRow],
    session: ChargingSession,
    periods: Sequence[ChargingPeriod],
    end: _End,
    *,
    now: datetime,
) -> None:
    """Nothing was prepaid and nothing is charged: what it would have cost goes into the card's statement."""
    cards.rate(conn, session, periods, started_at=end.started_at, now=now)
    _record_end(conn, session.session_id, end, now=now)
    sessions.move(conn, session, SessionState.SETTLED, cause=end.stop_reason, now=now)
    settled = sessions.get(conn, session.session_id)
    sessions.move(conn, settled, SessionState.CLOSED, cause="by_card", now=now)


def _kept(conn: Connection[TupleRow], session: ChargingSession) -> Settlement | None:
    """A kept settlement from its body, which holds the pile's own words by their names."""
    row = conn.execute(
        "SELECT body FROM settlement WHERE pile_id = %(pile_id)s AND session_id = %(session_id)s",
        {"pile_id": session.pile_id, "session_id": session.session_id},
    ).fetchone()
    if row is None or row[0]["port"] != session.port_no:
        return None
    body = row[0]
    return Settlement(
        pile_id=session.pile_id,
        session_id=session.session_id,
        port_no=session.port_no,
        started_at=SLOT_EPOCH + timedelta(milliseconds=body["started_at_ms"]),
        ended_at=SLOT_EPOCH + timedelta(milliseconds=body["ended_at_ms"]),
        duration_s=body["duration_s"],
        start_register_dwh=body["start_register_dwh"],
        end_register_dwh=body["end_register_dwh"],
        energy_dwh=body["energy_dwh"],
        max_power_dw=body["max_power_dw"],
        slots=[
            SettledSlot(SLOT_EPOCH + slot * SLOT, energy_dwh, duration_s)
            for slot, energy_dwh, duration_s in body["slots"]
        ],
        stop_reason=body["stop_reason"],
        body=body,
    )


def _check(settlement: Settlement) -> None:
    def refuse(why: str) -> None:
        raise SettlementInconsistent(settlement.session_id, why)

    if settlement.end_register_dwh < settlement.start_register_dwh:
        refuse("the end register is below the start register")
    if sum(slot.energy_dwh for slot in settlement.slots) != settlement.energy_dwh:
        refuse("the slots' energy does not sum to the energy")
    if sum(slot.duration_s for slot in settlement.slots) != settlement.duration_s:
        refuse("the slots' seconds do not sum to the duration")
    if any(slot.duration_s > SLOT.total_seconds() for slot in settlement.slots):
        refuse("a slot holds more than half an hour")
    slot_times = [slot.slot_at for slot in settlement.slots]
    if any(later <= earlier for earlier, later in pairwise(slot_times)):
        refuse("the slots are not in time order")


def _lock_session(conn: Connection[TupleRow], settlement: Settlement) -> ChargingSession | None:
    session = sessions.lock_with_port(conn, settlement.session_id)
    if session is None or session.state is SessionState.CREATED:
        return None
    here = (session.pile_id, session.port_no) == (settlement.pile_id, settlement.port_no)
    return session if here else None


def _keep(conn: Connection[TupleRow], settlement: Settlement, outcome: Outcome, *, now: datetime) -> bool:
    content = json.dumps(settlement.body, sort_keys=True, default=str).encode()
    digest = hashlib.sha256(content).digest()
    inserted = conn.execute(
        """
        INSERT INTO settlement (pile_id, session_id, body, body_sha256, outcome, received_at)
        VALUES (%(pile_id)s, %(session_id)s, %(body)s, %(digest)s, %(outcome)s, %(now)s)
        ON CONFLICT DO NOTHING
        """,
        {
            "pile_id": settlement.pile_id,
            "session_id": settlement.session_id,
            "body": Jsonb(json.loads(content)),
            "digest": digest,
            "outcome": outcome,
            "now": now,
        },
    ).rowcount
    if inserted:
        return True
    row = conn.execute(
        "SELECT body_sha256 FROM settlement WHERE pile_id = %(pile_id)s AND session_id = %(session_id)s",
        {"pile_id": settlement.pile_id, "session_id": settlement.session_id},
    ).fetchone()
    if row is not None and bytes(row[0]) != digest:
        _tell(conn, settlement, EventKind.SETTLEMENT_CONFLICT, {"energy_dwh": settlement.energy_dwh}, now=now)
    return False


def _believed(
    conn: Connection[TupleRow], settlement: Settlement, session: ChargingSession, *, now: datetime
) -> Settlement:
    """The settlement with no more energy than its witnesses bear out; a contradiction is the operator's to look at."""
    witnesses = Witnesses(
        registers_dwh=settlement.end_register_dwh - settlement.start_register_dwh,
        samples_dwh=session_curves.highest_energy_dwh(conn, session_curves.span_of(session)),
        max_power_dw=settlement.max_power_dw,
    )
    claims = [(slot.energy_dwh, slot.duration_s) for slot in settlement.slots]
    if _more_samples_would_count(witnesses, claims):
        # Before samples are held to be missing: they may lie where a wrong clock put them.
        span = session_curves.everywhere(session, now=now)
        witnesses = replace(witnesses, samples_dwh=session_curves.highest_energy_dwh(conn, span))
    if not witnesses.differ(claims):
        return settlement
    believed_dwh = witnesses.believed(claims)
    facts = {"energy_dwh": settlement.energy_dwh, "charged_dwh": sum(believed_dwh), **asdict(witnesses)}
    _tell(conn, settlement, EventKind.SETTLEMENT_DIFFERS, facts, now=now)
    slots = [
        replace(slot, energy_dwh=energy_dwh)
        for slot, energy_dwh in zip(settlement.slots, believed_dwh, strict=True)
    ]
    return replace(settlement, energy_dwh=sum(believed_dwh), slots=slots)


def _more_samples_would_count(witnesses: Witnesses, claims: Sequence[tuple[int, int]]) -> bool:
    """Whether samples that showed all that is claimed would have more of it charged than these witnesses bear out."""
    all_dwh = sum(energy_dwh for energy_dwh, _ in claims)
    return replace(witnesses, samples_dwh=all_dwh).believed(claims) != witnesses.believed(claims)


def _follow_register(conn: Connection[TupleRow], settlement: Settlement, *, now: datetime) -> None:
    """A register that did not begin where it ended before has been reset, or has counted what nobody charged."""
    before_dwh = ports.register_read(
        conn,
        pile_id=settlement.pile_id,
        port_no=settlement.port_no,
        last_dwh=settlement.end_register_dwh,
        began_at=settlement.started_at,
        ended_at=settlement.ended_at,
    )
    if before_dwh is not None and abs(settlement.start_register_dwh - before_dwh) > TOLERANCE_DWH:
        facts = {"before_dwh": before_dwh, "start_register_dwh": settlement.start_register_dwh}
        _tell(conn, settlement, EventKind.REGISTER_JUMPED, facts, now=now)


def _by_our_clock(
    conn: Connection[TupleRow], settlement: Settlement, session: ChargingSession, *, now: datetime
) -> Settlement:
    """The settlement with its times moved onto our clock where the pile's was wrong."""
    known_start = session.started_at
    if known_start is not None:
        right = abs(settlement.started_at - known_start) <= CLOCK_TOLERANCE
    else:
        right = sessions.can_have_begun(session, settlement.started_at, now=now)
    if right:
        return settlement
    begin = known_start or session.paid_at or session.created_at
    off = begin - settlement.started_at
    _tell(conn, settlement, EventKind.CLOCK_WRONG, {"off_s": round(-off.total_seconds())}, now=now)
    return replace(
        settlement,
        started_at=begin,
        ended_at=settlement.ended_at + off,
        slots=[replace(slot, slot_at=slot.slot_at + off) for slot in settlement.slots],
    )


def _periods(settlement: Settlement) -> list[ChargingPeriod]:
    """The slots as periods to rate: the first begins when the session did, the others with their slot."""
    return [
        ChargingPeriod(
            started_at=max(slot.slot_at, settlement.started_at),
            duration_s=slot.duration_s,
            energy_dwh=slot.energy_dwh,
            power_dw=slot.energy_dwh * 3600 // slot.duration_s if slot.duration_s else 0,
        )
        for slot in settlement.slots
    ]


def _record_end(conn: Connection[TupleRow], session_id: UUID, end: _End, *, now: datetime) -> None:
    conn.execute(
        """
        UPDATE charging_session
           SET started_at = coalesce(started_at, %(started_at)s), ended_at = %(ended_at)s, settled_at = %(now)s,
               stop_reason = %(stop_reason)s, energy_dwh = %(energy_dwh)s, duration_s = %(duration_s)s
         WHERE session_id = %(session_id)s
        """,
        {
            "started_at": end.started_at,
            "ended_at": end.ended_at,
            "now": now,
            "stop_reason": end.stop_reason,
            "energy_dwh": end.energy_dwh,
            "duration_s": end.duration_s,
            "session_id": session_id,
        },
    )


def _tell(
    conn: Connection[TupleRow],
    settlement: Settlement,
    kind: EventKind,
    facts: Mapping[str, object],
    *,
    now: datetime,
) -> None:
    events.record(
        conn,
        pile_id=settlement.pile_id,
        kind=kind,
        now=now,
        occurred_at=settlement.ended_at,
        detail={"session_id": str(settlement.session_id), "port_no": settlement.port_no, **facts},
    )
