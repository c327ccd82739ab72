"""What several processes are composed of: the pool, the waits, the desk where rails are talked to."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg_pool import ConnectionPool

from billing.rail_calls import RailDesk
from charging.configurations import Setting, SettingOffence, SettingsTable
from charging.enrolment import SecretVault
from charging.firmware_releases import Manifest, SignatureCheck
from charging.payment_hooks import session_hooks
from charging.start_codes import CodeDesk
from charging.waits import Waits
from database.pool import Connection, open_pool
from gateway import firmware_files
from operator_api.firmware_endpoints import FirmwareDesk
from pileway import firmware_commands
from pileway.errors import SettingsInvalid
from pileway.rails import open_rails
from pileway.settings import Settings, required
from protocol import config_keys, firmware, start_code

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


def firmware_desk(settings: Settings) -> FirmwareDesk:
    """Where piles fetch images, and the check of the maker's signature if its key is given. Raises SettingsInvalid."""

    def image_url(sha256: bytes) -> str:
        return settings.device_web_url + firmware_files.image_path(sha256)

    if settings.firmware_public_key_path is None:
        return FirmwareDesk(image_url)
    try:
        key = firmware_commands.public_key(settings.firmware_public_key_path)
    except ValueError as error:
        raise SettingsInvalid("PILEWAY_FIRMWARE_PUBLIC_KEY_PATH", str(error)) from None
    return FirmwareDesk(image_url, is_made_by(key))


def is_made_by(key: Ed25519PublicKey) -> SignatureCheck:
    """The check of a maker's signature, as piles make it."""

    def is_genuine(manifest: Manifest, signature: bytes) -> bool:
        signed = firmware.Manifest(
            manifest.model, manifest.version, manifest.minimum_version, manifest.size_bytes, manifest.sha256
        )
        return firmware.is_genuine(key, signed, signature)

    return is_genuine


def rail_desk(settings: Settings, opened: ConnectionPool[Connection]) -> RailDesk:
    """Where payments and refunds are talked over with the rails, with charging's hooks."""
    return RailDesk(
        pool=opened,
        rails=open_rails(settings),
        clock=settings.clock.now,
        hooks=session_hooks(waits(settings)),
    )
