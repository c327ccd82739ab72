"""A platform's end of the wire on a real broker, made of the protocol package and nothing else."""

import json
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from device_sim import Bystanders, FleetThread, PileConfig
from protocol import frames, topics
from protocol.envelope import Counter, Opener, Sealer
from protocol.fields import Message
from protocol.frames import Received
from protocol.messages import (
    Boot,
    BootAck,
    FrameReceipt,
    MeterFrame,
    MeterReceipt,
    Settlement,
    SettlementAck,
)
from protocol.topics import Direction
from protocol.words import FrameResult, SettlementResult

if TYPE_CHECKING:
    from tests.conftest import Broker

PILE = "P-1"
SECRET = bytes(range(32))
LIMIT_S = 20.0

_M = TypeVar("_M", bound=Message)


class StreetClock:
    """A clock that runs ``speed`` times as fast as real time from now on."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._real_s = time.monotonic()
        self._began = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self._began + timedelta(seconds=(time.monotonic() - self._real_s) * self.speed)

    def ms(self) -> int:
        return int(self().timestamp() * 1000)


@dataclass
class Platform:
    """Hears a pile, acknowledges its boots and frames and, unless told otherwise, its settlements."""

    client: mqtt.Client
    clock: StreetClock
    acknowledges_settlements: bool = True
    received: list[Received] = field(default_factory=list[Received])
    payloads: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _seq: int = 0

    def __post_init__(self) -> None:
        self._opener = Opener({1: SECRET}, direction=Direction.UP)
        self._sealer = Sealer(SECRET, epoch=1, direction=Direction.DOWN)
        self.client.on_message = self._on_message

    def read_with(self, opener: Opener) -> None:
        """Read the pile with other secrets from now on."""
        self._opener = opener

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        heard = frames.open_frame(
            self._opener, topic=topics.parse(message.topic), payload=bytes(message.payload)
        )
        with self._changed:
            self.received.append(heard)
            self.payloads.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()
        if isinstance(heard.message, Boot):
            self.say(BootAck(self.clock.ms(), heartbeat_s=60, sample_s=30, reconnect_jitter_s=0))
        elif isinstance(heard.message, Settlement) and self.acknowledges_settlements:
            self.say(SettlementAck(heard.message.session_id, SettlementResult.STORED))
        elif isinstance(heard.message, MeterFrame) and heard.message.receipt is not None:
            self.say(MeterReceipt((FrameReceipt(*heard.counter, FrameResult.STORED),)))

    def say(self, message: Message) -> tuple[str, bytes]:
        """Tell the pile something; gives the frame back for a replay."""
        self._seq += 1
        frame = frames.seal(message, sealer=self._sealer, pile_id=PILE, counter=Counter(1, self._seq))
        self.client.publish(frame.topic, frame.payload, qos=1)
        return frame

    def heard(self, kind: type[_M]) -> list[_M]:
        """All messages of a kind so far."""
        return [received.message for received in list(self.received) if isinstance(received.message, kind)]

    def wait_for(self, kind: type[_M], condition: Callable[[list[_M]], bool] = bool) -> list[_M]:
        """Wait until the messages of a kind satisfy a condition."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.heard(kind)), timeout=LIMIT_S):
                raise TimeoutError(f"{kind.__name__}: {len(self.heard(kind))} heard, not what was waited for")
        return self.heard(kind)


@pytest.fixture
def clock() -> StreetClock:
    """A street 2400 times as fast as ours."""
    return StreetClock(2400)


@pytest.fixture
def platform(broker: "Broker", clock: StreetClock) -> Iterator[Platform]:
    """The platform's end, subscribed on the service listener."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gw-0", protocol=mqtt.MQTTv5)
    tls = ssl.create_default_context(cafile=broker.ca_path)
    tls.load_cert_chain(broker.gateway_cert_path, broker.gateway_key_path)
    client.tls_set_context(tls)  # pyright: ignore[reportUnknownMemberType] - untyped upstream
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    subscribed = threading.Event()
    shard = topics.shard_of(PILE)

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        client.subscribe(topics.subscription(Direction.UP, shard=shard), qos=1)

    def on_subscribe(*_: Any) -> None:
        subscribed.set()

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    end = Platform(client, clock)
    address = urlsplit(broker.service_url)
    assert address.hostname is not None
    assert address.port is not None
    client.connect(address.hostname, address.port, clean_start=False)
    client.loop_start()
    assert subscribed.wait(LIMIT_S)
    yield end
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def config(broker: "Broker", tmp_path: Path) -> PileConfig:
    """A pile that is already enrolled, with riders who come at once and leave soon."""
    folder = tmp_path / PILE
    folder.mkdir()
    files = broker.issue_pile(PILE)
    (folder / "certificate.pem").write_bytes(files.certificate_path.read_bytes())
    (folder / "private_key.pem").write_bytes(files.key_path.read_bytes())
    (folder / "broker_ca.pem").write_bytes(broker.ca_path.read_bytes())
    identity = {
        "broker_url": broker.device_url,
        "device_secret": b64encode(SECRET).decode(),
        "key_epoch": 1,
    }
    (folder / "identity.json").write_text(json.dumps(identity))
    return PileConfig(
        pile_id=PILE,
        port_count=10,
        folder=folder,
        enrolment_url="https://platform.invalid/device/v1/enroll",
        bystanders=Bystanders(plug_after_s=(5, 30), fetch_after_s=(60, 300)),
    )


@pytest.fixture
def fleet(platform: Platform, config: PileConfig, clock: StreetClock) -> Iterator[FleetThread]:
    """The pile, running and acknowledged."""
    with FleetThread([config], clock=clock, speed=clock.speed) as fleet:
        fleet.wait_ready(LIMIT_S)
        yield fleet
