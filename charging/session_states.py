"""The states of a session and the moves between them. Pure.

    created ─ paid ─┬─ starting ─ pending_plug ─┬─ charging ─ stopping ─ awaiting_settlement ─ settled ─ closed
       │         │  │      │            │       │
       │         │  └─ awaiting_code ─ code_lapsed
       ├─────────┴─────────┴─── all these ── failed (paid, and everything refunded)
    cancelled (never paid)

A pile that cannot be reached is started by a code its rider types in: `awaiting_code` holds the port, `code_lapsed`
(given up, or too old) does not, and keeps the money until it is known that the code was not used. A session by card
begins where its pile told of it.

A state only ever moves forward, so a message that comes late or twice changes nothing.
"""

from enum import StrEnum


class SessionState(StrEnum):
    """Where a session stands."""

    CREATED = "created"
    PAID = "paid"
    AWAITING_CODE = "awaiting_code"
    CODE_LAPSED = "code_lapsed"
    STARTING = "starting"
    PENDING_PLUG = "pending_plug"
    CHARGING = "charging"
    STOPPING = "stopping"
    AWAITING_SETTLEMENT = "awaiting_settlement"
    SETTLED = "settled"
    CLOSED = "closed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SessionSource(StrEnum):
    """What started a session: a command of ours, a code typed in at the pile, or a card held to it."""

    APP = "app"
    CODE = "code"
    CARD = "card"


class StartFailure(StrEnum):
    """Why a session could not start; the rider is told in words."""

    PILE_OFFLINE = "pile_offline"
    PILE_OUT_OF_SERVICE = "pile_out_of_service"
    PORT_BUSY = "port_busy"
    PORT_FAULT = "port_fault"
    PILE_OVER_POWER = "pile_over_power"
    REFUSED_BY_PILE = "refused_by_pile"
    NO_ANSWER = "no_answer"
    PILE_LOCKED = "pile_locked"
    PORT_LOCKED = "port_locked"
    ALARM_LASTS = "alarm_lasts"
    STARTS_KEPT_FAILING = "starts_kept_failing"
    CODE_UNUSED = "code_unused"


_LINE = (
    SessionState.CREATED,
    SessionState.PAID,
    SessionState.AWAITING_CODE,
    SessionState.CODE_LAPSED,
    SessionState.STARTING,
    SessionState.PENDING_PLUG,
    SessionState.CHARGING,
    SessionState.STOPPING,
    SessionState.AWAITING_SETTLEMENT,
    SessionState.SETTLED,
    SessionState.CLOSED,
)
_RANK = {state: rank for rank, state in enumerate(_LINE)}

BEFORE_CHARGE = frozenset(
    {
        SessionState.PAID,
        SessionState.AWAITING_CODE,
        SessionState.CODE_LAPSED,
        SessionState.STARTING,
        SessionState.PENDING_PLUG,
    }
)
"""Paid for, but as far as we know no energy has flowed yet: a failure gives everything back."""

ON_PORT = (BEFORE_CHARGE - {SessionState.CODE_LAPSED}) | {SessionState.CHARGING, SessionState.STOPPING}
"""States that occupy the port."""

UNDER_WAY = BEFORE_CHARGE | ON_PORT | {SessionState.AWAITING_SETTLEMENT}
"""States in which samples still tell something new."""

FINAL = frozenset({SessionState.CLOSED, SessionState.FAILED, SessionState.CANCELLED})
"""States that nothing leaves."""


def can_move(source: SessionState, target: SessionState) -> bool:
    """Whether a session may go from one state to another."""
    if source in FINAL:
        return False
    if target is SessionState.FAILED:
        return source in BEFORE_CHARGE or source is SessionState.CREATED
    if target is SessionState.CANCELLED:
        return source is SessionState.CREATED
    if target not in (SessionState.PAID, SessionState.CREATED) and source is SessionState.CREATED:
        return False
    return _RANK[target] > _RANK[source]
