"""The pile a case deals with: its wire, its bench, and the steps most cases begin with."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, TypeVar

from conformance.case import check_equal
from conformance.pile.bench import Bench, Load
from conformance.pile.manners import Manners
from conformance.pile.wire import ANSWER_LIMIT_S, Wire
from protocol.fields import Message
from protocol.messages import (
    Boot,
    CommandAck,
    PortStateChanged,
    RelayUp,
    Settlement,
    Start,
    StartAck,
    Started,
    Stop,
    StopAck,
)
from protocol.words import CommandResult, StartResult, StateCause, StopReason, StopResult

COMMAND_LIFE_S: Final = 30.0
BOOT_LIMIT_S: Final = 20.0
USUAL_LOAD: Final = Load(200.0)
TARIFF_VERSION: Final = 7

M = TypeVar("M", bound=Message)


class SubjectClock:
    """The street's time for one pile: it begins at the real time and runs ``speed`` times as fast."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._began_s, self._began = monotonic(), datetime.now(UTC).timestamp()

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.fromtimestamp(self._began + (monotonic() - self._began_s) * self.speed, UTC)

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return int(self.now().timestamp() * 1000)


class Pile:
    """One pile under test. Unless a method says otherwise, seconds are real ones."""

    def __init__(
        self,
        wire: Wire,
        bench: Bench,
        clock: SubjectClock,
        *,
        port_count: int,
        boot_limit_s: float = BOOT_LIMIT_S,
        children: Sequence["Pile"] = (),
    ) -> None:
        self.wire = wire
        self.bench = bench
        self.clock = clock
        self.port_count = port_count
        self.boot_limit_s = boot_limit_s
        self.children = tuple(children)
        self.starts: list[Start] = []

    @property
    def pile_id(self) -> str:
        """Its name."""
        return self.wire.pile_id

    @property
    def manners(self) -> Manners:
        """What the platform answers it by itself."""
        return self.wire.manners

    @property
    def mark(self) -> int:
        """The place in the record up to now, for ``after``."""
        return len(self.wire.heard)

    def physically_s(self, clock_s: float) -> float:
        """How long to wait, in real seconds, for something that takes so long by the pile's clock."""
        return ANSWER_LIMIT_S + clock_s / self.clock.speed

    def expiry_ms(self, life_s: float = COMMAND_LIFE_S) -> int:
        """A deadline so many real seconds from now, by the pile's clock."""
        return self.clock.now_ms() + round(life_s * 1000 * self.clock.speed)

    async def hear(
        self,
        kind: type[M],
        where: Callable[[M], bool] = lambda _m: True,
        *,
        within_s: float = ANSWER_LIMIT_S,
        after: int = 0,
        nth: int = 1,
    ) -> M:
        """See ``Wire.hear``."""
        return await self.wire.hear(kind, where, within_s=within_s, after=after, nth=nth)

    async def power_up(self) -> Boot:
        """Let a fresh pile start; gives its first boot."""
        after = self.mark
        await self.bench.power_on()
        return await self.hear(Boot, within_s=self.boot_limit_s, after=after)

    async def in_service(self) -> None:
        """Power up, and wait for the report of every port that follows ``boot_ack``."""
        await self.power_up()
        await self.ports_reported(after=0)

    async def ports_reported(self, *, after: int) -> None:
        """Wait until every port was reported once since a boot."""
        for port in range(1, self.port_count + 1):
            await self.hear(
                PortStateChanged,
                lambda state, port=port: state.port == port and state.cause is StateCause.BOOT,
                after=after,
            )

    async def cut_power(self, for_s: float = 0.3) -> Boot:
        """Take the mains away and give them back; gives the first boot after that."""
        after = self.mark
        await self.bench.cut_power(for_s)
        return await self.hear(Boot, within_s=for_s + self.boot_limit_s, after=after)

    def a_start(self, port: int = 1, **terms: Any) -> Start:
        """A start with generous limits; ``terms`` replace any of its fields."""
        fields: dict[str, Any] = {
            "command_id": uuid.uuid4(),
            "session_id": uuid.uuid4(),
            "port": port,
            "limit_s": 36_000,
            "limit_dwh": 100_000,
            "max_power_w": 1_000,
            "stop_when_full": True,
            "float_s": 3_600,
            "plug_wait_s": 3_600,
            "tariff_version": TARIFF_VERSION,
            "expires_at_ms": self.expiry_ms(),
        }
        start = Start(**(fields | terms))
        self.starts.append(start)
        return start

    async def answer_to(self, start: Start) -> StartAck:
        """The pile's answer to a start."""
        return await self.hear(StartAck, lambda ack: ack.command_id == start.command_id)

    async def ask_start(self, start: Start) -> StartAck:
        """Send a start and wait for its answer."""
        self.wire.say(start)
        return await self.answer_to(start)

    async def accepted(self, port: int = 1, **terms: Any) -> Start:
        """A start the pile has accepted."""
        start = self.a_start(port, **terms)
        answer = await self.ask_start(start)
        if answer.result is StartResult.REFUSED:
            check_equal("the cause of a refusal where nothing speaks against a start", answer.cause, None)
            check_equal("the result of a start", answer.result, StartResult.OK)
        return start

    async def charging(self, port: int = 1, load: Load = USUAL_LOAD, **terms: Any) -> Start:
        """A session that draws power."""
        await self.bench.plug(port, load)
        start = await self.accepted(port, **terms)
        await self.hear(
            Started, lambda said: said.session_id == start.session_id, within_s=self.physically_s(60)
        )
        return start

    def a_stop(self, start: Start, **terms: Any) -> Stop:
        """A stop of a session; ``terms`` replace any of its fields."""
        fields: dict[str, Any] = {
            "command_id": uuid.uuid4(),
            "session_id": start.session_id,
            "port": start.port,
            "reason": StopReason.USER_STOP_APP,
            "expires_at_ms": self.expiry_ms(),
        }
        return Stop(**(fields | terms))

    async def ask_stop(self, stop: Stop) -> StopAck:
        """Send a stop and wait for its answer."""
        self.wire.say(stop)
        return await self.hear(StopAck, lambda ack: ack.command_id == stop.command_id)

    async def stopped(self, start: Start) -> Settlement:
        """Stop a session; gives its settlement."""
        answer = await self.ask_stop(self.a_stop(start))
        check_equal("the result of a stop", answer.result, StopResult.STOPPED)
        return await self.settlement(start)

    async def settlement(self, start: Start, *, clock_s: float = 0.0, after: int = 0) -> Settlement:
        """The settlement of a session, which should come within so many seconds of the pile's clock."""
        return await self.hear(
            Settlement,
            lambda record: record.session_id == start.session_id,
            within_s=self.physically_s(clock_s),
            after=after,
        )

    def held_to_its_profile(self) -> None:
        """Raises Failed if it relayed for a pile that is not known to be behind it."""
        known = {child.pile_id for child in self.children}
        strangers = sorted({relay.child for relay in self.wire.all(RelayUp)} - known)
        check_equal("the piles it relays for though they are not behind it", strangers, [])

    async def acknowledged(self, command: Message, *, within_s: float = ANSWER_LIMIT_S) -> CommandAck:
        """Send a command of service and wait for its ``command_ack``."""
        command_id: object = getattr(command, "command_id", None)
        self.wire.say(command)
        return await self.hear(CommandAck, lambda ack: ack.command_id == command_id, within_s=within_s)

    async def done(self, command: Message) -> CommandAck:
        """Send a command of service that must be done."""
        answer = await self.acknowledged(command)
        if answer.cause is not None:
            check_equal(f"the cause of a refused {command.message}", answer.cause, None)
        check_equal(f"the result of {command.message}", answer.result, CommandResult.DONE)
        return answer

    async def caught_up(self) -> None:
        """Wait until the pile has dealt with everything said so far: it answers a stop of a session it never had."""
        stranger = self.a_stop(self.a_start())
        answer = await self.ask_stop(stranger)
        check_equal("the answer to a stop of an unknown session", answer.result, StopResult.SESSION_MISMATCH)
