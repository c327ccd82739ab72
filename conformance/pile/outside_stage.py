"""A stage with one pile that somebody has connected from outside: every case is played on it, one after the other.

The pile begins each case with a restart that the platform commands. What it cannot be made to do over the wire a person
at the terminal is asked to do, or the case is skipped.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from conformance.case import Case, Failed, NotPossible
from conformance.pile.attendant import Attendant
from conformance.pile.bench import Ability, Bench, Load, Maker
from conformance.pile.manners import Manners
from conformance.pile.platform import Platform
from conformance.pile.subject import Pile, SubjectClock
from conformance.pile.wire import Wire
from protocol.messages import Boot, Config, ConfigSet, FaultClear, Query, Reboot
from protocol.words import AlarmKind, QueryTopic

TIDY_LIMIT_S: Final = 60.0
RESTART_LIMIT_S: Final = 180.0
"""How long a pile may take to start and connect again."""


class OutsideBench:
    """What can be done to somebody's pile: a restart by command, the rest by hand if there is a person."""

    def __init__(self, pile: Callable[[], Pile], attendant: Attendant | None) -> None:
        self._pile = pile
        self._attendant = attendant
        self.plugged: set[int] = set()

    @property
    def maker(self) -> Maker:
        """Not here: its key stays with the maker."""
        _beyond("sign firmware as the pile's maker")

    @property
    def children(self) -> Sequence[Bench]:
        """The benches of the piles behind it."""
        return [child.bench for child in self._pile().children]

    async def power_on(self) -> None:
        """Let the pile begin anew."""
        pile = self._pile()
        pile.wire.say(Reboot(uuid.uuid4(), True, pile.expiry_ms()))

    async def cut_power(self, for_s: float) -> None:
        """Have the mains taken away and given back."""
        await self._ask(f"cut the pile's mains for {max(2.0, for_s):.0f} s and switch them on again")

    async def jam_radio(self, for_s: float) -> None:
        """Have a pile taken out of its host's reach for a while."""
        await self._ask(f"take it out of its host's reach for {max(2.0, for_s):.0f} s and bring it back")

    async def plug(self, port: int, load: Load) -> None:
        """Have a load plugged in."""
        falls = "" if load.full_after_s is None else f" that is full after about {load.full_after_s:.0f} s"
        await self._ask(f"plug a load of about {load.power_w:.0f} W{falls} into port {port}")
        self.plugged.add(port)

    async def unplug(self, port: int) -> None:
        """Have the plug pulled."""
        await self._ask(f"pull the plug of port {port}")
        self.plugged.discard(port)

    async def inflict(self, kind: AlarmKind, port: int | None = None, value: int | None = None) -> None:
        """Nobody is asked to set fire to a pile."""
        _beyond(f"inflict {kind.name.lower()}, port {port}, value {value}")

    async def relieve(self, kind: AlarmKind, port: int | None = None) -> None:
        """See ``inflict``."""
        _beyond(f"relieve {kind.name.lower()}, port {port}")

    async def swipe(self, port: int, card: str) -> None:
        """Have a card swiped."""
        await self._ask(f"hold the card {card} to the reader of port {port}")

    async def type_code(self, port: int, digits: str) -> None:
        """Have a code typed in."""
        await self._ask(f"type {digits} in for port {port}")

    async def _ask(self, what: str) -> None:
        if self._attendant is None:
            _beyond(what)
        await self._attendant.ask(f"{what} (pile {self._pile().pile_id})")


class OutsideStage:
    """An async context manager; entered it waits for the pile. Raises Failed when none comes within ``wait_s``."""

    def __init__(
        self,
        platform: Platform,
        *,
        pile_id: str,
        claim_code: str,
        wait_s: float,
        longest_s: float,
        attendant: Attendant | None,
        tell: Callable[[str], None],
    ) -> None:
        self.at_once = 1
        self._platform = platform
        self._pile_id, self._claim_code = pile_id, claim_code
        self._wait_s, self._longest_s = wait_s, longest_s
        self._attendant = attendant
        self._tell = tell
        self._clock = SubjectClock(1.0)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._wire = await stack.enter_async_context(
                self._platform.expecting(self._pile_id, self._claim_code, now_ms=self._clock.now_ms)
            )
            self._tell(
                f"Waiting {self._wait_s:.0f} s for the pile. Let it enrol with\n"
                f"  enrolment address  {self._platform.enrolment_url}\n"
                f"  trusted CA         {self._platform.ca_path}\n"
                f"  pile id            {self._pile_id}\n"
                f"  claim code         {self._claim_code}"
            )
            boot = await self._wire.hear(Boot, within_s=self._wait_s)
            self._port_count = boot.port_count
            pile = self._on(self._wire)
            await pile.ports_reported(after=0)
            await pile.done(Query(uuid.uuid4(), QueryTopic.CONFIG, pile.expiry_ms()))
            self._config = await pile.hear(Config)
            self._tell(f"The pile is here: {boot.model}, firmware {boot.firmware}, {boot.port_count} ports.")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def abilities(self) -> frozenset[str]:
        """With a person at the terminal hands, mains, cards and keypad; nothing without."""
        if self._attendant is None:
            return frozenset()
        return frozenset(map(str, (Ability.HANDS, Ability.POWER, Ability.CARD, Ability.KEYPAD)))

    def speed(self, case: Case[Any]) -> float:
        """Real time, for every case."""
        del case
        return 1.0

    @asynccontextmanager
    async def subject(self, case: Case[Any]) -> AsyncGenerator[Pile]:
        """The pile with an empty record, put right again afterwards."""
        if case.physical_s > self._longest_s:
            raise NotPossible(
                f"takes {case.physical_s:.0f} s of real time; more than {self._longest_s:.0f} s"
            )
        self._wire = self._platform.fresh_page(self._wire)
        pile = self._on(self._wire)
        try:
            yield pile
        finally:
            await self._tidy(pile)

    def _on(self, wire: Wire) -> Pile:
        bench = OutsideBench(lambda: pile, self._attendant)
        pile = Pile(wire, bench, self._clock, port_count=self._port_count, boot_limit_s=RESTART_LIMIT_S)
        return pile

    async def _tidy(self, pile: Pile) -> None:
        """End what a case may have left running, and put the configuration back."""
        wire = pile.wire
        wire.manners = Manners()
        wire.tap.swallow = lambda _said: False
        try:
            async with asyncio.timeout(TIDY_LIMIT_S):
                await wire.until(lambda: wire.tap.connected, lambda: "gone", within_s=TIDY_LIMIT_S)
                wire.say(wire.manners.boot_ack(self._clock.now_ms()))
                await pile.acknowledged(FaultClear(uuid.uuid4(), pile.expiry_ms()))
                for start in pile.starts:
                    await pile.ask_stop(pile.a_stop(start))
                if any(frame.topic.endswith("/config_set") for frame in wire.said):
                    await self._put_back(pile)
        except (Failed, TimeoutError) as error:
            self._tell(f"     the pile could not be put right after the case: {error or 'it took too long'}")

    async def _put_back(self, pile: Pile) -> None:
        before = self._config
        command = ConfigSet(uuid.uuid4(), before.version, before.values, pile.expiry_ms())
        pile.wire.say(command)
        await pile.hear(Config, lambda config: config.command_id == command.command_id)


def _beyond(what: str) -> NoReturn:
    raise NotPossible(f"nobody is there to {what}")
