"""A session for tests that need no row of it: charging since it was ordered."""

from datetime import datetime
from uuid import UUID

from charging.session_states import SessionSource, SessionState
from charging.sessions import ChargingSession


def charging(session_id: UUID, *, pile_id: str, since: datetime) -> ChargingSession:
    """A session on port 1 that nothing but its samples tells of."""
    return ChargingSession(
        session_id=session_id,
        pile_id=pile_id,
        port_no=1,
        site_id="site",
        state=SessionState.CHARGING,
        prepaid_fen=300,
        tariff_version_id=1,
        agreement_version_id=1,
        limit_s=36_000,
        limit_dwh=20_000,
        created_at=since,
        paid_at=since,
        started_at=since,
        ended_at=None,
        settled_at=None,
        closed_at=None,
        failure=None,
        stop_reason=None,
        energy_dwh=None,
        duration_s=None,
        source=SessionSource.APP,
        card_id=None,
    )
