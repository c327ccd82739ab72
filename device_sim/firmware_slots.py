"""Two places for firmware, and which of them the pile boots from.

A simulated image is a JSON object: ``model``, ``version`` and, if it is to fail, ``"boots": false``; other keys may
fill it up to any size. The factory's firmware needs no image: it is in slot A until something is installed there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from device_sim.flash import write_whole
from protocol.words import FirmwareError, FirmwareStep

TRIAL_BOOTS: Final = 3
"""How often an unproved version may boot before the pile goes back to the old one."""


class Image(BaseModel):
    """What an image says of itself."""

    model: str
    version: str
    boots: bool = True


@dataclass
class Update:
    """An update under way or ended, kept over power cuts. ``command`` is the body of ``firmware``."""

    command: bytes
    step: FirmwareStep
    error: FirmwareError | None = None

    @property
    def ended(self) -> bool:
        """Whether it is done or failed."""
        return self.step in (FirmwareStep.DONE, FirmwareStep.FAILED)


@dataclass
class SlotMemory:
    """Which slot the pile boots from, which one is on trial and how often it was tried, and the newest update."""

    slot: str = "a"
    trial: str | None = None
    trial_boots: int = 0
    update: Update | None = None


class Slots:
    """The images in the pile's folder."""

    def __init__(self, folder: Path, *, factory: Image) -> None:
        self.download = folder / "download.img"
        self._folder = folder
        self._factory = factory

    def image(self, slot: str) -> Image | None:
        """What is in a slot; None for what cannot be read."""
        path = self._path(slot)
        if not path.exists():
            return self._factory if slot == "a" else None
        try:
            return Image.model_validate_json(path.read_bytes())
        except ValidationError:
            return None

    def install(self, slot: str) -> None:
        """Copy the download into a slot, whole or not at all. Raises OSError."""
        write_whole(self._path(slot), [self.download.read_bytes()])

    def _path(self, slot: str) -> Path:
        return self._folder / f"slot_{slot}.img"


def boot(memory: SlotMemory, slots: Slots, *, model: str) -> str | None:
    """Choose the slot: the version that runs, None if nothing boots. Counts a trial, and ends one that fails."""
    if memory.trial is not None:
        memory.trial_boots += 1
        image = slots.image(memory.trial)
        if image is not None and image.boots and image.model == model and memory.trial_boots <= TRIAL_BOOTS:
            return image.version
        memory.trial = None
        if memory.update is not None:
            memory.update.step, memory.update.error = FirmwareStep.FAILED, FirmwareError.BOOT_FAILED
    image = slots.image(memory.slot)
    return None if image is None else image.version
