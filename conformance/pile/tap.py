"""The tap: piles reach the broker through it, so that it sees how they connect and can take their network away.

It ends the pile's TLS and opens one of its own towards the broker, under the same name; packets go through unchanged.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from conformance.pile import mqtt_packets
from conformance.pile.authority import Authority, Files
from conformance.pile.mqtt_packets import Connect, NotMqtt, Packet, Publish, Subscribe

BROKER_LIMIT_S: Final = 10.0
CHUNK_BYTES: Final = 1 << 16
MAX_PUBLISHES: Final = 20_000


@dataclass
class Call:
    """One connection of a pile: how it came, what it asked for, and everything it published.

    ``certificate`` is the serial number of the one it came with.
    """

    number: int
    tls_version: str
    certificate: int
    at_s: float
    connect: Connect | None = None
    subscriptions: list[Subscribe] = field(default_factory=list[Subscribe])
    publishes: list[Publish] = field(default_factory=list[Publish])
    over: bool = False


class Tap:
    """A TLS server of one pile's own in front of the broker. An async context manager that serves while entered.

    ``swallow`` may keep a message from the broker; the connection breaks there.
    """

    def __init__(
        self, pile_id: str, files: Files, folder: Path, *, host: str, told_host: str, broker: tuple[str, int]
    ) -> None:
        self.pile_id = pile_id
        self.calls: list[Call] = []
        self.swallow: Callable[[Publish], bool] = lambda _publish: False
        self.on_change: Callable[[], None] = lambda: None
        self._files = files
        self._folder = folder
        self._host, self._told_host = host, told_host
        self._broker = broker
        self._live: set[asyncio.StreamWriter] = set()
        self._reopening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._inward = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inward.load_cert_chain(self._files.server_certificate, self._files.server_key)
        self._inward.load_verify_locations(self._files.device_ca)
        self._inward.verify_mode = ssl.CERT_REQUIRED
        self._outward = Authority(self._files).stand_in(self.pile_id, self._folder)
        self._outward.load_verify_locations(self._files.server_ca)
        self._place = _bound(self._host)
        self._port = int(self._place.getsockname()[1])
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hang_up()
        self._place.close()
        if self._reopening is not None:
            self._reopening.cancel()

    @property
    def url(self) -> str:
        """The broker's address as the pile is told it."""
        return f"mqtts://{self._told_host}:{self._port}"

    @property
    def connected(self) -> bool:
        """Whether the pile has a connection that it listens on."""
        return any(call.subscriptions and not call.over for call in self.calls)

    def cut(self, for_s: float) -> None:
        """Break every connection without a word, and let none through for so many real seconds."""
        self._hang_up()
        if self._reopening is not None:
            self._reopening.cancel()
        self._reopening = asyncio.create_task(self._reopen(for_s))

    def _hang_up(self) -> None:
        self._server.close()
        for writer in tuple(self._live):
            writer.transport.abort()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, ssl=self._inward, reuse_port=True
        )

    async def _reopen(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._open()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link: ssl.SSLObject = writer.get_extra_info("ssl_object")
        if common_name(link) != self.pile_id:
            writer.transport.abort()
            return
        self._live.add(writer)
        call = Call(len(self.calls) + 1, link.version() or "", serial_of(link) or 0, time.monotonic())
        self.calls.append(call)
        broken = (OSError, TimeoutError, asyncio.IncompleteReadError, NotMqtt)
        try:
            async with asyncio.timeout(BROKER_LIMIT_S):
                from_broker, to_broker = await asyncio.open_connection(*self._broker, ssl=self._outward)
            try:
                await _first_ends(
                    self._up(reader, to_broker, call), _down(from_broker, writer), broken=broken
                )
            finally:
                to_broker.transport.abort()
        except broken:
            pass
        finally:
            call.over = True
            self._live.discard(writer)
            writer.transport.abort()
            self.on_change()

    async def _up(self, reader: asyncio.StreamReader, to_broker: asyncio.StreamWriter, call: Call) -> None:
        while True:
            packet = await mqtt_packets.read(reader)
            said = _noted(packet, call)
            if said is not None and self.swallow(said):
                return
            to_broker.write(packet.raw)
            await to_broker.drain()
            self.on_change()


def _bound(host: str) -> socket.socket:
    """A port that stays ours while nobody listens on it: else another, or a caller itself, might answer there."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    place = socket.socket(family, kind, protocol)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind(address)
    return place


def _noted(packet: Packet, call: Call) -> Publish | None:
    """Write down what a packet says; gives back a message on its way up."""
    version = call.connect.version if call.connect is not None else 5
    if packet.kind == mqtt_packets.CONNECT:
        call.connect = mqtt_packets.connect(packet)
    elif packet.kind == mqtt_packets.SUBSCRIBE:
        call.subscriptions.append(mqtt_packets.subscribe(packet, version=version))
    elif packet.kind == mqtt_packets.PUBLISH:
        said = mqtt_packets.publish(packet, version=version)
        call.publishes.append(said)
        del call.publishes[:-MAX_PUBLISHES]
        return said
    return None


async def _down(from_broker: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await from_broker.read(CHUNK_BYTES):
        writer.write(octets)
        await writer.drain()


async def _first_ends(*ways: Coroutine[Any, Any, None], broken: tuple[type[Exception], ...]) -> None:
    running = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in running:
            task.cancel()
        for task in running:
            with contextlib.suppress(asyncio.CancelledError, *broken):
                await task


def serial_of(link: ssl.SSLObject) -> int | None:
    """The serial number of the certificate the other side showed, if it showed one."""
    serial = (link.getpeercert() or {}).get("serialNumber")
    return int(serial, 16) if isinstance(serial, str) else None


def common_name(link: ssl.SSLObject) -> str:
    """Whom the certificate of the other side names; nobody if it showed none."""
    certificate = link.getpeercert() or {}
    subject = certificate.get("subject", ())
    return next((str(value) for part in subject for name, value in part if name == "commonName"), "")
