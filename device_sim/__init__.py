"""Simulated piles: battery curves, riders' batteries, fleets. Knows only the protocol.

``Fleet`` (or ``FleetThread`` for a caller without an event loop) enrols and runs piles that a platform cannot tell
from real ones: they keep their state on disk, buffer while offline and repeat settlements until acknowledged.

``battery``        packs and their charging curves      ``pile``, ``port``   the machine and its sockets
``session_meter``  energy by half hour and power        ``nvm``              what survives a power cut
``enrolment``      claim code to certificate            ``link``             MQTT over mutual TLS
``rooms``          the parts a pile is made of          ``records``          what is told until acknowledged
``bystanders``     riders at the sockets                ``fleet``            many piles in one process
"""

from device_sim.battery import PACKS, Battery, Pack
from device_sim.configuration import Bystanders, PileConfig, Thresholds
from device_sim.errors import DeviceSimError, EnrolmentRefused, MemoryUnreadable, NoSuchPile
from device_sim.fleet import Fleet, FleetThread

__all__ = [
    "PACKS",
    "Battery",
    "Bystanders",
    "DeviceSimError",
    "EnrolmentRefused",
    "Fleet",
    "FleetThread",
    "MemoryUnreadable",
    "NoSuchPile",
    "Pack",
    "PileConfig",
    "Thresholds",
]
