"""A gateway on a real broker and database, and a hand-driven pile that speaks the protocol over MQTT."""

import hashlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, Queue
from threading import Event
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar
from uuid import UUID

import pytest
from cryptography import x509
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from psycopg_pool import ConnectionPool

from billing import payments
from charging import enrolment, events, piles, ports, rejections, sessions, starts
from charging.enrolment import SecretVault
from charging.payment_hooks import session_hooks
from charging.piles import Pile
from charging.ports import Port
from charging.waits import Waits
from database.pool import Connection
from gateway.link import LinkLimits, TlsFiles
from gateway.service import Gateway, GatewayParts
from pileway import street
from protocol import codec, frames, messages, topics
from protocol.envelope import Counter, Opener, Sealer
from protocol.fields import Message
from protocol.topics import Direction
from protocol.words import BootReason, ClockState, Phase, PortState
from tests import child_output

if TYPE_CHECKING:
    from tests.conftest import Broker, PileFiles

VAULT = SecretVault(b"k" * 32)
WAIT_S = 15.0

_M = TypeVar("_M", bound=Message)


def now() -> datetime:
    """The clock of these tests."""
    return datetime.now(UTC)


def wait_until(condition: Callable[[], object], *, within_s: float = WAIT_S) -> None:
    """Wait until the condition holds; fails the test when that takes too long."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"not within {within_s} s")
        Event().wait(0.02)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds."""
    return wait_until


@dataclass
class Street:
    """The demo's street in this test's database, and what happened on it."""

    pool: ConnectionPool[Connection]

    def enrol(self, pile_id: str, *, salt: bytes = b"", certificate: Path | None = None) -> bytes:
        """Put a pile's secret and certificate on the books, as an enrolment does; returns the secret."""
        serial = time.monotonic_ns()
        if certificate is not None:
            serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        secret = hashlib.sha256(pile_id.encode() + salt).digest()
        with self.pool.connection() as conn:
            enrolment.provision(
                conn,
                VAULT,
                pile_id=pile_id,
                secret=secret,
                certificate_serial=f"{serial:x}",
                certificate_expires_at=now() + timedelta(days=365),
                now=now(),
            )
        return secret

    def pile(self, pile_id: str) -> Pile:
        with self.pool.connection() as conn:
            return piles.get(conn, pile_id)

    def port(self, pile_id: str, port_no: int) -> Port:
        with self.pool.connection() as conn:
            return ports.get(conn, pile_id=pile_id, port_no=port_no)

    def set_state(self, pile_id: str, state: str) -> None:
        with self.pool.connection() as conn:
            conn.execute("UPDATE pile SET state = %s WHERE pile_id = %s", (state, pile_id))

    def change_state(self, pile_id: str, change: Callable[..., object], reason: str = "a test") -> None:
        """Quarantine, release or revoke a pile, as a person does."""
        with self.pool.connection() as conn:
            change(conn, pile_id, by="Li", reason=reason, now=now())

    def events(self, pile_id: str, kind: str) -> list[dict[str, Any]]:
        """What is known of each event of a kind, oldest first."""
        with self.pool.connection() as conn:
            found = events.newest(conn, pile_id, limit=500)
        return [dict(event.detail) for event in reversed(found) if event.kind == kind]

    def refusals(self) -> dict[str, int]:
        """Refused frames so far, by reason."""
        with self.pool.connection() as conn:
            return {count.reason: count.messages for count in rejections.counts(conn)}

    def order(self, pile_id: str, *, port_no: int = 1, start: timedelta = timedelta(seconds=30)) -> UUID:
        """A paid session: its start command is on its way with the commit."""
        waits = replace(Waits(), start=start)
        with self.pool.connection() as conn:
            order = starts.order(
                conn,
                pile_id=pile_id,
                port_no=port_no,
                amount_fen=300,
                rail="wechat_pay",
                waits=waits,
                now=now(),
            )
            outcome = payments.mark_paid(
                conn,
                out_trade_no=order.payment.out_trade_no,
                rail_transaction_id=f"T{order.payment.out_trade_no}",
                amount_fen=order.payment.amount_fen,
                paid_at=now(),
                now=now(),
            )
            session_hooks(waits).on_paid(conn, outcome.payment, now())
        return order.session.session_id

    def session_state(self, session_id: UUID) -> str:
        with self.pool.connection() as conn:
            return sessions.get(conn, session_id).state

    def command_states(self) -> list[tuple[str, int]]:
        """State and number of sendings of every command, oldest first."""
        with self.pool.connection() as conn:
            return conn.execute("SELECT state, send_count FROM command ORDER BY created_at").fetchall()

    def execute(self, statement: LiteralString) -> None:
        """Change something behind the gateway's back."""
        with self.pool.connection() as conn:
            conn.execute(statement)

    def count(self, table: str) -> int:
        with self.pool.connection() as conn:
            row = conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def laid_out(pool: ConnectionPool[Connection]) -> Street:
    with pool.connection() as conn:
        street.lay_out(conn, now=now() - timedelta(days=1))
    return Street(pool)


