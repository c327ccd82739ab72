"""Settlements: they add up, they are repeated until acknowledged, and they outlive the power."""

import itertools
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.cases.connection import cut_network
from conformance.pile.subject import Pile
from protocol.messages import HALF_HOUR_S, Heartbeat, MeterFrame, Settlement, SettlementAck
from protocol.words import SessionSource, SettlementResult, StopReason

cases: Final = Catalogue[Pile]()

_SETTLEMENT: Final = clauses.CHARGE.on("Settlement")
_HANDS: Final = (Ability.HANDS,)
_LATE_S: Final = 3.0
_SAMPLES_LIMIT_S: Final = 20.0


def check_consistent(record: Settlement) -> None:
    """Raises Failed where a settlement contradicts itself."""
    check(record.end_register_dwh >= record.start_register_dwh, "the register went back during the session")
    taken_dwh = record.end_register_dwh - record.start_register_dwh
    check_equal("the energy", record.energy_dwh, taken_dwh)
    check_equal("the energies of the slots", sum(row.energy_dwh for row in record.slots), record.energy_dwh)
    check_equal("the seconds of the slots", sum(row.duration_s for row in record.slots), record.duration_s)
    check_equal("the energies of the tiers", sum(row.energy_dwh for row in record.tiers), record.energy_dwh)
    check_equal("the seconds of the tiers", sum(row.duration_s for row in record.tiers), record.duration_s)
    for rows in ([row.slot for row in record.slots], [row.tier for row in record.tiers]):
        check_equal("slots or tiers in ascending order, each once", rows, sorted(set(rows)))
    for row in record.slots:
        check(row.duration_s <= HALF_HOUR_S, f"slot {row.slot} lasts {row.duration_s} s")
    if record.duration_s:
        lasted_s = (record.ended_at_ms - record.started_at_ms) // 1000
        check(
            abs(lasted_s - record.duration_s) <= 1,
            f"{lasted_s} s lie between its ends, not {record.duration_s} s",
        )
        check_equal("the first slot", record.slots[0].slot, record.started_at_ms // (HALF_HOUR_S * 1000))


@cases.case("settlement.adds-up", clause=_SETTLEMENT, kind=Kind.NORMAL, needs=_HANDS, physical_s=4_500)
async def adds_up(pile: Pile) -> None:
    """Registers, energy, half hours, levels of power and seconds of a settlement agree over several half hours."""
    # On a fast clock the usual heartbeats would leave no room for the samples.
    pile.manners.heartbeat_s = 3_600
    await pile.in_service()
    start = await pile.charging(1, Load(450), limit_s=4_000)
    record = await pile.settlement(start, clock_s=4_500)
    check_consistent(record)
    check(len(record.slots) >= 3, f"4000 s touch only {len(record.slots)} half hours")
    check_equal("the duration", record.duration_s, 4_000)
    due_dwh = 450 * 4_000 / 360
    check(
        abs(record.energy_dwh - due_dwh) < 0.03 * due_dwh,
        f"450 W for 4000 s make {record.energy_dwh / 10} Wh",
    )
    check_equal("the source", record.source, SessionSource.APP)
    check_equal("the tariff", record.tariff_version, start.tariff_version)
    await pile.wire.until(
        lambda: sum(len(frame.samples) for frame in pile.wire.all(MeterFrame)) >= record.samples_sent,
        lambda: f"fewer samples came than the {record.samples_sent} the settlement counts",
        within_s=_SAMPLES_LIMIT_S,
    )
    await pile.caught_up()
    rows = sum(len(frame.samples) for frame in pile.wire.all(MeterFrame))
    check_equal("the samples sent", record.samples_sent, rows)


@cases.case("settlement.repeats-until-acked", clause=_SETTLEMENT, kind=Kind.REFUSAL, limit_s=70)
async def repeats_until_acked(pile: Pile) -> None:
    """A settlement that is not acknowledged comes again after 10 s and 30 s, the same, sealed anew."""
    pile.manners.settlement = None
    await pile.in_service()
    start = await pile.accepted()
    await pile.stopped(start)
    await pile.hear(Settlement, nth=3, within_s=40 + 2 * _LATE_S)
    heard = pile.wire.each(Settlement)
    waits = [later.at_s - earlier.at_s for (_, earlier), (_, later) in itertools.pairwise(heard)]
    for waited, wanted in zip(waits, (10.0, 30.0), strict=False):
        check(
            wanted - 1 <= waited <= wanted + _LATE_S,
            f"a repetition came after {waited:.1f} s, not {wanted} s",
        )
    records = [record for record, _ in heard]
    check(all(record == records[0] for record in records), "the repeated settlement has another content")
    counters = {frame.opened.counter for _, frame in heard if frame.opened is not None}
    check_equal("the number of different counters", len(counters), len(heard))


@cases.case("settlement.again-on-a-new-connection", clause=_SETTLEMENT, kind=Kind.OFFLINE)
async def again_on_a_new_connection(pile: Pile) -> None:
    """A settlement without acknowledgement is said at once on each new connection, after the heartbeat."""
    pile.manners.settlement = None
    await pile.in_service()
    start = await pile.accepted()
    first = await pile.stopped(start)
    after = pile.mark
    await cut_network(pile)
    pile.manners.settlement = SettlementResult.STORED
    again, heard = await pile.wire.hear_frame(Settlement, after=after)
    check_equal("the repeated settlement", again, first)
    beat = next(frame for frame in pile.wire.heard[after:] if isinstance(frame.message, Heartbeat))
    check(beat.index < heard.index, "the settlement came before the heartbeat")


@cases.case("settlement.survives-power-cut", clause=_SETTLEMENT, kind=Kind.POWER_FAIL, needs=(Ability.POWER,))
async def survives_power_cut(pile: Pile) -> None:
    """A settlement without acknowledgement survives a power cut and is said again after it, unchanged."""
    pile.manners.settlement = None
    await pile.in_service()
    start = await pile.accepted()
    first = await pile.stopped(start)
    after = pile.mark
    boot = await pile.cut_power()
    check(boot.unsent >= 1, "the boot does not count the settlement as unsent")
    again = await pile.settlement(start, after=after)
    check_equal("the repeated settlement", again, first)


async def _answered(pile: Pile, result: SettlementResult) -> None:
    pile.manners.settlement = result
    await pile.in_service()
    await pile.stopped(await pile.accepted())
    await pile.caught_up()
    after = pile.mark
    await cut_network(pile)
    await pile.hear(Heartbeat, after=after)
    await pile.caught_up()
    check_equal("the settlements said again", pile.wire.all(Settlement, after=after), [])


@cases.case("settlement.stored-is-forgotten", clause=_SETTLEMENT, kind=Kind.NORMAL)
async def stored_is_forgotten(pile: Pile) -> None:
    """A settlement answered stored is not said again."""
    await _answered(pile, SettlementResult.STORED)


@cases.case("settlement.duplicate-is-forgotten", clause=_SETTLEMENT, kind=Kind.NORMAL)
async def duplicate_is_forgotten(pile: Pile) -> None:
    """A settlement answered duplicate is not said again."""
    await _answered(pile, SettlementResult.DUPLICATE)


@cases.case("settlement.unknown-session-is-forgotten", clause=_SETTLEMENT, kind=Kind.NORMAL)
async def unknown_session_is_forgotten(pile: Pile) -> None:
    """A settlement answered unknown_session_kept is not said again."""
    await _answered(pile, SettlementResult.UNKNOWN_SESSION_KEPT)


@cases.case("settlement.rejected-is-not-sent-again", clause=_SETTLEMENT, kind=Kind.REFUSAL)
async def rejected_is_not_sent_again(pile: Pile) -> None:
    """A settlement answered rejected is kept aside and not said again."""
    await _answered(pile, SettlementResult.REJECTED)


@cases.case("settlement.ack-of-another-changes-nothing", clause=_SETTLEMENT, kind=Kind.REFUSAL)
async def ack_of_another_changes_nothing(pile: Pile) -> None:
    """An acknowledgement that names another session does not end a settlement's repetition."""
    pile.manners.settlement = None
    await pile.in_service()
    start = await pile.accepted()
    await pile.stopped(start)
    pile.wire.say(SettlementAck(pile.a_start().session_id, SettlementResult.STORED))
    await pile.caught_up()
    after = pile.mark
    await cut_network(pile)
    await pile.settlement(start, after=after)


@cases.case(
    "settlement.power-loss",
    clause=_SETTLEMENT,
    kind=Kind.POWER_FAIL,
    needs=(Ability.HANDS, Ability.POWER),
    physical_s=400,
)
async def power_loss(pile: Pile) -> None:
    """A session the mains were lost in is settled at the next boot as power_loss, with what is known."""
    pile.manners.sample_s = 30
    await pile.in_service()
    start = await pile.charging(1, Load(600))
    await pile.hear(MeterFrame, nth=4, within_s=pile.physically_s(200))
    known_dwh = pile.wire.all(MeterFrame)[-2].samples[0].energy_dwh
    after = pile.mark
    await pile.cut_power(0.5)
    record = await pile.settlement(start, after=after)
    check_equal("the reason", record.stop_reason, StopReason.POWER_LOSS)
    check_consistent(record)
    check(record.energy_dwh > 0, "nothing is known of the energy taken before the power went")
    lost_dwh = known_dwh - record.energy_dwh
    check(lost_dwh <= 300, f"{lost_dwh / 10} Wh that were metered before are missing in the settlement")
