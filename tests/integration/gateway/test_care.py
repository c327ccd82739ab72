"""The care of a pile over the wire: answers, settings, tariff, extension, log and clock reach what they are for."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

import pytest
from psycopg_pool import ConnectionPool

from charging import (
    command_records,
    commands,
    configurations,
    events,
    extensions,
    pile_care,
    pile_logs,
    sessions,
    shown_tariffs,
    timers,
)
from charging.command_records import CommandRecord
from charging.commands import CommandKind, CommandState
from charging.configurations import Outcome
from charging.waits import Waits
from database.pool import Connection
from gateway.service import Gateway
from pileway import composition
from protocol import messages
from protocol.words import (
    ClockState,
    CommandCause,
    CommandResult,
    ConfigCause,
    ConfigResult,
    ExtendResult,
    LogLevel,
    StartResult,
    TariffResult,
)

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import GatewayProcess, HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    SpawnGateway = Callable[[], GatewayProcess]
    Until = Callable[[Callable[[], object]], None]

Pool = ConnectionPool[Connection]
WAITS = Waits()


def _now() -> datetime:
    return datetime.now(UTC)


def _order(pool: Pool, *, life: timedelta = timedelta(seconds=30), pile_id: str = "YQ-01") -> UUID:
    with pool.connection() as conn:
        return commands.enqueue(
            conn,
            pile_id=pile_id,
            kind=CommandKind.RELAY_TEST,
            body={"port": 2},
            session_id=None,
            expires_at=_now() + life,
            now=_now(),
        )


def _ack(command_id: UUID, cause: CommandCause | None = None) -> messages.CommandAck:
    result = CommandResult.DONE if cause is None else CommandResult.REFUSED
    return messages.CommandAck(command_id=command_id, result=result, at_ms=0, cause=cause)


def _record(pool: Pool, command_id: UUID) -> CommandRecord:
    with pool.connection() as conn:
        return command_records.get(conn, command_id)


def _ended(pool: Pool, command_id: UUID) -> bool:
    return _record(pool, command_id).ended


def _step(pool: Pool, step: timers.Step) -> None:
    with pool.connection() as conn:
        while step(conn, WAITS, _now()):
            pass


def test_a_refusal_comes_back_with_its_cause_and_a_strangers_answer_does_not(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", pool: Pool, until: "Until"
) -> None:
    start_gateway()
    pile, stranger = connect_pile("YQ-01"), connect_pile("YQ-02")
    pile.boots()
    stranger.boots()
    command_id, witness = _order(pool), _order(pool, pile_id="YQ-02")
    heard = pile.hears(messages.RelayTest)
    assert (heard.command_id, heard.port) == (command_id, 2)
    stranger.say(_ack(command_id))
    stranger.say(_ack(witness))
    until(lambda: _ended(pool, witness))
    assert not _ended(pool, command_id)
    pile.say(_ack(command_id, CommandCause.RELAY_WELDED))
    until(lambda: _ended(pool, command_id))
    record = _record(pool, command_id)
    assert (record.state, record.result) == (
        CommandState.REFUSED,
        {"result": "refused", "cause": "relay_welded"},
    )


def test_a_command_of_service_is_sent_again_with_its_id_and_its_deadline_until_answered(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", pool: Pool, until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    command_id = _order(pool)
    raw, first = pile.heard.get(timeout=15)
    assert isinstance(first, messages.RelayTest)
    left_s = first.expires_at_ms / 1000 - _now().timestamp()
    assert left_s <= 30
    assert cast("Any", raw.properties).MessageExpiryInterval <= 30
    assert pile.hears(messages.RelayTest) == first
    pile.say(_ack(command_id))
    pile.say(_ack(command_id, CommandCause.PORT_BUSY))
    until(lambda: _ended(pool, command_id))
    assert _record(pool, command_id).state is CommandState.DONE


def test_an_answer_after_the_deadline_changes_nothing_and_can_be_read(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", pool: Pool, until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    command_id = _order(pool, life=timedelta(seconds=2))
    pile.hears(messages.RelayTest)

    def expired() -> bool:
        _step(pool, timers.expire_command)
        return _ended(pool, command_id)

    until(expired)
    pile.say(_ack(command_id))
    until(lambda: _record(pool, command_id).late_at)
    record = _record(pool, command_id)
    assert (record.state, record.result, record.late_result) == (
        CommandState.EXPIRED,
        None,
        {"result": "done"},
    )


def test_a_gateway_killed_before_it_published_leaves_the_command_to_the_next(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    spawn_gateway: "SpawnGateway",
    pool: Pool,
    until: "Until",
) -> None:
    doomed = spawn_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    doomed.kill9()
    command_id = _order(pool)
    with pool.connection() as conn:
        # As it is left by one that noted a sending which the broker never had.
        conn.execute(
            "UPDATE command SET state = 'sent', send_count = 1, retry_at = %s WHERE command_id = %s",
            (_now() + timedelta(seconds=1), command_id),
        )
    start_gateway()
    assert pile.hears(messages.RelayTest).command_id == command_id
    assert _record(pool, command_id).send_count == 2
    pile.say(_ack(command_id))
    until(lambda: _ended(pool, command_id))


def test_a_configuration_is_wished_at_boot_sent_and_reported(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", pool: Pool, until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    with pool.connection() as conn:
        configurations.want(
            conn,
            pile_id="YQ-01",
            settings={"volume": 20, "leak_warn_ma": 10},
            set_by="operator",
            table=composition.settings_table(),
            waits=WAITS,
            now=_now(),
        )
    assert pile.boots().config_version == 1
    _step(pool, configurations.send_due)
    wish = pile.hears(messages.ConfigSet)
    assert dict(wish.values) == {"volume": 20, "leak_warn_ma": 10}
    refusal = messages.Config(
        version=0,
        result=ConfigResult.REFUSED,
        values=(messages.ConfigValue("volume", 60),),
        command_id=wish.command_id,
        key="leak_warn_ma",
        cause=ConfigCause.UNKNOWN_KEY,
    )
    pile.say(refusal)
    until(lambda: _ended(pool, wish.command_id))
    with pool.connection() as conn:
        wanted, care = configurations.wanted(conn, "YQ-01"), pile_care.find(conn, "YQ-01")
    assert wanted is not None
    assert care is not None
    assert (wanted.outcome, wanted.refused_key, wanted.cause) == (
        Outcome.REFUSED,
        "leak_warn_ma",
        "unknown_key",
    )
    assert (care.config_version, care.config_settings) == (0, {"volume": 60})


def test_a_tariff_is_wished_at_boot_sent_and_stored(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", pool: Pool, until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    wished = pile.boots().tariff_version
    assert wished > 0
    _step(pool, shown_tariffs.send_due)
    told = pile.hears(messages.TariffSet)
    assert (told.version, told.utc_offset_s) == (wished, 28_800)
    assert told.bands
    pile.say(messages.Tariff(version=wished, result=TariffResult.STORED, command_id=told.command_id))
    until(lambda: _ended(pool, told.command_id))
    with pool.connection() as conn:
        care = pile_care.find(conn, "YQ-01")
        telling = shown_tariffs.telling(conn, pile_id="YQ-01", tariff_version_id=wished)
    assert care is not None
    assert telling is not None
    assert (care.tariff_version, telling.outcome) == (wished, shown_tariffs.Outcome.SHOWN)


def test_a_session_is_extended_when_its_pile_says_so(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    pool: Pool,
    until: "Until",
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    session_id = laid_out.order("YQ-01", port_no=3)
    start = pile.hears(messages.Start)
    pile.say(
        messages.StartAck(
            command_id=start.command_id,
            session_id=session_id,
            port=3,
            result=StartResult.PENDING_PLUG,
            at_ms=0,
        )
    )
    until(lambda: laid_out.session_state(session_id) == "pending_plug")
    longer_s = start.limit_s + 600
    with pool.connection() as conn:
        extensions.extend(
            conn, session_id=session_id, limit_s=longer_s, limit_dwh=None, waits=WAITS, now=_now()
        )
    extend = pile.hears(messages.Extend)
    assert (extend.session_id, extend.port, extend.limit_s) == (session_id, 3, longer_s)
    pile.say(
        messages.ExtendAck(
            command_id=extend.command_id,
            session_id=session_id,
            port=3,
            result=ExtendResult.EXTENDED,
            at_ms=0,
            limit_s=longer_s,
            limit_dwh=extend.limit_dwh,
        )
    )
    until(lambda: _ended(pool, extend.command_id))
    with pool.connection() as conn:
        assert sessions.get(conn, session_id).limit_s == longer_s


def test_the_log_that_was_asked_for_is_kept(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", pool: Pool, until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    with pool.connection() as conn:
        command_id = commands.enqueue(
            conn,
            pile_id="YQ-01",
            kind=CommandKind.LOG,
            body={"since_ms": 0, "max_lines": 10},
            session_id=None,
            expires_at=_now() + timedelta(seconds=30),
            now=_now(),
        )
    assert pile.hears(messages.LogRequest).max_lines == 10
    line = messages.LogLine(1_700_000_000_000, LogLevel.WARNING, "relay 3 slow")
    for _ in range(2):
        pile.say(messages.LogLines(command_id=command_id, part=1, last=True, lines=(line,)))
    pile.say(messages.LogLines(command_id=uuid4(), part=1, last=True, lines=(line,)))
    pile.say(_ack(command_id))
    until(lambda: _ended(pool, command_id))
    with pool.connection() as conn:
        [kept] = pile_logs.page(conn, "YQ-01", limit=5, command_id=None, before=None)
    assert (kept.level, kept.text, kept.logged_at.year) == ("warning", "relay 3 slow", 2023)


@pytest.mark.parametrize(("off_s", "told"), [(-3600, [-3600]), (20, [])], ids=["an hour behind", "in time"])
def test_a_clock_that_was_far_off_is_told_and_set(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", pool: Pool, off_s: int, told: list[int]
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    pile.say(messages.TimeRequest(at_ms=int((_now().timestamp() + off_s) * 1000)))
    assert abs(pile.hears(messages.Time).time_ms / 1000 - _now().timestamp()) < 30
    with pool.connection() as conn:
        jumps = [
            event.detail["off_s"]
            for event in events.newest(conn, "YQ-01", limit=10)
            if event.kind == "clock_jumped"
        ]
    assert [round(jump, -2) for jump in jumps] == told


def test_a_clock_that_woke_in_1970_is_told_once_a_boot(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", pool: Pool
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    for _ in range(2):
        pile.say(replace(pile.boot_message(), at_ms=5_000, clock=ClockState.NONE))  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass
        pile.hears(messages.BootAck)
    with pool.connection() as conn:
        jumps = [event for event in events.newest(conn, "YQ-01", limit=10) if event.kind == "clock_jumped"]
    assert len(jumps) == 1
    assert jumps[0].detail["off_s"] < -50 * 365 * 86_400


def test_on_a_faster_clock_the_same_real_delay_is_no_jump(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", pool: Pool
) -> None:
    start_gateway(waits=WAITS.scaled(120))
    pile = connect_pile("YQ-01")
    pile.boots()
    pile.say(messages.TimeRequest(at_ms=int((_now().timestamp() - 3600) * 1000)))
    pile.hears(messages.Time)
    with pool.connection() as conn:
        kinds = [event.kind for event in events.newest(conn, "YQ-01", limit=10)]
    assert "clock_jumped" not in kinds
