"""A pile that says only what it is told, and holds every frame it hears to the contract."""

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from uuid import UUID, uuid4

import cbor2

from conformance.case import Failed, check, check_equal
from conformance.platform import records
from conformance.platform.enrolling import Identity, PrivateKey, key_pem_of
from conformance.platform.hearing import Ear, Heard
from conformance.platform.sealing import Recipe
from conformance.platform.wire import Arrived, Door, NotLetIn, Wire, trust_of
from protocol import codec, messages
from protocol.envelope import Counter
from protocol.fields import Message
from protocol.words import BootReason, ClockState, PortState, SettlementResult, StateCause

ANSWER_LIMIT_S: Final = 20.0
"""How long the platform may take to answer; a gateway that was killed comes back in less."""
GRACE_S: Final = 0.5
"""How long an answer that must not come is waited for, once a later frame has been answered."""

OFFENCE_S: Final = 1.0
"""How long a broker may take to end the connection of a pile that did what it must not."""
HEARTBEAT_S: Final = 4.0
"""Real seconds; the platform gives a pile up after 15 at the earliest, however fast its clock runs."""
BOOT_WAITS_S: Final = (5.0, 15.0)

_M = TypeVar("_M", bound=Message)


class Frame(NamedTuple):
    """What is published: topic and sealed payload."""

    topic: str
    payload: bytes


