"""What is charged is never more than was claimed, nor much more than any witness bears out."""

from hypothesis import given
from hypothesis import strategies as st

from charging.energy_witnesses import TOLERANCE_DWH, Witnesses

ENERGY_DWH = st.integers(0, 100_000)
CLAIMS = st.lists(st.tuples(ENERGY_DWH, st.integers(0, 1800)), max_size=8)


def test_a_sound_record_is_charged_as_it_is() -> None:
    claims = [(600, 1200), (900, 1800), (300, 600)]
    sound = Witnesses(registers_dwh=1800, samples_dwh=1790, max_power_dw=1800)
    assert sound.believed(claims) == [600, 900, 300]
    assert not sound.differ(claims)


def test_a_jump_is_taken_out_of_the_half_hour_it_is_in() -> None:
    claims = [(600, 1200), (100_900, 1800), (300, 600)]
    jumped = Witnesses(registers_dwh=101_800, samples_dwh=101_800, max_power_dw=2000)
    assert jumped.believed(claims) == [600, 1000, 300]
    assert jumped.differ(claims)


def test_energy_told_in_the_wrong_half_hour_is_still_charged() -> None:
    claims = [(0, 1800), (900, 10)]
    assert Witnesses(registers_dwh=900, samples_dwh=0, max_power_dw=1800).believed(claims) == [0, 900]


def test_no_highest_power_makes_a_socket_bring_more_than_it_can() -> None:
    absurd = Witnesses(registers_dwh=50_000, samples_dwh=50_000, max_power_dw=1_000_000)
    assert absurd.believed([(50_000, 1800)]) == [17_500]


@given(claims=CLAIMS, registers_dwh=ENERGY_DWH, samples_dwh=ENERGY_DWH, max_power_dw=st.integers(0, 40_000))
def test_no_witness_is_outdone_by_more_than_the_tolerance(
    claims: list[tuple[int, int]], registers_dwh: int, samples_dwh: int, max_power_dw: int
) -> None:
    witnesses = Witnesses(registers_dwh=registers_dwh, samples_dwh=samples_dwh, max_power_dw=max_power_dw)
    believed = witnesses.believed(claims)
    assert all(0 <= dwh <= claim_dwh for dwh, (claim_dwh, _) in zip(believed, claims, strict=True))
    assert sum(believed) <= max(registers_dwh, samples_dwh) + TOLERANCE_DWH
    possible_dwh = sum(-(-min(max_power_dw, 35_000) * seconds // 3600) for _, seconds in claims)
    assert sum(believed) <= possible_dwh + TOLERANCE_DWH
    if believed != [claim_dwh for claim_dwh, _ in claims]:
        assert witnesses.differ(claims)
