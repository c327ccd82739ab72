"""A batch with several sessions' money waits for sessions first and holds accounts last, as everybody does."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from gateway.service import Gateway
from protocol import messages
from protocol.words import ClockState, SessionSource, StopReason

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

BLOCKED = """
    SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_type = 'client backend'
"""


def _settlement(session_id: UUID, port: int) -> messages.Settlement:
    now_s = int(datetime.now(UTC).timestamp())
    return messages.Settlement(
        session_id=session_id,
        source=SessionSource.APP,
        port=port,
        started_at_ms=now_s * 1000,
        ended_at_ms=(now_s + 60) * 1000,
        duration_s=60,
        start_register_dwh=1000,
        end_register_dwh=1010,
        energy_dwh=10,
        slots=(messages.SlotEnergy(now_s // 1800, 10, 60),),
        tiers=(),
        max_power_dw=600,
        end_power_dw=600,
        stop_reason=StopReason.USER_STOP_APP,
        stop_code=0,
        samples_sent=0,
        tariff_version=1,
        clock=ClockState.SYNCED,
    )


def test_a_batch_of_settlements_holds_no_account_while_it_waits_for_a_session(
    connect_pile: "Callable[..., HandPile]",
    start_gateway: Callable[..., Gateway],
    laid_out: "Street",
    until: Callable[[Callable[[], object]], None],
    dsn: str,
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    first, second = (laid_out.order("YQ-01", port_no=port) for port in (1, 2))
    with (
        psycopg.connect(dsn) as writer_gate,
        psycopg.connect(dsn) as notification,
        psycopg.connect(dsn) as watch,
    ):
        watch.autocommit = True
        writer_gate.execute("LOCK TABLE meter_frame IN ACCESS EXCLUSIVE MODE")
        pile.say(pile.meter(first))
        until(lambda: watch.execute(BLOCKED).fetchall())
        # Both arrive while the writer is busy, so that they are one batch; somebody has the second one's session.
        for port, session_id in ((1, first), (2, second)):
            pile.say(_settlement(session_id, port))
        notification.execute(
            "SELECT session_id FROM charging_session WHERE session_id = %s FOR NO KEY UPDATE", (second,)
        )
        writer_gate.rollback()
        until(lambda: laid_out.count("meter_frame") == 1 and watch.execute(BLOCKED).fetchall())
        assert laid_out.session_state(first) != "settled"
        notification.execute("SELECT account_id FROM ledger_balance FOR UPDATE NOWAIT")
        notification.commit()
    until(lambda: [laid_out.session_state(one) for one in (first, second)] == ["settled", "settled"])
    assert gateway.health.writer.retries == 0
