"""Ranges that several messages share; the unit stands last in each field's name."""

from typing import Annotated, Final

from protocol.fields import Integer

PROTOCOL_VERSION: Final = 1
HALF_HOUR_S: Final = 1800
TIER_WIDTH_W: Final = 20
LONGEST_SESSION_S: Final = 7 * 86_400
RELAYED_BYTES: Final = 15_360
FIRMWARE_MAX_BYTES: Final = 64 << 20

Instant = Annotated[int, Integer(0, 1 << 43)]
Seconds = Annotated[int, Integer(0, 10_000_000)]
Count = Annotated[int, Integer(0, (1 << 32) - 1)]
Version = Annotated[int, Integer(0, (1 << 53) - 1)]
PortNo = Annotated[int, Integer(1, 20)]
Power = Annotated[int, Integer(0, 1_000_000)]
Energy = Annotated[int, Integer(0, 1 << 40)]
Voltage = Annotated[int, Integer(0, 5_000)]
Current = Annotated[int, Integer(0, 1_000_000)]
Temperature = Annotated[int, Integer(-1_000, 3_000)]
Signal = Annotated[int, Integer(-200, 0)]
