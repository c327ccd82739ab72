"""The parts every pile has. A part hears messages and acts by itself (``pile.Part``); a new trade is one line here."""

from collections.abc import Sequence
from typing import Final

from device_sim.pile import PartMaker
from device_sim.sessions import Sessions
from device_sim.telemetry import Telemetry, Timekeeping

PARTS: Final[Sequence[PartMaker]] = (
    Sessions,
    Telemetry,
    Timekeeping,
)
