"""A rider at a pile that nobody reaches: codes and cards, once each, within limits, told afterwards."""

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from device_sim.battery import PACKS, Battery
from device_sim.local_starts import Hint, LocalStarts, Served
from device_sim.safety import Safety
from protocol import start_code
from protocol.messages import LocalStart, LocalStartAck, SettlementAck, TariffBand, TariffSet
from protocol.words import (
    AlarmKind,
    ClockState,
    LocalStartResult,
    SessionSource,
    SettlementResult,
    StartCause,
    StopReason,
    TariffFee,
    TariffUnit,
)

if TYPE_CHECKING:
    from tests.unit.device_sim.conftest import Bench

SECRET = bytes(32)
SMALL = Battery(PACKS[1], 0.8, seed=3)


def code_for(
    bench: "Bench", port: int = 1, *, limit_dwh: int = 3_000, ago_s: int = 0
) -> start_code.StartCode:
    at_s = bench.pile.device_ms(bench.now_ms) // 1000 - ago_s
    return start_code.make(SECRET, epoch=1, port=port, limit_dwh=limit_dwh, at_s=at_s)


def type_code(bench: "Bench", digits: str, port: int = 1) -> Served:
    served = bench.pile.part(LocalStarts).type_code(port, digits)
    bench.listen()
    return served


def swipe(bench: "Bench", card: str = "6217-001", port: int = 1) -> Served:
    served = bench.pile.part(LocalStarts).swipe_card(port, card)
    bench.listen()
    return served


def told(bench: "Bench", session_id: UUID | None) -> LocalStart:
    assert session_id is not None
    record = bench.pile.records.untold("local_start", session_id)
    assert isinstance(record, LocalStart)
    return record


def offline(bench: "Bench", **rules: int) -> None:
    """No link, and these settings."""
    bench.pile.adopt(bench.pile.thresholds.with_settings(rules))
    bench.pile.link_changed(False, now_ms=bench.now_ms)


def test_a_code_starts_the_session_it_stands_for_and_takes_its_energy(bench: "Bench") -> None:
    offline(bench)
    code = code_for(bench, limit_dwh=1_000)
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    assert type_code(bench, code.digits) == Served(code.session_id)
    record = told(bench, code.session_id)
    assert (record.source, record.limit_dwh, record.credential) == (SessionSource.CODE, 1_000, None)
    bench.wait(7_200)
    [settlement] = bench.settlements()
    assert (settlement.session_id, settlement.source) == (code.session_id, SessionSource.CODE)
    assert settlement.stop_reason is StopReason.PRESET_ENERGY
    assert 1_000 <= settlement.energy_dwh <= 1_001


def test_a_code_is_taken_once_even_after_a_power_cut(bench: "Bench") -> None:
    code = code_for(bench)
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    type_code(bench, code.digits)
    assert type_code(bench, code.digits).hint is Hint.USED_CODE
    bench.wait(60)
    bench.power_up()
    assert type_code(bench, code.digits).hint is Hint.USED_CODE
    assert len(bench.settlements()) == 1


@pytest.mark.parametrize(("ago_s", "taken"), [(0, True), (1_200, True), (1_800, False), (-600, True)])
def test_a_code_is_good_for_its_window_and_its_neighbours(bench: "Bench", ago_s: int, taken: bool) -> None:
    code = code_for(bench, ago_s=ago_s)
    served = type_code(bench, code.digits)
    assert served.hint is (None if taken else Hint.WRONG_CODE)


def test_a_code_made_under_the_secret_before_a_rotation_is_still_taken(bench: "Bench") -> None:
    before, after = code_for(bench, 1).digits, bytes(range(32))
    epoch = bench.pile.keys.epoch
    bench.pile.keys.take(epoch + 1, after)
    assert type_code(bench, before, port=1).session_id is not None
    bench.pile.keys.heard_under(epoch + 1)
    assert type_code(bench, before, port=1).hint is Hint.WRONG_CODE


def test_a_code_of_another_port_is_wrong(bench: "Bench") -> None:
    assert type_code(bench, code_for(bench, 2).digits, port=1).hint is Hint.WRONG_CODE


def test_ten_wrong_codes_lock_the_keypad_for_ten_minutes_over_a_power_cut(bench: "Bench") -> None:
    for guess in range(10):
        assert type_code(bench, f"010000000{guess}").hint is Hint.WRONG_CODE
        bench.wait(20)
    assert type_code(bench, code_for(bench).digits).hint is Hint.LOCKED
    bench.power_up()
    assert type_code(bench, code_for(bench).digits).hint is Hint.LOCKED
    bench.wait(600)
    assert type_code(bench, code_for(bench).digits).hint is None


