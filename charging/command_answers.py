"""Piles' answers to commands that change nothing but the command's own row: any number of them in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging.commands import CommandState


@dataclass(frozen=True)
class Answer:
    """What a pile said to a command; `result` is its word for it."""

    command_id: UUID
    pile_id: str
    done: bool
    result: str
    received_at: datetime

    @property
    def state(self) -> CommandState:
        """What the command becomes."""
        return CommandState.DONE if self.done else CommandState.REFUSED


def take(conn: Connection[TupleRow], answers: Sequence[Answer]) -> None:
    """Record answers; one to another pile's command, or to one answered or expired before, changes nothing."""
    if not answers:
        return
    # Two answers to one command: the first counts. Locked by id, as two gateways may hold the same after a takeover.
    first = {(answer.command_id, answer.pile_id): answer for answer in reversed(answers)}.values()
    conn.execute(
        """
        WITH answer AS (
            SELECT command_id, heard.state, heard.result, heard.received_at
              FROM unnest(%(command_ids)s::uuid[], %(pile_ids)s::text[], %(states)s::text[], %(results)s::text[],
                          %(received_at)s::timestamptz[]) AS heard (command_id, pile_id, state, result, received_at)
              JOIN command USING (command_id, pile_id)
             WHERE command.state IN ('pending', 'sent')
             ORDER BY command_id FOR NO KEY UPDATE OF command)
        UPDATE command SET state = answer.state, answered_at = answer.received_at,
               result = jsonb_build_object('result', answer.result)
          FROM answer WHERE command.command_id = answer.command_id
        """,
        {
            "command_ids": [answer.command_id for answer in first],
            "pile_ids": [answer.pile_id for answer in first],
            "states": [answer.state for answer in first],
            "results": [answer.result for answer in first],
            "received_at": [answer.received_at for answer in first],
        },
    )
