"""A pile on a bench: no link, a clock the test turns, and all it says in a list."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import pytest

from device_sim.bystanders import Riders
from device_sim.configuration import Bystanders, PileConfig
from device_sim.hazards import Surroundings
from device_sim.keyring import Keyring
from device_sim.nvm import Nvm
from device_sim.pile import Pile
from device_sim.rooms import PARTS
from protocol.fields import Message
from protocol.messages import BootAck, Settlement, Start
from protocol.words import BootReason

NOON_MS = 1_780_000_200_000
_M = TypeVar("_M", bound=Message)


@dataclass
class Bench:
    """A pile with its memory in a folder."""

    config: PileConfig
    now_ms: int = NOON_MS
    said: list[Message] = field(default_factory=list[Message])

    def __post_init__(self) -> None:
        self.riders = Riders(self.config.bystanders, seed=1) if self.config.bystanders else None
        self.power_up()

    def wipe(self) -> None:
        """A factory-new pile at the same noon."""
        for file in self.config.folder.iterdir():
            file.unlink()
        self.now_ms = NOON_MS
        self.said.clear()
        self.power_up()

    def power_up(self, *, acknowledged: bool = True, surroundings: Surroundings | None = None) -> None:
        """Start the pile anew from its memory; the platform acknowledges the boot unless told not to."""
        self.pile = Pile(
            self.config,
            Nvm(self.config.folder),
            keys=Keyring({1: bytes(32)}, lambda _: None),
            parts=PARTS,
            now_ms=self.now_ms,
            reason=BootReason.POWER,
            clock_tolerance_ms=2_000,
            surroundings=surroundings,
            observers=[self.riders] if self.riders else [],
        )
        self.pile.outbox.linked = True
        if acknowledged:
            self.acknowledge_boot()

    def acknowledge_boot(self) -> None:
        """The platform has heard the boot."""
        self.tell(BootAck(self.now_ms, heartbeat_s=60, sample_s=30, reconnect_jitter_s=0))

    def tell(self, message: Message) -> None:
        """The platform says something, now."""
        self.pile.receive(message, now_ms=self.now_ms)
        self.listen()

    def wait(self, seconds: float, *, step_s: float | None = None) -> None:
        """Let time pass, in one piece or in steps."""
        end_ms = self.now_ms + round(seconds * 1000)
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + round((step_s or seconds) * 1000))
            self.pile.advance(self.now_ms)
        self.listen()

    def listen(self) -> None:
        """Collect what the pile has to say."""
        while (message := self.pile.outbox.take()) is not None:
            self.said.append(message)

    def heard(self, kind: type[_M]) -> list[_M]:
        """All it said of one kind."""
        return [message for message in self.said if isinstance(message, kind)]

    def settlements(self) -> list[Settlement]:
        """The records it keeps."""
        records = [
            self.pile.records.untold("settlement", session_id) for session_id in self.pile.memory.settlements
        ]
        return [record for record in records if isinstance(record, Settlement)]

    def start(
        self,
        port: int = 1,
        *,
        session_id: UUID | None = None,
        limit_s: int = 36_000,
        limit_dwh: int = 1_000_000,
        max_power_w: int = 1_000,
        stop_when_full: bool = True,
        plug_wait_s: int = 120,
        expires_in_s: int = 30,
    ) -> Start:
        """Send a start and give it back."""
        start = Start(
            command_id=uuid4(),
            session_id=session_id or uuid4(),
            port=port,
            limit_s=limit_s,
            limit_dwh=limit_dwh,
            max_power_w=max_power_w,
            stop_when_full=stop_when_full,
            float_s=3_600,
            plug_wait_s=plug_wait_s,
            tariff_version=7,
            expires_at_ms=self.now_ms + expires_in_s * 1000,
        )
        self.tell(start)
        return start


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A pile of ten ports without bystanders."""
    return Bench(_config(tmp_path / "pile"))


@pytest.fixture
def street(tmp_path: Path) -> Bench:
    """A pile of ten ports with riders who plug in and fetch."""
    return Bench(_config(tmp_path / "pile", bystanders=Bystanders()))


def _config(folder: Path, *, bystanders: Bystanders | None = None) -> PileConfig:
    """A pile whose identity nobody asks for."""
    folder.mkdir(parents=True, exist_ok=True)
    return PileConfig(
        pile_id="P-1",
        port_count=10,
        folder=folder,
        enrolment_url="https://platform.invalid/device/v1/enroll",
        bystanders=bystanders,
    )
