"""A pool's connection kept from one transaction to the next, for a thread that needs one all the time.

The pool asks a connection whether it lives each time it hands it out: a round trip that a busy thread pays again and
again. Here the next use finds out. Whatever goes wrong, the connection goes back and the next use takes another.
"""

from collections.abc import Generator
from contextlib import contextmanager

from psycopg_pool import ConnectionPool

from database.pool import Connection


class KeptConnection:
    """One thread uses it, and closes it in the end."""

    def __init__(self, pool: ConnectionPool[Connection], *, autocommit: bool = False) -> None:
        """With `autocommit` each statement is a transaction of its own, which saves its beginning and end."""
        self._pool = pool
        self._autocommit = autocommit
        self._conn: Connection | None = None

    @contextmanager
    def use(self, *, timeout_s: float | None = None) -> Generator[Connection]:
        """The connection, outside a transaction. Raises what the pool raises when there is none.

        The pool has `timeout_s` to give one, by default its own time for that.
        """
        conn = self._conn or self._take(timeout_s)
        try:
            yield conn
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give it back; the next use takes another."""
        conn, self._conn = self._conn, None
        if conn is not None:
            # The pool replaces a closed one: no setting of ours and no broken state gets to others.
            conn.close()
            self._pool.putconn(conn)

    def _take(self, timeout_s: float | None) -> Connection:
        self._conn = self._pool.getconn(timeout_s)
        self._conn.autocommit = self._autocommit
        return self._conn
