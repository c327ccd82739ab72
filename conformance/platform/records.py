"""Records of charges that never were: settlements that add up, and readings that fit them.

Energy in 0.1 Wh. A record is a minute long and 10 Wh heavy unless a case wants another, so that it fits on any clock.
"""

from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import cbor2

from protocol import codec, messages
from protocol.fields import Message
from protocol.words import ClockState, Phase, SessionSource, StopReason

ENERGY_DWH: Final = 100
DURATION_S: Final = 60
VOLTAGE_DV: Final = 2_260
_SLOT_MS: Final = messages.HALF_HOUR_S * 1000
_DAY_SLOTS: Final = 48


def settlement(
    session_id: UUID,
    *,
    port: int,
    started_at_ms: int,
    start_register_dwh: int,
    energy_dwh: int = ENERGY_DWH,
    duration_s: int = DURATION_S,
    tariff_version: int = 0,
) -> messages.Settlement:
    """A settlement whose slots and tiers add up; nothing drawn if the duration is 0."""
    slots = _slots(started_at_ms, duration_s, energy_dwh)
    power_dw = energy_dwh * 3600 // duration_s if duration_s else 0
    tiers = (messages.TierEnergy(power_dw // (10 * messages.TIER_WIDTH_W), duration_s, energy_dwh),)
    return messages.Settlement(
        session_id=session_id,
        source=SessionSource.APP,
        port=port,
        started_at_ms=started_at_ms,
        ended_at_ms=started_at_ms + duration_s * 1000,
        duration_s=duration_s,
        start_register_dwh=start_register_dwh,
        end_register_dwh=start_register_dwh + energy_dwh,
        energy_dwh=energy_dwh,
        slots=slots,
        tiers=tiers if duration_s else (),
        max_power_dw=power_dw,
        end_power_dw=power_dw,
        stop_reason=StopReason.FULL if duration_s else StopReason.NO_LOAD,
        stop_code=1,
        samples_sent=0,
        tariff_version=tariff_version,
        clock=ClockState.SYNCED,
    )


def longest(record: messages.Settlement) -> messages.Settlement:
    """The same charge told in as many half hours as seven days have, an hour's second and a tenth of Wh each."""
    first = record.started_at_ms // _SLOT_MS
    count = 7 * _DAY_SLOTS
    slots = tuple(messages.SlotEnergy(first + number, 1, 1800) for number in range(count))
    return replace(  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass
        record,
        started_at_ms=first * _SLOT_MS,
        ended_at_ms=(first + count) * _SLOT_MS,
        duration_s=1800 * count,
        end_register_dwh=record.start_register_dwh + count,
        energy_dwh=count,
        slots=slots,
        tiers=(messages.TierEnergy(0, 1800 * count, count),),
        max_power_dw=2,
        end_power_dw=2,
    )


def changed(record: messages.Settlement, **changes: object) -> messages.Settlement:
    """The record with other fields, whether they still add up or not."""
    return replace(record, **changes)  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass


def as_map(message: Message) -> dict[int, Any]:
    """A message's body as the map it travels as, to be changed where it shall be wrong."""
    return cbor2.loads(codec.encode(message))


def reading(
    session_id: UUID, *, port: int, sampled_at_ms: int, elapsed_s: int, energy_dwh: int, power_dw: int = 6_000
) -> messages.MeterFrame:
    """A meter frame with one port's reading."""
    sample = messages.PortSample(
        port=port,
        session_id=session_id,
        elapsed_s=elapsed_s,
        window_s=30,
        voltage_dv=VOLTAGE_DV,
        current_ma=power_dw * 1000 // VOLTAGE_DV,
        power_dw=power_dw,
        power_factor_milli=980,
        energy_dwh=energy_dwh,
        power_min_dw=power_dw,
        power_max_dw=power_dw,
        power_mean_dw=power_dw,
        temperature_dc=298,
        phase=Phase.CC,
    )
    return messages.MeterFrame(sampled_at_ms=sampled_at_ms, samples=(sample,), clock=ClockState.SYNCED)


def _slots(started_at_ms: int, duration_s: int, energy_dwh: int) -> tuple[messages.SlotEnergy, ...]:
    """Seconds as they fall into half hours, the energy with the last of them."""
    slots: list[messages.SlotEnergy] = []
    at_ms, left_s = started_at_ms, duration_s
    while left_s > 0:
        slot = at_ms // _SLOT_MS
        until_end_s = max(1, ((slot + 1) * _SLOT_MS - at_ms) // 1000)
        seconds = min(left_s, until_end_s)
        left_s -= seconds
        slots.append(messages.SlotEnergy(slot, 0 if left_s else energy_dwh, seconds))
        at_ms = (slot + 1) * _SLOT_MS
    return tuple(slots)
