"""What can be wrong with a pile: how grave it is, what it is called, and what the platform does about it.

One table, RULES. A warning informs and changes nothing else. A trip refuses starts: where the table says PORT or
PILE, until a person has looked; where it says NOTHING, only while the pile says that it lasts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class AlarmKind(StrEnum):
    """What is dangerous or broken, in the protocol's words."""

    UNKNOWN = "unknown"
    SMOKE = "smoke"
    FIRE = "fire"
    EXTINGUISHER = "extinguisher"
    LEAKAGE = "leakage"
    PORT_OVER_TEMP = "port_over_temp"
    AMBIENT_OVER_TEMP = "ambient_over_temp"
    TERMINAL_OVER_TEMP = "terminal_over_temp"
    PORT_OVER_POWER = "port_over_power"
    PILE_OVER_POWER = "pile_over_power"
    DYNAMIC_OVERLOAD = "dynamic_overload"
    OVER_CURRENT = "over_current"
    SHORT_CIRCUIT = "short_circuit"
    OVER_VOLTAGE = "over_voltage"
    UNDER_VOLTAGE = "under_voltage"
    POWER_CUT = "power_cut"
    BREAKER_OPEN = "breaker_open"
    RELAY_WELDED = "relay_welded"
    RELAY_DEAD_OR_FUSE = "relay_dead_or_fuse"
    BAD_CONTACT = "bad_contact"
    SPRING_STUCK = "spring_stuck"
    WATER = "water"
    DOOR_OPEN = "door_open"
    METER_FAULT = "meter_fault"
    STORAGE_FAULT = "storage_fault"
    CARD_READER_FAULT = "card_reader_fault"
    HALL_SENSOR_FAULT = "hall_sensor_fault"
    CLOCK_FAULT = "clock_fault"


class AlarmLevel(StrEnum):
    """Worth a look, or bad enough to act on."""

    WARN = "warn"
    TRIP = "trip"

    @property
    def rank(self) -> int:
        """A higher one replaces a lower one."""
        return (AlarmLevel.WARN, AlarmLevel.TRIP).index(self)


class AlarmAction(StrEnum):
    """What the pile did at once, the least first."""

    NONE = "none"
    REFUSES_STARTS = "refuses_starts"
    PORT_STOPPED = "port_stopped"
    PILE_STOPPED = "pile_stopped"


class Severity(StrEnum):
    """How loud a notice is."""

    INFO = "info"
    WARNING = "warning"
    DANGER = "danger"


class Reach(StrEnum):
    """What a trip locks until a person lifts it; PORT means the pile where no port is named."""

    NOTHING = "nothing"
    PORT = "port"
    PILE = "pile"


class Unit(StrEnum):
    """What value and limit are measured in, and how they are said."""

    NONE = ""
    MILLIAMPERE = "mA"
    TENTH_CELSIUS = "°C"
    TENTH_WATT = "W"
    TENTH_VOLT = "V"

    def say(self, value: int) -> str:
        """A value in words; empty where the kind measures nothing."""
        if self is Unit.NONE:
            return ""
        if self is Unit.MILLIAMPERE:
            return f"{value} mA"
        return f"{value / 10:.1f} {self.value}"


@dataclass(frozen=True, kw_only=True)
class AlarmRule:
    """One kind. `life` is told at once even as a warning; `stops_pile` is the reason every session of the pile ends
    with on a trip; `by_port_state` is how grave the kind is where only a port's state tells of it."""

    zh: str
    en: str
    reach: Reach = Reach.PORT
    unit: Unit = Unit.NONE
    life: bool = False
    stops_pile: str | None = None
    trip: Severity = Severity.WARNING
    by_port_state: AlarmLevel = AlarmLevel.WARN

    def severity(self, level: AlarmLevel) -> Severity:
        """How loud to tell of it at this level: a warning where life is at stake is never mere information."""
        if level is AlarmLevel.TRIP:
            return self.trip
        return Severity.WARNING if self.life else Severity.INFO


_DANGER = Severity.DANGER
_TRIP = AlarmLevel.TRIP

