"""How a pile fetches firmware: over HTTP or HTTPS, never more than was announced, a few attempts with a limit each."""

import asyncio
import random
import ssl
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx
import structlog

from device_sim import https
from protocol.messages import Firmware
from protocol.words import FirmwareError

ATTEMPTS: Final = 4
FIRST_RETRY_S: Final = 2.0
ATTEMPT_TIMEOUT_S: Final = 600.0

log = structlog.get_logger()


class _TooLong(Exception):
    """The server sends more than was announced."""


async def fetch(
    command: Firmware, to: Path, *, ca: Path | None, progress: Callable[[int], None]
) -> FirmwareError | None:
    """Download what a command announces into a file; ``progress`` hears percents. Gives what went wrong.

    ``ca`` is the authority to trust for HTTPS, the public ones if None.
    """
    if not command.url.startswith(("https://", "http://")):
        return FirmwareError.DOWNLOAD
    trust = ssl.create_default_context(cafile=ca)
    wait_s = FIRST_RETRY_S
    async with https.client(trust) as client:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                    await _attempt(client, command, to, progress)
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
                log.info("firmware_download_failed", attempt=attempt, error=type(error).__name__)
            except _TooLong:
                return FirmwareError.SIZE
            except OSError:
                return FirmwareError.STORAGE
            else:
                return None
            if attempt < ATTEMPTS:
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                wait_s *= 2
    return FirmwareError.DOWNLOAD


async def _attempt(
    client: httpx.AsyncClient, command: Firmware, to: Path, progress: Callable[[int], None]
) -> None:
    taken = 0
    async with client.stream("GET", command.url) as response:
        if response.status_code != HTTPStatus.OK:
            raise httpx.HTTPStatusError("not there", request=response.request, response=response)
        with to.open("wb") as file:
            async for piece in response.aiter_bytes():
                taken += len(piece)
                if taken > command.size_bytes:
                    raise _TooLong
                file.write(piece)
                progress(100 * taken // command.size_bytes)
