"""What can go wrong with a simulated pile.

::

    DeviceSimError
    ├── EnrolmentRefused   the platform does not take the claim
    ├── FaultUnknown       nothing of that name can be let loose on piles
    ├── MemoryUnreadable   the pile's memory is damaged
    └── NoSuchPile         the fleet has no pile of that name
"""

from pathlib import Path


class DeviceSimError(Exception):
    """Base of the simulator's errors."""


class EnrolmentRefused(DeviceSimError):
    """The platform refused to enrol the pile; trying again will not help."""

    def __init__(self, pile_id: str, status: int, detail: str) -> None:
        super().__init__(f"{pile_id}: enrolment refused with status {status}: {detail}")
        self.pile_id = pile_id
        self.status = status


class FaultUnknown(DeviceSimError):
    """A fault that does not exist, or not so."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"fault {text!r}: {why}")
        self.text = text


class MemoryUnreadable(DeviceSimError):
    """The memory file is not one this version wrote."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} cannot be read as a pile's memory")
        self.path = path


class NoSuchPile(DeviceSimError):
    """The fleet has no pile of this name."""

    def __init__(self, pile_id: str) -> None:
        super().__init__(f"no pile {pile_id} in the fleet")
        self.pile_id = pile_id
