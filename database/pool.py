"""The bounded connection pool every process opens once."""

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

Connection = psycopg.Connection[TupleRow]

APPLICATION_NAME = "pileway"

LOCK_LIMIT_S = 5
"""A statement waits so many seconds for a lock (`psycopg.errors.LockNotAvailable`)."""

IDLE_IN_TRANSACTION_LIMIT_S = 30
"""A transaction whose process says nothing for so many seconds is ended with its connection, and its locks with it
(`psycopg.errors.IdleInTransactionSessionTimeout`, which is no OperationalError)."""

UNANSWERED_LIMIT_S = 10
"""What the server's machine does not acknowledge for so many seconds breaks the connection."""

_SILENT_BEFORE_PROBE_S = 10
_PROBE_INTERVAL_S = 3
_PROBES = 3
_CONNECT_TIMEOUT_S = 10
_MAX_LIFETIME_S = 3600.0
_MAX_WAITING = 200


def open_pool(dsn: str, *, min_size: int, max_size: int, timeout_s: float) -> ConnectionPool[Connection]:
    """Open a pool and wait until `min_size` connections stand.

    A caller waits at most `timeout_s` seconds for a connection (`psycopg_pool.PoolTimeout`), and at most 200
    callers wait at once (`psycopg_pool.TooManyRequests`). Connections are checked when handed out, so that
    a restarted server costs a reconnect and not an error. The limits of this module hold on every connection
    unless the DSN sets its own.
    """
    pool = ConnectionPool[Connection](
        _limited(dsn),
        min_size=min_size,
        max_size=max_size,
        timeout=timeout_s,
        max_waiting=_MAX_WAITING,
        max_lifetime=_MAX_LIFETIME_S,
        check=ConnectionPool[Connection].check_connection,
        kwargs={"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": APPLICATION_NAME},
        name=APPLICATION_NAME,
        open=False,
    )
    try:
        pool.open(wait=True, timeout=timeout_s)
    except BaseException:
        pool.close()
        raise
    return pool


def _limited(dsn: str) -> str:
    given = {name: value for name, value in conninfo_to_dict(dsn).items() if value is not None}
    # The server takes the last of repeated options, so the DSN's own come last. A batch of frames whose days are
    # compressed must not fail because many are; a server without TimescaleDB takes that name for a note. To compile a
    # query that touches every day's chunk takes ten times as long as to run it.
    options = (
        f"-c lock_timeout={LOCK_LIMIT_S}s -c jit=off -c timescaledb.max_tuples_decompressed_per_dml_transaction=0 "
        f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_LIMIT_S}s {given.pop('options', '')}"
    )
    network = {
        "keepalives_idle": _SILENT_BEFORE_PROBE_S,
        "keepalives_interval": _PROBE_INTERVAL_S,
        "keepalives_count": _PROBES,
        "tcp_user_timeout": UNANSWERED_LIMIT_S * 1000,
    }
    return make_conninfo("", **{**network, **given, "options": options.rstrip()})
