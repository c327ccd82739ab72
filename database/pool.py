"""The bounded connection pool every process opens once."""

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

Connection = psycopg.Connection[TupleRow]

APPLICATION_NAME = "pileway"
_CONNECT_TIMEOUT_S = 10
_MAX_LIFETIME_S = 3600.0
_MAX_WAITING = 200


def open_pool(dsn: str, *, min_size: int, max_size: int, timeout_s: float) -> ConnectionPool[Connection]:
    """Open a pool and wait until `min_size` connections stand.

    A caller waits at most `timeout_s` seconds for a connection (`psycopg_pool.PoolTimeout`), and at most 200
    callers wait at once (`psycopg_pool.TooManyRequests`). Connections are checked when handed out, so that
    a restarted server costs a reconnect and not an error.
    """
    pool = ConnectionPool[Connection](
        dsn,
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
