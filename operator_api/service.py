"""What every endpoint of this package works with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from charging.command_waits import CommandWaits
from charging.configurations import SettingsTable
from charging.waits import Waits


@dataclass(frozen=True)
class OperatorService:
    """Database and clock, and what commanding piles needs."""

    pool: ConnectionPool[Connection[TupleRow]]
    clock: Callable[[], datetime]
    waits: Waits
    """Deadlines by that clock."""
    settings: SettingsTable
    outcomes: CommandWaits
