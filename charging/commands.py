"""Commands to piles: durable rows, sent again with the same id until answered or expired.

A command is created in the business transaction that wants it; the commit wakes the gateway by NOTIFY. Its end,
answered or given up, is told on channel `command_outcome` for whoever waits. What a pile answers after that is kept
with the command and changes nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from charging.errors import PileUnknown

NEWS_MAX_BYTES = 7_500
"""A NOTIFY carries less than 8000 bytes."""


class CommandKind(StrEnum):
    """What a pile can be told: the protocol's messages that carry a command id, by name.

    A body holds the message's fields by name as plain JSON: enumerations as words, bytes as hex, rows as lists of
    lists. The ids of command and session and the deadline are the row's own and not in it.
    """

    START = "start"
    STOP = "stop"
    EXTEND = "extend"
    CONFIG_SET = "config_set"
    TARIFF_SET = "tariff_set"
    FIRMWARE = "firmware"
    QUERY = "query"
    LOG = "log"
    REBOOT = "reboot"
    LOCATE = "locate"
    VOICE = "voice"
    RELAY_TEST = "relay_test"
    PORT_SET = "port_set"
    FAULT_CLEAR = "fault_clear"
    KEY_ROTATE = "key_rotate"


class CommandState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Command:
    command_id: UUID
    pile_id: str
    session_id: UUID | None
    kind: CommandKind
    body: Mapping[str, Any]
    state: CommandState
    created_at: datetime
    expires_at: datetime
    send_count: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", CommandKind(self.kind))
        object.__setattr__(self, "state", CommandState(self.state))


def enqueue(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    kind: CommandKind,
    body: Mapping[str, Any],
    session_id: UUID | None,
    expires_at: datetime,
    now: datetime,
) -> UUID:
    """Create a command; the gateway that serves the pile, or its host, hears of it at commit. Raises PileUnknown.

    What it hears is the command itself, if the pile can be reached and it fits, else the shard to look at.
    """
    command_id = uuid4()
    row = conn.execute(
        """
        WITH addressed AS (
            SELECT pile.pile_id, coalesce(host.shard, pile.shard) AS shard,
                   pile.online AND pile.state = 'active' AS reachable
              FROM pile LEFT JOIN pile AS host ON host.pile_id = pile.parent_pile_id
             WHERE pile.pile_id = %(pile_id)s),
        created AS (
            INSERT INTO command (command_id, pile_id, shard, session_id, kind, body, state, created_at, expires_at,
                                 retry_at)
            SELECT %(command_id)s, pile_id, shard, %(session_id)s, %(kind)s, %(body)s::jsonb, 'pending', %(now)s,
                   %(expires_at)s, %(now)s
              FROM addressed
            RETURNING shard, json_build_object('shard', shard, 'command_id', command_id, 'pile_id', pile_id,
                                               'session_id', session_id, 'kind', kind, 'body', body,
                                               'created_at', created_at, 'expires_at', expires_at)::text AS news)
        SELECT pg_notify('command_outbox',
                         CASE WHEN reachable AND octet_length(news) <= %(most_bytes)s THEN news
                              ELSE created.shard::text END)
          FROM created, addressed
        """,
        {
            "command_id": command_id,
            "pile_id": pile_id,
            "session_id": session_id,
            "kind": kind.value,
            "body": json.dumps(dict(body)),
            "now": now,
            "expires_at": expires_at,
            "most_bytes": NEWS_MAX_BYTES,
        },
    ).fetchone()
    if row is None:
        raise PileUnknown(pile_id)
    return command_id


def asked(conn: Connection[TupleRow], session_id: UUID, kind: CommandKind) -> bool:
    """Whether a session has a command of this kind that is under way or done."""
    return (
        conn.execute(
            """
            SELECT command_id FROM command
             WHERE session_id = %(session_id)s AND kind = %(kind)s AND state IN ('pending', 'sent', 'done') LIMIT 1
            """,
            {"session_id": session_id, "kind": kind},
        ).fetchone()
        is not None
    )


def answered(
    conn: Connection[TupleRow],
    *,
    command_id: UUID,
    pile_id: str,
    done: bool,
    result: Mapping[str, Any],
    now: datetime,
    kind: CommandKind | None = None,
) -> Command | None:
    """Record a pile's answer to a command, of this kind if one is given; what is answered was sent, noted or not.

    None when the command is not this pile's or of another kind, or was answered or given up before.
    """
    facts = {
        "command_id": command_id,
        "pile_id": pile_id,
        "state": CommandState.DONE if done else CommandState.REFUSED,
        "result": Jsonb(dict(result)),
        "kind": kind,
        "now": now,
    }
    with conn.cursor(row_factory=class_row(Command)) as cursor:
        command = cursor.execute(
            """
            UPDATE command
               SET state = %(state)s, answered_at = %(now)s, result = %(result)s, send_count = greatest(send_count, 1)
             WHERE command_id = %(command_id)s AND pile_id = %(pile_id)s AND state IN ('pending', 'sent')
               AND (%(kind)s::text IS NULL OR kind = %(kind)s)
            RETURNING command_id, pile_id, session_id, kind, body, state, created_at, expires_at, send_count
            """,
            facts,
        ).fetchone()
    if command is None:
        conn.execute(
            """
            UPDATE command SET late_result = %(result)s, late_at = %(now)s
             WHERE command_id = %(command_id)s AND pile_id = %(pile_id)s AND state = 'expired' AND late_at IS NULL
               AND (%(kind)s::text IS NULL OR kind = %(kind)s)
            """,
            facts,
        )
    else:
        _tell(conn, [command])
    return command


def live_until(conn: Connection[TupleRow], *, pile_id: str, kind: CommandKind) -> datetime | None:
    """The deadline of a pile's command of this kind that is neither answered nor given up; None without one."""
    row = conn.execute(
        """
        SELECT max(expires_at) FROM command
         WHERE pile_id = %(pile_id)s AND kind = %(kind)s AND state IN ('pending', 'sent')
        """,
        {"pile_id": pile_id, "kind": kind},
    ).fetchone()
    return None if row is None else row[0]