@dataclass
class HandPile:
    """A pile moved by the test: it says only what it is told to, and hears everything."""

    pile_id: str
    secret: bytes
    client: Client
    boot: int = 1
    seq: int = 0
    epoch: int = 1
    heard: Queue[tuple[MQTTMessage, Message]] = field(default_factory=Queue[tuple[MQTTMessage, Message]])
    subscribed: Event = field(default_factory=Event)
    counters_down: list[Counter] = field(default_factory=list[Counter])

    def topic(self, message: str, *, shard: int | None = None, pile_id: str | None = None) -> str:
        name = pile_id or self.pile_id
        return f"v1/{topics.shard_of(name) if shard is None else shard}/{name}/up/{message}"

    def seal(
        self, message: Message, *, secret: bytes | None = None, epoch: int | None = None
    ) -> frames.Frame:
        """A frame with the next counter."""
        self.seq += 1
        sealer = Sealer(secret or self.secret, epoch=epoch or self.epoch, direction=Direction.UP)
        return frames.seal(message, sealer=sealer, pile_id=self.pile_id, counter=Counter(self.boot, self.seq))

    def seal_body(self, topic: str, body: bytes) -> bytes:
        """Any body under any topic, sealed with the pile's own key."""
        self.seq += 1
        sealer = Sealer(self.secret, epoch=self.epoch, direction=Direction.UP)
        return sealer.seal(topic, body, counter=Counter(self.boot, self.seq))

    def publish(self, topic: str, payload: bytes) -> None:
        self.client.publish(topic, payload, qos=1).wait_for_publish(WAIT_S)

    def say(self, message: Message) -> frames.Frame:
        """Seal and publish, and wait until the broker has it."""
        frame = self.seal(message)
        self.publish(frame.topic, frame.payload)
        return frame

    def hears(self, kind: type[_M], *, within_s: float = WAIT_S) -> _M:
        """The next message down, which must be of this kind."""
        try:
            _, message = self.heard.get(timeout=within_s)
        except Empty:
            pytest.fail(f"{self.pile_id} did not hear {kind.__name__}")
        assert isinstance(message, kind), message
        return message

    def boots(self) -> messages.BootAck:
        """Boot and hear the answer."""
        self.boot += 1
        self.seq = 0
        self.say(self.boot_message())
        return self.hears(messages.BootAck)

    def pause(self, pause_s: float = 0.5) -> None:
        """Let real time pass: between two repetitions, or to see that nothing comes."""
        Event().wait(pause_s)

    def boot_message(self) -> messages.Boot:
        return messages.Boot(
            at_ms=_ms(now()),
            connection=1,
            reason=BootReason.POWER,
            model="PW-10",
            hardware="A",
            firmware="1.0.0",
            protocol=1,
            port_count=10,
            signal_dbm=-70,
            unsent=0,
            clock=ClockState.RTC,
        )

    def heartbeat(self, *, connection: int = 1) -> messages.Heartbeat:
        return messages.Heartbeat(
            sampled_at_ms=_ms(now()),
            connection=connection,
            signal_dbm=-71,
            board_temperature_dc=312,
            mains_dv=2301,
            power_dw=0,
            energy_wh=10,
            leakage_ma=0,
            unsent=0,
            ports=(messages.PortReport(1, PortState.IDLE, 0), messages.PortReport(2, PortState.PLUGGED, 15)),
        )

    def meter(
        self, session_id: UUID, *, at: datetime | None = None, energy_dwh: int = 100
    ) -> messages.MeterFrame:
        sample = messages.PortSample(
            port=1,
            session_id=session_id,
            elapsed_s=60,
            window_s=60,
            voltage_dv=2300,
            current_ma=1000,
            power_dw=2000,
            power_factor_milli=950,
            energy_dwh=energy_dwh,
            power_min_dw=1990,
            power_max_dw=2010,
            power_mean_dw=2000,
            temperature_dc=250,
            phase=Phase.CC,
        )
        return messages.MeterFrame(sampled_at_ms=_ms(at or now()), samples=(sample,), clock=ClockState.SYNCED)

    def _on_connect(self, client: Client, *_: Any) -> None:
        shard = topics.shard_of(self.pile_id)
        client.subscribe(topics.subscription(Direction.DOWN, shard=shard, pile_id=self.pile_id), 1)

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        opened = Opener({self.epoch: self.secret}, direction=Direction.DOWN).open(
            message.topic, bytes(message.payload)
        )
        self.counters_down.append(opened.counter)
        decoded = codec.decode(Direction.DOWN, message.topic.rsplit("/", 1)[1], opened.body)
        assert isinstance(decoded, Message)
        self.heard.put((message, decoded))

    def _on_subscribe(self, *_: Any) -> None:
        self.subscribed.set()

    def _stay_away(self, *_: Any) -> None:
        self.client.disconnect()

    def connect(self) -> None:
        """Start the client's thread and wait for the subscription."""
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_message = self._on_message
        self.client.loop_start()
        assert self.subscribed.wait(WAIT_S)

    def vanish(self) -> None:
        """Lose the link without a word: the broker publishes the will."""
        sock = self.client.socket()
        assert isinstance(sock, socket.socket)
        self.client.on_disconnect = self._stay_away
        sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def connect_pile(broker: "Broker", laid_out: Street) -> Iterator[Callable[..., HandPile]]:
    """Enrols and connects a pile of the street over mutual TLS; `will` is set for its connection."""
    with ExitStack() as stack:

        def connect(
            pile_id: str,
            *,
            will: Message | None = None,
            enrol: bool = True,
        ) -> HandPile:
            files = broker.issue_pile(pile_id)
            secret = b"s" * 32
            if enrol:
                secret = laid_out.enrol(pile_id, certificate=files.certificate_path)
            pile = HandPile(pile_id, secret, _client(broker, pile_id, files))
            if will is not None:
                frame = pile.seal(will)
                pile.client.will_set(frame.topic, frame.payload, qos=1)
            host, port = broker.device_url.removeprefix("mqtts://").rsplit(":", 1)
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
            pile.client.connect(host, int(port), clean_start=False, properties=properties)
            stack.callback(pile.close)
            pile.connect()
            return pile

        yield connect


