"""A stage with one pile that somebody has connected from outside, perhaps with others behind it.

Every case is played on it, one after the other.

The pile begins each case with a restart that the platform commands. What it cannot be made to do over the wire a person
at the terminal is asked to do, or the case is skipped.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from conformance.case import Case, Failed, NotPossible
from conformance.pile.attendant import Attendant
from conformance.pile.bench import Ability, Bench, Load, Maker
from conformance.pile.manners import Manners
from conformance.pile.platform import Platform
from conformance.pile.subject import Pile, SubjectClock
from conformance.pile.wire import Wire
from protocol.messages import Boot, CommandAck, Config, ConfigSet, FaultClear, Query, Reboot
from protocol.words import AlarmKind, QueryTopic

TIDY_LIMIT_S: Final = 60.0
RESTART_LIMIT_S: Final = 180.0
"""How long a pile may take to start and connect again."""
REPEAT_S: Final = 5.0
REBOOT_ASKED: Final = 6
ENOUGH_CHILDREN: Final = 2

Claim = tuple[str, str]
"""A pile's id and its claim code."""


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
        """Let the pile begin anew; one whose host has just begun anew may hear of it late."""
        pile = self._pile()
        reboot = Reboot(uuid.uuid4(), True, pile.expiry_ms(REBOOT_ASKED * REPEAT_S))
        for _ in range(REBOOT_ASKED):
            pile.wire.say(reboot)
            with contextlib.suppress(Failed):
                await pile.hear(
                    CommandAck, lambda ack: ack.command_id == reboot.command_id, within_s=REPEAT_S
                )
                return

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


@dataclass
class _Member:
    """A pile of the stage: its wire's newest page, and what it is put back to after each case."""

    wire: Wire
    port_count: int
    config: Config


class OutsideStage:
    """An async context manager; entered it waits for the pile. Raises Failed when none comes within ``wait_s``."""

    def __init__(
        self,
        platform: Platform,
        *,
        claims: Sequence[Claim],
        wait_s: float,
        longest_s: float,
        attendant: Attendant | None,
        tell: Callable[[str], None],
    ) -> None:
        """The first claim is the pile's own, those after it are of the piles behind it."""
        self.at_once = 1
        self._platform = platform
        self._claims = tuple(claims)
        self._wait_s, self._longest_s = wait_s, longest_s
        self._attendant = attendant
        self._tell = tell
        self._clock = SubjectClock(1.0)
        self._members: list[_Member] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            wires: list[Wire] = []
            for pile_id, claim_code in self._claims:
                expecting = self._platform.expecting(
                    pile_id, claim_code, now_ms=self._clock.now_ms, host=wires[0] if wires else None
                )
                wires.append(await stack.enter_async_context(expecting))
            self._invite()
            for wire in wires:
                self._members.append(await self._arrived(wire))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def abilities(self) -> frozenset[str]:
        """With a person at the terminal hands, mains, cards, keypad and radio; children if there are two or more."""
        able: set[Ability] = set()
        if len(self._claims) - 1 >= ENOUGH_CHILDREN:
            able.add(Ability.CHILDREN)
        if self._attendant is not None:
            able |= {Ability.HANDS, Ability.POWER, Ability.CARD, Ability.KEYPAD, Ability.RADIO}
        return frozenset(map(str, able))

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
        host = self._members[0]
        host.wire = self._platform.fresh_page(host.wire)
        for child in self._members[1:]:
            child.wire = self._platform.fresh_page(child.wire, host=host.wire)
        pile = self._on(host, [self._on(child) for child in self._members[1:]])
        try:
            yield pile
        finally:
            for member, subject in zip(self._members, (pile, *pile.children), strict=True):
                await self._tidy(subject, member.config)
        pile.held_to_its_profile()

    def _on(self, member: _Member, children: Sequence[Pile] = ()) -> Pile:
        bench = OutsideBench(lambda: pile, self._attendant)
        pile = Pile(
            member.wire,
            bench,
            self._clock,
            port_count=member.port_count,
            boot_limit_s=RESTART_LIMIT_S,
            children=children,
        )
        return pile

    def _invite(self) -> None:
        named = "".join(
            f"\n  {'pile behind it' if place else 'pile id       '}     {pile_id}\n  claim code         {code}"
            for place, (pile_id, code) in enumerate(self._claims)
        )
        self._tell(
            f"Waiting {self._wait_s:.0f} s for the pile. Let it enrol with\n"
            f"  enrolment address  {self._platform.enrolment_url}\n"
            f"  trusted CA         {self._platform.ca_path}{named}"
        )

    async def _arrived(self, wire: Wire) -> _Member:
        boot = await wire.hear(Boot, within_s=self._wait_s)
        pile = Pile(wire, OutsideBench(lambda: pile, None), self._clock, port_count=boot.port_count)
        await pile.ports_reported(after=0)
        await pile.done(Query(uuid.uuid4(), QueryTopic.CONFIG, pile.expiry_ms()))
        config = await pile.hear(Config)
        self._tell(
            f"{wire.pile_id} is here: {boot.model}, firmware {boot.firmware}, {boot.port_count} ports."
        )
        return _Member(wire, boot.port_count, config)

    async def _tidy(self, pile: Pile, before: Config) -> None:
        """End what a case may have left running, and put the configuration back."""
        wire = pile.wire
        wire.manners = Manners()
        wire.tap.swallow = lambda _said: False
        try:
            async with asyncio.timeout(TIDY_LIMIT_S):
                host = self._members[0].wire
                await host.until(lambda: host.tap.connected, lambda: "gone", within_s=TIDY_LIMIT_S)
                wire.say(wire.manners.boot_ack(self._clock.now_ms()))
                await pile.acknowledged(FaultClear(uuid.uuid4(), pile.expiry_ms()))
                for start in pile.starts:
                    await pile.ask_stop(pile.a_stop(start))
                if any(frame.topic.endswith("/config_set") for frame in wire.said):
                    await self._put_back(pile, before)
        except (Failed, TimeoutError) as error:
            why = error or "it took too long"
            self._tell(f"     {pile.pile_id} could not be put right after the case: {why}")

    async def _put_back(self, pile: Pile, before: Config) -> None:
        command = ConfigSet(uuid.uuid4(), before.version, before.values, pile.expiry_ms())
        pile.wire.say(command)
        await pile.hear(Config, lambda config: config.command_id == command.command_id)


def _beyond(what: str) -> NoReturn:
    raise NotPossible(f"nobody is there to {what}")
