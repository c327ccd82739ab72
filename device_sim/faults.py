"""What a street does to piles, by name: each fault can be let loose on a running fleet, in a test or by hand.

A fault works on the pile it is ordered for (``smoke@YQ-02:1,60``), else on the first of the fleet, ``mass_reconnect``
on all. Seconds are the street's unless they are called real. What the platform must make of it is part of each fault's
description.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import cleandoc
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from device_sim.configuration import PileConfig
from device_sim.errors import FaultUnknown
from device_sim.fleet import Fleet, FleetThread
from device_sim.runner import SimulatedPile
from protocol.messages import Settlement, SlotEnergy, TierEnergy
from protocol.words import AlarmKind, SessionSource, StopReason

LOOK_EVERY_S: Final = 0.1
FLOOD_TURN_S: Final = 0.05

Say = Callable[[str], None]
"""Told what happens, a line at a time."""


@dataclass(frozen=True)
class Scene:
    """A fleet for a fault to work on, and the pile chosen, if one was. ``say`` hears what happens."""

    fleet: Fleet
    say: Say
    chosen: str | None = None

    @property
    def pile(self) -> SimulatedPile:
        """The pile that was chosen, or the first. Raises NoSuchPile."""
        return self.fleet.piles[0] if self.chosen is None else self.fleet.pile(self.chosen)

    @property
    def pile_id(self) -> str:
        """Its name."""
        return self.pile.config.pile_id

    async def street_time(self, seconds: float) -> None:
        """Let so many seconds of the street's clock pass."""
        await asyncio.sleep(self.real_s(seconds))

    def real_s(self, seconds: float) -> float:
        """So many seconds of the street in real ones."""
        return seconds / self.fleet.speed

    async def charging(self, count: int = 1) -> list[int]:
        """Wait until so many ports of the pile charge; gives their numbers."""
        if count:
            self.say(f"{self.pile_id}: waits for {count} charging port{'s'[: count != 1]}")
        while True:
            busy = [port.number for port in self.pile.pile.metered_ports()]
            if len(busy) >= count:
                return busy
            await asyncio.sleep(LOOK_EVERY_S)


Act = Callable[[Scene, Sequence[float]], Awaitable[None]]


class Fault(NamedTuple):
    """A fault: what its parameters mean, their defaults, and what it does once the fleet is up.

    ``prepare`` changes how the piles are made, before they are.
    """

    name: str
    parameters: Mapping[str, float]
    act: Act
    prepare: Callable[[PileConfig], PileConfig] = lambda config: config

    @property
    def description(self) -> str:
        """What it does, and what must come of it."""
        return cleandoc(self.act.__doc__ or "")

    @property
    def usage(self) -> str:
        """How it is written, with the defaults: ``power_cut:60,1``."""
        values = ",".join(f"{value:g}" for value in self.parameters.values())
        return f"{self.name}:{values}" if values else self.name


class Order(NamedTuple):
    """A fault with its parameters, as ordered, and the pile it is for; without one, the first of the fleet."""

    fault: Fault
    values: tuple[float, ...]
    pile_id: str | None = None


def read_order(text: str) -> Order:
    """An order such as ``offline``, ``offline:600``, ``power_cut:60,10`` or ``smoke@YQ-02``. Raises FaultUnknown."""
    chosen, _, given = text.partition(":")
    name, _, pile_id = chosen.partition("@")
    fault = FAULTS.get(name)
    if fault is None:
        raise FaultUnknown(text, f"there is no fault {name!r}")
    defaults = tuple(fault.parameters.values())
    try:
        values = tuple(float(value) for value in given.split(",")) if given else ()
    except ValueError:
        raise FaultUnknown(text, "parameters are numbers") from None
    if len(values) > len(defaults):
        raise FaultUnknown(text, f"write {fault.usage}")
    if not all(0 <= value < float("inf") for value in values):
        raise FaultUnknown(text, "parameters are not negative")
    return Order(fault, values + defaults[len(values) :], pile_id or None)


