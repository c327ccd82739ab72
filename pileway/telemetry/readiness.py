"""Whether the database answers and has the schema that this code needs, asked beside the work."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import psycopg
from psycopg import InterfaceError, OperationalError
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from database import migrations
from database.errors import MigrationRefused
from database.pool import Connection
from pileway.telemetry.kept_look import KeptLook
from pileway.telemetry.server import Checks

FRESH_S = 1.0
CONNECTION_WAIT_S = 2.0
LOOK_WAIT_S = 3.0
"""A database that has not answered within this is not there."""
SILENT = f"did not answer within {LOOK_WAIT_S:g} s"

Question = Callable[[Connection], Checks]


class DatabaseCheck:
    """Asks through the process's own pool, so that a pool nobody gets a connection of counts as no database."""

    def __init__(self, pool: ConnectionPool[Connection], *, question: Question | None = None) -> None:
        """`question` looks at more in the same connection, once no migration is missing."""
        self._pool = pool
        self._question = question
        self._needed = migrations.needed()
        self._look = KeptLook(self._ask, fresh_s=FRESH_S, wait_s=LOOK_WAIT_S)

    def __call__(self) -> Checks:
        """What was found within the last second, or is found now."""
        found = self._look.newest()
        if found is not None:
            return found
        failure = self._look.failure
        return {"database": SILENT if failure is None else f"could not be asked: {failure}"}

    def _ask(self) -> Checks:
        try:
            with self._connection() as conn:
                behind = self._behind(conn)
                # What the question reads may be in the tables that a missing migration makes.
                asked: Checks = {} if behind or self._question is None else self._question(conn)
                return {"database": None, "migrations": behind, **asked}
        except (PoolTimeout, TooManyRequests):
            return {"database": f"no connection within {CONNECTION_WAIT_S:g} s"}
        except (OperationalError, InterfaceError) as error:
            return {"database": f"refuses: {type(error).__name__}"}
        except psycopg.Error as error:
            return {"database": f"failed: {type(error).__name__}"}

    def _connection(self) -> AbstractContextManager[Connection]:
        return self._pool.connection(timeout=CONNECTION_WAIT_S)

    def _behind(self, conn: Connection) -> str | None:
        try:
            missing = migrations.missing(conn, self._needed)
        except MigrationRefused as error:
            return str(error)
        return f"not applied: {', '.join(missing)}; run: pileway migrate" if missing else None
