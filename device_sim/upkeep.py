"""What runs beside a pile to keep it up to date: its downloads, the proof of new firmware, its certificate."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NoReturn

from device_sim import download, renewal
from device_sim.configuration import PileConfig
from device_sim.enrolment import Identity
from device_sim.firmware_update import FirmwareUpdate
from device_sim.pile import Pile
from device_sim.renewal import NotRenewed

TRIAL_LIMIT_S: Final = 1_800.0
"""How long the platform may take to hear a new version before the pile goes back to the old one."""

Awake = Callable[[], Pile]
"""Brings the pile to the present instant, and has its timer look again."""


async def fetch_firmware(awake: Awake) -> NoReturn:
    """Download what the pile wants whenever it wants something."""
    update = awake().part(FirmwareUpdate)
    wanted = asyncio.Event()
    update.on_wanted = wanted.set

    def progress(percent: int) -> None:
        update.progress(percent)
        awake()

    while True:
        wanted.clear()
        command = update.wanted
        if command is not None:
            ca = awake().config.enrolment_ca
            error = await download.fetch(command, update.slots.download, ca=ca, progress=progress)
            awake()
            update.downloaded(error)
            awake()
        else:
            await wanted.wait()


async def watch_trial(awake: Awake) -> NoReturn:
    """Go back to the old firmware if the platform does not hear the new one."""
    while True:
        await asyncio.sleep(TRIAL_LIMIT_S)
        awake().part(FirmwareUpdate).give_up_trial()
        awake()


async def keep_certificate(
    config: PileConfig, identity: Identity, renewed: Callable[[Identity], None]
) -> NoReturn:
    """Renew the certificate when it is time; ``renewed`` is told once the new one is stored."""
    failed = 0
    while True:
        if not renewal.is_due(identity, now=datetime.now(UTC)):
            await asyncio.sleep(renewal.LOOK_EVERY_S)
            continue
        fresh = await renewal.renew(config, identity)
        if isinstance(fresh, NotRenewed):
            await asyncio.sleep(renewal.retry_s(fresh, failed=failed))
            failed += 1
        else:
            identity, failed = fresh, 0
            renewed(identity)
            # However old the new one may be: a platform gives only so many a day.
            await asyncio.sleep(renewal.LOOK_EVERY_S)
