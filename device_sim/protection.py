"""A pile's own protection: what its sensors feel becomes alarms, trips and latches. Pure.

A reading counts once it has lasted (``hazards.hold_ms``) and is over once it has been gone for ``HOLD_S``, so that
a loose wire does not make an alarm a second. One alarm has one id from its raising to its clearing and only rises in
between. All of it but the readings is kept in memory, for a power cut is no excuse.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple
from uuid import UUID, uuid4

from pydantic import ConfigDict

from device_sim import hazards
from device_sim.hazards import HOLD_S, RULES, Latch, Place, Settings
from device_sim.port import NEVER_MS
from protocol import codec
from protocol.messages import Alarm
from protocol.topics import Direction
from protocol.words import AlarmAction, AlarmKind, AlarmLevel, PortFault, StartCause


@dataclass
class SafetyMemory:
    """What of the protection survives a power cut: alarms that are not over (message bodies), and latches."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    alarms: dict[UUID, bytes] = field(default_factory=dict[UUID, bytes])
    latches: list[Latch] = field(default_factory=list[Latch])


class Turn(NamedTuple):
    """An alarm was raised, rose or is over; ``tripped`` when the pile must act now."""

    alarm: Alarm
    tripped: bool


@dataclass
class _Felt:
    """What a reading means, and since when."""

    value: int
    level: AlarmLevel | None
    since_ms: int


