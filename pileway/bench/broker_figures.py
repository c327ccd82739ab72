"""What the broker says of itself: messages it holds, and messages it has dropped."""

from types import TracebackType
from typing import Self

from paho.mqtt.client import Client

from pileway.bench.clients import Access, Clients

EVERY_SECOND = "sys_interval 1\n"
"""For the broker's configuration: by itself it tells every ten seconds."""
_HELD = "$SYS/broker/store/messages/count"
_DROPPED = "$SYS/broker/publish/messages/dropped"


class BrokerFigures:
    """Listens while entered; whoever waits for something else waits in `turn`."""

    def __init__(self, access: Access) -> None:
        self.held_most = 0
        self.dropped = 0
        self._access = access
        self._clients = Clients()

    def __enter__(self) -> Self:
        for topic in (_HELD, _DROPPED):
            self._clients.connect(f"bench-{topic[-5:]}", self._access, topic=topic, heard=self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clients.close()

    def turn(self, timeout_s: float) -> None:
        """Hear what comes, waiting at most so long."""
        self._clients.turn(timeout_s)

    def _heard(self, _client: Client, topic: str, payload: bytes) -> None:
        if topic == _HELD:
            self.held_most = max(self.held_most, int(payload))
        else:
            self.dropped = int(payload)
