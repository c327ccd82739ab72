"""What can go wrong around a pile, and what a pile makes of it: limits, holds, latches, reasons. Pure tables.

A hazard is felt as a number in the unit of its kind (1 where nothing is measured). Below its warning nothing is
said, from there on somebody is told, and from the trip on the pile acts.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from device_sim.battery import Battery
from protocol.config_keys import OFF
from protocol.words import AlarmKind, AlarmLevel, PortFault, StartCause, StopReason

HOLD_S: Final = 3
"""How long a reading must last before it counts, unless life is at stake; and how long it must be gone."""

Settings = Callable[[str], int]
"""The setting of a name that is in force now."""

Place = tuple[AlarmKind, int | None]
"""A kind of hazard and its port; None for the whole pile."""


class Limits(NamedTuple):
    """The settings that judge a reading; ``scale`` turns theirs into the alarm's unit, ``below`` a minimum."""

    trip: str
    warn: str | None = None
    switch: str | None = None
    scale: int = 1
    below: bool = False


class Latch(NamedTuple):
    """A trip that a person has to clear: of one port, or without ``port`` of the whole pile."""

    kind: AlarmKind
    port: int | None

    def holds(self, port: int) -> bool:
        """Whether it keeps this port shut."""
        return self.port is None or self.port == port


class Rule(NamedTuple):
    """What a pile does about one kind of hazard. Without ``stops`` no session ends; ``refuses`` takes no new one.

    ``pile_wide`` takes every port however small the place. What ``latches`` keeps its ports shut until a person has
    looked; the rest is over when it is no longer measured. ``cause`` is told while that lasts. ``hold_key`` names
    the setting of the hold. ``example`` is a reading that surely trips.
    """

    stops: StopReason | None
    fault: PortFault | None = None
    cause: StartCause = StartCause.PORT_FAULT
    pile_wide: bool = False
    refuses: bool = False
    latches: bool = True
    hold_s: int = HOLD_S
    hold_key: str | None = None
    limits: Limits | None = None
    example: int = 1


