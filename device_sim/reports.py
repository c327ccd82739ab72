"""What a pile says, made from what it is: boot, heartbeat, port states, samples and settlements. Pure."""

from collections.abc import Sequence
from typing import Final, Protocol

from device_sim.configuration import PileConfig
from device_sim.port import LiveSession, Port
from device_sim.sensors import Sensors
from device_sim.session_meter import dwh
from protocol.messages import (
    PROTOCOL_VERSION,
    Boot,
    Heartbeat,
    MeterFrame,
    PortReport,
    PortSample,
    PortStateChanged,
    Settlement,
    Started,
)
from protocol.words import BootReason, ClockState, PortState, StateCause, StopReason

_MS_PER_H: Final = 3_600_000


class View(Protocol):
    """What a report shows of a pile; ``device_ms`` is an instant by its own clock."""

    config: PileConfig
    boot_reason: BootReason
    connection: int
    firmware: str
    ports: dict[int, Port]
    sensors: Sensors

    @property
    def clock(self) -> ClockState:
        """What its clock rests on."""
        ...

    @property
    def unsent(self) -> int:
        """How many messages and records wait."""
        ...

    @property
    def config_version(self) -> int:
        """The configuration in force."""
        ...

    @property
    def tariff_version(self) -> int:
        """The tariff shown."""
        ...

    def device_ms(self, at_ms: int) -> int:
        """An instant by the pile's own clock."""
        ...


def boot(pile: View, *, at_ms: int) -> Boot:
    """The pile introduces itself."""
    config = pile.config
    return Boot(
        at_ms=pile.device_ms(at_ms),
        connection=pile.connection,
        reason=pile.boot_reason,
        model=config.model,
        hardware=config.hardware,
        firmware=pile.firmware,
        protocol=PROTOCOL_VERSION,
        port_count=config.port_count,
        signal_dbm=_signal_dbm(pile),
        unsent=pile.unsent,
        clock=pile.clock,
        config_version=pile.config_version,
        tariff_version=pile.tariff_version,
    )


def heartbeat(pile: View, *, at_ms: int) -> Heartbeat:
    """The pile's health."""
    reports = tuple(
        PortReport(port.number, port.state, _dw(port.measured_w(at_ms))) for port in pile.ports.values()
    )
    power_dw = sum(report.power_dw for report in reports)
    return Heartbeat(
        sampled_at_ms=pile.device_ms(at_ms),
        connection=pile.connection,
        signal_dbm=_signal_dbm(pile),
        board_temperature_dc=pile.sensors.board_dc(power_dw / 10),
        mains_dv=pile.sensors.mains_dv(at_ms),
        power_dw=power_dw,
        energy_wh=int(sum(port.register_wh(at_ms) for port in pile.ports.values())),
        leakage_ma=pile.sensors.leakage_ma(),
        unsent=pile.unsent,
        ports=reports,
    )


def port_state(
    pile: View, port: Port, previous: PortState, cause: StateCause, *, at_ms: int
) -> PortStateChanged:
    """A port's change of state."""
    return PortStateChanged(
        at_ms=pile.device_ms(at_ms),
        port=port.number,
        state=port.state,
        previous=previous,
        plugged=port.plugged,
        power_dw=_dw(port.measured_w(at_ms)),
        cause=cause,
        session_id=port.session.session_id if port.session is not None else None,
        fault=port.fault,
    )


def started(pile: View, port: Port, *, at_ms: int) -> Started:
    """The session's first load."""
    session = port.session
    assert session is not None, "only a session starts"
    return Started(
        command_id=session.command_id,
        session_id=session.session_id,
        port=port.number,
        started_at_ms=pile.device_ms(at_ms),
        register_dwh=session.start_register_dwh,
        power_dw=_dw(port.measured_w(at_ms)),
    )


def meter_frame(pile: View, busy: Sequence[Port], *, at_ms: int) -> MeterFrame:
    """One frame with a sample of each busy port."""
    samples = tuple(_sample(pile, port, at_ms) for port in busy)
    return MeterFrame(sampled_at_ms=pile.device_ms(at_ms), samples=samples, clock=pile.clock)


def settlement(
    session: LiveSession,
    port: int,
    *,
    reason: StopReason,
    ended_ms: int,
    end_power_w: float,
) -> Settlement:
    """The final record of a session; times by the clock the pile had when it began."""
    meter, offset_ms = session.meter, session.clock_offset_ms
    started_ms = session.accepted_ms if meter is None else meter.started_ms
    energy_dwh = 0 if meter is None else meter.energy_dwh
    return Settlement(
        session_id=session.session_id,
        source=session.source,
        port=port,
        started_at_ms=max(0, started_ms + offset_ms),
        ended_at_ms=max(0, ended_ms + offset_ms),
        duration_s=0 if meter is None else meter.duration_s,
        start_register_dwh=session.start_register_dwh,
        end_register_dwh=session.start_register_dwh + energy_dwh + session.register_shift_dwh,
        energy_dwh=energy_dwh,
        slots=() if meter is None else meter.slot_rows(),
        tiers=() if meter is None else meter.tier_rows(),
        max_power_dw=0 if meter is None else meter.max_power_dw,
        end_power_dw=_dw(end_power_w),
        stop_reason=reason,
        stop_code=int(reason),
        samples_sent=session.samples_sent,
        tariff_version=session.tariff_version,
        clock=session.clock,
    )


def _sample(pile: View, port: Port, at_ms: int) -> PortSample:
    session = port.session
    assert session is not None, "only busy ports are sampled"
    assert session.meter is not None, "only metered sessions are sampled"
    register_wh = port.register_wh(at_ms)
    power_w, factor, mains_dv = port.measured_w(at_ms), port.power_factor(at_ms), pile.sensors.mains_dv(at_ms)
    window_ms = at_ms - session.sampled_ms
    mean_w = (register_wh - session.sampled_wh) * _MS_PER_H / window_ms if window_ms > 0 else power_w
    # Within a window the true power is close to monotone, so its ends bound it.
    seen_w = (power_w, port.measured_w(session.sampled_ms), mean_w)
    sample = PortSample(
        port=port.number,
        session_id=session.session_id,
        elapsed_s=(at_ms - session.meter.started_ms) // 1000,
        window_s=min(32_767, window_ms // 1000),
        voltage_dv=mains_dv,
        current_ma=round(power_w / (max(1, mains_dv) / 10 * factor) * 1000),
        power_dw=_dw(power_w),
        power_factor_milli=round(factor * 1000),
        energy_dwh=dwh(register_wh) - session.start_register_dwh,
        power_min_dw=_dw(min(seen_w)),
        power_max_dw=_dw(max(seen_w)),
        power_mean_dw=_dw(mean_w),
        temperature_dc=pile.sensors.socket_dc(port.number, power_w),
        phase=port.phase(at_ms),
    )
    session.sampled_ms, session.sampled_wh = at_ms, register_wh
    session.samples_sent += 1
    return sample


def _signal_dbm(pile: View) -> int:
    return -65 - pile.config.seed % 30


def _dw(power_w: float) -> int:
    return max(0, round(power_w * 10))