RULES: Mapping[AlarmKind, AlarmRule] = MappingProxyType(
    {
        AlarmKind.SMOKE: AlarmRule(
            zh="烟雾报警",
            en="Smoke alarm",
            reach=Reach.PILE,
            life=True,
            stops_pile="smoke",
            trip=_DANGER,
            by_port_state=_TRIP,
        ),
        AlarmKind.FIRE: AlarmRule(
            zh="火灾报警",
            en="Fire alarm",
            reach=Reach.PILE,
            life=True,
            stops_pile="fire_suppression_other_port",
            trip=_DANGER,
            by_port_state=_TRIP,
        ),
        AlarmKind.EXTINGUISHER: AlarmRule(
            zh="灭火装置已启动",
            en="The extinguisher went off",
            reach=Reach.PILE,
            life=True,
            stops_pile="fire_suppression_other_port",
            trip=_DANGER,
            by_port_state=_TRIP,
        ),
        AlarmKind.WATER: AlarmRule(
            zh="进水报警",
            en="Water in the pile",
            reach=Reach.PILE,
            stops_pile="water",
            trip=_DANGER,
            by_port_state=_TRIP,
        ),
        AlarmKind.LEAKAGE: AlarmRule(
            zh="漏电报警",
            en="Leakage current",
            unit=Unit.MILLIAMPERE,
            life=True,
            trip=_DANGER,
            by_port_state=_TRIP,
        ),
        AlarmKind.SHORT_CIRCUIT: AlarmRule(zh="短路", en="Short circuit", trip=_DANGER, by_port_state=_TRIP),
        AlarmKind.RELAY_WELDED: AlarmRule(
            zh="继电器粘连", en="Relay welded shut", trip=_DANGER, by_port_state=_TRIP
        ),
        AlarmKind.PORT_OVER_TEMP: AlarmRule(zh="插座过热", en="Socket too hot", unit=Unit.TENTH_CELSIUS),
        AlarmKind.TERMINAL_OVER_TEMP: AlarmRule(
            zh="接线端子过热",
            en="Mains terminal too hot",
            reach=Reach.PILE,
            unit=Unit.TENTH_CELSIUS,
            trip=_DANGER,
        ),
        AlarmKind.AMBIENT_OVER_TEMP: AlarmRule(
            zh="桩体过热", en="Pile too hot", reach=Reach.PILE, unit=Unit.TENTH_CELSIUS, trip=_DANGER
        ),
        AlarmKind.OVER_CURRENT: AlarmRule(zh="过流", en="Current too high", unit=Unit.MILLIAMPERE),
        AlarmKind.PORT_OVER_POWER: AlarmRule(
            zh="插座超功率", en="Socket over its power", unit=Unit.TENTH_WATT
        ),
        AlarmKind.PILE_OVER_POWER: AlarmRule(
            zh="整桩超功率", en="Pile over its power", reach=Reach.NOTHING, unit=Unit.TENTH_WATT
        ),
        AlarmKind.DYNAMIC_OVERLOAD: AlarmRule(
            zh="功率突增", en="Sudden rise of power", reach=Reach.NOTHING, unit=Unit.TENTH_WATT
        ),
        AlarmKind.OVER_VOLTAGE: AlarmRule(
            zh="电压过高", en="Mains voltage too high", reach=Reach.NOTHING, unit=Unit.TENTH_VOLT
        ),
        AlarmKind.UNDER_VOLTAGE: AlarmRule(
            zh="电压过低", en="Mains voltage too low", reach=Reach.NOTHING, unit=Unit.TENTH_VOLT
        ),
        AlarmKind.POWER_CUT: AlarmRule(zh="停电", en="Mains power lost", reach=Reach.NOTHING),
        AlarmKind.BREAKER_OPEN: AlarmRule(zh="断路器断开", en="Breaker open", reach=Reach.NOTHING),
        AlarmKind.DOOR_OPEN: AlarmRule(zh="箱门打开", en="Cabinet door open", reach=Reach.NOTHING),
        AlarmKind.RELAY_DEAD_OR_FUSE: AlarmRule(zh="继电器或保险丝损坏", en="Relay or fuse defective"),
        AlarmKind.BAD_CONTACT: AlarmRule(zh="插座接触不良", en="Bad contact in the socket"),
        AlarmKind.SPRING_STUCK: AlarmRule(zh="插座弹片卡住", en="Socket's spring stuck", reach=Reach.NOTHING),
        AlarmKind.METER_FAULT: AlarmRule(zh="计量故障", en="Meter defective"),
        AlarmKind.STORAGE_FAULT: AlarmRule(zh="存储故障", en="Memory defective", reach=Reach.NOTHING),
        AlarmKind.CARD_READER_FAULT: AlarmRule(
            zh="读卡器故障", en="Card reader defective", reach=Reach.NOTHING
        ),
        AlarmKind.HALL_SENSOR_FAULT: AlarmRule(
            zh="插头检测故障", en="Plug detection defective", reach=Reach.NOTHING
        ),
        AlarmKind.CLOCK_FAULT: AlarmRule(zh="时钟故障", en="Clock defective", reach=Reach.NOTHING),
        AlarmKind.UNKNOWN: AlarmRule(zh="故障", en="Fault"),
    }
)
"""Every kind, the gravest first."""

_PORT_FAULTS: Mapping[str, AlarmKind] = MappingProxyType(
    {
        "fuse_blown": AlarmKind.RELAY_DEAD_OR_FUSE,
        "relay_dead": AlarmKind.RELAY_DEAD_OR_FUSE,
        "hall_sensor": AlarmKind.HALL_SENSOR_FAULT,
        "card_reader": AlarmKind.CARD_READER_FAULT,
        "over_temperature": AlarmKind.PORT_OVER_TEMP,
        "over_power": AlarmKind.PORT_OVER_POWER,
    }
)
"""Port faults that have another word than their alarm."""

_WORDS = frozenset(kind.value for kind in AlarmKind)

LIFE_FAULTS = frozenset({"smoke", "fire", "leakage"})
"""Port faults that are not waited for."""


def of_port_fault(fault: str | None) -> AlarmKind:
    """The kind of alarm a port's fault amounts to; UNKNOWN where there is none."""
    word = fault or "unknown"
    known = _PORT_FAULTS.get(word)
    if known is not None:
        return known
    return AlarmKind(word) if word in _WORDS else AlarmKind.UNKNOWN


def reach_of(kind: AlarmKind, level: AlarmLevel, port_no: int | None) -> Reach:
    """What an alarm locks."""
    reach = RULES[kind].reach
    if level is not AlarmLevel.TRIP or reach is Reach.NOTHING:
        return Reach.NOTHING
    return Reach.PILE if port_no is None else reach
