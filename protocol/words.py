"""The closed vocabularies of the protocol: states, reasons and causes, with their numbers on the wire.

The lists are unions of what the vendors' own protocols report. Numbers are for ever: a new member gets a
new number, a retired one keeps its own.
"""

from protocol.fields import WireEnum


class BootReason(WireEnum):
    """Why the pile started."""

    UNKNOWN = 0
    POWER = 1
    WATCHDOG = 2
    OTA = 3
    COMMAND = 4


class ClockState(WireEnum):
    """What the pile's clock rests on: nothing since power-up, its battery, or the platform."""

    NONE = 0
    RTC = 1
    SYNCED = 2


class PortState(WireEnum):
    """What a port is doing. Offline is the platform's word, a pile never reports it."""

    DISABLED = 1
    IDLE = 2
    PLUGGED = 3
    RESERVED = 4
    STARTING = 5
    CHARGING = 6
    FLOAT = 7
    FULL_PLUGGED = 8
    STOPPING = 9
    FAULT = 10


class PortFault(WireEnum):
    """The sub-code of PortState.FAULT."""

    UNKNOWN = 0
    FUSE_BLOWN = 1
    RELAY_WELDED = 2
    RELAY_DEAD = 3
    SHORT_CIRCUIT = 4
    LEAKAGE = 5
    BAD_CONTACT = 6
    SPRING_STUCK = 7
    METER_FAULT = 8
    STORAGE_FAULT = 9
    HALL_SENSOR = 10
    CARD_READER = 11
    OVER_TEMPERATURE = 12
    SMOKE = 13
    WATER = 14
    FIRE = 15
    OVER_CURRENT = 16
    OVER_POWER = 17
    VOLTAGE = 18


class StateCause(WireEnum):
    """What made a port change its state."""

    UNKNOWN = 0
    BOOT = 1
    PLUG = 2
    UNPLUG = 3
    COMMAND = 4
    LOAD = 5
    FULL = 6
    LIMIT = 7
    PROTECTION = 8
    FAULT = 9
    RECOVERY = 10
    TIMEOUT = 11


class Phase(WireEnum):
    """Where a battery is on its charging curve."""

    CC = 0
    CV = 1
    FLOAT = 2
    IDLE = 3


class StartResult(WireEnum):
    """A pile's answer to ``start``."""

    OK = 1
    PENDING_PLUG = 2
    REFUSED = 3


class StartCause(WireEnum):
    """Why a pile refused ``start``."""

    UNKNOWN = 0
    NOT_PLUGGED = 1
    PORT_BUSY = 2
    PORT_FAULT = 3
    NO_SUCH_PORT = 4
    PORT_DISABLED = 5
    SEVERAL_PORTS_WAITING = 6
    PILE_OVER_POWER = 7
    STORAGE_FAULT = 8
    RELAY_DEAD = 9
    RELAY_WELDED = 10
    SHORT_CIRCUIT = 11
    SMOKE = 12
    OVER_VOLTAGE = 13
    UNDER_VOLTAGE = 14
    EXPIRED = 15
    CLOCK_UNKNOWN = 16
    OUT_OF_SERVICE = 17
    SESSION_ENDED = 18
    NOT_CLEARED = 19


class StopResult(WireEnum):
    """A pile's answer to ``stop``."""

    STOPPED = 1
    ALREADY_ENDED = 2
    SESSION_MISMATCH = 3
    EXPIRED = 4


class ExtendResult(WireEnum):
    """A pile's answer to ``extend``."""

    EXTENDED = 1
    SESSION_ENDED = 2
    SESSION_MISMATCH = 3
    BELOW_PRESENT = 4
    EXPIRED = 5


class LocalStartResult(WireEnum):
    """What the platform did with a session begun at the pile."""

    ACCEPTED = 1
    REFUSED = 2


class SessionSource(WireEnum):
    """What started a session."""

    UNKNOWN = 0
    APP = 1
    CARD = 2
    COIN = 3
    CODE = 4
    BLE = 5
    BUTTON = 6
    FREE = 7


class StopReason(WireEnum):
    """Why a session ended; the pile's own code travels beside it."""

    UNKNOWN = 0
    FULL = 1
    MAX_TIME = 2
    PRESET_TIME = 3
    PRESET_ENERGY = 4
    PRESET_MONEY = 5
    USER_STOP_APP = 6
    USER_STOP_CARD = 7
    USER_STOP_BUTTON = 8
    UNPLUGGED = 9
    UNPLUGGED_SUSPECT = 10
    NO_LOAD = 11
    NO_POWER_MIDWAY = 12
    PORT_OVER_POWER = 13
    PILE_OVER_POWER = 14
    DYNAMIC_OVERLOAD = 15
    OVER_CURRENT = 16
    SHORT_CIRCUIT = 17
    LEAKAGE = 18
    OVER_VOLTAGE = 19
    UNDER_VOLTAGE = 20
    PORT_OVER_TEMP = 21
    AMBIENT_OVER_TEMP = 22
    SMOKE = 23
    FIRE_SUPPRESSION_OWN_PORT = 24
    FIRE_SUPPRESSION_OTHER_PORT = 25
    WATER = 26
    LOW_POWER_TIMEOUT = 27
    RELAY_WELDED = 28
    RELAY_DEAD_OR_FUSE = 29
    METER_FAULT = 30
    STORAGE_FAULT = 31
    PLATFORM_STOP = 32
    ADMIN_FORCE = 33
    POWER_LOSS = 34
    REBOOT = 35
    OFFLINE_TIMEOUT = 36
    BALANCE_USED = 37
    TARIFF_MISSING = 38
    DOOR_OPEN = 39


