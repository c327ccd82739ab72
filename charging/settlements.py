"""Settlements: the pile's final record of a session turns into money, once.

The record is kept first, whatever it says. A known session is then rated with the tariff it froze, charged, split and
refunded in the same transaction; the pile hears of it only after the commit. What the record contradicts (registers,
samples, the clock) is written down as an event for the operator.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from charging import events, meter, ports, sessions
from charging.errors import SettlementInconsistent
from charging.events import EventKind
from charging.session_states import FINAL, SessionState
from charging.sessions import ChargingSession

CLOCK_TOLERANCE = timedelta(minutes=10)
"""A pile whose idea of the start differs more than this from ours is rated by our clock."""
ENERGY_TOLERANCE_DWH = 200
"""Registers and samples may differ from the settlement by 20 Wh before it is worth an event."""


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
    """A pile's final record; `body` is the whole message as it came, for the books. Energy and registers in 0.1 Wh."""

    pile_id: str
    session_id: UUID
    port_no: int
    started_at: datetime
    ended_at: datetime
    duration_s: int
    start_register_dwh: int
    end_register_dwh: int
    energy_dwh: int
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
        return outcome
    if session.state in FINAL:
        _tell(conn, settlement, EventKind.SETTLEMENT_AFTER_REFUND, {"state": session.state}, now=now)
        return outcome
    _compare(conn, settlement, now=now)
    timed = _by_our_clock(conn, settlement, session, now=now)
    charge = charges.charge_session(
        conn,
        session_id=session.session_id,
        tariff_version_id=session.tariff_version_id,
        agreement_version_id=session.agreement_version_id,
        periods=_periods(timed),
        session_started_at=timed.started_at,
        now=now,
    )
    _record_end(conn, timed, now=now)
    sessions.move(conn, session, SessionState.SETTLED, cause=settlement.stop_reason, now=now)
    if charge.refund_fen == 0:
        settled = sessions.get(conn, session.session_id)
        sessions.move(conn, settled, SessionState.CLOSED, cause="nothing_to_refund", now=now)
    return outcome


def _check(settlement: Settlement) -> None:
    def refuse(why: str) -> None:
        raise SettlementInconsistent(settlement.session_id, why)

    if settlement.end_register_dwh < settlement.start_register_dwh:
        refuse("the end register is below the start register")
    if sum(slot.energy_dwh for slot in settlement.slots) != settlement.energy_dwh:
        refuse("the slots' energy does not sum to the energy")
    if sum(slot.duration_s for slot in settlement.slots) != settlement.duration_s:
        refuse("the slots' seconds do not sum to the duration")
    if any(slot.duration_s > meter.SLOT.total_seconds() for slot in settlement.slots):
        refuse("a slot holds more than half an hour")
    slot_times = [slot.slot_at for slot in settlement.slots]
    if any(later <= earlier for earlier, later in pairwise(slot_times)):
        refuse("the slots are not in time order")


def _lock_session(conn: Connection[TupleRow], settlement: Settlement) -> ChargingSession | None:
    ports.lock(conn, pile_id=settlement.pile_id, port_no=settlement.port_no)
    session = sessions.lock(conn, settlement.session_id)
    if session is None or session.state is SessionState.CREATED or session.pile_id != settlement.pile_id:
        return None
    return session


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


def _compare(conn: Connection[TupleRow], settlement: Settlement, *, now: datetime) -> None:
    """Registers and samples witness the energy; a contradiction is the operator's to look at."""
    by_registers_dwh = settlement.end_register_dwh - settlement.start_register_dwh
    by_samples_dwh = meter.highest_energy_dwh(conn, settlement.session_id)
    differs = (
        abs(by_registers_dwh - settlement.energy_dwh) > ENERGY_TOLERANCE_DWH
        or by_samples_dwh > settlement.energy_dwh + ENERGY_TOLERANCE_DWH
    )
    if differs:
        facts = {
            "energy_dwh": settlement.energy_dwh,
            "registers_dwh": by_registers_dwh,
            "samples_dwh": by_samples_dwh,
        }
        _tell(conn, settlement, EventKind.SETTLEMENT_DIFFERS, facts, now=now)


def _by_our_clock(
    conn: Connection[TupleRow], settlement: Settlement, session: ChargingSession, *, now: datetime
) -> Settlement:
    """The settlement with its times moved onto our clock where the pile's was wrong."""
    known_start = session.started_at
    earliest = (session.paid_at or session.created_at) - CLOCK_TOLERANCE
    if known_start is not None:
        right = abs(settlement.started_at - known_start) <= CLOCK_TOLERANCE
    else:
        right = earliest <= settlement.started_at <= now + CLOCK_TOLERANCE
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


def _record_end(conn: Connection[TupleRow], settlement: Settlement, *, now: datetime) -> None:
    conn.execute(
        """
        UPDATE charging_session
           SET started_at = coalesce(started_at, %(started_at)s), ended_at = %(ended_at)s, settled_at = %(now)s,
               stop_reason = %(stop_reason)s, energy_dwh = %(energy_dwh)s, duration_s = %(duration_s)s,
               last_power_dw = 0
         WHERE session_id = %(session_id)s
        """,
        {
            "started_at": settlement.started_at,
            "ended_at": settlement.ended_at,
            "now": now,
            "stop_reason": settlement.stop_reason,
            "energy_dwh": settlement.energy_dwh,
            "duration_s": settlement.duration_s,
            "session_id": settlement.session_id,
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
