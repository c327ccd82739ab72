"""The piles of `pileway bench backlog`: each has its own connection, and paces itself by receipts.

What is said when is decided by the simulator's own queue, `device_sim.sample_queue`; only the rest of a pile is left
out, so that a thousand fit into one process beside everything else.
"""

import asyncio
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from urllib.parse import urlsplit

import mqtt5

from device_sim.sample_queue import Leaving, SampleQueue
from pileway import logs
from pileway.bench.clients import Access
from pileway.bench.meter_fleet import BOOT, EPOCH, Fleet
from pileway.bench.pile_link import PileLink
from pileway.bench.side_by_side import first_ends
from protocol import codec, frames, topics
from protocol.envelope import Counter, Opener, Sealer
from protocol.messages import MeterReceipt
from protocol.topics import Direction

TIMEOUT_S = 20.0
CONNECTING_AT_ONCE = 50
RETRY_S = 1.0
KEEPALIVE_S = 300
POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """The piles, and from which instant on (Unix ms) their frames are live."""

    fleet: Fleet
    access: Sequence[Access]
    live_from_ms: int


@dataclass(frozen=True)
class Replay:
    """Say the backlog, too: every frame from before the crowd was live."""


@dataclass(frozen=True)
class End:
    """Make no frame of this instant (Unix ms) or later."""

    at_ms: int


@dataclass
class Told:
    """What the piles did so far: frames said, those known to be stored, and those to be said or kept and not stored."""

    linked: int = 0
    said: int = 0
    receipted: int = 0
    waiting: int = 0
    lost_links: int = 0


def serve(crowd: Crowd, log_path: Path, pipe: Pipe) -> None:
    """Say live frames at once; do what is told; answer each with `Told`, until the pipe closes. Says its id first."""
    logs.set_up("bench-piles", to=log_path)
    pipe.send(os.getpid())
    asyncio.run(_run(crowd, pipe))


