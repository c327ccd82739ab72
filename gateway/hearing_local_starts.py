"""Sessions that began at the pile, told to charging; the pile hears of it once it is committed."""

from datetime import datetime

from charging import local_starts
from charging.local_starts import LocalStart
from database.pool import Connection
from gateway.hearing import Heard, Reply
from gateway.instants import instant
from protocol import messages
from protocol.fields import Message
from protocol.words import ClockState, LocalStartResult


def local_start(conn: Connection, heard: Heard) -> Reply:
    """A session somebody began with a card or a code; its number goes no further than its hash."""
    message = heard.says(messages.LocalStart)
    begun_at = instant(message.at_ms)
    accepted = local_starts.told(
        conn,
        LocalStart(
            pile_id=heard.pile_id,
            session_id=message.session_id,
            source=message.source.word,
            port_no=message.port,
            begun_at=None if message.clock is ClockState.NONE else begun_at,
            limit_s=message.limit_s,
            limit_dwh=message.limit_dwh,
            credential=message.credential,
        ),
        now=heard.frame.received_at,
    )
    result = LocalStartResult.ACCEPTED if accepted else LocalStartResult.REFUSED

    def acknowledge(_sent_at: datetime) -> Message:
        return messages.LocalStartAck(session_id=message.session_id, result=result)

    return Reply(heard.pile_id, acknowledge)
