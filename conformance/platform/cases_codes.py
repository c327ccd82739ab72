"""Charges sold by start code: a pile reads alone what its rider is shown, and what comes of it counts once."""

from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from conformance import clauses
from conformance.case import Catalogue, Failed, Kind, check, check_equal
from conformance.platform import records
from conformance.platform.bench import Capability
from conformance.platform.puppet import Puppet
from conformance.platform.scene import Scene
from protocol import messages, start_code
from protocol.start_code import StartCode
from protocol.words import ClockState, CommandResult, LocalStartResult, SessionSource, SettlementResult

cases: Final = Catalogue[Scene]()

BY_CODE: Final = clauses.LOCAL.on("By code")
SOLD: Final = (Capability.CODES, Capability.PRESENCE, Capability.SESSIONS)
LONGEST_S: Final = 43_200
BUSY_PORT: Final = 2
ANSWERED: Final = (SettlementResult.STORED, SettlementResult.UNKNOWN_SESSION_KEPT)


@dataclass(frozen=True)
class Typed:
    """A code that a rider typed in at a port of a pile without a link, and when."""

    pile: Puppet
    port: int
    code: StartCode
    at_ms: int

    @property
    def session_id(self) -> UUID:
        """The session the code starts."""
        return self.code.session_id

    def told(self, **changes: object) -> messages.LocalStart:
        """What the pile tells of it."""
        told = messages.LocalStart(
            session_id=self.code.session_id,
            source=SessionSource.CODE,
            port=self.port,
            at_ms=self.at_ms,
            register_dwh=self.pile.registers[self.port],
            limit_s=LONGEST_S,
            limit_dwh=self.code.limit_dwh,
            clock=ClockState.SYNCED,
            credential=self.code.digits,
        )
        return replace(told, **changes)  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass

    def record(self, *, energy_dwh: int = records.ENERGY_DWH) -> messages.Settlement:
        """Its settlement."""
        record = records.settlement(
            self.code.session_id,
            port=self.port,
            started_at_ms=self.at_ms,
            start_register_dwh=self.pile.registers[self.port],
            energy_dwh=energy_dwh,
        )
        return records.changed(record, source=SessionSource.CODE)


async def _sold(scene: Scene, pile: Puppet, port: int = 1) -> Typed:
    """A charge sold on a pile that has just lost its link, typed in at once."""
    if pile.wire is not None:
        await pile.vanish()
    await scene.wait_online(pile, False)
    before_ms = pile.now_ms
    digits = await scene.ask(scene.bench.sell_code, pile.pile_id, port)
    code = _read(pile, digits, port, from_ms=before_ms)
    return Typed(pile, port, code, pile.now_ms)


