"""What a case works with: as many piles as it wants, charges on them, and the platform's word on those."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import UUID

import httpx

from conformance.case import Case, Failed, check, check_equal
from conformance.platform import enrolling, records
from conformance.platform.bench import Claim, OrderRefused, PlatformBench, SessionFacts
from conformance.platform.carried import CarriedPuppet
from conformance.platform.enrolling import EnrolmentDesk
from conformance.platform.puppet import ANSWER_LIMIT_S, Puppet
from conformance.platform.wire import NotLetIn, Wire
from protocol import messages
from protocol.words import PortState, StartCause, StartResult, StateCause

AT_ONCE: Final = 12
POLL_S: Final = 0.1
OK: Final = 200

T = TypeVar("T")


@dataclass
class Charge:
    """A paid charge: the start the pile was given, and the register it began at (0.1 Wh)."""

    pile: Puppet
    start: messages.Start
    register_dwh: int
    started_at_ms: int = 0

    @property
    def session_id(self) -> UUID:
        """The session, as the start named it."""
        return self.start.session_id

    @property
    def port(self) -> int:
        """The port, as the start named it."""
        return self.start.port

    async def answer(self, result: StartResult, cause: StartCause | None = None) -> None:
        """Say `start_ack`."""
        await self.pile.say(
            messages.StartAck(
                command_id=self.start.command_id,
                session_id=self.session_id,
                port=self.port,
                result=result,
                at_ms=self.pile.now_ms,
                register_dwh=self.register_dwh,
                cause=cause,
            )
        )

    async def draw_power(self) -> None:
        """Say `started`, and that the port charges."""
        self.started_at_ms = self.pile.now_ms
        await self.pile.say(
            messages.Started(
                command_id=self.start.command_id,
                session_id=self.session_id,
                port=self.port,
                started_at_ms=self.started_at_ms,
                register_dwh=self.register_dwh,
                power_dw=6_000,
            )
        )
        await self.pile.say(
            self.pile.port_message(
                self.port,
                PortState.CHARGING,
                previous=PortState.STARTING,
                cause=StateCause.LOAD,
                session_id=self.session_id,
            )
        )

    async def begin(self) -> None:
        """Accept the start, and draw power."""
        await self.answer(StartResult.OK)
        await self.draw_power()

    def record(
        self, *, energy_dwh: int = records.ENERGY_DWH, duration_s: int = records.DURATION_S
    ) -> messages.Settlement:
        """Its settlement."""
        return records.settlement(
            self.session_id,
            port=self.port,
            started_at_ms=self.started_at_ms or self.pile.now_ms,
            start_register_dwh=self.register_dwh,
            energy_dwh=energy_dwh,
            duration_s=duration_s,
            tariff_version=self.start.tariff_version,
        )

    def reading(self, *, after_s: int, energy_dwh: int) -> messages.MeterFrame:
        """A reading so many seconds after power began to flow."""
        return records.reading(
            self.session_id,
            port=self.port,
            sampled_at_ms=self.started_at_ms + after_s * 1000,
            elapsed_s=after_s,
            energy_dwh=energy_dwh,
        )


class Scene:
    """One case's piles; all are put away when it ends."""

    def __init__(self, bench: PlatformBench, desk: EnrolmentDesk) -> None:
        self.bench = bench
        self.desk = desk
        self._piles: list[Puppet] = []
        self._wires: list[Wire] = []

    async def ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """Ask the bench without holding up other cases."""
        return await asyncio.to_thread(question, *arguments)

    async def claim(self) -> Claim:
        """A pile that nobody has enrolled."""
        return await self.ask(self.bench.new_pile)

    async def enrol(self, claim: Claim, *, key: enrolling.PrivateKey | None = None, boot: int = 1) -> Puppet:
        """Enrol a pile in good order. Raises Failed."""
        identity = await self._identity(claim, key or enrolling.new_key())
        pile = Puppet(identity, port_count=claim.port_count, speed=self.bench.speed)
        pile.boot = boot
        self._piles.append(pile)
        return pile

    async def pile(self) -> Puppet:
        """A pile in service."""
        pile = await self.enrol(await self.claim())
        await pile.comes_into_service()
        return pile

    async def child(self, host: Puppet) -> CarriedPuppet:
        """A pile behind a host, enrolled and not booted."""
        claim = await self.ask(self.bench.new_child, host.pile_id)
        identity = await self._identity(claim, enrolling.new_key())
        child = CarriedPuppet(identity, host=host, port_count=claim.port_count, speed=self.bench.speed)
        self._piles.append(child)
        return child

    async def family(self, children: int = 1) -> tuple[Puppet, list[CarriedPuppet]]:
        """A host and piles behind it, all in service."""
        host = await self.pile()
        behind = [await self.child(host) for _ in range(children)]
        for child in behind:
            await child.comes_into_service()
        return host, behind

    async def order(self, pile: Puppet, port: int = 1) -> Charge:
        """A paid charge whose start has reached the pile, unanswered."""
        session_id = await self.ask(self.bench.order, pile.pile_id, port)
        start = await pile.hear(
            messages.Start, where=lambda start: session_id is None or start.session_id == session_id
        )
        return Charge(pile, start, pile.registers[port])

    async def expect_no_order(self, pile: Puppet, port: int) -> None:
        """The platform takes no order for a port. Raises Failed."""
        try:
            await self.ask(self.bench.order, pile.pile_id, port)
        except OrderRefused:
            return
        raise Failed(f"an order for port {port} was taken")

    async def charge(self, pile: Puppet | None = None, port: int = 1) -> Charge:
        """A charge that draws power."""
        charge = await self.order(pile or await self.pile(), port)
        await charge.begin()
        return charge

    async def facts(self, session_id: UUID) -> SessionFacts:
        """What the platform says of a charge now."""
        return await self.ask(self.bench.session, session_id)

    async def wait_facts(
        self,
        session_id: UUID,
        holds: Callable[[SessionFacts], bool],
        what: str,
        *,
        within_s: float = ANSWER_LIMIT_S,
    ) -> SessionFacts:
        """Until the platform says something of a charge. Raises Failed."""
        facts = await self.facts(session_id)
        deadline_s = time.monotonic() + within_s
        while not holds(facts):
            if time.monotonic() > deadline_s:
                raise Failed(f"the charge is not {what} within {within_s:.0f} s, but {facts}")
            await asyncio.sleep(POLL_S)
            facts = await self.facts(session_id)
        return facts

    async def wait_over(self, session_id: UUID, *, within_s: float = ANSWER_LIMIT_S) -> SessionFacts:
        """Until a charge is over."""
        return await self.wait_facts(session_id, lambda facts: facts.over, "over", within_s=within_s)

    async def wait_charging(self, session_id: UUID) -> SessionFacts:
        """Until the platform has seen power flow."""
        return await self.wait_facts(session_id, lambda facts: facts.charging, "charging")

    async def expect_charged(self, session_id: UUID, *, energy_dwh: int) -> SessionFacts:
        """The charge ends with exactly this energy, and every fen paid is charged or given back."""
        facts = await self.wait_over(session_id)
        check(not facts.failed, f"the charge counts as failed: {facts}")
        check_equal("the energy charged for", facts.energy_dwh, energy_dwh)
        check(
            facts.charged_fen is not None
            and facts.charged_fen + (facts.refund_fen or 0) == facts.prepaid_fen,
            f"what was charged and given back is not what was paid: {facts}",
        )
        return facts

    async def expect_given_back(self, session_id: UUID, *, within_s: float = ANSWER_LIMIT_S) -> None:
        """The charge fails, and everything paid goes back."""
        facts = await self.wait_over(session_id, within_s=within_s)
        check(facts.failed, f"the charge does not count as failed: {facts}")
        check_equal("what was given back", facts.refund_fen, facts.prepaid_fen)

    async def wait_online(self, pile: Puppet, wanted: bool, *, within_s: float = ANSWER_LIMIT_S) -> None:
        """Until the platform holds a pile to be online, or offline. Raises Failed."""
        deadline_s = time.monotonic() + within_s
        while await self.ask(self.bench.online, pile.pile_id) is not wanted:
            if time.monotonic() > deadline_s:
                raise Failed(f"the pile is not {'online' if wanted else 'offline'} within {within_s:.0f} s")
            await asyncio.sleep(POLL_S)

    async def connect_as(self, pile: Puppet, *, client_id: str) -> Wire:
        """Another connection with a pile's certificate that says another client id. Raises Failed."""
        wire = await pile.wire_as(client_id)
        self._wires.append(wire)
        return wire

    async def until_let_in(self, pile: Puppet, *, within_s: float = ANSWER_LIMIT_S) -> None:
        """Connect as soon as the broker lets the pile in again. Raises Failed."""
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                await pile.try_connect()
                if await pile.subscribe():
                    return
            except NotLetIn as error:
                why = str(error)
            else:
                why = "the connection is ended at once"
            if time.monotonic() > deadline_s:
                raise Failed(f"the pile is not let in again within {within_s:.0f} s: {why}")
            await asyncio.sleep(POLL_S * 5)

    async def renew(self, pile: Puppet | None, csr_pem: str) -> httpx.Response:
        """Ask for the next certificate with a pile's present one, or with none."""
        files = pile.files() if pile is not None else None
        return await self.ask(self.desk.renew, files, csr_pem)

    async def _identity(self, claim: Claim, key: enrolling.PrivateKey) -> enrolling.Identity:
        csr = enrolling.request_pem(claim.pile_id, key=key)
        answer = await self.ask(self.desk.ask, claim.pile_id, claim.code, csr)
        check_equal("the status of a good enrolment", answer.status_code, OK)
        try:
            return enrolling.identity_of(claim.pile_id, answer, key)
        except (KeyError, ValueError, TypeError) as error:
            raise Failed(f"the answer to an enrolment cannot be used: {error!r}") from error

    async def put_away(self) -> None:
        """Close every pile. Raises Failed when one heard what breaks the contract."""
        for wire in self._wires:
            await wire.close()
        for pile in self._piles:
            await pile.close()
        wrong = [f"{pile.pile_id}: {told}" for pile in self._piles for told in pile.violations]
        check(not wrong, "; ".join(wrong[:3]))


class PlatformStage:
    """Plays cases against one platform, several at once."""

    def __init__(self, bench: PlatformBench, *, at_once: int = AT_ONCE) -> None:
        self._bench = bench
        self._at_once = at_once

    @property
    def abilities(self) -> frozenset[str]:
        """What the bench can do, by the words of `Capability`."""
        return frozenset(self._bench.capabilities)

    @property
    def at_once(self) -> int:
        """How many cases may be played at the same time."""
        return self._at_once

    def speed(self, case: Case[Any]) -> float:
        """The platform's clock is one for all cases."""
        del case
        return self._bench.speed

    @asynccontextmanager
    async def subject(self, case: Case[Any]) -> AsyncGenerator[Scene]:
        """A scene for one case."""
        del case
        desk = EnrolmentDesk(self._bench.enrolment_url, ca_pem=self._bench.enrolment_ca_pem)
        scene = Scene(self._bench, desk)
        try:
            yield scene
        finally:
            try:
                await scene.put_away()
            finally:
                desk.close()
