"""What a pile said about its care: its configuration, the tariff it shows, its log, its clock, a session extended.

Handlers are as those of `gateway.hearing`: one function a message, told to charging in charging's words.
"""

from datetime import datetime, timedelta
from typing import TypeVar

from charging import configurations, events, extensions, pile_logs, shown_tariffs
from charging.configurations import ConfigReport
from charging.events import EventKind
from charging.extensions import ExtensionAnswer
from charging.pile_logs import LogPart
from charging.shown_tariffs import TariffReport
from database.pool import Connection
from gateway.hearing import Heard, Reply
from gateway.instants import epoch_ms, instant
from protocol import messages
from protocol.fields import Message

_M = TypeVar("_M", bound=Message)


def config(conn: Connection, heard: Heard) -> None:
    """The settings in force, and what became of a wish."""
    message = heard.says(messages.Config)
    report = ConfigReport(
        pile_id=heard.pile_id,
        boot=heard.counter.boot,
        seq=heard.counter.seq,
        version=message.version,
        settings=dict(message.values),
        result=configurations.Result(message.result.word),
        command_id=message.command_id,
        key=message.key,
        cause=message.cause.word if message.cause is not None else None,
    )
    configurations.reported(conn, report, now=heard.frame.received_at)


def tariff(conn: Connection, heard: Heard) -> None:
    """The tariff shown, and what became of telling it."""
    message = heard.says(messages.Tariff)
    report = TariffReport(
        pile_id=heard.pile_id,
        boot=heard.counter.boot,
        seq=heard.counter.seq,
        version=message.version,
        result=shown_tariffs.Result(message.result.word),
        command_id=message.command_id,
        cause=message.cause.word if message.cause is not None else None,
    )
    shown_tariffs.reported(conn, report, now=heard.frame.received_at)


def extend_ack(conn: Connection, heard: Heard) -> None:
    """Which limits hold for a session from now on."""
    message = heard.says(messages.ExtendAck)
    answer = ExtensionAnswer(
        pile_id=heard.pile_id,
        session_id=message.session_id,
        command_id=message.command_id,
        result=message.result.word,
        limit_s=message.limit_s,
        limit_dwh=message.limit_dwh,
    )
    extensions.answered(conn, answer, now=heard.frame.received_at)


def log_lines(conn: Connection, heard: Heard) -> None:
    """A part of the pile's log, as it was asked for."""
    message = heard.says(messages.LogLines)
    part = LogPart(
        pile_id=heard.pile_id,
        command_id=message.command_id,
        part=message.part,
        lines=[(instant(line.at_ms), line.level.word, line.text) for line in message.lines],
    )
    pile_logs.keep(conn, part, now=heard.frame.received_at)


def time_request(conn: Connection, heard: Heard) -> Reply:
    """The pile asks for the time; a clock that was far off is told to the operator."""
    message = heard.says(messages.TimeRequest)
    now = heard.frame.received_at
    off = instant(message.at_ms) - now
    if abs(off) > heard.waits.clock_jump:
        events.record(
            conn,
            pile_id=heard.pile_id,
            kind=EventKind.CLOCK_JUMPED,
            now=now,
            detail={"off_s": off // timedelta(seconds=1)},
        )

    def tell(sent_at: datetime) -> Message:
        return messages.Time(time_ms=epoch_ms(sent_at))

    return Reply(heard.pile_id, tell)
