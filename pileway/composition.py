"""What several processes are composed of: the pool, the waits, the desk where rails are talked to."""

from contextlib import AbstractContextManager

from psycopg_pool import ConnectionPool

from billing.rail_calls import RailDesk
from charging.enrolment import SecretVault
from charging.payment_hooks import session_hooks
from charging.waits import Waits
from database.pool import Connection, open_pool
from pileway.rails import open_rails
from pileway.settings import Settings, required

POOL_WAIT_S = 15.0
"""Longest a request waits for a connection."""


def database_url(settings: Settings) -> str:
    """The database's address. Raises SettingsInvalid."""
    return required(settings.database_url, "PILEWAY_DATABASE_URL").get_secret_value()


def pool(settings: Settings, *, max_size: int) -> AbstractContextManager[ConnectionPool[Connection]]:
    """The process's pool of connections, to be entered once."""
    return open_pool(database_url(settings), min_size=1, max_size=max_size, timeout_s=POOL_WAIT_S)


def waits(settings: Settings) -> Waits:
    """Network waits as this installation's clock counts them."""
    return Waits().scaled(settings.clock_speed)


def vault(settings: Settings) -> SecretVault:
    """Opens and closes device secrets. Raises SettingsInvalid."""
    key = required(settings.key_encryption_key, "PILEWAY_KEY_ENCRYPTION_KEY")
    return SecretVault(key.get_secret_value())


def rail_desk(settings: Settings, opened: ConnectionPool[Connection]) -> RailDesk:
    """Where payments and refunds are talked over with the rails, with charging's hooks."""
    return RailDesk(
        pool=opened,
        rails=open_rails(settings),
        clock=settings.clock.now,
        hooks=session_hooks(waits(settings)),
    )
