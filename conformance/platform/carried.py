"""A pile behind a host: it seals as any other, and only the host has a connection (section 17 of the contract)."""

from typing import Final

from conformance.platform.enrolling import Identity
from conformance.platform.puppet import Frame, Puppet
from protocol import messages

LONGEST_FRAME_BYTES: Final = 15_360


class CarriedPuppet(Puppet):
    """One enrolled pile whose frames its host hands on, both ways."""

    def __init__(self, identity: Identity, *, host: Puppet, port_count: int, speed: float) -> None:
        super().__init__(identity, port_count=port_count, speed=speed)
        self.host = host
        self._will: Frame | None = None
        host.carry(self)

    async def connect(self) -> None:
        """Its radio is up: what the host says when it is lost is made now."""
        self.connection += 1
        self._will = self.seal(messages.Gone(connection=self.connection))

    async def publish(self, frame: Frame, *, retain: bool = False) -> bool:
        """Have the host hand a frame on; whether the broker took it."""
        return await self.host.publish(self.host.seal(self.relayed(frame)), retain=retain)

    async def vanish(self) -> None:
        """Its radio is lost, and the host hands on what was made for that."""
        will, self._will = self._will, None
        assert will is not None, "it was connected"
        await self.publish(will)

    async def cut_power(self) -> None:
        """Lose everything but what the contract says survives; nobody says a word."""
        self._will = None
        await super().cut_power()

    def relayed(self, frame: Frame) -> messages.RelayUp:
        """A frame of its own as its host wraps it."""
        return relayed(self.pile_id, frame)


def relayed(child_id: str, frame: Frame) -> messages.RelayUp:
    """A frame as a host wraps it, in the name of any pile."""
    return messages.RelayUp(child=child_id, name=frame.topic.rpartition("/")[2], frame=frame.payload)