async def let_loose(orders: Sequence[Order], fleet: Fleet, say: Say) -> None:
    """Wait until the fleet is up, then let all faults happen side by side; ends with the last. Raises NoSuchPile."""
    await fleet.ready()
    async with asyncio.TaskGroup() as tasks:
        for order in orders:
            tasks.create_task(_act(order, Scene(fleet, say, order.pile_id)))


def begin(fleet: FleetThread, text: str, say: Say = lambda _line: None) -> None:
    """Let one fault loose on a fleet in its own thread, and go on; it ends with the fleet. Raises FaultUnknown."""
    order = read_order(text)
    fleet.ask(lambda street: street.beside(let_loose([order], street, say)))


async def _act(order: Order, scene: Scene) -> None:
    await order.fault.act(scene, order.values)
    scene.say(f"{order.fault.name}: done")


async def _duplicate_identity(scene: Scene, values: Sequence[float]) -> None:
    """A second pile comes up with the identity and the memory of the first, for so many real seconds.

    They take the connection from each other. The platform raises ``duplicate_identity`` once and charges nothing twice:
    of two records of one session the first counts. When the second pile is gone, the first works as before.
    """
    folder = scene.pile.config.folder
    twin_folder = folder.with_name(f"{folder.name}-twin")
    shutil.rmtree(twin_folder, ignore_errors=True)
    shutil.copytree(folder, twin_folder)
    twin = scene.fleet.stranger(replace(scene.pile.config, folder=twin_folder, bystanders=None))
    scene.say(f"{scene.pile_id}: a second pile has its identity")
    try:
        async with asyncio.timeout(values[0]):
            await twin.run()
    except TimeoutError:
        scene.say(f"{scene.pile_id}: the second pile is gone")


async def _clock_1970(scene: Scene, values: Sequence[float]) -> None:
    """The pile has no battery for its clock and wakes in 1970; it loses power once more for so many seconds.

    A session is settled with the times of the clock it began with. The platform sets the clock at boot, tells the
    operator how far it was off, and moves what was dated in 1970 onto its own clock: samples, times and price bands.
    """
    scene.say(f"{scene.pile_id}: its clock is {scene.pile.pile.clock.word}; loses power")
    scene.pile.cut_power(scene.real_s(values[0]))
    await scene.street_time(values[0])


async def _register_reset(scene: Scene, values: Sequence[float]) -> None:
    """A port's energy register falls to zero; the session's own count goes on. ``port`` 0: the first that charges.

    Where the end register is below the start register the platform answers the settlement with ``rejected``, tells the
    operator, and settles the session by its samples within the hour. Else, as between two sessions, it charges what
    the samples bear out and tells the operator that the register has moved.
    """
    port = await _charging_port(scene, round(values[0]))
    pile = scene.pile.pile
    pile.ports[port].shift_register(-(1 << 40), at_ms=scene.pile.now_ms())
    scene.say(f"{scene.pile_id} port {port}: the register is zero")


async def _register_jump(scene: Scene, values: Sequence[float]) -> None:
    """A port's energy register jumps up by so many kWh. ``port`` 0: the first that charges.

    The platform charges the energy of the slots as far as registers or samples bear it out and the highest power
    explains it: a jump costs nobody anything. Amid a session or between two, the operator is told.
    """
    port = await _charging_port(scene, round(values[1]))
    scene.pile.pile.ports[port].shift_register(round(values[0] * 10_000), at_ms=scene.pile.now_ms())
    scene.say(f"{scene.pile_id} port {port}: the register has jumped by {values[0]:g} kWh")


async def _power_cut(scene: Scene, values: Sequence[float]) -> None:
    """The mains go for so many seconds once so many ports charge (0: at once).

    With ``resume_after_power`` the sessions go on, and are sampled again, if power returns in time and the plugs stayed
    in; else each is settled as ``power_loss`` with what was known, and the rest refunded. Each is charged once.
    """
    await scene.charging(round(values[1]))
    scene.say(f"{scene.pile_id}: no power for {values[0]:g} s")
    scene.pile.cut_power(scene.real_s(values[0]))
    await scene.street_time(values[0])


