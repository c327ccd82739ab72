"""Simulated piles as a process: the fleet is read from a file."""

import asyncio
import signal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from device_sim.configuration import Bystanders, PileConfig
from device_sim.fleet import run_fleet
from pileway.errors import PilewayError
from pileway.process import tell_ready
from pileway.settings import Settings


class FleetFileInvalid(PilewayError):
    """The fleet file cannot be read or says something that makes no sense."""


class FleetPile(BaseModel):
    """One pile of the fleet; the claim code is needed until it is enrolled. Seeds make its riders repeatable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pile_id: str
    port_count: int
    model: str
    claim_code: str | None
    seed: int


class FleetFile(BaseModel):
    """What the simulator runs: where piles enrol, whose certificate to trust, where their memories are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enrolment_url: str
    enrolment_ca: Path
    memory: Path
    deepest_discharge: float = 0.9
    leave_early_share: float = 0.08
    piles: tuple[FleetPile, ...]

    def configs(self) -> list[PileConfig]:
        """The piles as the simulator wants them."""
        bystanders = Bystanders(
            depth=(min(0.3, self.deepest_discharge), self.deepest_discharge),
            leave_early_share=self.leave_early_share,
        )
        return [
            PileConfig(
                pile_id=pile.pile_id,
                port_count=pile.port_count,
                folder=self.memory / pile.pile_id,
                enrolment_url=self.enrolment_url,
                enrolment_ca=self.enrolment_ca,
                claim_code=pile.claim_code,
                model=pile.model,
                bystanders=bystanders,
                seed=pile.seed,
            )
            for pile in self.piles
        ]


def read_fleet(path: Path) -> FleetFile:
    """The fleet file. Raises FleetFileInvalid."""
    try:
        return FleetFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise FleetFileInvalid(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FleetFileInvalid(f"{path}: {where}: {first['msg']}") from None


def run(settings: Settings, fleet_path: Path) -> None:
    """Run the fleet until told to stop."""
    asyncio.run(_run(settings, read_fleet(fleet_path)))


async def _run(settings: Settings, fleet: FleetFile) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    piles = asyncio.create_task(
        run_fleet(fleet.configs(), clock=settings.clock.now, speed=settings.clock_speed)
    )
    tell_ready()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({piles, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    piles.cancel()
    await asyncio.gather(piles, return_exceptions=True)