RULES: Final[Mapping[AlarmKind, Rule]] = {
    AlarmKind.FIRE: Rule(StopReason.FIRE_SUPPRESSION_OWN_PORT, PortFault.FIRE, pile_wide=True, hold_s=0),
    AlarmKind.EXTINGUISHER: Rule(
        StopReason.FIRE_SUPPRESSION_OWN_PORT, PortFault.FIRE, pile_wide=True, hold_s=0
    ),
    AlarmKind.SMOKE: Rule(StopReason.SMOKE, PortFault.SMOKE, StartCause.SMOKE, pile_wide=True, hold_s=0),
    AlarmKind.WATER: Rule(StopReason.WATER, PortFault.WATER, pile_wide=True),
    AlarmKind.LEAKAGE: Rule(
        StopReason.LEAKAGE,
        PortFault.LEAKAGE,
        hold_s=0,
        limits=Limits("leak_trip_ma", "leak_warn_ma"),
        example=60,
    ),
    AlarmKind.SHORT_CIRCUIT: Rule(
        StopReason.SHORT_CIRCUIT, PortFault.SHORT_CIRCUIT, StartCause.SHORT_CIRCUIT, hold_s=0
    ),
    AlarmKind.PORT_OVER_TEMP: Rule(
        StopReason.PORT_OVER_TEMP,
        PortFault.OVER_TEMPERATURE,
        limits=Limits("temp_trip_dc", "temp_warn_dc", "temp_trip_on"),
        example=950,
    ),
    AlarmKind.TERMINAL_OVER_TEMP: Rule(
        StopReason.AMBIENT_OVER_TEMP,
        PortFault.OVER_TEMPERATURE,
        pile_wide=True,
        limits=Limits("temp_trip_dc", "temp_warn_dc", "temp_trip_on"),
        example=950,
    ),
    AlarmKind.AMBIENT_OVER_TEMP: Rule(
        StopReason.AMBIENT_OVER_TEMP,
        PortFault.OVER_TEMPERATURE,
        pile_wide=True,
        limits=Limits("board_trip_dc", "board_warn_dc", "board_trip_on"),
        example=1_000,
    ),
    AlarmKind.BREAKER_OPEN: Rule(StopReason.POWER_LOSS, PortFault.VOLTAGE, pile_wide=True, latches=False),
    AlarmKind.OVER_CURRENT: Rule(
        StopReason.OVER_CURRENT, PortFault.OVER_CURRENT, limits=Limits("max_current_ma"), example=21_000
    ),
    AlarmKind.PORT_OVER_POWER: Rule(
        StopReason.PORT_OVER_POWER,
        PortFault.OVER_POWER,
        hold_key="overload_s",
        limits=Limits("max_power_w", scale=10),
        example=36_000,
    ),
    AlarmKind.DYNAMIC_OVERLOAD: Rule(
        StopReason.DYNAMIC_OVERLOAD, PortFault.OVER_POWER, latches=False, hold_key="overload_s", example=800
    ),
    AlarmKind.RELAY_WELDED: Rule(
        StopReason.RELAY_WELDED, PortFault.RELAY_WELDED, cause=StartCause.RELAY_WELDED
    ),
    AlarmKind.RELAY_DEAD_OR_FUSE: Rule(
        StopReason.RELAY_DEAD_OR_FUSE, PortFault.RELAY_DEAD, cause=StartCause.RELAY_DEAD
    ),
    AlarmKind.BAD_CONTACT: Rule(StopReason.NO_POWER_MIDWAY, PortFault.BAD_CONTACT),
    AlarmKind.METER_FAULT: Rule(StopReason.METER_FAULT, PortFault.METER_FAULT),
    AlarmKind.PILE_OVER_POWER: Rule(
        StopReason.PILE_OVER_POWER,
        cause=StartCause.PILE_OVER_POWER,
        latches=False,
        limits=Limits("pile_cut_w", scale=10),
        example=510_000,
    ),
    AlarmKind.OVER_VOLTAGE: Rule(
        StopReason.OVER_VOLTAGE,
        PortFault.VOLTAGE,
        StartCause.OVER_VOLTAGE,
        pile_wide=True,
        latches=False,
        hold_s=10,
        limits=Limits("volt_max_dv"),
        example=3_100,
    ),
    AlarmKind.UNDER_VOLTAGE: Rule(
        StopReason.UNDER_VOLTAGE,
        PortFault.VOLTAGE,
        StartCause.UNDER_VOLTAGE,
        pile_wide=True,
        latches=False,
        hold_s=10,
        limits=Limits("volt_min_dv", below=True),
        example=900,
    ),
    AlarmKind.POWER_CUT: Rule(
        None, PortFault.VOLTAGE, StartCause.UNDER_VOLTAGE, pile_wide=True, refuses=True, latches=False
    ),
    AlarmKind.STORAGE_FAULT: Rule(
        None, PortFault.STORAGE_FAULT, StartCause.STORAGE_FAULT, pile_wide=True, refuses=True, latches=False
    ),
    AlarmKind.SPRING_STUCK: Rule(None, PortFault.SPRING_STUCK, refuses=True, latches=False),
    AlarmKind.DOOR_OPEN: Rule(
        None, cause=StartCause.OUT_OF_SERVICE, pile_wide=True, refuses=True, latches=False
    ),
    AlarmKind.CARD_READER_FAULT: Rule(None, latches=False),
    AlarmKind.HALL_SENSOR_FAULT: Rule(None, latches=False),
    AlarmKind.CLOCK_FAULT: Rule(None, latches=False),
}
"""The gravest first: of several faults a port reports the first."""

FIRE_KINDS: Final = frozenset({AlarmKind.FIRE, AlarmKind.EXTINGUISHER})
NO_FLOW: Final = frozenset(
    {AlarmKind.RELAY_DEAD_OR_FUSE, AlarmKind.BAD_CONTACT, AlarmKind.POWER_CUT, AlarmKind.BREAKER_OPEN}
)
"""What keeps current from flowing although the relay should be closed."""


