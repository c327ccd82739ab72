"""Where `pileway bench backlog` plays: parts of its own, one gateway, and a crowd of piles that have much to say."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection as Pipe

import psycopg

from charging import rejections
from pileway import composition
from pileway.bench import (
    backlog_gateway,
    backlog_piles,
    broker_figures,
    child_processes,
    installations,
    meter_fleet,
    survive_check,
)
from pileway.bench.backlog_gateway import Noted
from pileway.bench.backlog_piles import Crowd, End, Replay, Told
from pileway.bench.broker_figures import BrokerFigures
from pileway.bench.installations import Say
from pileway.bench.meter_fleet import Fleet
from pileway.bench.processors import Reading
from pileway.bench.survive_check import Verdict
from pileway.embedded import Installation
from pileway.errors import PilewayError
from pileway.settings import Settings

LINKED_LIMIT_S = 300.0
STILL_LIMIT_S = 120.0
"""Nothing is stored for so long although everything runs: something is lost for good."""
GRACE_S = 30.0
TURN_S = 0.2
END_AHEAD_S = 1.0
"""So far ahead the last instant is chosen, so that every pile hears of it before."""


class Stuck(PilewayError):
    """Nothing moves any more."""


@dataclass
class Stage:
    """Everything runs, and the piles say live frames. Every wait lets the broker's figures be heard."""

    fleet: Fleet
    broker: BrokerFigures
    _installation: Installation
    _piles: Pipe
    _gateway: Pipe
    _parts: dict[int, str]

    def told(self, asked: Replay | End | None = None) -> Told:
        """Tell the piles what to do; what they did so far."""
        self._piles.send(asked)
        return child_processes.receive(self._piles, "the piles")

    def noted(self) -> Noted:
        """The gateway's live frames since the last time, and its memory."""
        self._gateway.send(None)
        return child_processes.receive(self._gateway, "the gateway")

    def reading(self) -> Reading:
        """What the parts cost until now."""
        return Reading.of(self._parts)

    def rest(self, seconds: float) -> None:
        """Let so much time pass."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self.broker.turn(min(left_s, TURN_S))

    def wait_until_linked(self) -> None:
        """Until every pile has a connection. Raises Stuck."""
        until_s = time.monotonic() + LINKED_LIMIT_S
        while self.told().linked < len(self.fleet.piles):
            if time.monotonic() > until_s:
                raise Stuck(f"not every pile was connected within {LINKED_LIMIT_S:.0f} s")
            self.rest(TURN_S)

    def drain(self, tick: Callable[[Told], None], *, until_receipted: int | None = None) -> Told:
        """Until the piles know of so many frames, or of all kept ones, that they are stored. Raises Stuck."""
        receipted, since_s = -1, time.monotonic()
        while (told := self.told()).waiting and (until_receipted is None or told.receipted < until_receipted):
            tick(told)
            if told.receipted != receipted:
                receipted, since_s = told.receipted, time.monotonic()
            elif time.monotonic() - since_s > STILL_LIMIT_S:
                raise Stuck(f"the piles heard of no stored frame for {STILL_LIMIT_S:.0f} s")
            self.rest(TURN_S)
        tick(told)
        return told

    def database_away(self, seconds: float) -> None:
        """Stop the database, and start it again after so long."""
        with self._installation.supervisor.halted("database"):
            self.rest(seconds)

    def end(self) -> int:
        """Let the piles make no more frames; how many were made, all of them together."""
        end_ms = int((time.time() + END_AHEAD_S) * 1000)
        self.told(End(end_ms))
        self.rest(2 * END_AHEAD_S)
        frames = 0
        while self.fleet.at_ms(frames) < end_ms:
            frames += 1
        return frames

    def wait_until_stored(self, frames: int) -> None:
        """Until as many frames are stored, or no more come: of live ones piles hear late. Which, `judged` says."""
        stored, since_s = -1, time.monotonic()
        while stored < frames and time.monotonic() - since_s < GRACE_S:
            now_stored = survive_check.stored_frames(self._dsn)
            if now_stored != stored:
                stored, since_s = now_stored, time.monotonic()
            self.rest(TURN_S)

    def judged(self, frames: int) -> Verdict:
        """Compare frame by frame. Raises psycopg.Error."""
        return survive_check.judge(self._dsn, self.fleet, frames)

    def refused(self) -> int:
        """Frames the gateway refused, whatever for."""
        with psycopg.connect(self._dsn, connect_timeout=10) as conn:
            return sum(count.messages for count in rejections.counts(conn))

    @property
    def _dsn(self) -> str:
        return composition.database_url(self._installation.settings)


@contextmanager
def opened(
    settings: Settings, *, pile_count: int, port_count: int, hours: float, every_s: int, say: Say
) -> Generator[Stage]:
    """Run all of it in a folder beside the home and leave nothing behind. Raises PilewayError."""
    with ExitStack() as stack:
        installation = stack.enter_context(
            installations.supervised(settings, progress=say, broker_addition=broker_figures.EVERY_SECOND)
        )
        # Each pile says no more than a pile on a street does, so what guards the street stays as it is.
        own = installation.settings.with_values(flood_frames_per_s=settings.flood_frames_per_s)
        say("enrolling piles and opening sessions")
        fleet = replace(
            meter_fleet.enrolled(
                own, pile_count=pile_count, port_count=port_count, back=timedelta(hours=hours)
            ),
            sample_s=every_s,
            gap_ms=max(1, every_s * 1000 // pile_count),
        )
        authority = installations.device_authority(own)
        access = [installations.access(own, authority, pile.pile_id) for pile in fleet.piles]
        live_from_ms = int(time.time() * 1000)
        log = own.home / "log"
        say("starting the gateway and the piles")
        gateway = stack.enter_context(
            child_processes.start(backlog_gateway.serve, own, live_from_ms, log / "gateway.log")
        )
        parts = {child_processes.receive(gateway, "the gateway"): "gateway"}
        crowd = Crowd(fleet=fleet, access=access, live_from_ms=live_from_ms)
        piles = stack.enter_context(child_processes.start(backlog_piles.serve, crowd, log / "piles.log"))
        parts[child_processes.receive(piles, "the piles")] = "piles"
        broker = stack.enter_context(BrokerFigures(installations.gateway_access(own)))
        stage = Stage(fleet, broker, installation, piles, gateway, parts)
        stage.wait_until_linked()
        yield stage