def _read(pile: Puppet, digits: str, port: int, *, from_ms: int) -> StartCode:
    """What the pile makes of a code that was sold since then. Raises Failed for one it would not take.

    A clock that is a thousand times faster leaves a code's windows behind while it is being sold.
    """
    for at_s in range(from_ms // 1000, pile.now_ms // 1000 + start_code.WINDOW_S, start_code.WINDOW_S):
        code = start_code.read(
            pile.secrets[pile.epoch], epoch=pile.epoch, port=port, digits=digits, at_s=at_s
        )
        if code is not None:
            return code
    raise Failed(f"the pile would not take the code {digits!r} at port {port}")


async def _is_back(pile: Puppet) -> None:
    """On a new connection in the same boot, with something to tell."""
    await pile.connect()
    await pile.say(replace(pile.heartbeat_message(), unsent=1))  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass


async def _answer(pile: Puppet, told: messages.LocalStart) -> LocalStartResult:
    await pile.say(told)
    ack = await pile.hear(messages.LocalStartAck, where=lambda ack: ack.session_id == told.session_id)
    return ack.result


async def _expect(pile: Puppet, told: messages.LocalStart, result: LocalStartResult) -> None:
    check_equal("the answer", await _answer(pile, told), result)


@cases.case("code.is-read-by-its-pile", clause=BY_CODE, kind=Kind.OFFLINE, needs=SOLD)
async def is_read_by_its_pile(scene: Scene) -> None:
    """Ten digits, made by the contract's recipe for this pile, this port and now, for some energy."""
    pile = await scene.pile()
    typed = await _sold(scene, pile, port=BUSY_PORT)
    check(typed.code.limit_dwh > 0, "the code is for no energy")
    facts = await scene.facts(typed.session_id)
    check(facts.prepaid_fen > 0 and not facts.failed, f"nobody has paid for the session: {facts}")


@cases.case("code.two-are-never-alike", clause=BY_CODE, kind=Kind.OFFLINE, needs=SOLD)
async def two_are_never_alike(scene: Scene) -> None:
    """Codes for two ports of one pile start two sessions; each settles by itself."""
    pile = await scene.pile()
    first, second = await _sold(scene, pile, port=1), await _sold(scene, pile, port=2)
    check(first.session_id != second.session_id, "both codes start one session")
    await _is_back(pile)
    for typed, energy_dwh in ((second, 120), (first, 210)):
        await _expect(pile, typed.told(), LocalStartResult.ACCEPTED)
        await pile.expect_settled(typed.record(energy_dwh=energy_dwh), SettlementResult.STORED)
        await scene.expect_charged(typed.session_id, energy_dwh=energy_dwh)


@cases.case("code.start-is-taken-once", clause=BY_CODE, kind=Kind.NORMAL, needs=SOLD)
async def start_is_taken_once(scene: Scene) -> None:
    """The start that the pile tells is accepted each time it is told, charges, and is charged for once."""
    typed = await _sold(scene, await scene.pile())
    pile = typed.pile
    await _is_back(pile)
    for _ in range(3):
        await _expect(pile, typed.told(), LocalStartResult.ACCEPTED)
    await scene.wait_charging(typed.session_id)
    await pile.expect_settled(typed.record(), SettlementResult.STORED)
    await scene.expect_charged(typed.session_id, energy_dwh=records.ENERGY_DWH)
    await _expect(pile, typed.told(), LocalStartResult.ACCEPTED)
    await pile.expect_settled(typed.record(), SettlementResult.DUPLICATE)
    await scene.expect_charged(typed.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("code.settlement-may-come-first", clause=clauses.LOCAL, kind=Kind.OFFLINE, needs=SOLD)
async def settlement_may_come_first(scene: Scene) -> None:
    """Readings and the settlement overtake the start; all count, and the start is accepted afterwards."""
    typed = await _sold(scene, await scene.pile())
    pile = typed.pile
    await _is_back(pile)
    await pile.say(
        records.reading(
            typed.session_id,
            port=typed.port,
            sampled_at_ms=typed.at_ms + 20_000,
            elapsed_s=20,
            energy_dwh=40,
        )
    )
    await pile.expect_settled(typed.record(), SettlementResult.STORED)
    await _expect(pile, typed.told(), LocalStartResult.ACCEPTED)
    await scene.expect_charged(typed.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("code.started-may-come-first", clause=clauses.LOCAL, kind=Kind.OFFLINE, needs=SOLD)
async def started_may_come_first(scene: Scene) -> None:
    """`started`, whose command id is the session's, is enough for the platform to see power flow."""
    typed = await _sold(scene, await scene.pile())
    pile = typed.pile
    await _is_back(pile)
    await pile.say(
        messages.Started(
            command_id=typed.session_id,
            session_id=typed.session_id,
            port=typed.port,
            started_at_ms=typed.at_ms,
            register_dwh=pile.registers[typed.port],
            power_dw=6_000,
        )
    )
    await scene.wait_charging(typed.session_id)
    await _expect(pile, typed.told(), LocalStartResult.ACCEPTED)
    await pile.expect_settled(typed.record(), SettlementResult.STORED)
    await scene.expect_charged(typed.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("code.over-a-power-cut", clause=clauses.LOCAL, kind=Kind.POWER_FAIL, needs=SOLD)
async def over_a_power_cut(scene: Scene) -> None:
    """A pile that lost its power in the charge tells start and settlement in its next boot, and both count."""
    typed = await _sold(scene, await scene.pile())
    pile = typed.pile
    await pile.cut_power()
    await pile.connect()
    await pile.boots(unsent=2)
    await pile.expect_settled(typed.record(), SettlementResult.STORED)
    await _expect(pile, typed.told(), LocalStartResult.ACCEPTED)
    await scene.expect_charged(typed.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("code.of-another-pile-is-refused", clause=BY_CODE, kind=Kind.REFUSAL, needs=SOLD)
async def of_another_pile(scene: Scene) -> None:
    """Another pile that tells of the session is refused; the pile it was sold on is accepted after that."""
    typed, other = await _sold(scene, await scene.pile()), await scene.pile()
    await _expect(other, typed.told(), LocalStartResult.REFUSED)
    result = await other.settle(typed.record(energy_dwh=900))
    check(
        result is not SettlementResult.REJECTED,
        "a sound record is rejected, so that its pile never forgets it",
    )
    await _is_back(typed.pile)
    await _expect(typed.pile, typed.told(), LocalStartResult.ACCEPTED)
    await typed.pile.expect_settled(typed.record(), SettlementResult.STORED)
    await scene.expect_charged(typed.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("code.at-another-port-is-refused", clause=BY_CODE, kind=Kind.REFUSAL, needs=SOLD)
async def at_another_port(scene: Scene) -> None:
    """The session of one port told for the next is refused; told for its own it is accepted."""
    typed = await _sold(scene, await scene.pile())
    await _is_back(typed.pile)
    await _expect(typed.pile, typed.told(port=typed.port + 1), LocalStartResult.REFUSED)
    await _expect(typed.pile, typed.told(), LocalStartResult.ACCEPTED)
    await typed.pile.expect_settled(typed.record(), SettlementResult.STORED)
    await scene.expect_charged(typed.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("code.nobody-sold-is-refused", clause=BY_CODE, kind=Kind.REFUSAL, needs=SOLD)
async def nobody_sold(scene: Scene) -> None:
    """A code for more energy than was paid for, made with the pile's own secret, is refused; its record is kept."""
    typed = await _sold(scene, await scene.pile())
    pile = typed.pile
    forged = start_code.make(
        pile.secrets[pile.epoch],
        epoch=pile.epoch,
        port=typed.port,
        limit_dwh=typed.code.limit_dwh + 5_000,
        at_s=typed.at_ms // 1000,
    )
    tampered = replace(typed, code=forged)
    await _is_back(pile)
    for _ in range(2):
        await _expect(pile, tampered.told(), LocalStartResult.REFUSED)
    result = await pile.settle(tampered.record(energy_dwh=900))
    check(result in ANSWERED, f"the settlement is answered {result.word}")
    await _expect(pile, typed.told(), LocalStartResult.ACCEPTED)
    await pile.expect_settled(typed.record(), SettlementResult.STORED)
    await scene.expect_charged(typed.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "code.given-back-is-refused",
    clause=BY_CODE,
    kind=Kind.REFUSAL,
    needs=(*SOLD, Capability.FAST_CLOCK),
)
async def given_back_is_refused(scene: Scene) -> None:
    """A code that expired unused, its money given back, starts nothing any more; its settlement moves no money."""
    typed = await _sold(scene, await scene.pile())
    pile = typed.pile
    await pile.connect()
    async with pile.alive():
        await scene.expect_given_back(typed.session_id)
    before = await scene.facts(typed.session_id)
    await _expect(pile, typed.told(), LocalStartResult.REFUSED)
    result = await pile.settle(typed.record())
    check(result in ANSWERED, f"the settlement is answered {result.word}")
    await pile.fence()
    after = await scene.facts(typed.session_id)
    check_equal(
        "what was charged and given back",
        (after.charged_fen, after.refund_fen),
        (before.charged_fen, before.refund_fen),
    )


@cases.case(
    "code.follows-the-secret-in-use",
    clause=clauses.KEYS.on("Rotation"),
    kind=Kind.OFFLINE,
    needs=(*SOLD, Capability.KEY_ROTATION),
)
async def follows_the_secret(scene: Scene) -> None:
    """A code is made with the newest secret the platform has read a frame under, not with one it only offered."""
    pile = await scene.pile()
    await scene.ask(scene.bench.rotate_key, pile.pile_id)
    offer = await pile.hear(messages.KeyRotate)
    await _sold(scene, pile, port=1)
    await _is_back(pile)
    pile.secrets[offer.epoch] = offer.secret
    pile.epoch = offer.epoch
    await pile.say(
        messages.CommandAck(command_id=offer.command_id, result=CommandResult.DONE, at_ms=pile.now_ms)
    )
    await pile.fence()
    await _sold(scene, pile, port=2)
