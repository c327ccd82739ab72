"""What every endpoint of this package works with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool


@dataclass(frozen=True)
class OperatorService:
    """Database and clock."""

    pool: ConnectionPool[Connection[TupleRow]]
    clock: Callable[[], datetime]
