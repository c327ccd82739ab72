"""Metering: rhythm, rows, energy that grows, and frames kept while offline."""

import itertools
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.cases.connection import cut_network
from conformance.pile.subject import Pile
from protocol.messages import MeterFrame, PortStateChanged, StopAck
from protocol.words import ClockState, StateCause

cases: Final = Catalogue[Pile]()

_METERING: Final = clauses.CHARGE.on("Metering")
_HANDS: Final = (Ability.HANDS,)
_SAMPLE_S: Final = 10
_W_PER_DWH_S: Final = 360.0


@cases.case("meter.one-frame-for-all-ports", clause=_METERING, kind=Kind.NORMAL, needs=_HANDS, physical_s=120)
async def one_frame_for_all_ports(pile: Pile) -> None:
    """Every sample_s one frame tells all ports whose session draws power, and no other port."""
    pile.manners.sample_s = _SAMPLE_S
    await pile.in_service()
    await pile.bench.plug(9, Load(100))
    sessions = {(await pile.charging(port)).session_id: port for port in (2, 5)}
    await pile.accepted(7)
    began_ms = pile.clock.now_ms()

    def begun(frame: MeterFrame) -> bool:
        """Sampled when all sessions ran; what was sampled before may come late."""
        return frame.sampled_at_ms > began_ms

    await pile.hear(MeterFrame, begun, nth=5, within_s=pile.physically_s(80))
    frames = pile.wire.all(MeterFrame, begun)
    for frame in frames:
        check_equal(
            "session and port of each row", {row.session_id: row.port for row in frame.samples}, sessions
        )
        check_equal("what the clock rests on", frame.clock, ClockState.SYNCED)
    gaps = [(later.sampled_at_ms - frame.sampled_at_ms) / 1000 for frame, later in itertools.pairwise(frames)]
    for gap in gaps:
        check(_SAMPLE_S - 1 <= gap <= _SAMPLE_S + 1, f"{gap:.1f} s between two frames, not {_SAMPLE_S} s")


@cases.case(
    "meter.rows-fit-the-load", clause=clauses.MESSAGES, kind=Kind.NORMAL, needs=_HANDS, physical_s=400
)
async def rows_fit_the_load(pile: Pile) -> None:
    """Voltage, current, power, energy and time of a row agree with each other and with the load."""
    pile.manners.sample_s = 60
    await pile.in_service()
    start = await pile.charging(1, Load(500))
    await pile.hear(MeterFrame, nth=5, within_s=pile.physically_s(400))
    rows = [row for frame in pile.wire.all(MeterFrame) for row in frame.samples]
    check_equal("the sessions", {row.session_id for row in rows}, {start.session_id})
    energies = [row.energy_dwh for row in rows]
    check_equal("the energies in order", energies, sorted(energies))
    for row in rows[1:]:
        check(4_500 <= row.power_dw <= 5_500, f"a load of 500 W is metered as {row.power_dw / 10} W")
        check(row.power_min_dw <= row.power_mean_dw <= row.power_max_dw, "minimum, mean and maximum disagree")
        apparent_w = row.voltage_dv / 10 * row.current_ma / 1000 * row.power_factor_milli / 1000
        check(
            abs(apparent_w - row.power_dw / 10) < 25,
            "voltage, current and power factor do not make the power",
        )
        due_dwh = 500 * row.elapsed_s / _W_PER_DWH_S
        check(
            abs(row.energy_dwh - due_dwh) <= 0.1 * due_dwh + 30,
            f"{row.energy_dwh} after {row.elapsed_s} s at 500 W",
        )


@cases.case("meter.no-instant-twice", clause=_METERING, kind=Kind.NORMAL, needs=_HANDS, physical_s=120)
async def no_instant_twice(pile: Pile) -> None:
    """No two meter frames of a pile share an instant, though sessions begin and end and the rhythm changes."""
    pile.manners.sample_s = _SAMPLE_S
    await pile.in_service()
    first = await pile.charging(1)
    await pile.hear(MeterFrame, nth=2, within_s=pile.physically_s(60))
    await pile.charging(2)
    pile.wire.say(pile.manners.boot_ack(pile.clock.now_ms()))
    await pile.stopped(first)
    await pile.hear(MeterFrame, nth=6, within_s=pile.physically_s(80))
    instants = [frame.sampled_at_ms for frame in pile.wire.all(MeterFrame)]
    check_equal("the number of different instants", len(set(instants)), len(instants))


@cases.case(
    "meter.offline-frames-come-later", clause=_METERING, kind=Kind.OFFLINE, needs=_HANDS, physical_s=300
)
async def offline_frames_come_later(pile: Pile) -> None:
    """Frames made while offline are kept and come later, oldest first, with their original instants and no gap.

    Frames that the broker had taken shortly before may come again, and a frame of now before those that were kept.
    """
    pile.manners.sample_s = _SAMPLE_S
    await pile.in_service()
    await pile.charging()
    await pile.hear(MeterFrame, nth=2, within_s=pile.physically_s(30))
    left_ms = pile.clock.now_ms()
    await cut_network(pile, 2.0)
    back_ms = pile.clock.now_ms()
    await pile.hear(MeterFrame, lambda frame: frame.sampled_at_ms > back_ms, within_s=pile.physically_s(60))

    def instants() -> list[int]:
        """In order of arrival, each once."""
        return list(dict.fromkeys(frame.sampled_at_ms for frame in pile.wire.all(MeterFrame)))

    def longest_gap_ms() -> int:
        return max(later - earlier for earlier, later in itertools.pairwise(sorted(instants())))

    await pile.wire.until(
        lambda: longest_gap_ms() <= (_SAMPLE_S + 1) * 1000,
        lambda: f"{longest_gap_ms() / 1000:.0f} s are missing between two frames",
    )
    offline = [instant for instant in instants() if left_ms < instant < back_ms]
    check_equal("the offline instants in order of arrival", offline, sorted(offline))
    check(len(offline) >= 2, f"only {len(offline)} frames of the time offline came later")


@cases.case("meter.urgent-things-first", clause=_METERING, kind=Kind.OFFLINE, needs=_HANDS, physical_s=4_000)
async def urgent_things_first(pile: Pile) -> None:
    """After an outage, changes of state and answers go before the samples that piled up."""
    pile.manners.sample_s = 1
    await pile.in_service()
    await pile.charging()
    after = pile.mark
    pile.wire.tap.cut(1.5)
    await pile.bench.plug(6, Load(100))
    pile.wire.say(pile.a_stop(pile.a_start()))
    await pile.hear(StopAck, after=after, within_s=20)
    heard = [frame.message for frame in pile.wire.heard[after:]]
    plugged = next(
        place
        for place, message in enumerate(heard)
        if isinstance(message, PortStateChanged) and message.cause is StateCause.PLUG
    )
    frames = sum(isinstance(message, MeterFrame) for message in heard[:plugged])
    check(frames < 20, f"{frames} samples went before a change of state")