async def _run(crowd: Crowd, pipe: Pipe) -> None:
    told = Told()
    slots = asyncio.Semaphore(CONNECTING_AT_ONCE)
    piles = [_Pile(crowd, place, told, slots) for place in range(len(crowd.fleet.piles))]
    tasks = [asyncio.create_task(pile.live()) for pile in piles]
    try:
        while True:
            await asyncio.sleep(POLL_S)
            for task in tasks:
                if task.done():
                    task.result()
            while pipe.poll():
                asked = pipe.recv()
                for pile in piles:
                    pile.obey(asked)
                told.waiting = sum(pile.waiting for pile in piles)
                told.linked = sum(pile.linked for pile in piles)
                pipe.send(told)
    except EOFError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Pile:
    def __init__(self, crowd: Crowd, place: int, told: Told, slots: asyncio.Semaphore) -> None:
        pile = crowd.fleet.piles[place]
        self._fleet = crowd.fleet
        self._told = told
        self._slots = slots
        self._pile_id = pile.pile_id
        self._sealer = Sealer(pile.secret, epoch=EPOCH, direction=Direction.UP)
        self._opener = Opener({EPOCH: pile.secret}, direction=Direction.DOWN)
        self._trust = crowd.access[place].trust()
        self._address = urlsplit(crowd.access[place].broker_url)
        self._numbers = self._numbers_of(place)
        before: list[int] = []
        self._next = next(self._numbers)
        while crowd.fleet.at_ms(self._next) < crowd.live_from_ms:
            before.append(self._next)
            self._next = next(self._numbers)
        self._backlog: Sequence[int] = before
        self._queue: SampleQueue[int] = SampleQueue()
        self._end_ms: float = float("inf")
        self._link: PileLink[Counter] | None = None
        self._wake = asyncio.Event()
        self._seq = 1

    @property
    def linked(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None

    @property
    def waiting(self) -> int:
        """Frames to be said, and kept ones that are not known to be stored."""
        return len(self._queue) + self._queue.open_kept

    def obey(self, asked: Replay | End | None) -> None:
        """Do what is told."""
        if isinstance(asked, Replay):
            for number in self._backlog:
                self._queue.put(number, live=False)
            self._backlog = ()
        elif isinstance(asked, End):
            self._end_ms = asked.at_ms
        if asked is not None:
            self._wake.set()

    async def live(self) -> None:
        """Connect, talk, and once more whenever the link is lost."""
        while True:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with self._slots, asyncio.timeout(TIMEOUT_S):
                    link = await self._connect()
                self._link = link
                try:
                    await first_ends(self._hear(link), self._talk(link), self._stay(link))
                finally:
                    link.writer.transport.abort()
                    self._link = None
                    self._queue.link_lost()
                    self._told.lost_links += 1
            await asyncio.sleep(RETRY_S * (0.5 + random.random()))  # noqa: S311 - jitter

    async def _connect(self) -> PileLink[Counter]:
        shard = topics.shard_of(self._pile_id)
        down = mqtt5.TopicFilter(
            topics.subscription(Direction.DOWN, shard=shard, pile_id=self._pile_id),
            max_qos=mqtt5.QoS.AT_LEAST_ONCE,
        )
        return await PileLink[Counter].connect(
            self._pile_id, self._address, self._trust, keepalive_s=KEEPALIVE_S, down=down
        )

    async def _hear(self, link: PileLink[Counter]) -> None:
        while True:
            packet = await link.next_packet()
            if isinstance(packet, mqtt5.PubAckPacket):
                counter = link.open.pop(packet.packet_id, None)
                if counter is not None and packet.reason_code is not mqtt5.PubAckReasonCode.SUCCESS:
                    self._queue.put_back(counter)
            elif isinstance(packet, mqtt5.PublishPacket):
                link.writer.write(mqtt5.PubAckPacket(packet.packet_id or 0).write())
                self._receive(packet)

    def _receive(self, packet: mqtt5.PublishPacket) -> None:
        body = self._opener.open(packet.topic, packet.payload).body
        message = codec.decode(Direction.DOWN, packet.topic.rpartition("/")[2], body)
        if not isinstance(message, MeterReceipt):
            # The starts of sessions that run already.
            return
        counters = [Counter(row.boot, row.seq) for row in message.frames]
        self._told.receipted += len(self._queue.receipted(counters, real_s=time.monotonic()))
        self._wake.set()

    async def _talk(self, link: PileLink[Counter]) -> None:
        while True:
            self._wake.clear()
            self._make_due()
            while (leaving := self._queue.take(real_s=time.monotonic())) is not None:
                self._say(link, leaving)
            await link.writer.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()

    async def _stay(self, link: PileLink[Counter]) -> None:
        while True:
            await asyncio.sleep(KEEPALIVE_S / 2)
            link.writer.write(mqtt5.PingReqPacket().write())

    def _make_due(self) -> None:
        now_ms = time.time() * 1000
        while (at_ms := self._fleet.at_ms(self._next)) <= now_ms and at_ms < self._end_ms:
            self._queue.put(self._next, live=True)
            self._next = next(self._numbers)

    def _pause_s(self) -> float:
        at_ms = self._fleet.at_ms(self._next)
        live_s = at_ms / 1000 - time.time() if at_ms < self._end_ms else KEEPALIVE_S
        due_s = self._queue.next_s()
        queue_s = KEEPALIVE_S if due_s is None else due_s - time.monotonic()
        return max(0.001, min(live_s, queue_s))

    def _say(self, link: PileLink[Counter], leaving: Leaving[int]) -> None:
        self._seq += 1
        counter = Counter(BOOT, self._seq)
        message = replace(self._fleet.message(leaving.kept.frame), receipt=leaving.wish)
        frame = frames.seal(message, sealer=self._sealer, pile_id=self._pile_id, counter=counter)
        self._queue.left(leaving, counter, real_s=time.monotonic())
        packet_id = link.next_id()
        link.open[packet_id] = counter
        packet = mqtt5.PublishPacket(
            frame.topic, frame.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id
        )
        link.writer.write(packet.write())
        self._told.said += 1

    def _numbers_of(self, place: int) -> Iterator[int]:
        number = place
        while True:
            yield number
            number += len(self._fleet.piles)
