"""The parts every pile has. A part hears messages and acts by itself (``pile.Part``); a new trade is one line here."""

from collections.abc import Sequence
from typing import Final

from device_sim.endurance import Endurance
from device_sim.firmware_update import FirmwareUpdate
from device_sim.host import Relaying
from device_sim.local_starts import LocalStarts
from device_sim.pile import PartMaker
from device_sim.port_life import PortLife
from device_sim.restarting import Restarting
from device_sim.rotation import Rotation
from device_sim.safety import Safety
from device_sim.service import Service
from device_sim.sessions import Sessions
from device_sim.settings import Settings
from device_sim.telemetry import Telemetry, Timekeeping

PARTS: Final[Sequence[PartMaker]] = (
    PortLife,
    Safety,
    Sessions,
    LocalStarts,
    Endurance,
    Relaying,
    Telemetry,
    Timekeeping,
    Settings,
    Service,
    Restarting,
    Rotation,
    FirmwareUpdate,
)
