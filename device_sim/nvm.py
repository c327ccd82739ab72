"""A pile's non-volatile memory: one file, replaced whole, so that a power cut leaves the old or the new one.

A boot counter that is on disk before the first frame is sealed makes (boot, sequence) unique for ever without
writing each sequence number down.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter, ValidationError

from device_sim.errors import MemoryUnreadable
from device_sim.firmware_slots import SlotMemory
from device_sim.flash import write_whole
from device_sim.port import LiveSession
from device_sim.protection import SafetyMemory

REMEMBERED_COMMANDS: Final = 64
REMEMBERED_SESSIONS: Final = 256
REJECTED_KEPT: Final = 50
REFUSED_FRAMES_KEPT: Final = 50


@dataclass
class Memory:
    """What survives a power cut. Records, answers, refused records and refused frames are message bodies.

    ``registers_wh`` are the ports' registers; what was heard from the platform is kept by ``heard``.
    ``settlements``, ``alarms`` and ``local_starts`` are the records told until they are acknowledged.
    ``wrong_codes_ms`` are the newest wrong start codes, ``alive_ms`` is when this was last written, both by the
    street's clock. ``settings`` are those that ``config_set`` has put in force; ``tariffs`` bodies of
    ``tariff_set``, the newest last.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    boot: int = 0
    registers_wh: dict[int, float] = field(default_factory=dict[int, float])
    sessions: dict[int, LiveSession] = field(default_factory=dict[int, LiveSession])
    settlements: dict[UUID, bytes] = field(default_factory=dict[UUID, bytes])
    alarms: dict[UUID, bytes] = field(default_factory=dict[UUID, bytes])
    local_starts: dict[UUID, bytes] = field(default_factory=dict[UUID, bytes])
    answered: dict[UUID, tuple[str, bytes]] = field(default_factory=dict[UUID, tuple[str, bytes]])
    ended: list[UUID] = field(default_factory=list[UUID])
    rejected: list[bytes] = field(default_factory=list[bytes])
    refused_frames: list[bytes] = field(default_factory=list[bytes])
    safety: SafetyMemory = field(default_factory=SafetyMemory)
    wrong_codes_ms: list[int] = field(default_factory=list[int])
    alive_ms: int = 0
    settings: dict[str, int] = field(default_factory=dict[str, int])
    config_version: int = 0
    tariffs: list[bytes] = field(default_factory=list[bytes])
    tariff_version: int = 0
    firmware: SlotMemory = field(default_factory=SlotMemory)
    disabled_ports: list[int] = field(default_factory=list[int])

    def records(self) -> dict[str, dict[UUID, bytes]]:
        """What is told until it is acknowledged, by the message's name and what it is about."""
        return {"alarm": self.alarms, "settlement": self.settlements, "local_start": self.local_starts}

    def remember_answer(self, command_id: UUID, name: str, body: bytes) -> None:
        """Keep the answer to a command, for its repetitions."""
        self.answered.pop(command_id, None)
        self.answered[command_id] = (name, body)
        while len(self.answered) > REMEMBERED_COMMANDS:
            del self.answered[next(iter(self.answered))]

    def remember_end(self, session_id: UUID) -> None:
        """Keep in mind that a session has ended."""
        self.ended = [*self.ended[-REMEMBERED_SESSIONS + 1 :], session_id]

    def set_aside(self, body: bytes) -> None:
        """Keep a record that the platform refused for the service engineer."""
        self.rejected = [*self.rejected[-REJECTED_KEPT + 1 :], body]

    def set_frame_aside(self, body: bytes) -> None:
        """Keep a meter frame that the platform can never take, likewise; once, however often it is refused."""
        if body not in self.refused_frames:
            self.refused_frames = [*self.refused_frames[-REFUSED_FRAMES_KEPT + 1 :], body]


_ADAPTER: Final = TypeAdapter(Memory)


class Nvm:
    """The file behind a Memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "memory.json"

    def load(self) -> Memory:
        """The memory as last saved, or an empty one. Raises MemoryUnreadable."""
        if not self._path.exists():
            return Memory()
        try:
            return _ADAPTER.validate_json(self._path.read_bytes())
        except ValidationError as error:
            raise MemoryUnreadable(self._path) from error

    def save(self, memory: Memory, *, durable: bool = True) -> None:
        """Replace the file. ``durable`` survives a power cut of the host, else only the death of the process."""
        write_whole(self._path, [_ADAPTER.dump_json(memory)], durable=durable)
