"""Codes that start a port which the platform cannot reach: shown to a rider who has paid, typed in at the pile. Pure.

A code is ten digits: four of energy in units of 0.01 kWh, six of an HMAC over port, energy and a window of time.
Both sides make the session's id from the same bytes, so whatever the pile tells later finds the rider's money.
"""

import hmac
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

WINDOW_S: Final = 600
"""A code is made for one window of time and taken in that one, the one before and the two after."""
WINDOWS_BEFORE: Final = 1
WINDOWS_AFTER: Final = 2
ENERGY_UNIT_DWH: Final = 100
MOST_ENERGY_UNITS: Final = 9_999
_DIGITS: Final = 6


class StartCode(NamedTuple):
    """A code, and the session it starts."""

    digits: str
    session_id: UUID
    limit_dwh: int


def make(secret: bytes, *, epoch: int, port: int, limit_dwh: int, at_s: int) -> StartCode:
    """The code that lets a port take so much energy (0.1 Wh, rounded down to 10 Wh), from now on.

    Raises ValueError for an energy that no code can carry.
    """
    units = limit_dwh // ENERGY_UNIT_DWH
    if not 1 <= units <= MOST_ENERGY_UNITS:
        raise ValueError(f"a start code carries 1 to {MOST_ENERGY_UNITS} units of 10 Wh, not {units}")
    return _made(secret, epoch=epoch, port=port, units=units, window=at_s // WINDOW_S)


def valid_until_s(at_s: int) -> int:
    """When a code made at an instant is taken no more by a pile whose clock is right; both in s since 1970."""
    return (at_s // WINDOW_S + 1 + WINDOWS_AFTER) * WINDOW_S


def read(secret: bytes, *, epoch: int, port: int, digits: str, at_s: int) -> StartCode | None:
    """What a code typed in at a port means now; None for one that is wrong, foreign or too old."""
    if len(digits) != 4 + _DIGITS or not (digits.isascii() and digits.isdigit()) or int(digits[:4]) == 0:
        return None
    present = at_s // WINDOW_S
    for window in range(present - WINDOWS_AFTER, present + WINDOWS_BEFORE + 1):
        code = _made(secret, epoch=epoch, port=port, units=int(digits[:4]), window=window)
        if hmac.compare_digest(code.digits, digits):
            return code
    return None


def _made(secret: bytes, *, epoch: int, port: int, units: int, window: int) -> StartCode:
    info = f"pileway-link/1 code {epoch}".encode()
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)
    mac = hmac.digest(key, f"{port}:{units}:{window}".encode(), sha256)
    proof = int.from_bytes(mac[:8]) % 10**_DIGITS
    return StartCode(f"{units:04}{proof:0{_DIGITS}}", UUID(bytes=mac[16:]), units * ENERGY_UNIT_DWH)
