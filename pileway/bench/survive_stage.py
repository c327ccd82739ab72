"""Where `pileway bench survive` plays: supervised parts of its own that are killed, and piles that go on sending."""

import os
import random
import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

import psycopg

from database import leases
from pileway import composition, home
from pileway.bench import (
    child_processes,
    gateway_arrivals,
    installations,
    meter_fleet,
    survive_check,
    survive_piles,
)
from pileway.bench.installations import Say
from pileway.bench.meter_fleet import Fleet
from pileway.bench.survive_check import Verdict
from pileway.bench.survive_piles import Journey, Told
from pileway.embedded import Installation
from pileway.errors import NotReady, PilewayError
from pileway.settings import Settings

GATEWAYS = ("gateway-1", "gateway-2")
LANE = 0
PARTS = ("gateway", "broker", "database")
PORT_COUNT = 2
CUT_EVERY_S = 30.0
BACK_LIMIT_S = 120.0
STILL_LIMIT_S = 120.0
"""Nothing moves for so long: something is lost for good."""
QUIET_S = 3.0
"""More than a gateway takes to write what it heard and to ask for more."""
DRAIN_LIMIT_S = 120.0
POLL_S = 0.1


class Stuck(PilewayError):
    """Nothing moves any more."""


@dataclass(frozen=True)
class Kill:
    """Kill a part once so many frames were said for the first time; of the gateways, the one that serves."""

    at_frame: int
    part: str


def plan(seed: int, *, frames: int, kills: int) -> list[Kill]:
    """`kills` of each part at random points, the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - a story to repeat
    parts = [part for part in PARTS for _ in range(kills)]
    dice.shuffle(parts)
    points = sorted(dice.randrange(frames // 20, frames) for _ in parts)
    return [Kill(point, part) for point, part in zip(points, parts, strict=True)]


@dataclass
class Stage:
    """Everything runs, and the piles send."""

    fleet: Fleet
    frames: int
    _installation: Installation
    _piles: Pipe
    _metrics_ports: Sequence[int]

    def told(self) -> Told:
        """What the piles did so far."""
        self._piles.send(None)
        return child_processes.receive(self._piles, "the piles")

    def wait(self, until: Callable[[Told], bool], *, tick: Callable[[Told], None]) -> None:
        """Until the piles did enough. Raises Stuck when the broker takes nothing for STILL_LIMIT_S."""
        taken, since_s = -1, time.monotonic()
        while not until(told := self.told()):
            tick(told)
            if told.taken != taken:
                taken, since_s = told.taken, time.monotonic()
            elif time.monotonic() - since_s > STILL_LIMIT_S:
                raise Stuck(f"the broker took no frame for {STILL_LIMIT_S:.0f} s")
            time.sleep(POLL_S)

    def kill(self, part: str) -> str:
        """Kill -9 a part as soon as it runs; gives the process's name."""
        name = self._serving_gateway() if part == "gateway" else part
        os.kill(self._running(name), signal.SIGKILL)
        return name

    def wait_for_all(self) -> None:
        """Until every part runs again."""
        for name in (*GATEWAYS, "broker", "database"):
            self._running(name)

    def wait_until_stored(self, *, tick: Callable[[int], None]) -> None:
        """Until as many frames are stored as were sent, or no more come; which frames, `judged` says."""
        stored, since_s = -1, time.monotonic()
        while stored < self.frames and time.monotonic() - since_s < STILL_LIMIT_S:
            time.sleep(POLL_S)
            now_stored = self._stored()
            tick(now_stored)
            if now_stored != stored:
                stored, since_s = now_stored, time.monotonic()

    def drain(self) -> None:
        """Wait until the gateways heard nothing for QUIET_S: what was said again may still be on its way.

        Raises Stuck when there is no such time within DRAIN_LIMIT_S.
        """
        begun_s = since_s = time.monotonic()
        heard = None
        while time.monotonic() - since_s < QUIET_S:
            if time.monotonic() - begun_s > DRAIN_LIMIT_S:
                raise Stuck(f"the gateways did not come to rest within {DRAIN_LIMIT_S:.0f} s")
            time.sleep(POLL_S)
            arrivals = gateway_arrivals.read(self._metrics_ports)
            if arrivals is None or not arrivals.idle or arrivals.heard != heard:
                heard, since_s = arrivals and arrivals.heard, time.monotonic()

    def judged(self) -> Verdict:
        """Compare frame by frame. Raises psycopg.Error."""
        return survive_check.judge(self._dsn, self.fleet, self.frames)

    def restarts(self) -> dict[str, int]:
        """How often each process was started again."""
        return {state.name: state.restarts for state in self._installation.supervisor.states()}

    @property
    def _dsn(self) -> str:
        return composition.database_url(self._installation.settings)

    def _stored(self) -> int:
        try:
            return survive_check.stored_frames(self._dsn)
        except psycopg.OperationalError:
            return -1

    def _serving_gateway(self) -> str:
        """The one that holds the lane; the first while nobody can say."""
        owner = None
        with suppress(psycopg.OperationalError), psycopg.connect(self._dsn, connect_timeout=2) as conn:
            owner = leases.owner_of(conn, LANE)
        pids = {state.name: state.pid for state in self._installation.supervisor.states()}
        serving = [name for name in GATEWAYS if owner is not None and f"-{pids[name]}-" in owner]
        return serving[0] if serving else GATEWAYS[0]

    def _running(self, name: str) -> int:
        deadline_s = time.monotonic() + BACK_LIMIT_S
        while time.monotonic() < deadline_s:
            [state] = [state for state in self._installation.supervisor.states() if state.name == name]
            if state.pid is not None:
                return state.pid
            time.sleep(POLL_S)
        raise NotReady(f"{name} did not come back within {BACK_LIMIT_S:.0f} s")


@contextmanager
def opened(
    settings: Settings, *, frames: int, pile_count: int, per_s: float, kept_s: float, seed: int, say: Say
) -> Generator[Stage]:
    """Run all of it in a folder beside the home and leave nothing behind. Raises PilewayError."""
    with ExitStack() as stack:
        installation = stack.enter_context(installations.supervised(settings, progress=say))
        own = installation.settings
        say("enrolling piles and opening sessions")
        fleet = meter_fleet.enrolled(own, pile_count=pile_count, port_count=PORT_COUNT)
        authority = installations.device_authority(own)
        journey = Journey(
            fleet=fleet,
            access=[installations.access(own, authority, pile.pile_id) for pile in fleet.piles],
            frames=frames,
            per_s=per_s,
            kept_s=kept_s,
            cut_every_s=CUT_EVERY_S,
            seed=seed,
        )
        say("starting two gateways and the piles")
        metrics_ports = [home.free_port() for _ in GATEWAYS]
        for name, port in zip(GATEWAYS, metrics_ports, strict=True):
            shown = own.with_values(metrics_host="127.0.0.1", metrics_port=port)
            installation.supervisor.add_process(name, ["gateway"], shown.environment())
        piles = stack.enter_context(
            child_processes.start(survive_piles.serve, journey, own.home / "log" / "piles.log")
        )
        child_processes.receive(piles, "the piles")
        yield Stage(fleet, frames, installation, piles, metrics_ports)