async def _settlement_late(scene: Scene, values: Sequence[float]) -> None:
    """Settlements are held back for so many seconds, then told.

    Three days after its longest possible end the platform settles a session by its samples. A record that comes later
    is acknowledged, kept and told to the operator, and changes no money; one that comes before counts as usual.
    """
    scene.pile.silence(Settlement)
    scene.say(f"{scene.pile_id}: settlements are held back for {values[0]:g} s")
    await scene.street_time(values[0])
    scene.pile.silence()


async def _settlement_missing(scene: Scene, _values: Sequence[float]) -> None:
    """Settlements never leave the pile.

    Three days after a session's longest possible end the platform settles it by its samples and refunds the rest.
    """
    scene.pile.silence(Settlement)
    scene.say(f"{scene.pile_id}: settlements are lost")
    await asyncio.Event().wait()


async def _settlement_orphan(scene: Scene, values: Sequence[float]) -> None:
    """A settlement (so many Wh, on port 1) of a session nobody started.

    The platform answers ``unknown_session_kept``, keeps it, tells the operator, and moves no money.
    """
    session_id = uuid4()
    scene.pile.keep_record(session_id, _settlement_of_nobody(scene.pile, session_id, round(values[0] * 10)))
    scene.say(f"{scene.pile_id}: settles session {session_id}, which nobody started")
    while scene.pile.pile.records.untold("settlement", session_id) is not None:
        await asyncio.sleep(LOOK_EVERY_S)


async def _offline(scene: Scene, values: Sequence[float]) -> None:
    """No network for so many seconds, once so many ports charge (0: at once).

    Sessions go on to their limits. Samples are replayed with their own times and leave no gap; a stop sent meanwhile
    is carried out on return, or finds the session ended. What flowed until then is charged, once.
    """
    await scene.charging(round(values[1]))
    scene.say(f"{scene.pile_id}: no network for {values[0]:g} s")
    scene.pile.drop_link(scene.real_s(values[0]))
    await scene.street_time(values[0])


async def _flood(scene: Scene, values: Sequence[float]) -> None:
    """So many heartbeats a real second, for so many real seconds.

    The platform quarantines the pile within 10 s and cuts its connection; other piles do not notice.
    """
    scene.say(f"{scene.pile_id}: {values[0]:g} frames/s for {values[1]:g} s")
    loop = asyncio.get_running_loop()
    end_s, sent = loop.time() + values[1], 0
    turn = round(values[0] * FLOOD_TURN_S)
    while loop.time() < end_s:
        sent += turn * scene.pile.chatter(turn)
        await asyncio.sleep(FLOOD_TURN_S)
    scene.say(f"{scene.pile_id}: {sent} frames sent")


async def _mass_reconnect(scene: Scene, values: Sequence[float]) -> None:
    """Every pile of the fleet loses its connection at the same instant, for so many real seconds.

    They come back within their jitter; the platform hears each and loses nothing.
    """
    for pile in scene.fleet.piles:
        pile.drop_link(values[0])
    scene.say(f"{len(scene.fleet.piles)} piles have lost their links")
    await asyncio.sleep(values[0])


async def _smoke(scene: Scene, values: Sequence[float]) -> None:
    """Smoke at a port, for so many seconds.

    Every session of the pile ends as ``smoke``; no start until a person clears it; rider, operator and property hear.
    """
    await _hazard(scene, AlarmKind.SMOKE, round(values[0]), values[1])


async def _fire(scene: Scene, values: Sequence[float]) -> None:
    """Fire at a port, for so many seconds.

    Its session ends as ``fire_suppression_own_port``, the others as ``fire_suppression_other_port``; else as smoke.
    """
    await _hazard(scene, AlarmKind.FIRE, round(values[0]), values[1])


async def _leakage(scene: Scene, values: Sequence[float]) -> None:
    """So many mA of residual current at a port, until the simulator ends.

    The port trips (30 mA by default) and stays shut until a person clears it; less only warns.
    """
    scene.pile.inflict(AlarmKind.LEAKAGE, round(values[1]), round(values[0]))
    scene.say(f"{scene.pile_id} port {values[1]:g}: {values[0]:g} mA of residual current")
    await asyncio.Event().wait()


