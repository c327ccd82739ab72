"""What several processes are composed of: the pool, the waits, the vault.

Every process imports it, so what only some need stands elsewhere: an import is time at each start and memory after.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from psycopg_pool import ConnectionPool

from charging.configurations import Setting, SettingOffence, SettingsTable
from charging.enrolment import SecretVault
from charging.start_codes import CodeDesk
from charging.waits import Waits
from database.pool import Connection, open_pool
from pileway.settings import Settings, required
from protocol import config_keys, start_code

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


def settings_table() -> SettingsTable:
    """The settings piles may know, and the protocol's rule for them, in charging's words."""
    return SettingsTable(
        settings={key: Setting(*setting) for key, setting in config_keys.SETTINGS.items()},
        offence_of=_offence_of,
    )


def _offence_of(in_force: Mapping[str, int], wanted: Sequence[tuple[str, int]]) -> SettingOffence | None:
    offence = config_keys.offence_of(in_force, wanted)
    return None if offence is None else SettingOffence(offence.key, offence.cause.word)


def vault(settings: Settings) -> SecretVault:
    """Opens and closes device secrets. Raises SettingsInvalid."""
    key = required(settings.key_encryption_key, "PILEWAY_KEY_ENCRYPTION_KEY")
    return SecretVault(key.get_secret_value())


def code_desk(settings: Settings) -> CodeDesk:
    """What selling start codes for unreachable piles needs. Raises SettingsInvalid."""
    return CodeDesk(vault(settings), start_code.make, start_code.valid_until_s)
