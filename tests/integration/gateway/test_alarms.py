"""Alarms over the broker: acknowledged once committed, acted on at once, cleared by a person."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

from charging import alarm_records, clearing, locks, notices
from charging.locks import LockCause
from gateway.service import Gateway
from protocol import messages
from protocol.fields import Message
from protocol.words import (
    AlarmAction,
    AlarmKind,
    AlarmLevel,
    CommandCause,
    CommandResult,
    StartResult,
    StopReason,
)
from tests.integration.gateway.conftest import HandPile, Street, wait_until

PILE = "YQ-01"


def now_ms() -> int:
    return round(time.time() * 1000)


def smoke(alarm_id: UUID, *, level: AlarmLevel = AlarmLevel.TRIP, over: bool = False) -> messages.Alarm:
    return messages.Alarm(
        alarm_id=alarm_id,
        kind=AlarmKind.SMOKE,
        level=level,
        action=AlarmAction.PORT_STOPPED,
        raised_at_ms=now_ms() - 1000,
        value=1,
        limit=0,
        port=2,
        cleared_at_ms=now_ms() if over else None,
    )


def held(laid_out: Street) -> list[LockCause]:
    with laid_out.pool.connection() as conn:
        return [lock.cause for lock in locks.held(conn, [PILE]).get(PILE, [])]


def hears_all(pile: HandPile, count: int) -> list[Message]:
    return [pile.heard.get(timeout=15)[1] for _ in range(count)]


def charging(pile: HandPile, laid_out: Street) -> UUID:
    session_id = laid_out.order(PILE, port_no=1)
    start = pile.hears(messages.Start)
    pile.say(messages.StartAck(start.command_id, session_id, 1, StartResult.OK, now_ms()))
    pile.say(
        messages.Started(
            command_id=start.command_id,
            session_id=session_id,
            port=1,
            started_at_ms=now_ms(),
            register_dwh=100,
            power_dw=1500,
        )
    )
    wait_until(lambda: laid_out.session_state(session_id) == "charging")
    return session_id


def test_smoke_on_one_socket_stops_its_sibling_and_is_acknowledged(
    start_gateway: Callable[..., Gateway], connect_pile: Callable[..., HandPile], laid_out: Street
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    session_id = charging(pile, laid_out)
    alarm_id = uuid4()
    pile.say(smoke(alarm_id))
    heard = hears_all(pile, 2)
    assert messages.AlarmAck(alarm_id, AlarmLevel.TRIP, cleared=False) in heard
    [stop] = [message for message in heard if isinstance(message, messages.Stop)]
    assert (stop.session_id, stop.reason) == (session_id, StopReason.SMOKE)
    assert held(laid_out) == [LockCause.ALARM]
    with laid_out.pool.connection() as conn:
        told = notices.of_sessions(conn, [session_id])
    assert len(told[session_id]) == 1


def test_a_clearing_heard_before_its_raising_ends_the_same(
    start_gateway: Callable[..., Gateway], connect_pile: Callable[..., HandPile], laid_out: Street
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    alarm_id = uuid4()
    pile.say(smoke(alarm_id, over=True))
    assert pile.hears(messages.AlarmAck) == messages.AlarmAck(alarm_id, AlarmLevel.TRIP, cleared=True)
    pile.say(smoke(alarm_id, level=AlarmLevel.WARN))
    assert pile.hears(messages.AlarmAck) == messages.AlarmAck(alarm_id, AlarmLevel.TRIP, cleared=True)
    with laid_out.pool.connection() as conn:
        alarm = alarm_records.get(conn, pile_id=PILE, alarm_id=alarm_id)
    assert alarm.cleared_at is not None
    assert alarm.received_at <= datetime.now(UTC)
    assert held(laid_out) == [LockCause.ALARM]


def test_a_person_s_clearing_reaches_the_pile_which_may_refuse_it(
    start_gateway: Callable[..., Gateway], connect_pile: Callable[..., HandPile], laid_out: Street
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    alarm_id = uuid4()
    pile.say(smoke(alarm_id))
    pile.hears(messages.AlarmAck)
    with laid_out.pool.connection() as conn:
        clearing.clear_alarm(
            conn,
            pile_id=PILE,
            alarm_id=alarm_id,
            by="王师傅",
            reason="looked at it",
            override=True,
            now=datetime.now(UTC),
        )
    order = pile.hears(messages.FaultClear)
    assert order.port is None
    assert held(laid_out) == []
    refusal = messages.CommandAck(
        command_id=order.command_id,
        result=CommandResult.REFUSED,
        at_ms=now_ms(),
        cause=CommandCause.FAULT_PERSISTS,
    )
    pile.say(refusal)
    wait_until(lambda: held(laid_out) == [LockCause.LATCHED])
