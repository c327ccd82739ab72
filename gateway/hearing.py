"""What a pile said, told to charging in charging's words; one function a message.

`now` is when the frame arrived. A function returns what the pile is to be told once all of it is committed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from charging import configurations, firmware_reports, piles, ports, settlements, shown_tariffs, starts
from charging.command_answers import Answer
from charging.errors import SettlementInconsistent
from charging.meter_frames import MeterFrame
from charging.pile_care import Report
from charging.waits import Waits
from database.pool import Connection
from gateway.errors import Refusal
from gateway.instants import EPOCH, epoch_ms, instant
from gateway.link import Frame
from gateway.meter_words import MeterWords
from protocol import messages
from protocol.envelope import Counter
from protocol.fields import Message, WireEnum
from protocol.words import ClockState, CommandResult, PortState, SettlementResult, StartResult, StopResult

USUAL_WAITS = Waits()

_M = TypeVar("_M", bound=Message)
_HALF_HOUR = timedelta(seconds=messages.HALF_HOUR_S)
_UNPLUGGED = frozenset({PortState.DISABLED, PortState.IDLE, PortState.RESERVED, PortState.FAULT})


class Heard(NamedTuple):
    """An authentic message of a pile that may speak.

    `waits` fit the clock of whoever hears it; `metered` is a meter frame in charging's words, if put into them ahead.
    """

    frame: Frame
    pile_id: str
    epoch: int
    counter: Counter
    message: Message
    waits: Waits = USUAL_WAITS
    metered: MeterFrame | None = None

    def says(self, kind: type[_M]) -> _M:
        """The message, which the dispatch table promised to be of this kind."""
        message = self.message
        assert isinstance(message, kind), "the dispatch table gave a handler another's message"
        return message


class Reply(NamedTuple):
    """What a pile hears after the commit: `message_at` makes it with the time of sending.

    `opens_boot` is set in the one that ends the pile's silence after a boot: nothing goes down before it.
    `refusal` is why the frame is kept among the rejected although it is answered.
    """

    pile_id: str
    message_at: Callable[[datetime], Message]
    opens_boot: bool = False
    refusal: Refusal | None = None


def boot(conn: Connection, heard: Heard) -> Reply:
    """The pile is up; it is told the time, its rhythm, and which configuration and tariff it should have."""
    message = heard.says(messages.Boot)
    now = heard.frame.received_at
    off = instant(message.at_ms) - now
    pile = piles.booted(
        conn,
        piles.BootReport(
            pile_id=heard.pile_id,
            boot=heard.counter.boot,
            seq=heard.counter.seq,
            connection=message.connection,
            firmware=message.firmware,
            hardware=message.hardware,
            port_count=message.port_count,
            signal_dbm=message.signal_dbm,
            reason=message.reason.word,
            unsent=message.unsent,
            clock_off=off if abs(off) > heard.waits.clock_jump else timedelta(0),
        ),
        now=now,
    )
    firmware_reports.booted(conn, pile_id=heard.pile_id, version=message.firmware, now=now)
    report = Report(pile_id=heard.pile_id, boot=heard.counter.boot, seq=heard.counter.seq)
    config_version = configurations.booted(conn, report, version=message.config_version, now=now)
    tariff_version = shown_tariffs.booted(
        conn, report, site_id=pile.site_id, version=message.tariff_version, now=now
    )

    def acknowledge(sent_at: datetime) -> Message:
        return messages.BootAck(
            time_ms=epoch_ms(sent_at),
            heartbeat_s=pile.heartbeat_s,
            sample_s=pile.sample_s,
            reconnect_jitter_s=pile.reconnect_jitter_s,
            config_version=config_version,
            tariff_version=tariff_version,
        )

    return Reply(heard.pile_id, acknowledge, opens_boot=True)


def heartbeat(conn: Connection, heard: Heard) -> None:
    """The pile lives, and its ports are as it says; what a fault is, only `port_state` says."""
    message = heard.says(messages.Heartbeat)
    now = heard.frame.received_at
    piles.heartbeat(
        conn,
        piles.Telemetry(
            pile_id=heard.pile_id,
            boot=heard.counter.boot,
            connection=message.connection,
            sampled_at=instant(message.sampled_at_ms),
            signal_dbm=message.signal_dbm,
            board_temperature_dc=message.board_temperature_dc,
            mains_dv=message.mains_dv,
            power_dw=message.power_dw,
            energy_wh=message.energy_wh,
            leakage_ma=message.leakage_ma,
            unsent=message.unsent,
        ),
        now=now,
    )
    reports = [
        ports.PortReport(
            pile_id=heard.pile_id,
            port_no=report.port,
            state=ports.PortState(report.state.word),
            fault=None,
            plugged=report.state not in _UNPLUGGED,
            power_dw=report.power_dw,
            boot=heard.counter.boot,
            seq=heard.counter.seq,
        )
        for report in message.ports
        if report.state is not PortState.FAULT
    ]
    ports.reported(conn, reports, now=now)


def gone(conn: Connection, heard: Heard) -> None:
    """The broker lost the pile and published its last will."""
    piles.gone(
        conn,
        pile_id=heard.pile_id,
        boot=heard.counter.boot,
        connection=heard.says(messages.Gone).connection,
        now=heard.frame.received_at,
    )


def port_state(conn: Connection, heard: Heard) -> None:
    """A port changed."""
    message = heard.says(messages.PortStateChanged)
    report = ports.PortReport(
        pile_id=heard.pile_id,
        port_no=message.port,
        state=ports.PortState(message.state.word),
        fault=message.fault.word if message.fault is not None else None,
        plugged=message.plugged,
        power_dw=message.power_dw,
        boot=heard.counter.boot,
        seq=heard.counter.seq,
    )
    ports.reported(conn, [report], now=heard.frame.received_at)


def start_ack(conn: Connection, heard: Heard) -> None:
    """The pile took or refused a start."""
    message = heard.says(messages.StartAck)
    now = heard.frame.received_at
    if message.result is StartResult.REFUSED:
        starts.refused(
            conn,
            pile_id=heard.pile_id,
            session_id=message.session_id,
            command_id=message.command_id,
            cause=message.cause.word if message.cause is not None else "unknown",
            now=now,
        )
        return
    starts.accepted(
        conn,
        pile_id=heard.pile_id,
        session_id=message.session_id,
        command_id=message.command_id,
        plugged=message.result is StartResult.OK,
        now=now,
    )


def started(conn: Connection, heard: Heard) -> None:
    """Power flows."""
    message = heard.says(messages.Started)
    starts.started(
        conn,
        pile_id=heard.pile_id,
        session_id=message.session_id,
        command_id=message.command_id,
        claimed_at=instant(message.started_at_ms),
        now=heard.frame.received_at,
    )


def answer(heard: Heard) -> Answer:
    """An answer that changes nothing but its command: a session's end is settled by its settlement."""
    message = heard.message
    if isinstance(message, messages.CommandAck):
        return Answer(
            message.command_id,
            heard.pile_id,
            done=message.result in (CommandResult.DONE, CommandResult.ACCEPTED),
            result=message.result.word,
            cause=message.cause.word if message.cause is not None else None,
            received_at=heard.frame.received_at,
            of_service=True,
        )
    message = heard.says(messages.StopAck)
    return Answer(
        message.command_id,
        heard.pile_id,
        done=message.result in (StopResult.STOPPED, StopResult.ALREADY_ENDED),
        result=message.result.word,
        received_at=heard.frame.received_at,
    )