class SettlementResult(WireEnum):
    """What the platform did with a settlement. Any of them ends the pile's repetition."""

    STORED = 1
    DUPLICATE = 2
    UNKNOWN_SESSION_KEPT = 3
    REJECTED = 4


class ReceiptWish(WireEnum):
    """When a pile wants to hear that a meter frame is stored. It keeps the frame until then."""

    UNKNOWN = 0
    LATER = 1
    NOW = 2


class FrameResult(WireEnum):
    """What became of a meter frame. Any of them ends the pile's repetition."""

    UNKNOWN = 0
    STORED = 1
    MALFORMED = 2
    MISSING_FIELD = 3
    WRONG_TYPE = 4
    OUT_OF_RANGE = 5


class AlarmKind(WireEnum):
    """What is dangerous or broken. The unit of value and limit follows from it."""

    UNKNOWN = 0
    SMOKE = 1
    FIRE = 2
    EXTINGUISHER = 3
    LEAKAGE = 4
    PORT_OVER_TEMP = 5
    AMBIENT_OVER_TEMP = 6
    TERMINAL_OVER_TEMP = 7
    PORT_OVER_POWER = 8
    PILE_OVER_POWER = 9
    DYNAMIC_OVERLOAD = 10
    OVER_CURRENT = 11
    SHORT_CIRCUIT = 12
    OVER_VOLTAGE = 13
    UNDER_VOLTAGE = 14
    POWER_CUT = 15
    BREAKER_OPEN = 16
    RELAY_WELDED = 17
    RELAY_DEAD_OR_FUSE = 18
    BAD_CONTACT = 19
    SPRING_STUCK = 20
    WATER = 21
    DOOR_OPEN = 22
    METER_FAULT = 23
    STORAGE_FAULT = 24
    CARD_READER_FAULT = 25
    HALL_SENSOR_FAULT = 26
    CLOCK_FAULT = 27


class AlarmLevel(WireEnum):
    """How bad it is: worth a look, or bad enough to act on. A higher number replaces a lower one."""

    WARN = 1
    TRIP = 2


class AlarmAction(WireEnum):
    """What the pile did at once."""

    NONE = 0
    REFUSES_STARTS = 1
    PORT_STOPPED = 2
    PILE_STOPPED = 3


class CommandResult(WireEnum):
    """A pile's answer to a command of service."""

    DONE = 1
    ACCEPTED = 2
    REFUSED = 3
    EXPIRED = 4


class CommandCause(WireEnum):
    """Why a pile refused a command."""

    UNKNOWN = 0
    UNSUPPORTED = 1
    NO_SUCH_PORT = 2
    PORT_BUSY = 3
    FAULT_PERSISTS = 4
    RELAY_WELDED = 5
    RELAY_DEAD = 6
    WRONG_EPOCH = 7
    STORAGE_FAULT = 8
    UPDATE_RUNNING = 9
    MUTED = 10


class ConfigResult(WireEnum):
    """What a pile did with ``config_set``, or that it was only asked."""

    APPLIED = 1
    REFUSED = 2
    REPORTED = 3
    EXPIRED = 4


class ConfigCause(WireEnum):
    """Why a pile refused a configuration."""

    UNKNOWN = 0
    UNKNOWN_KEY = 1
    OUT_OF_RANGE = 2
    CONTRADICTION = 3
    STORAGE_FAULT = 4


class TariffFee(WireEnum):
    """What a price is for."""

    UNKNOWN = 0
    ELECTRICITY = 1
    SERVICE = 2
    OCCUPANCY = 3


class TariffUnit(WireEnum):
    """What a price is counted by."""

    UNKNOWN = 0
    KWH = 1
    HOUR = 2
    SESSION = 3


class TariffResult(WireEnum):
    """What a pile did with ``tariff_set``, or that it was only asked."""

    STORED = 1
    REFUSED = 2
    REPORTED = 3
    EXPIRED = 4


class TariffCause(WireEnum):
    """Why a pile refused a tariff."""

    UNKNOWN = 0
    TOO_MANY_BANDS = 1
    OVERLAP = 2
    STORAGE_FAULT = 3


class FirmwareStep(WireEnum):
    """Where an update stands."""

    DOWNLOADING = 1
    VERIFYING = 2
    WAITING = 3
    INSTALLING = 4
    REBOOTING = 5
    DONE = 6
    FAILED = 7


class FirmwareError(WireEnum):
    """Why an update failed; the pile runs what it ran before."""

    UNKNOWN = 0
    DOWNLOAD = 1
    SIZE = 2
    HASH = 3
    SIGNATURE = 4
    WRONG_MODEL = 5
    TOO_OLD = 6
    CHARGING = 7
    STORAGE = 8
    BOOT_FAILED = 9
    EXPIRED = 10
    UPDATE_RUNNING = 11


class QueryTopic(WireEnum):
    """What a pile is asked to tell."""

    STATUS = 1
    CONFIG = 2
    TARIFF = 3
    METER = 4


class LogLevel(WireEnum):
    """How grave a line of a pile's log is."""

    UNKNOWN = 0
    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
