"""Simulated piles as a process: a fleet read from a file, or one pile named on the command line; and street faults."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from device_sim import enrolment, faults
from device_sim.configuration import Bystanders, PileConfig
from device_sim.errors import DeviceSimError, FaultUnknown
from device_sim.faults import FAULTS, Order
from device_sim.fleet import Fleet
from device_sim.part import Moment
from device_sim.pile import Pile
from pileway import firmware_commands
from pileway.errors import PilewayError
from pileway.process import tell_ready
from pileway.settings import Settings


class FleetFileInvalid(PilewayError):
    """The fleet file cannot be read, or what is asked of the piles makes no sense."""


class FleetFailed(PilewayError):
    """The fleet cannot run: a pile is refused, or its memory is damaged."""


class FleetPile(BaseModel):
    """One pile of the fleet; the claim code is needed until it is enrolled. Seeds make its riders repeatable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pile_id: str
    port_count: int
    model: str
    claim_code: str | None
    seed: int


class FleetFile(BaseModel):
    """What the simulator runs: where piles enrol, whose certificate to trust, where their memories are kept.

    ``firmware_key`` is the file of the maker's public key, which real piles have built in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enrolment_url: str
    enrolment_ca: Path | None
    memory: Path
    firmware_key: Path | None = None
    deepest_discharge: float = 0.9
    leave_early_share: float = 0.08
    piles: tuple[FleetPile, ...]

    def configs(self) -> list[PileConfig]:
        """The piles as the simulator wants them."""
        bystanders = Bystanders(
            depth=(min(0.3, self.deepest_discharge), self.deepest_discharge),
            leave_early_share=self.leave_early_share,
        )
        firmware_key = None
        if self.firmware_key is not None:
            firmware_key = firmware_commands.public_key(self.firmware_key).public_bytes_raw()
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
                firmware_key=firmware_key,
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


def one_pile(
    settings: Settings,
    *,
    pile_id: str,
    claim_code: str | None,
    port_count: int,
    model: str,
    enrolment_url: str | None,
    enrolment_ca: Path | None,
) -> FleetFile:
    """A fleet of one, for a pile registered by hand. What is not told is this installation's own.

    Raises FleetFileInvalid for a pile that can neither be enrolled nor is.
    """
    memory = settings.home / "sim"
    if claim_code is None and not enrolment.is_enrolled(memory / pile_id):
        raise FleetFileInvalid(f"pile {pile_id} is not enrolled yet: its claim code is needed (--claim-code)")
    return FleetFile(
        enrolment_url=enrolment_url or f"{settings.device_web_url}/device/v1/enroll",
        enrolment_ca=enrolment_ca or _own_authority(settings),
        memory=memory,
        piles=(
            FleetPile(pile_id=pile_id, port_count=port_count, model=model, claim_code=claim_code, seed=1),
        ),
    )


def read_faults(texts: Sequence[str]) -> list[Order]:
    """The faults ordered on the command line. Raises ValueError that says what is wrong."""
    try:
        return [faults.read_order(text) for text in texts]
    except FaultUnknown as error:
        raise ValueError(f"{error} (see: pileway sim --list-faults)") from None


def list_faults() -> None:
    """Print every fault with its parameters and what must come of it."""
    for fault in FAULTS.values():
        names = ", ".join(fault.parameters)
        print(f"{fault.usage}" + (f"   ({names})" if names else ""))
        for line in fault.description.splitlines():
            print(f"    {line}".rstrip())
        print()


def run(settings: Settings, fleet: FleetFile, orders: Sequence[Order] = (), *, tells: bool = False) -> None:
    """Run the fleet until told to stop; ``tells`` prints what happens. Raises PilewayError for a pile refused."""
    asyncio.run(_run(settings, fleet, orders, tells))


async def _run(settings: Settings, fleet: FleetFile, orders: Sequence[Order], tells: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    configs = fleet.configs()
    for order in orders:
        configs = [order.fault.prepare(config) for config in configs]
    street = Fleet(configs, clock=settings.clock.now, speed=settings.clock_speed)
    activities: list[asyncio.Task[Any]] = [
        asyncio.create_task(street.run()),
        asyncio.create_task(stop.wait()),
    ]
    if tells:
        for pile in street.piles:
            pile.observe(_tell_turn)
        activities.append(asyncio.create_task(_story(street, orders)))
    tell_ready()
    try:
        await asyncio.wait(activities, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for activity in activities:
            activity.cancel()
        await asyncio.gather(*activities, return_exceptions=True)
    for activity in activities:
        if not activity.cancelled() and (failure := activity.exception()) is not None:
            raise _expected(failure) or failure


async def _story(street: Fleet, orders: Sequence[Order]) -> NoReturn:
    """Say what the fleet does, when it is up, and what befalls it; it goes on after the last fault."""
    for pile in street.piles:
        enrolled = enrolment.is_enrolled(pile.config.folder)
        _say(
            f"{pile.config.pile_id}: "
            + ("connects" if enrolled else f"enrols at {pile.config.enrolment_url}")
        )
    await street.ready()
    for pile in street.piles:
        _say(f"{pile.config.pile_id}: in service, {pile.config.port_count} ports")
    await faults.let_loose(orders, street, _say)
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


def _tell_turn(pile: Pile, port: int, moment: Moment, _at_ms: int) -> None:
    _say(f"{pile.config.pile_id} port {port}: session {moment.name.lower()}")


def _say(text: str) -> None:
    print(text, flush=True)


def _expected(failure: BaseException) -> FleetFailed | None:
    """The one line for what may well happen; None for a bug, which shows its trace."""
    if isinstance(failure, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", failure)
        return _expected(group.exceptions[0])
    return FleetFailed(str(failure)) if isinstance(failure, DeviceSimError) else None


def _own_authority(settings: Settings) -> Path | None:
    path = settings.home / "secrets" / "service-ca.crt"
    return path if path.exists() else None