def settlement(conn: Connection, heard: Heard) -> Reply:
    """The pile's final record; a contradictory one is refused for good, so that the pile need not keep it."""
    message = heard.says(messages.Settlement)
    refusal = None
    record, now = _settlement(heard, message), heard.frame.received_at
    try:
        result = SettlementResult[settlements.settle(conn, record, now=now).name]
    except SettlementInconsistent as error:
        settlements.rejected(conn, record, why=error.why, now=now)
        refusal = Refusal.SETTLEMENT_INCONSISTENT
        result = SettlementResult.REJECTED

    def acknowledge(_sent_at: datetime) -> Message:
        return messages.SettlementAck(session_id=message.session_id, result=result)

    return Reply(heard.pile_id, acknowledge, refusal=refusal)


def meter_frames(heard: Sequence[Heard]) -> list[MeterFrame]:
    """Meter frames in charging's words."""
    say = MeterWords().of
    return [
        one.metered or say(one.pile_id, one.frame.received_at, one.says(messages.MeterFrame)) for one in heard
    ]


def sampled_ms(heard: Iterable[Heard]) -> list[int]:
    """When the dated ones of these meter frames were taken, in milliseconds since 1970 as their piles say."""
    said = [one.says(messages.MeterFrame) for one in heard]
    return [message.sampled_at_ms for message in said if message.clock is not ClockState.NONE]


def answered_command(message: Message) -> tuple[UUID, str] | None:
    """The command that a message answers, and with which word; None for any other message."""
    command_id: UUID | None = getattr(message, "command_id", None)
    if command_id is None:
        return None
    result: WireEnum | None = getattr(message, "result", None)
    return command_id, "told" if result is None else result.word


def _settlement(heard: Heard, message: messages.Settlement) -> settlements.Settlement:
    return settlements.Settlement(
        pile_id=heard.pile_id,
        session_id=message.session_id,
        port_no=message.port,
        started_at=instant(message.started_at_ms),
        ended_at=instant(message.ended_at_ms),
        duration_s=message.duration_s,
        start_register_dwh=message.start_register_dwh,
        end_register_dwh=message.end_register_dwh,
        energy_dwh=message.energy_dwh,
        max_power_dw=message.max_power_dw,
        slots=[
            settlements.SettledSlot(EPOCH + slot.slot * _HALF_HOUR, slot.energy_dwh, slot.duration_s)
            for slot in message.slots
        ],
        stop_reason=message.stop_reason.word,
        body=_plain_fields(message),
    )


def _plain_fields(message: messages.Settlement) -> Mapping[str, Any]:
    return {field.name: _plain(getattr(message, field.name)) for field in fields(message)}  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass


def _plain(value: Any) -> Any:
    if isinstance(value, WireEnum):
        return value.word
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]  # any row
    return value
