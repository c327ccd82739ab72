"""Notifications waiting to be sent, each with its id and its own tries."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from datetime import datetime

from payment_sim import records
from payment_sim.database import Database
from payment_sim.faults import Faults
from payment_sim.records import Notification


def put(
    db: sqlite3.Connection,
    *,
    event_type: str,
    original_type: str,
    notify_url: str,
    body: dict[str, object],
    at: datetime,
    faults: Faults,
) -> None:
    """Queue the notification of an event in the transaction of the event; twice when duplicates are switched on."""
    for _ in range(2 if faults.duplicate_notifications else 1):
        db.execute(
            """
            INSERT INTO notification (notification_id, event_type, notify_url, original_type, resource,
                                      created_at, tries, state, due_at_s)
            VALUES (?, ?, ?, ?, ?, ?, 0, 'pending', ?)
            """,
            (
                secrets.token_hex(16),
                event_type,
                notify_url,
                original_type,
                json.dumps(body, ensure_ascii=False),
                records.rfc3339(at),
                time.time() + faults.notification_delay_s,
            ),
        )


def take_due(database: Database, *, hold_s: float) -> Notification | None:
    """Take the longest due notification; nobody else gets it for `hold_s` seconds."""
    now_s = time.time()
    with database.transaction() as db:
        row = db.execute(
            """
            SELECT notification_id, event_type, notify_url, original_type, resource, created_at, tries
              FROM notification WHERE state = 'pending' AND due_at_s <= ? ORDER BY due_at_s LIMIT 1
            """,
            (now_s,),
        ).fetchone()
        if row is None:
            return None
        taken = Notification(*row)
        db.execute(
            "UPDATE notification SET due_at_s = ? WHERE notification_id = ?",
            (now_s + hold_s, taken.notification_id),
        )
        return taken


def next_due_s(database: Database) -> float | None:
    """When the next notification is due, in epoch seconds."""
    with database.transaction() as db:
        return db.execute("SELECT min(due_at_s) AS due FROM notification WHERE state = 'pending'").fetchone()[
            "due"
        ]


def record_try(
    database: Database, notification_id: str, *, delivered: bool, next_delay_s: float | None
) -> None:
    """Write down how a try went; an undelivered notification without a next delay is given up."""
    state = "delivered" if delivered else "given_up" if next_delay_s is None else "pending"
    with database.transaction() as db:
        db.execute(
            "UPDATE notification SET tries = tries + 1, state = ?, due_at_s = ? WHERE notification_id = ?",
            (state, time.time() + (next_delay_s or 0.0), notification_id),
        )
