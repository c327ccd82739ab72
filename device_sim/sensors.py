"""What a pile's sensors read: mains, temperatures, residual current, as nature or a hazard has them. Pure."""

import math
from typing import Final

from device_sim.hazards import Surroundings
from protocol.words import AlarmKind

LEAKAGE_MA: Final = 1
"""What every wet cable leaks."""

_DAY_MS: Final = 86_400_000
_EVENING_DIP_AT: Final = 11.5 / 24  # 19:30 in China, as a share of the day in UTC
_DARK: Final = frozenset({AlarmKind.POWER_CUT, AlarmKind.BREAKER_OPEN})


def natural_mains_dv(seed: int, at_ms: int) -> int:
    """220 V with a dip in the evening, a little different at each pile."""
    of_day = (at_ms % _DAY_MS) / _DAY_MS
    dip = math.exp(-(((of_day - _EVENING_DIP_AT) * 8) ** 2))
    flutter = math.sin(at_ms / 97_000 + seed) + math.sin(at_ms / 31_000 + 2 * seed)
    return round(2_240 - 110 * dip + 9 * flutter)


def natural_socket_dc(power_w: float) -> int:
    """A socket's temperature under a load, in 0.1 °C."""
    return round(260 + power_w / 8)


def natural_board_dc(power_w: float) -> int:
    """The board's temperature while all ports together draw so much, in 0.1 °C."""
    return round(270 + power_w / 40)


class Sensors:
    """The sensors of one pile; hazards in its surroundings drown what is natural."""

    def __init__(self, surroundings: Surroundings, *, seed: int) -> None:
        self._surroundings = surroundings
        self._seed = seed

    def mains_dv(self, at_ms: int) -> int:
        """The mains, in 0.1 V."""
        if any(kind in _DARK for kind, _ in self._surroundings.inflicted):
            return 0
        mains_dv = natural_mains_dv(self._seed, at_ms)
        for kind in (AlarmKind.OVER_VOLTAGE, AlarmKind.UNDER_VOLTAGE):
            mains_dv = self._surroundings.reading(kind, None, mains_dv)
        return mains_dv

    def socket_dc(self, port: int, power_w: float) -> int:
        """A socket's temperature, in 0.1 °C."""
        return self._surroundings.reading(AlarmKind.PORT_OVER_TEMP, port, natural_socket_dc(power_w))

    def board_dc(self, power_w: float) -> int:
        """The board's temperature, in 0.1 °C."""
        return self._surroundings.reading(AlarmKind.AMBIENT_OVER_TEMP, None, natural_board_dc(power_w))

    def leakage_ma(self) -> int:
        """The residual current of the whole pile, in mA."""
        return self._surroundings.reading(AlarmKind.LEAKAGE, None, LEAKAGE_MA)
