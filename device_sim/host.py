"""A pile that carries others: they have only a local radio, and it hands their sealed frames on without reading them.

A child seals its frames for its own topics with its own secret, exactly as if it were connected. ``Relaying`` is the
host's part of it, ``Radio`` what a child has instead of a connection of its own.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from device_sim import tasks
from device_sim.part import Hears, Part
from device_sim.pile import Pile
from protocol import topics
from protocol.fields import Message
from protocol.frames import Frame
from protocol.messages import RelayDown, RelayUp
from protocol.topics import Direction, Topic
from protocol.words import LogLevel

if TYPE_CHECKING:
    from device_sim.enrolment import Identity
    from device_sim.link import Device
    from device_sim.runner import SimulatedPile

PAUSE_S: Final = 0.2
"""How long a radio waits before it tries again."""

Receiver = Callable[[str, bytes], None]
"""Takes a frame that came for a child: the child's own topic, and the sealed payload."""


class Relaying(Part):
    """Wraps what children say, unwraps what is for them. A frame for a stranger is dropped."""

    def __init__(self, pile: Pile) -> None:
        super().__init__(pile)
        self.children: dict[str, Receiver] = {}
        self._under_way: dict[bytes, asyncio.Event] = {}

    def hears(self) -> Hears:
        """Frames for the piles behind this one."""
        return {RelayDown: self._hand_on}

    def carry(self, frame: Frame) -> asyncio.Event:
        """Send a child's frame now; gives what tells when the broker has it. With the link it is forgotten."""
        topic = topics.parse(frame.topic)
        self.pile.outbox.put(RelayUp(topic.pile_id, topic.message, frame.payload))
        return self._under_way.setdefault(frame.payload, asyncio.Event())

    def said(self, relay: RelayUp) -> None:
        """The broker has a child's frame."""
        if (arrived := self._under_way.pop(relay.frame, None)) is not None:
            arrived.set()

    def link_changed(self, up: bool, at_ms: int) -> None:
        """What was under way when the link was lost is the children's to say again."""
        del at_ms
        if not up:
            self._under_way.clear()

    def _hand_on(self, relay: RelayDown) -> None:
        receive = self.children.get(relay.child)
        if receive is None:
            self.pile.note(f"frame for {relay.child}, which is not here", level=LogLevel.WARNING)
            return
        topic = Topic(topics.shard_of(relay.child), relay.child, Direction.DOWN, relay.name)
        receive(str(topic), relay.frame)


class Radio:
    """A child's link through its host: up while the host is in service and online, and nobody jams it.

    To the child that is a connection like any other: numbered, with a will, and a message counts as sent once the
    broker has it.
    """

    def __init__(self, device: "Device", host: "SimulatedPile") -> None:
        self._device = device
        self._host = host
        self._jammed = asyncio.Event()
        self._barred_until_s = 0.0

    async def run(self) -> None:
        """Serve the child whenever the host can be reached, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._host.online.wait()
            await self._host.ready()
            if loop.time() < self._barred_until_s or not self._host.online.is_set():
                await asyncio.sleep(PAUSE_S)
                continue
            self._jammed.clear()
            will = self._device.connecting()
            self._device.connected()
            try:
                await tasks.first_ends(self._talk(), self._jammed.wait(), self._host.offline.wait())
            finally:
                self._device.disconnected()
                if self._host.online.is_set():
                    self._host.carry(will)
            await asyncio.sleep(PAUSE_S)

    def drop(self, for_s: float) -> None:
        """Jam the radio for so many real seconds; the host says that the child is gone."""
        self._barred_until_s = asyncio.get_running_loop().time() + for_s
        self._jammed.set()

    def shout(self, messages: Sequence[Message]) -> None:
        """Hand all this to the host at once."""
        for message in messages:
            self._host.carry(self._device.sealed(message))

    def renew(self, _identity: "Identity") -> None:
        """The radio knows no certificates."""

    async def _talk(self) -> None:
        while True:
            message = await self._device.next_message()
            try:
                await self._host.carry(self._device.sealed(message)).wait()
            except BaseException:
                self._device.unsent(message)
                raise
            self._device.said(message)