@pytest.fixture
def parts(broker: "Broker", dsn: str, pool: ConnectionPool[Connection]) -> GatewayParts:
    """A gateway's parts with short waits."""
    return GatewayParts(
        pool=pool,
        listen_dsn=dsn,
        broker_url=broker.service_url,
        tls=TlsFiles(
            broker_ca=broker.ca_path, certificate=broker.gateway_cert_path, key=broker.gateway_key_path
        ),
        vault=VAULT,
        owner="gateway-1",
        clock=now,
        waits=replace(Waits(), resend=timedelta(seconds=1)),
        lease_s=3.0,
        link_limits=LinkLimits(receive_maximum=100),
    )


@pytest.fixture
def broker_intruder(parts: GatewayParts) -> Iterator[Callable[[], None]]:
    """Connects under the first lane's client id without holding its lease, and leaves again."""
    clients: list[Client] = []

    def intrude() -> None:
        client = Client(CallbackAPIVersion.VERSION2, client_id="gw-0", protocol=MQTTProtocolVersion.MQTTv5)
        tls = parts.tls
        _trust(client, ca=tls.broker_ca, certificate=tls.certificate, key=tls.key)
        host, port = parts.broker_url.removeprefix("mqtts://").rsplit(":", 1)
        clients.append(client)
        connected = Event()

        def on_connect(client: Client, *_: Any) -> None:
            connected.set()
            client.disconnect()

        client.on_connect = on_connect
        client.connect(host, int(port), clean_start=False)
        client.loop_start()
        assert connected.wait(WAIT_S)

    yield intrude
    for client in clients:
        client.loop_stop()


@dataclass
class GatewayProcess:
    """A gateway in a process of its own, to be killed."""

    process: "subprocess.Popen[str]"

    def kill9(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait(WAIT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def spawn_gateway(parts: GatewayParts) -> Iterator[Callable[[], GatewayProcess]]:
    """Starts gateways that can be killed, and waits until they serve."""
    with ExitStack() as stack:

        def spawn(*, ready: bool = True, lease_s: float = parts.lease_s) -> GatewayProcess:
            script = Path(__file__).with_name("gateway_process.py")
            settings = {
                "dsn": parts.listen_dsn,
                "broker_url": parts.broker_url,
                "broker_ca": str(parts.tls.broker_ca),
                "certificate": str(parts.tls.certificate),
                "key": str(parts.tls.key),
                "lease_s": lease_s,
            }
            process = subprocess.Popen(
                [sys.executable, str(script), json.dumps(settings)],
                stdout=subprocess.PIPE,
                text=True,
            )
            gateway = GatewayProcess(process)
            stack.callback(gateway.kill9)
            if ready:
                child_output.line_of(process, "READY")
            return gateway

        yield spawn


@pytest.fixture
def start_gateway(parts: GatewayParts) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways and waits until they serve; they are stopped after the test."""
    with ExitStack() as stack:

        def start(*, ready: bool = True, **changes: Any) -> Gateway:
            gateway = Gateway(replace(parts, **changes))
            stack.callback(gateway.stop)
            gateway.start()
            if ready:
                wait_until(lambda: gateway.health.ready)
            return gateway

        yield start


def _client(broker: "Broker", pile_id: str, files: "PileFiles") -> Client:
    client = Client(CallbackAPIVersion.VERSION2, client_id=pile_id, protocol=MQTTProtocolVersion.MQTTv5)
    _trust(client, ca=broker.ca_path, certificate=files.certificate_path, key=files.key_path)
    return client


def _trust(client: Client, *, ca: Path, certificate: Path, key: Path) -> None:
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(str(certificate), str(key))
    client.tls_set_context(context)  # pyright: ignore[reportUnknownMemberType]  # paho's gap


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
