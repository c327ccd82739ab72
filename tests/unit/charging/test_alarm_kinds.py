"""Every kind of alarm has its row, and tellings of one alarm come to the same in any order."""

from datetime import UTC, datetime, timedelta
from functools import reduce
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging import alarm_kinds
from charging.alarm_kinds import RULES, AlarmAction, AlarmKind, AlarmLevel, Reach, Severity
from charging.alarm_records import Said
from device_sim import hazards
from protocol import words

AT = datetime(2026, 3, 2, 4, 10, tzinfo=UTC)
INSTANTS = st.integers(0, 5).map(lambda minutes: AT + timedelta(minutes=minutes))
SAID = st.builds(
    Said,
    level=st.sampled_from(AlarmLevel),
    action=st.sampled_from(AlarmAction),
    value=st.integers(0, 3),
    limit=st.integers(0, 2),
    code=st.integers(0, 2),
    raised_at=INSTANTS,
    cleared_at=st.none() | INSTANTS,
)


@given(st.lists(SAID, min_size=1, max_size=5), st.integers(0, 2**32))
def test_tellings_come_to_the_same_in_any_order_and_however_often(tellings: list[Said], seed: int) -> None:
    shuffled = tellings * 2
    Random(seed).shuffle(shuffled)
    assert reduce(Said.merge, shuffled) == reduce(Said.merge, tellings)


@given(SAID, SAID)
def test_a_level_only_rises_and_a_clearing_stays(first: Said, second: Said) -> None:
    merged = first.merge(second)
    assert merged.level.rank == max(first.level.rank, second.level.rank)
    assert (merged.cleared_at is None) == (first.cleared_at is None and second.cleared_at is None)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(words.AlarmKind, AlarmKind), (words.AlarmLevel, AlarmLevel), (words.AlarmAction, AlarmAction)],
)
def test_our_words_are_the_protocol_s(
    theirs: type[words.AlarmKind | words.AlarmLevel | words.AlarmAction],
    ours: type[AlarmKind | AlarmLevel | AlarmAction],
) -> None:
    assert {one.word for one in theirs} == {one.value for one in ours}


def test_every_kind_has_its_rule_with_words_in_both_languages() -> None:
    assert set(RULES) == set(AlarmKind)
    assert all(rule.zh and rule.en for rule in RULES.values())
    assert len({rule.zh for rule in RULES.values()}) == len(RULES)


def test_whatever_ends_a_whole_pile_ends_it_for_a_reason_of_the_protocol() -> None:
    reasons = {rule.stops_pile for rule in RULES.values() if rule.stops_pile is not None}
    assert reasons <= {reason.word for reason in words.StopReason}


@pytest.mark.parametrize("kind", AlarmKind)
def test_a_warning_never_locks(kind: AlarmKind) -> None:
    for port_no in (None, 3):
        assert alarm_kinds.reach_of(kind, AlarmLevel.WARN, port_no) is Reach.NOTHING


@pytest.mark.parametrize("kind", [AlarmKind.SMOKE, AlarmKind.FIRE, AlarmKind.EXTINGUISHER])
def test_smoke_and_fire_take_the_whole_pile_wherever_they_are(kind: AlarmKind) -> None:
    assert alarm_kinds.reach_of(kind, AlarmLevel.TRIP, 3) is Reach.PILE
    assert RULES[kind].severity(AlarmLevel.TRIP) is Severity.DANGER


@pytest.mark.parametrize("kind", words.AlarmKind)
def test_what_a_pile_latches_is_locked_here(kind: words.AlarmKind) -> None:
    rule = hazards.RULES.get(kind)
    if rule is not None and rule.latches and rule.stops is not None:
        latched = Reach.PILE if rule.pile_wide else Reach.PORT
        assert alarm_kinds.reach_of(AlarmKind(kind.word), AlarmLevel.TRIP, 3) is latched


@pytest.mark.parametrize("kind", [AlarmKind.STORAGE_FAULT, AlarmKind.SPRING_STUCK])
@pytest.mark.parametrize("port_no", [None, 3])
def test_a_broken_memory_or_spring_refuses_starts_while_it_lasts_and_stops_nothing(
    kind: AlarmKind, port_no: int | None
) -> None:
    assert alarm_kinds.reach_of(kind, AlarmLevel.TRIP, port_no) is Reach.NOTHING
    assert RULES[kind].stops_pile is None


def test_every_fault_of_a_port_amounts_to_a_kind() -> None:
    kinds = {fault.word: alarm_kinds.of_port_fault(fault.word) for fault in words.PortFault}
    unnamed = {fault for fault, kind in kinds.items() if kind is AlarmKind.UNKNOWN}
    assert unnamed == {"unknown", "voltage"}