def acts(kind: AlarmKind) -> bool:
    """Whether the pile does more about it than to tell somebody."""
    return RULES[kind].stops is not None or RULES[kind].refuses


def level_of(kind: AlarmKind, value: int, setting: Settings) -> AlarmLevel | None:
    """How bad a reading is by the settings in force; None if it is not worth a word."""
    rule = RULES[kind]
    if rule.limits is None:
        if value <= 0:
            return None
        return AlarmLevel.TRIP if acts(kind) else AlarmLevel.WARN
    limits = rule.limits
    trip = setting(limits.trip) * limits.scale
    if value <= trip if limits.below else value >= trip:
        on = limits.switch is None or setting(limits.switch)
        return AlarmLevel.TRIP if on else AlarmLevel.WARN
    warn = OFF if limits.warn is None else setting(limits.warn)
    return AlarmLevel.WARN if warn != OFF and value >= warn else None


def limit_of(kind: AlarmKind, level: AlarmLevel, setting: Settings) -> int:
    """The threshold that such an alarm has crossed, in the unit of its value; 0 where there is none."""
    limits = RULES[kind].limits
    if limits is None:
        return 0
    warn = OFF if limits.warn is None else setting(limits.warn)
    return warn if level is AlarmLevel.WARN and warn != OFF else setting(limits.trip) * limits.scale


def hold_ms(kind: AlarmKind, setting: Settings) -> int:
    """How long such a reading must last before it counts."""
    rule = RULES[kind]
    return 1000 * (rule.hold_s if rule.hold_key is None else setting(rule.hold_key))


def is_pile_wide(kind: AlarmKind, port: int | None) -> bool:
    """Whether a hazard there is every port's."""
    return port is None or RULES[kind].pile_wide


def stop_reason(kind: AlarmKind, where: int | None, port: int) -> StopReason:
    """Why a port's session ends when the hazard is there: a fire elsewhere is not the port's own."""
    reason = RULES[kind].stops
    assert reason is not None, "only a kind that trips ends sessions"
    if kind in FIRE_KINDS and where != port:
        return StopReason.FIRE_SUPPRESSION_OTHER_PORT
    return reason


def latch_of(kind: AlarmKind, port: int | None) -> Latch | None:
    """What a trip leaves behind; None for a kind that is over with its cause."""
    if not RULES[kind].latches:
        return None
    return Latch(kind, None if is_pile_wide(kind, port) else port)


class Surroundings:
    """What really is around a pile, whether it has power or not.

    That is the hazards somebody has inflicted on it, and while it has no power the batteries in its sockets.
    """

    def __init__(self) -> None:
        self.inflicted: dict[Place, int] = {}
        self.batteries: dict[int, Battery] = {}

    def take_batteries(self) -> list[tuple[int, Battery]]:
        """What hangs in the sockets, by port; the pile that has power again looks after it."""
        hanging, self.batteries = list(self.batteries.items()), {}
        return hanging

    def inflict(self, kind: AlarmKind, port: int | None, value: int | None) -> int:
        """Something is wrong from now on; without a value, so much that it surely counts. Gives the reading."""
        self.inflicted[kind, port] = RULES[kind].example if value is None else value
        return self.inflicted[kind, port]

    def relieve(self, kind: AlarmKind, port: int | None) -> bool:
        """It is gone; False if it was not there."""
        return self.inflicted.pop((kind, port), None) is not None

    def reading(self, kind: AlarmKind, port: int | None, natural: int) -> int:
        """What a sensor reads at a port, or anywhere on the pile: nature, unless a hazard drowns it."""
        here = [
            value
            for (felt, where), value in self.inflicted.items()
            if felt is kind and (port is None or where in (None, port))
        ]
        if not here:
            return natural
        limits = RULES[kind].limits
        return min(here) if limits is not None and limits.below else max(here)

    def has(self, kinds: AbstractSet[AlarmKind], port: int) -> bool:
        """Whether one of these is at a port, or all over the pile."""
        return any(
            kind in kinds and (where == port or is_pile_wide(kind, where)) for kind, where in self.inflicted
        )
