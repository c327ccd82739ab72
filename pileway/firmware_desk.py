"""Firmware as the API process takes it: where piles fetch images, and whose signature counts."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from charging.firmware_releases import Manifest, SignatureCheck
from gateway import firmware_files
from operator_api.firmware_endpoints import FirmwareDesk
from pileway import firmware_commands
from pileway.errors import SettingsInvalid
from pileway.settings import Settings
from protocol import firmware


def open_desk(settings: Settings) -> FirmwareDesk:
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
