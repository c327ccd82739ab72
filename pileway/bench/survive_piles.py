"""The piles of `pileway bench survive`: each has its own connection, and keeps a record of what it said.

They do as the protocol asks of a pile: QoS 1; a frame is said again, sealed anew, when its connection ended before the
broker took it, when nobody was subscribed, or when the broker took it less than KEPT_S before the connection ended.
Beyond that they behave badly on purpose: frames leave out of order, some are said twice, some sent twice as they are,
and links break.
"""

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from urllib.parse import urlsplit

import mqtt5

from pileway import logs
from pileway.bench.clients import Access
from pileway.bench.meter_fleet import BOOT, EPOCH, Fleet
from pileway.bench.pile_link import PileLink
from pileway.bench.side_by_side import first_ends
from protocol import frames
from protocol.envelope import Counter, Sealer
from protocol.topics import Direction

TICK_S = 0.05
WINDOW = 20
SHUFFLED = 8
"""Frames leave in any order among so many neighbours."""
TWICE_SHARE = 0.01
"""Of the frames, so many are said twice, and as many sent twice as they are."""
TIMEOUT_S = 10.0
RETRY_S = 0.3
KEEPALIVE_S = 30
POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Journey:
    """What the piles are to do: frames by number, sent `per_s` a second all together, links cut now and then."""

    fleet: Fleet
    access: Sequence[Access]
    frames: int
    per_s: float
    kept_s: float
    """How long after the broker took it a frame is kept; more than the broker's save interval."""
    cut_every_s: float
    """Mean time between two cuts of one pile's link."""
    seed: int


@dataclass
class Told:
    """What the piles did so far; `first` frames were said at least once, `waiting` are to be said or on their way."""

    first: int = 0
    said: int = 0
    taken: int = 0
    again: int = 0
    doubled: int = 0
    unheard: int = 0
    """Frames the broker took for nobody, and said so."""
    lost_links: int = 0
    waiting: int = 0


def serve(journey: Journey, log_path: Path, pipe: Pipe) -> None:
    """Begin at once; each question is answered with `Told`, until the pipe closes. Says its process id first."""
    logs.set_up("bench-piles", to=log_path)
    pipe.send(os.getpid())
    asyncio.run(_run(journey, pipe))


async def _run(journey: Journey, pipe: Pipe) -> None:
    told = Told()
    piles = [_Pile(journey, place, told) for place in range(len(journey.fleet.piles))]
    tasks = [asyncio.create_task(pile.live()) for pile in piles]
    try:
        while True:
            await asyncio.sleep(POLL_S)
            for task in tasks:
                if task.done():
                    task.result()
            while pipe.poll():
                pipe.recv()
                told.waiting = sum(pile.waiting for pile in piles)
                pipe.send(told)
    except EOFError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Pile:
    def __init__(self, journey: Journey, place: int, told: Told) -> None:
        pile = journey.fleet.piles[place]
        self._journey = journey
        self._told = told
        self._pile_id = pile.pile_id
        self._sealer = Sealer(pile.secret, epoch=EPOCH, direction=Direction.UP)
        self._random = random.Random(f"{journey.seed}/{place}")  # noqa: S311 - a story to repeat
        self._fresh = deque(self._in_some_order(range(place, journey.frames, len(journey.fleet.piles))))
        self._again: deque[int] = deque()
        self._kept: deque[tuple[float, int]] = deque()
        self._link: PileLink[int] | None = None
        self._trust = journey.access[place].trust()
        self._address = urlsplit(journey.access[place].broker_url)
        self._seq = 1
        self._share = journey.per_s * TICK_S / len(journey.fleet.piles)

    @property
    def waiting(self) -> int:
        """Frames not taken by the broker."""
        return len(self._fresh) + len(self._again) + (len(self._link.open) if self._link else 0)

    async def live(self) -> None:
        """Connect, talk, be cut off, begin again."""
        await asyncio.sleep(self._random.random())
        while True:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(TIMEOUT_S):
                    link = await self._connect()
                self._link = link
                try:
                    await first_ends(self._hear(link), self._talk(link), self._be_cut())
                finally:
                    link.writer.transport.abort()
                    self._link = None
                    self._lost(link)
            await asyncio.sleep(RETRY_S * (0.5 + self._random.random()))

    async def _connect(self) -> PileLink[int]:
        return await PileLink[int].connect(self._pile_id, self._address, self._trust, keepalive_s=KEEPALIVE_S)

    async def _hear(self, link: PileLink[int]) -> None:
        while True:
            packet = await link.next_packet()
            if not isinstance(packet, mqtt5.PubAckPacket):
                continue
            number = link.open.pop(packet.packet_id, None)
            if number is None:
                continue
            if packet.reason_code is mqtt5.PubAckReasonCode.SUCCESS:
                self._keep(number)
            else:
                self._told.unheard += 1
                self._again.append(number)

    async def _talk(self, link: PileLink[int]) -> None:
        allowance = self._random.random()
        quiet_since_s = time.monotonic()
        while True:
            allowance = min(WINDOW, allowance + self._share)
            while allowance >= 1 and len(link.open) < WINDOW and (self._fresh or self._again):
                allowance -= 1
                # What is new goes before what is said again.
                self._told.first += bool(self._fresh)
                self._say(link, (self._fresh or self._again).popleft())
                quiet_since_s = time.monotonic()
            if time.monotonic() - quiet_since_s > KEEPALIVE_S / 2:
                quiet_since_s = time.monotonic()
                link.writer.write(mqtt5.PingReqPacket().write())
            await link.writer.drain()
            await asyncio.sleep(TICK_S)

    async def _be_cut(self) -> None:
        """Once all is said for the first time, nobody cuts any more, so that there is an end."""
        cut = False
        while not cut:
            await asyncio.sleep(self._random.expovariate(1 / self._journey.cut_every_s))
            cut = bool(self._fresh)

    def _say(self, link: PileLink[int], number: int) -> None:
        fate = self._random.random()
        packet = self._packet(link, number)
        link.writer.write(packet)
        if fate < TWICE_SHARE:
            link.writer.write(packet)
            self._told.doubled += 1
        elif fate < 2 * TWICE_SHARE:
            self._again.append(number)
            self._told.doubled += 1

    def _packet(self, link: PileLink[int], number: int) -> bytes:
        self._seq += 1
        self._told.said += 1
        frame = frames.seal(
            self._journey.fleet.message(number),
            sealer=self._sealer,
            pile_id=self._pile_id,
            counter=Counter(BOOT, self._seq),
        )
        packet_id = link.next_id()
        link.open[packet_id] = number
        return mqtt5.PublishPacket(
            frame.topic, frame.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id
        ).write()

    def _keep(self, number: int) -> None:
        now_s = time.monotonic()
        self._told.taken += 1
        self._kept.append((now_s, number))
        while self._kept[0][0] < now_s - self._journey.kept_s:
            self._kept.popleft()

    def _lost(self, link: PileLink[int]) -> None:
        """What the broker may have forgotten goes out again."""
        since_s = time.monotonic() - self._journey.kept_s
        doubtful = [number for at_s, number in self._kept if at_s >= since_s]
        self._kept.clear()
        self._again.extend([*link.open.values(), *doubtful])
        self._told.again += len(link.open) + len(doubtful)
        self._told.lost_links += 1

    def _in_some_order(self, numbers: Sequence[int]) -> list[int]:
        mixed: list[int] = []
        for first in range(0, len(numbers), SHUFFLED):
            some = list(numbers[first : first + SHUFFLED])
            self._random.shuffle(some)
            mixed += some
        return mixed