class Puppet:
    """One enrolled pile. `boot`, `seq` and `connection` may be set; `seal` takes the next sequence number."""

    def __init__(self, identity: Identity, *, port_count: int, speed: float) -> None:
        self.identity = identity
        self.port_count = port_count
        self.boot = 1
        self.seq = 0
        self.connection = 0
        self.secrets = {identity.epoch: identity.secret}
        self.epoch = identity.epoch
        self.wire: Wire | None = None
        self.registers = dict.fromkeys(range(1, port_count + 1), 100_000)
        self._speed = speed
        self._clock: tuple[int, float] | None = None
        self._ear = Ear(identity, hand_on=self._hand_on)
        self._carried: dict[str, Puppet] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-")

    @property
    def pile_id(self) -> str:
        """Its id."""
        return self.identity.pile_id

    @property
    def violations(self) -> list[str]:
        """What was wrong with frames it heard, whatever the case was about."""
        return self._ear.violations

    @property
    def now_ms(self) -> int:
        """The platform's clock as last heard; 0 is 1970, before that."""
        if self._clock is None:
            return 0
        told_ms, heard_s = self._clock
        return told_ms + int((time.monotonic() - heard_s) * 1000 * self._speed)

    @property
    def folder(self) -> Path:
        """Where its files are kept while the case lasts."""
        return Path(self._folder.name)

    def carry(self, child: "Puppet") -> None:
        """Be the host of another pile: what comes for it is handed on."""
        self._carried[child.pile_id] = child

    def topic(self, name: str) -> str:
        """Its own topic of a message up."""
        return f"v1/{self.identity.shard}/{self.pile_id}/up/{name}"

    def next_counter(self) -> Counter:
        """The next Partial IV."""
        self.seq += 1
        return Counter(self.boot, self.seq)

    def recipe(self, name: str) -> Recipe:
        """How the next frame of a message is sealed, to be changed where it shall be wrong."""
        return Recipe(
            secret=self.secrets[self.epoch],
            epoch=self.epoch,
            topic=self.topic(name),
            counter=self.next_counter(),
        )

    def seal(self, message: Message) -> Frame:
        """A frame as it should be."""
        recipe = self.recipe(message.message)
        return Frame(recipe.topic, recipe.seal(codec.encode(message)))

    def reseal(self, recipe: Recipe, *, topic: str, message: Message) -> bytes:
        """A message sealed by a recipe for another topic."""
        return replace(recipe, topic=topic).seal(codec.encode(message))

    async def connect(self) -> None:
        """Connect as the contract says, with the last will of a new connection. Raises Failed."""
        try:
            await self.try_connect()
        except NotLetIn as error:
            raise Failed(f"the broker does not let the pile in: {error}") from error
        check(await self.subscribe(), "the broker does not let the pile read its own topics")

    async def subscribe(self) -> bool:
        """Subscribe to its own topics down; whether the broker granted it."""
        return await self.live.subscribe(f"v1/{self.identity.shard}/{self.pile_id}/down/+")

    async def try_connect(self) -> None:
        """Connect without subscribing. Raises NotLetIn."""
        await self.leave()
        self.connection += 1
        will = self.seal(messages.Gone(connection=self.connection))
        self.wire = Wire(self._door(), self._arrived)
        await self.wire.open(will=will)

    async def wire_as(self, client_id: str) -> Wire:
        """Another connection with its certificate, under any client id. Raises Failed."""
        wire = Wire(replace(self._door(), client_id=client_id), self._arrived)
        try:
            await wire.open()
        except NotLetIn as error:
            raise Failed(f"the broker does not take the client id from the certificate: {error}") from error
        return wire

    @property
    def live(self) -> Wire:
        """Its connection. Raises Failed when it has none."""
        if self.wire is None:
            raise Failed("the pile is not connected")
        return self.wire

    async def leave(self) -> None:
        """Disconnect in good order."""
        if self.wire is not None:
            wire, self.wire = self.wire, None
            await wire.close()

    async def vanish(self) -> None:
        """Lose the link; the broker publishes the will."""
        wire, self.wire = self.live, None
        wire.vanish()
        await wire.wait_lost()
        await wire.close()

    async def close(self) -> None:
        """Leave, and forget everything."""
        await self.leave()
        self._folder.cleanup()

    async def publish(self, frame: Frame, *, retain: bool = False) -> bool:
        """Publish bytes as they are; whether the broker took them."""
        return await self.live.publish(frame.topic, frame.payload, retain=retain)

    async def say(self, message: Message) -> Frame:
        """Seal and publish a message. Raises Failed when the broker does not take it."""
        frame = self.seal(message)
        check(await self.publish(frame), f"the broker does not take {message.message}")
        return frame

    async def say_body(self, name: str, body: bytes) -> None:
        """Seal and publish any bytes under a message's name."""
        recipe = self.recipe(name)
        check(await self.publish(Frame(recipe.topic, recipe.seal(body))), f"the broker does not take {name}")

    async def say_map(self, name: str, body: Mapping[int, object]) -> None:
        """The same with a map that no declaration has checked."""
        await self.say_body(name, cbor2.dumps(dict(body), canonical=True))

    async def hear(
        self, kind: type[_M], *, where: Callable[[_M], bool] | None = None, within_s: float = ANSWER_LIMIT_S
    ) -> _M:
        """The next message of a kind that was not heard yet. Raises Failed."""
        return (await self.hear_frame(kind, where=where, within_s=within_s)).of(kind)

    async def hear_frame(
        self, kind: type[_M], *, where: Callable[[_M], bool] | None = None, within_s: float = ANSWER_LIMIT_S
    ) -> Heard:
        """The same with its epoch and counter."""
        heard = await self._ear.next(kind, where=where, within_s=within_s)
        if isinstance(heard.message, messages.BootAck | messages.Time):
            self._clock = (heard.message.time_ms, heard.at_s)
        return heard

    async def hears_no(
        self, kind: type[_M], *, where: Callable[[_M], bool] | None = None, for_s: float = GRACE_S
    ) -> None:
        """Raises Failed when such a message comes, or lies there unheard. Say `fence` before."""
        await asyncio.sleep(for_s)
        unwanted = self._ear.waiting(kind, where=where)
        check(not unwanted, f"{kind.message} came that must not come: {len(unwanted)} of them")

    def waiting(self, kind: type[_M], *, where: Callable[[_M], bool] | None = None) -> list[Heard]:
        """Messages of a kind that came and were not asked for yet, oldest first."""
        return self._ear.waiting(kind, where=where)

    @property
    def unheard(self) -> list[str]:
        """Names of all messages that came and were not asked for yet."""
        return self._ear.names

    def forget_heard(self) -> None:
        """What has come so far is of no interest."""
        self._ear.clear()

    @property
    def last_counters(self) -> dict[int, Counter]:
        """The highest counter heard, by epoch."""
        return self._ear.newest

    async def boots(self, **changes: object) -> messages.BootAck:
        """Say boot and hear its answer; the boot is said again after 5 s, as section 8 says. Raises Failed."""
        last = Failed("no boot was said")
        for wait_s in BOOT_WAITS_S:
            await self.say(self.boot_message(**changes))
            try:
                return await self.hear(messages.BootAck, within_s=wait_s)
            except Failed as why:
                last = why
        raise last

    async def comes_into_service(self) -> None:
        """Connect, boot, tell every port and the first heartbeat, as section 8 says."""
        await self.connect()
        await self.boots()
        for port in range(1, self.port_count + 1):
            await self.say(self.port_message(port, PortState.IDLE, cause=StateCause.BOOT))
        await self.say(self.heartbeat_message())

    async def is_back(self) -> None:
        """The broker may end the connection for what was just done: wait a moment, and connect again if it does."""
        if await self.live.wait_lost(within_s=OFFENCE_S):
            await self.connect()
            await self.say(self.heartbeat_message())

    async def cut_power(self) -> None:
        """Lose everything but what the contract says survives, without a word."""
        if self.wire is not None:
            await self.vanish()
        self.boot += 1
        self.seq = self.connection = 0

    @asynccontextmanager
    async def alive(self) -> AsyncGenerator[None]:
        """Say a heartbeat every few seconds while the block runs, so that silence does not take the pile offline."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def fence(self) -> messages.Time:
        """Until everything said before has been read: ask for the time, and hear it."""
        await self.say(messages.TimeRequest(at_ms=self.now_ms))
        return await self.hear(messages.Time)

    async def settle(self, settlement: messages.Settlement) -> SettlementResult:
        """Say a settlement once and hear what became of it."""
        await self.say(settlement)
        return await self.settled(settlement.session_id)

    async def settled(self, session_id: UUID, *, within_s: float = ANSWER_LIMIT_S) -> SettlementResult:
        """What became of a settlement that was said."""
        ack = await self.hear(
            messages.SettlementAck, where=lambda ack: ack.session_id == session_id, within_s=within_s
        )
        return ack.result

    async def expect_settled(self, settlement: messages.Settlement, result: SettlementResult) -> None:
        """Say a settlement; raises Failed for another answer."""
        check_equal("the answer to the settlement", await self.settle(settlement), result)

    def stray_settlement(self) -> messages.Settlement:
        """The record of a session nobody sold: answered, kept, and harmless."""
        return records.settlement(
            uuid4(), port=1, started_at_ms=self.now_ms, start_register_dwh=self.registers[1]
        )

    def boot_message(self, **changes: object) -> messages.Boot:
        """What it says when it comes up."""
        values: dict[str, object] = {
            "at_ms": self.now_ms,
            "connection": self.connection,
            "reason": BootReason.POWER,
            "model": f"KIT-{self.port_count}",
            "hardware": "A",
            "firmware": "1.0.0",
            "protocol": messages.PROTOCOL_VERSION,
            "port_count": self.port_count,
            "signal_dbm": -71,
            "unsent": 0,
            "clock": ClockState.NONE if self._clock is None else ClockState.SYNCED,
        }
        return messages.Boot(**(values | changes))  # pyright: ignore[reportArgumentType]  # fields by name

    def heartbeat_message(self, *, connection: int | None = None) -> messages.Heartbeat:
        """A heartbeat with every port idle."""
        return messages.Heartbeat(
            sampled_at_ms=self.now_ms,
            connection=self.connection if connection is None else connection,
            signal_dbm=-71,
            board_temperature_dc=310,
            mains_dv=2_260,
            power_dw=0,
            energy_wh=sum(self.registers.values()) // 10,
            leakage_ma=0,
            unsent=0,
            ports=tuple(
                messages.PortReport(port, PortState.IDLE, 0) for port in range(1, self.port_count + 1)
            ),
        )

    def port_message(
        self,
        port: int,
        state: PortState,
        *,
        cause: StateCause,
        previous: PortState = PortState.IDLE,
        session_id: UUID | None = None,
    ) -> messages.PortStateChanged:
        """A port's change."""
        return messages.PortStateChanged(
            at_ms=self.now_ms,
            port=port,
            state=state,
            previous=previous,
            plugged=state not in (PortState.IDLE, PortState.DISABLED),
            power_dw=0,
            cause=cause,
            session_id=session_id,
        )

    async def _beat(self) -> None:
        while True:
            await self.say(self.heartbeat_message())
            await asyncio.sleep(HEARTBEAT_S)

    def _arrived(self, arrived: Arrived) -> None:
        self._ear.hear(arrived, self.secrets)

    def _hand_on(self, relayed: messages.RelayDown) -> None:
        child = self._carried.get(relayed.child)
        if child is None:
            self.violations.append(f"a frame came for {relayed.child}, which is not behind this pile")
            return
        topic = child.topic(relayed.name).replace("/up/", "/down/")
        child._arrived(Arrived(topic, relayed.frame, retained=False, again=False))

    def files(self) -> tuple[str, str]:
        """Paths of its certificate and key."""
        certificate, key = self.folder / "certificate.pem", self.folder / "key.pem"
        certificate.write_text(self.identity.certificate_chain_pem)
        key.touch(mode=0o600)
        key.write_bytes(self.identity.key_pem)
        return str(certificate), str(key)

    def use_certificate(self, chain_pem: str, key: PrivateKey) -> None:
        """Connect with this one from now on."""
        self.identity = replace(self.identity, certificate_chain_pem=chain_pem, key_pem=key_pem_of(key))

    def _door(self) -> Door:
        certificate, key = self.files()
        trust = trust_of(self.identity.broker_ca_pem, certificate_path=certificate, key_path=key)
        return Door(self.identity.broker_host, self.identity.broker_port, trust, self.pile_id)
