"""The simulator's own SQLite file: what it was told survives its restart."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

FILE_NAME = "payment_sim.sqlite3"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trade_order (
    out_trade_no TEXT PRIMARY KEY, identity_sha256 TEXT NOT NULL, description TEXT NOT NULL, attach TEXT NOT NULL,
    notify_url TEXT NOT NULL, total_fen INTEGER NOT NULL, refunded_fen INTEGER NOT NULL DEFAULT 0
    CHECK (refunded_fen BETWEEN 0 AND total_fen), state TEXT NOT NULL, prepay_id TEXT NOT NULL UNIQUE,
    link_until_s REAL NOT NULL, transaction_id TEXT UNIQUE, created_at TEXT NOT NULL, expires_at TEXT NOT NULL,
    success_at TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS refund (
    out_refund_no TEXT PRIMARY KEY, out_trade_no TEXT NOT NULL REFERENCES trade_order,
    identity_sha256 TEXT NOT NULL, refund_id TEXT NOT NULL UNIQUE, notify_url TEXT, amount_fen INTEGER NOT NULL,
    total_fen INTEGER NOT NULL, status TEXT NOT NULL, outcome TEXT NOT NULL, settle_at_s REAL NOT NULL,
    created_at TEXT NOT NULL, success_at TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS refund_unsettled ON refund (settle_at_s) WHERE status = 'PROCESSING';
CREATE TABLE IF NOT EXISTS balance_line (
    line_no INTEGER PRIMARY KEY, kind TEXT NOT NULL, reference TEXT NOT NULL, amount_fen INTEGER NOT NULL,
    UNIQUE (kind, reference)
) STRICT;
CREATE TABLE IF NOT EXISTS notification (
    notification_id TEXT PRIMARY KEY, event_type TEXT NOT NULL, notify_url TEXT NOT NULL,
    original_type TEXT NOT NULL, resource TEXT NOT NULL, created_at TEXT NOT NULL, tries INTEGER NOT NULL,
    state TEXT NOT NULL, due_at_s REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS notification_due ON notification (due_at_s) WHERE state = 'pending';
"""


class Database:
    """One connection behind one lock: the simulator's load is small and its order of events should be plain."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            directory / FILE_NAME, check_same_thread=False, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Run the block alone and commit it, or roll it back when it raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