def test_wrong_codes_spread_over_time_lock_nothing(bench: "Bench") -> None:
    for guess in range(30):
        assert type_code(bench, f"01000000{guess:02}").hint is Hint.WRONG_CODE
        bench.wait(70)
    assert type_code(bench, code_for(bench).digits).hint is None


def test_a_pile_that_does_not_know_the_time_takes_no_code(bench: "Bench") -> None:
    bench.pile.part(Safety).inflict(AlarmKind.CLOCK_FAULT)
    assert bench.pile.clock is ClockState.NONE
    assert type_code(bench, code_for(bench).digits).hint is Hint.CLOCK_UNKNOWN


def test_codes_can_be_switched_off(bench: "Bench") -> None:
    offline(bench, code_mode=0)
    assert type_code(bench, code_for(bench).digits).hint is Hint.SWITCHED_OFF


def test_a_card_is_taken_only_offline_and_only_if_the_operator_wants_it(bench: "Bench") -> None:
    assert swipe(bench).hint is Hint.SWITCHED_OFF
    bench.pile.adopt(bench.pile.thresholds.with_settings({"card_mode": 1}))
    assert swipe(bench).hint is Hint.ONLINE
    bench.pile.link_changed(False, now_ms=bench.now_ms)
    served = swipe(bench)
    record = told(bench, served.session_id)
    assert (record.source, record.credential) == (SessionSource.CARD, "6217-001")
    assert (record.limit_s, record.limit_dwh) == (36_000, 30_000)
    assert record.session_id.version == 4


def test_a_session_by_card_names_the_tariff_shown_and_not_one_that_begins_later(bench: "Bench") -> None:
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    for version, valid_from_ms in ((12, bench.now_ms), (13, bench.now_ms + 86_400_000)):
        band = TariffBand(TariffFee.SERVICE, TariffUnit.KWH, 127, 0, 1440, 0, 0, 4_500)
        bench.tell(TariffSet(uuid4(), version, valid_from_ms, 28_800, (band,), bench.now_ms + 30_000))
    offline(bench, card_mode=1)
    swipe(bench)
    bench.wait(60)
    bench.pile.unplug(1, now_ms=bench.now_ms)
    bench.wait(60)
    [record] = bench.settlements()
    assert record.tariff_version == 12


def test_a_broken_reader_takes_no_card(bench: "Bench") -> None:
    offline(bench, card_mode=1)
    bench.pile.part(Safety).inflict(AlarmKind.CARD_READER_FAULT, 1)
    assert swipe(bench).hint is Hint.READER_BROKEN
    assert swipe(bench, port=2).hint is None


def test_a_port_that_takes_no_session_says_why(bench: "Bench") -> None:
    offline(bench, card_mode=1)
    assert swipe(bench).hint is None
    assert swipe(bench) == Served(None, Hint.PORT_UNAVAILABLE, StartCause.PORT_BUSY)
    assert swipe(bench, port=99).cause is StartCause.NO_SUCH_PORT
    bench.pile.part(Safety).inflict(AlarmKind.SMOKE)
    assert type_code(bench, code_for(bench, 2).digits, port=2).cause is StartCause.SMOKE


def test_nobody_plugs_in_after_a_card_and_the_session_ends(bench: "Bench") -> None:
    offline(bench, card_mode=1)
    swipe(bench)
    bench.wait(121)
    [record] = bench.settlements()
    assert (record.stop_reason, record.source) == (StopReason.NO_LOAD, SessionSource.CARD)


def test_a_local_start_is_kept_over_a_power_cut_until_the_platform_has_it(bench: "Bench") -> None:
    offline(bench, card_mode=1)
    served = swipe(bench)
    bench.power_up()
    record = told(bench, served.session_id)
    bench.tell(LocalStartAck(record.session_id, LocalStartResult.ACCEPTED))
    assert bench.pile.records.untold("local_start", record.session_id) is None


def test_a_refused_session_that_still_runs_ends_and_is_settled(bench: "Bench") -> None:
    offline(bench, card_mode=1)
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    served = swipe(bench)
    assert served.session_id is not None
    bench.wait(600)
    bench.tell(LocalStartAck(served.session_id, LocalStartResult.REFUSED))
    [record] = bench.settlements()
    assert (record.session_id, record.stop_reason) == (served.session_id, StopReason.PLATFORM_STOP)
    assert record.energy_dwh > 0
    bench.tell(SettlementAck(record.session_id, SettlementResult.STORED))
    assert bench.settlements() == []
