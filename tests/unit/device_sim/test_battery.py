"""Batteries follow the curves of the field, whenever and however often one looks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_sim.battery import MIN_DEPTH, PACKS, READING_NOISE, Battery, Chemistry, Pack
from protocol.words import Phase

HOUR_S = 3600.0

packs = st.sampled_from(PACKS)
batteries = st.builds(
    Battery,
    pack=packs,
    depth=st.floats(MIN_DEPTH, 1.0),
    seed=st.integers(0, 1 << 32),
    charged_s=st.floats(0, 12 * HOUR_S),
)
seconds = st.floats(0, 12 * HOUR_S)


@given(batteries, seconds, seconds)
def test_energy_is_the_same_in_one_step_or_two(battery: Battery, first_s: float, then_s: float) -> None:
    at_once = battery.energy_wh(first_s + then_s)
    in_steps = battery.energy_wh(first_s) + battery.charged(first_s).energy_wh(then_s)
    assert in_steps == pytest.approx(at_once, rel=1e-9, abs=1e-9)


@given(batteries, seconds, st.floats(0.001, 60))
def test_energy_grows_by_the_power_that_flows(battery: Battery, at_s: float, step_s: float) -> None:
    taken_w = (battery.energy_wh(at_s + step_s) - battery.energy_wh(at_s)) * HOUR_S / step_s
    powers_w = [battery.power_w(at_s + step_s * part / 20) for part in range(21)]
    jumps_w = battery.pack.cutoff_w
    assert min(powers_w) - jumps_w - 0.1 <= taken_w <= max(powers_w) + jumps_w + 0.1
    assert taken_w > 0


@given(batteries, st.floats(0.01, 3000))
def test_the_instant_of_an_energy_is_found(battery: Battery, energy_wh: float) -> None:
    after_s = battery.when_taken(energy_wh)
    assert battery.energy_wh(after_s) == pytest.approx(energy_wh, abs=0.001)
    assert battery.energy_wh(after_s) >= energy_wh - 1e-6


@given(batteries, seconds)
def test_a_meter_reads_the_true_power_but_for_noise(battery: Battery, at_s: float) -> None:
    true_w = battery.power_w(at_s)
    assert battery.measured_w(at_s) == battery.measured_w(at_s)
    assert battery.measured_w(at_s) == pytest.approx(true_w, rel=READING_NOISE)


@given(batteries, st.floats(19, 200))
def test_once_low_for_good_the_power_stays_low(battery: Battery, low_w: float) -> None:
    low_s = battery.low_for_good(low_w)
    assert low_s is not None
    assert all(battery.power_w(low_s + 1 + later_s) < low_w for later_s in range(0, 30_000, 500))
    if low_s > 1:
        assert any(battery.power_w(low_s - before_s) >= low_w for before_s in (0.001, 0.5, 1.0))


@given(batteries, st.floats(5, 1000))
def test_the_first_moment_of_a_power_is_found(battery: Battery, power_w: float) -> None:
    first_s = battery.first_at_least(power_w)
    reached = [at_s for at_s in range(0, 40_000, 200) if battery.power_w(at_s) >= power_w]
    if first_s is None:
        assert not reached
    else:
        assert battery.power_w(first_s + 1e-6) >= power_w - 0.01
        assert all(at_s >= first_s - 1e-6 for at_s in reached)


@given(packs)
def test_constant_current_raises_the_power_and_constant_voltage_lets_it_decay(pack: Pack) -> None:
    battery = Battery(pack, 0.8)
    sampled = [(battery.phase(at_s), battery.power_w(at_s)) for at_s in range(10, 12 * 3600, 60)]
    rising = [power_w for phase, power_w in sampled if phase is Phase.CC]
    falling = [power_w for phase, power_w in sampled if phase is Phase.CV]
    assert rising == sorted(rising)
    assert 1.13 < rising[-1] / rising[0] < 1.23
    assert falling == sorted(falling, reverse=True)
    assert sampled[-1][0] in (Phase.FLOAT, Phase.IDLE)
    resting_w = sampled[-1][1]
    limits_w = (5, 20) if battery.pack.chemistry is Chemistry.LEAD_ACID else (1, 5)
    assert limits_w[0] <= resting_w <= limits_w[1]


@pytest.mark.parametrize(
    ("name", "kwh"),
    [
        ("48V12Ah lead-acid", 0.6),
        ("48V20Ah lead-acid", 1.0),
        ("60V20Ah lead-acid", 1.3),
        ("72V20Ah lead-acid", 1.5),
        ("72V32Ah lead-acid", 2.4),
        ("48V24Ah lithium", 1.1),
        ("60V30Ah lithium", 1.7),
        ("72V35Ah lithium", 2.3),
        ("72V45Ah lithium", 2.9),
    ],
)
def test_a_pack_takes_the_energy_seen_in_the_field(name: str, kwh: float) -> None:
    pack = next(pack for pack in PACKS if pack.name == name)
    battery = Battery(pack, 0.8)
    low_s = battery.low_for_good(pack.cutoff_w + 1)
    assert low_s is not None
    assert battery.energy_wh(low_s) / 1000 == pytest.approx(kwh, rel=0.2)


def test_a_depth_outside_the_battery_is_refused() -> None:
    with pytest.raises(ValueError, match="depth"):
        Battery(PACKS[0], 0.0)