def live_of_session(conn: Connection[TupleRow], session_id: UUID, kind: CommandKind) -> Command | None:
    """A session's newest command of this kind that is neither answered nor given up; None without one."""
    with conn.cursor(row_factory=class_row(Command)) as cursor:
        return cursor.execute(
            """
            SELECT command_id, pile_id, session_id, kind, body, state, created_at, expires_at, send_count FROM command
             WHERE session_id = %(session_id)s AND kind = %(kind)s AND state IN ('pending', 'sent')
             ORDER BY created_at DESC LIMIT 1
            """,
            {"session_id": session_id, "kind": kind},
        ).fetchone()


def supersede(
    conn: Connection[TupleRow], *, pile_id: str, kind: CommandKind, port_no: int | None = None
) -> None:
    """Give up a pile's live commands of a kind, or those of one port, because a newer one says it better."""
    with conn.cursor(row_factory=class_row(Command)) as cursor:
        given_up = cursor.execute(
            """
            UPDATE command SET state = 'expired', result = '{"cause": "superseded"}'
             WHERE pile_id = %(pile_id)s AND kind = %(kind)s AND state IN ('pending', 'sent')
               AND (%(port_no)s::int IS NULL OR %(port_no)s::int = coalesce(body -> 'port_no', body -> 'port')::int)
            RETURNING command_id, pile_id, session_id, kind, body, state, created_at, expires_at, send_count
            """,
            {"pile_id": pile_id, "kind": kind, "port_no": port_no},
        ).fetchall()
    _tell(conn, given_up)


def expire(conn: Connection[TupleRow], *, limit: int, now: datetime) -> list[Command]:
    """Give up the commands whose deadline has passed, at most `limit` of them, and return them.

    The sessions that were to start are held first, as by whoever hears an answer.
    """
    late = [
        command_id
        for (command_id,) in conn.execute(
            """
            SELECT command_id FROM command
             WHERE state IN ('pending', 'sent') AND expires_at <= %(now)s ORDER BY expires_at LIMIT %(limit)s
            """,
            {"now": now, "limit": limit},
        )
    ]
    if not late:
        return []
    conn.execute(
        """
        SELECT session_id FROM charging_session
         WHERE session_id IN (SELECT session_id FROM command WHERE command_id = ANY(%(late)s) AND kind = 'start')
         ORDER BY session_id FOR NO KEY UPDATE
        """,
        {"late": late},
    )
    with conn.cursor(row_factory=class_row(Command)) as cursor:
        given_up = cursor.execute(
            """
            WITH late AS (
                SELECT command_id FROM command
                 WHERE command_id = ANY(%(late)s) AND state IN ('pending', 'sent')
                 ORDER BY command_id FOR NO KEY UPDATE)
            UPDATE command SET state = 'expired'
              FROM late WHERE command.command_id = late.command_id
            RETURNING command.command_id, pile_id, session_id, kind, body, state, created_at, expires_at, send_count
            """,
            {"late": late},
        ).fetchall()
    _tell(conn, given_up)
    return given_up


def _tell(conn: Connection[TupleRow], ended: Sequence[Command]) -> None:
    for command in ended:
        conn.execute(
            "SELECT pg_notify('command_outcome', %(command_id)s)", {"command_id": str(command.command_id)}
        )