async def _relay_welded(scene: Scene, values: Sequence[float]) -> None:
    """A port's relay is welded, until the simulator ends. ``port`` 0: the first that charges.

    Its session ends as ``relay_welded`` and is billed to its end; current goes on, and the port takes no session.
    """
    port = await _charging_port(scene, round(values[0]))
    scene.pile.inflict(AlarmKind.RELAY_WELDED, port)
    scene.say(f"{scene.pile_id} port {port}: the relay is welded")
    await asyncio.Event().wait()


async def _flapping_fault(scene: Scene, values: Sequence[float]) -> None:
    """A port's socket reads too hot for half of each period (s), so many times: no trip, only warnings.

    The platform makes one alarm of what flaps within a minute or two, not one each time.
    """
    for _ in range(round(values[1])):
        scene.pile.inflict(AlarmKind.PORT_OVER_TEMP, 1, 650)
        await scene.street_time(values[0] / 2)
        scene.pile.relieve(AlarmKind.PORT_OVER_TEMP, 1)
        await scene.street_time(values[0] / 2)


async def _hazard(scene: Scene, kind: AlarmKind, port: int, seconds: float) -> None:
    scene.pile.inflict(kind, port)
    scene.say(f"{scene.pile_id} port {port}: {kind.word}")
    await scene.street_time(seconds)
    scene.pile.relieve(kind, port)
    scene.say(f"{scene.pile_id} port {port}: {kind.word} is over; a person has to clear it")


async def _charging_port(scene: Scene, port: int) -> int:
    return port or (await scene.charging())[0]


def _settlement_of_nobody(pile: SimulatedPile, session_id: UUID, energy_dwh: int) -> Settlement:
    ended_ms = pile.pile.device_ms(pile.now_ms())
    started_ms = ended_ms - 60_000
    register_dwh = pile.pile.ports[1].register_dwh(pile.now_ms())
    return Settlement(
        session_id=session_id,
        source=SessionSource.APP,
        port=1,
        started_at_ms=started_ms,
        ended_at_ms=ended_ms,
        duration_s=60,
        start_register_dwh=register_dwh,
        end_register_dwh=register_dwh + energy_dwh,
        energy_dwh=energy_dwh,
        slots=(SlotEnergy(started_ms // 1_800_000, energy_dwh, 60),),
        tiers=(TierEnergy(0, 60, energy_dwh),),
        max_power_dw=energy_dwh * 60,
        end_power_dw=0,
        stop_reason=StopReason.FULL,
        stop_code=int(StopReason.FULL),
        samples_sent=0,
        tariff_version=0,
        clock=pile.pile.clock,
    )


def _without_battery_clock(config: PileConfig) -> PileConfig:
    return replace(config, battery_clock=False)


FAULTS: Final[Mapping[str, Fault]] = {
    fault.name: fault
    for fault in (
        Fault("duplicate_identity", {"real_s": 60}, _duplicate_identity),
        Fault("clock_1970", {"seconds": 5}, _clock_1970, _without_battery_clock),
        Fault("register_reset", {"port": 0}, _register_reset),
        Fault("register_jump", {"kwh": 10, "port": 0}, _register_jump),
        Fault("power_cut", {"seconds": 60, "sessions": 1}, _power_cut),
        Fault("settlement_late", {"seconds": 259_200}, _settlement_late),
        Fault("settlement_missing", {}, _settlement_missing),
        Fault("settlement_orphan", {"wh": 100}, _settlement_orphan),
        Fault("offline", {"seconds": 3_600, "sessions": 0}, _offline),
        Fault("flood", {"frames_per_s": 500, "real_s": 30}, _flood),
        Fault("mass_reconnect", {"real_s": 0}, _mass_reconnect),
        Fault("smoke", {"port": 1, "seconds": 60}, _smoke),
        Fault("fire", {"port": 1, "seconds": 60}, _fire),
        Fault("leakage", {"ma": 60, "port": 1}, _leakage),
        Fault("relay_welded", {"port": 0}, _relay_welded),
        Fault("flapping_fault", {"period_s": 90, "times": 10}, _flapping_fault),
    )
}
