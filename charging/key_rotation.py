"""A pile's secret is replaced while it works: epoch n+1 is offered under epoch n, read once used, n retired later.

The offer is a command without the secret: that stays wrapped in its own table and is put in at sending. Until a
frame under the new secret was read nothing is sealed under it, and for KEPT_AFTER_USE more the old one is read, for
what the pile sealed before.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import commands, enrolment, events
from charging.commands import Command, CommandKind
from charging.enrolment import SECRET_BYTES, SecretVault
from charging.errors import PileUnknown, SecretUnreadable
from charging.events import EventKind

KEPT_AFTER_USE = timedelta(days=7)
"""How long frames under the old secret are read after the first under the new one."""


def begin(
    conn: Connection[TupleRow],
    vault: SecretVault,
    pile_id: str,
    *,
    expires_at: datetime,
    now: datetime,
) -> UUID:
    """Offer a pile its next secret; returns the command's id. An offer not yet taken up is made again as it was.

    A pile may have stored what its answer got lost for, so that there is never a second secret of one epoch.
    Raises PileUnknown for a pile without a secret in use.
    """
    rows = conn.execute(
        """
        SELECT epoch, first_used_at IS NOT NULL FROM pile_key
         WHERE pile_id = %(pile_id)s AND retired_at IS NULL ORDER BY epoch DESC FOR UPDATE
        """,
        {"pile_id": pile_id},
    ).fetchall()
    if not any(used for _, used in rows):
        raise PileUnknown(pile_id)
    newest, used = rows[0]
    epoch = int(newest)
    if used:
        epoch += 1
        secret = secrets.token_bytes(SECRET_BYTES)
        enrolment.keep_secret(conn, vault, pile_id=pile_id, epoch=epoch, secret=secret, now=now)
        events.record(
            conn, pile_id=pile_id, kind=EventKind.KEY_ROTATION_BEGUN, now=now, detail={"epoch": epoch}
        )
    commands.supersede(conn, pile_id=pile_id, kind=CommandKind.KEY_ROTATE)
    return commands.enqueue(
        conn,
        pile_id=pile_id,
        kind=CommandKind.KEY_ROTATE,
        body={"epoch": epoch},
        session_id=None,
        expires_at=expires_at,
        now=now,
    )


def with_secret(conn: Connection[TupleRow], vault: SecretVault, command: Command) -> Command:
    """An offer as it is to be sent, the secret in its body as hex; never to be kept or logged.

    Raises SecretUnreadable, also for one that was retired meanwhile.
    """
    epoch = int(command.body["epoch"])
    for known in enrolment.secrets_of(conn, vault, command.pile_id):
        if known.epoch == epoch:
            return replace(command, body={**command.body, "secret": known.secret.hex()})
    raise SecretUnreadable(command.pile_id, epoch)


def used(conn: Connection[TupleRow], epochs: Mapping[str, int], *, now: datetime) -> None:
    """Frames under these epochs were read, by pile: from now on the piles are spoken to under them."""
    for pile_id, epoch in sorted(epochs.items()):
        first = conn.execute(
            """
            UPDATE pile_key SET first_used_at = %(now)s
             WHERE pile_id = %(pile_id)s AND epoch = %(epoch)s AND first_used_at IS NULL
            RETURNING epoch
            """,
            {"pile_id": pile_id, "epoch": epoch, "now": now},
        ).fetchone()
        if first is not None:
            events.record(conn, pile_id=pile_id, kind=EventKind.KEY_ROTATED, now=now, detail={"epoch": epoch})


def retire_old(conn: Connection[TupleRow], *, now: datetime) -> bool:
    """Retire one secret whose successor has been in use for KEPT_AFTER_USE; False when there is none."""
    return bool(
        conn.execute(
            """
            WITH old AS (
                SELECT pile_id, epoch FROM pile_key AS old
                 WHERE retired_at IS NULL AND EXISTS (
                    SELECT FROM pile_key AS newer
                     WHERE newer.pile_id = old.pile_id AND newer.epoch > old.epoch
                       AND newer.first_used_at <= %(before)s)
                 LIMIT 1 FOR UPDATE SKIP LOCKED)
            UPDATE pile_key SET retired_at = %(now)s
              FROM old WHERE pile_key.pile_id = old.pile_id AND pile_key.epoch = old.epoch
            """,
            {"before": now - KEPT_AFTER_USE, "now": now},
        ).rowcount
    )
