"""The kit's platform: an enrolment desk, a tap before a real broker, and one connection that hears every pile."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import aiomqtt

from conformance.pile.authority import Files
from conformance.pile.desk import Desk, Register
from conformance.pile.tap import Tap
from conformance.pile.wire import Wire
from protocol import topics
from protocol.errors import BadTopic
from protocol.frames import Frame

HEARD_QUEUE_MAX: Final = 20_000
OUTGOING_MAX: Final = 10_000
CANCEL_AGAIN_S: Final = 1.0
PUBLISH_LIMIT_S: Final = 10.0
EVERY_PILE: Final = "v1/+/+/up/+"


@dataclass(frozen=True)
class Broker:
    """A real broker: its listener for piles and the one for the platform (``mqtts://host:port``).

    ``certificate`` and ``key`` let the kit's connection in at the second one.
    """

    device_url: str
    service_url: str
    certificate: Path
    key: Path


class Platform:
    """Serves any number of piles at once. An async context manager.

    ``host`` is where piles are listened for, ``told_host`` how they are told to reach it.
    """

    def __init__(
        self, broker: Broker, files: Files, *, host: str = "127.0.0.1", told_host: str = "127.0.0.1"
    ) -> None:
        self._broker = broker
        self._files = files
        self._host, self._told_host = host, told_host
        self._wires: dict[str, Wire] = {}
        self._outgoing: asyncio.Queue[Frame] = asyncio.Queue(OUTGOING_MAX)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pileway-conformance-")))
            self._folder = folder
            self._desk = await stack.enter_async_context(
                Desk(self._files, host=self._host, told_host=self._told_host)
            )
            self._client = await stack.enter_async_context(self._connection())
            await self._client.subscribe(EVERY_PILE, qos=1)
            for activity in (self._listen(), self._talk()):
                stack.push_async_callback(_cancelled, asyncio.create_task(activity))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def enrolment_url(self) -> str:
        """Where piles enrol."""
        return self._desk.url

    @property
    def ca_path(self) -> Path:
        """Whom a pile must trust to enrol."""
        return self._files.server_ca

    @asynccontextmanager
    async def expecting(
        self, pile_id: str, claim_code: str, *, now_ms: Callable[[], int], host: Wire | None = None
    ) -> AsyncGenerator[Wire]:
        """While entered a pile may enrol and connect, or speak through its host; gives the wire it is heard on."""
        tap = Tap(
            pile_id,
            self._files,
            self._folder,
            host=self._host,
            told_host=self._told_host,
            broker=_address(self._broker.device_url),
        )
        async with tap:
            register = Register(pile_id, claim_code, tap.url, now_ms)
            publish = self._publish if host is None else host.carry
            wire = Wire(pile_id, tap, register, now_ms, publish, self._desk.offer)
            wires = self._wires if host is None else host.children
            wires[pile_id] = wire
            self._desk.register(register)
            try:
                yield wire
            finally:
                self._desk.forget(pile_id)
                del wires[pile_id]

    def fresh_page(self, wire: Wire, *, host: Wire | None = None) -> Wire:
        """The same pile on a wire with an empty record, behind the host's if it has one; the old one hears no more."""
        page = Wire(
            wire.pile_id,
            wire.tap,
            wire.register,
            wire.now_ms,
            self._publish if host is None else host.carry,
            wire.offer,
            counters=wire.counters,
            sealing_epoch=wire.sealing_epoch,
        )
        wires = self._wires if host is None else host.children
        wires[wire.pile_id] = page
        return page

    def _connection(self) -> aiomqtt.Client:
        host, port = _address(self._broker.service_url)
        tls = ssl.create_default_context(cafile=self._files.server_ca)
        tls.load_cert_chain(self._broker.certificate, self._broker.key)
        return aiomqtt.Client(
            host,
            port,
            identifier="conformance",
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=tls,
            max_queued_incoming_messages=HEARD_QUEUE_MAX,
        )

    def _publish(self, frame: Frame) -> None:
        self._outgoing.put_nowait(frame)

    async def _talk(self) -> None:
        while True:
            topic, payload = await self._outgoing.get()
            await self._client.publish(topic, payload, qos=1, timeout=PUBLISH_LIMIT_S)

    async def _listen(self) -> None:
        async for message in self._client.messages:
            topic = str(message.topic)
            try:
                wire = self._wires.get(topics.parse(topic).pile_id)
            except BadTopic:
                continue
            if wire is not None:
                wire.take_in(topic, message.payload)


async def _cancelled(task: "asyncio.Task[None]") -> None:
    """Cancel until it is heard: before Python 3.12 ``wait_for`` swallows a cancellation that meets its result."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None, "a broker URL names its host"
    return parts.hostname, parts.port or 8883