class Protection:
    """Feels hazards, remembers alarms and latches. ``setting`` tells the value in force."""

    def __init__(self, memory: SafetyMemory, *, setting: Settings, now_ms: int) -> None:
        """Wake up: alarms that were not over count as gone from now on unless they are felt again."""
        self._memory = memory
        self._setting = setting
        self._felt: dict[Place, _Felt] = {}
        self._open: dict[Place, Alarm] = {}
        for body in memory.alarms.values():
            alarm = read_alarm(body)
            self._open[alarm.kind, alarm.port] = alarm
            self._felt[alarm.kind, alarm.port] = _Felt(0, None, now_ms)

    def feel(self, kind: AlarmKind, port: int | None, value: int | None, *, at_ms: int) -> None:
        """From now on a sensor reads this; None: nothing at all."""
        place = (kind, port)
        level = None if value is None else hazards.level_of(kind, value, self._setting)
        felt = self._felt.get(place)
        if level is None and place not in self._open:
            self._felt.pop(place, None)
        elif felt is None or felt.level is not level:
            self._felt[place] = _Felt(value or 0, level, at_ms)
        else:
            felt.value = value or 0
        self._worsen(place, value)

    def next_ms(self) -> int:
        """When something felt comes to count, or to be over, if it stays as it is."""
        return min((self._due_ms(place) for place in self._felt), default=NEVER_MS)

    def take_due(self, at_ms: int, *, device_ms: int) -> list[Turn]:
        """What counts by now; ``device_ms`` is the same instant by the pile's own clock."""
        due = [place for place in self._felt if self._due_ms(place) <= at_ms]
        return [self._turn(place, device_ms) for place in due]

    def clear(self, port: int | None, *, device_ms: int) -> list[Turn] | None:
        """A person has looked: release a port's latches, or all; None when the danger is still felt.

        What holds the whole pile is released for the whole pile only.
        """
        asked = [latch for latch in self._memory.latches if port is None or latch.holds(port)]
        if any(latch.port is None for latch in asked) and port is not None:
            return None
        if any(self._persists(place, port) for place in self._felt):
            return None
        self._memory.latches = [latch for latch in self._memory.latches if latch not in asked]
        over = [
            place for place, alarm in self._open.items() if hazards.latch_of(alarm.kind, alarm.port) in asked
        ]
        return [self._clear_alarm(place, device_ms) for place in over]

    def obstacle(self, port: int) -> StartCause | None:
        """Why this port takes no session; None if nothing keeps it from it."""
        latched = {latch.kind for latch in self._memory.latches if latch.holds(port)}
        if AlarmKind.SMOKE in latched:
            return StartCause.SMOKE
        if latched:
            return StartCause.NOT_CLEARED
        measured = (kind for kind in RULES if self._keeps_shut(kind, port))
        return next((RULES[kind].cause for kind in measured), None)

    def fault(self, port: int) -> PortFault | None:
        """The gravest thing that is wrong with a port."""
        latched = {latch.kind for latch in self._memory.latches if latch.holds(port)}
        lasting = {
            kind
            for (kind, where), alarm in self._open.items()
            if alarm.level is AlarmLevel.TRIP
            and not RULES[kind].latches
            and (hazards.is_pile_wide(kind, where) or where == port)
        }
        faults = (RULES[kind].fault for kind in RULES if kind in latched | lasting)
        return next((fault for fault in faults if fault is not None), None)

    def trip(self, kind: AlarmKind, port: int, value: int, *, at_ms: int, device_ms: int) -> Turn:
        """Another rule has measured this for long enough, and it is gone with the port's relay open."""
        turn = self._raise((kind, port), AlarmLevel.TRIP, value, device_ms)
        self._felt[kind, port] = _Felt(0, None, at_ms)
        return turn

    def _worsen(self, place: Place, value: int | None) -> None:
        """An alarm tells the worst that was measured, when it is told again."""
        alarm, limits = self._open.get(place), RULES[place[0]].limits
        if alarm is None or value is None:
            return
        worst = min if limits is not None and limits.below else max
        self._open[place] = replace(alarm, value=worst(alarm.value, value))

    def _due_ms(self, place: Place) -> int:
        felt, alarm = self._felt[place], self._open.get(place)
        if felt.level is None:
            return NEVER_MS if alarm is None else felt.since_ms + HOLD_S * 1000
        if alarm is not None and felt.level <= alarm.level:
            return NEVER_MS
        return felt.since_ms + hazards.hold_ms(place[0], self._setting)

    def _turn(self, place: Place, device_ms: int) -> Turn:
        felt = self._felt[place]
        if felt.level is None:
            return self._clear_alarm(place, device_ms)
        return self._raise(place, felt.level, felt.value, device_ms)

    def _raise(self, place: Place, level: AlarmLevel, value: int, device_ms: int) -> Turn:
        kind, port = place
        tripped = level is AlarmLevel.TRIP
        before = self._open.get(place)
        alarm = Alarm(
            alarm_id=uuid4() if before is None else before.alarm_id,
            kind=kind,
            level=level,
            action=_action(kind, port, level),
            raised_at_ms=device_ms if before is None else before.raised_at_ms,
            value=value,
            limit=hazards.limit_of(kind, level, self._setting),
            port=port,
        )
        self._open[place] = alarm
        self._memory.alarms[alarm.alarm_id] = codec.encode(alarm)
        latch = hazards.latch_of(kind, port) if tripped else None
        if latch is not None and latch not in self._memory.latches:
            self._memory.latches.append(latch)
        return Turn(alarm, tripped)

    def _clear_alarm(self, place: Place, device_ms: int) -> Turn:
        alarm = replace(self._open.pop(place), cleared_at_ms=device_ms)
        felt = self._felt.get(place)
        if felt is not None and felt.level is None:
            del self._felt[place]
        del self._memory.alarms[alarm.alarm_id]
        return Turn(alarm, tripped=False)

    def _persists(self, place: Place, port: int | None) -> bool:
        kind, where = place
        if self._felt[place].level is not AlarmLevel.TRIP or hazards.latch_of(kind, where) is None:
            return False
        return port is None or hazards.is_pile_wide(kind, where) or where == port

    def _keeps_shut(self, kind: AlarmKind, port: int) -> bool:
        """Whether a hazard of a kind that trips is felt at a port, or is not over yet."""
        if not hazards.acts(kind):
            return False
        felt = {place for place, felt in self._felt.items() if felt.level is AlarmLevel.TRIP}
        lasting = {place for place, alarm in self._open.items() if alarm.level is AlarmLevel.TRIP}
        where = {place[1] for place in felt | lasting if place[0] is kind}
        return any(hazards.is_pile_wide(kind, place) or place == port for place in where)


def _action(kind: AlarmKind, port: int | None, level: AlarmLevel) -> AlarmAction:
    if level is AlarmLevel.WARN:
        return AlarmAction.NONE
    if RULES[kind].stops is None:
        return AlarmAction.REFUSES_STARTS
    if kind is AlarmKind.PILE_OVER_POWER:
        return AlarmAction.PORT_STOPPED
    return AlarmAction.PILE_STOPPED if hazards.is_pile_wide(kind, port) else AlarmAction.PORT_STOPPED


def read_alarm(body: bytes) -> Alarm:
    """An alarm from memory."""
    alarm = codec.decode(Direction.UP, "alarm", body)
    assert isinstance(alarm, Alarm), "the memory holds messages of this version"
    return alarm


def has(alarm: Alarm, *, level: AlarmLevel, cleared: bool) -> bool:
    """Whether a platform that says so has an alarm as it stands."""
    return level >= alarm.level and cleared is (alarm.cleared_at_ms is not None)
