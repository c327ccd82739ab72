"""Configuration and the tariff a pile shows."""

import uuid
from typing import Any, Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.subject import Pile
from protocol.messages import (
    Config,
    ConfigSet,
    ConfigValue,
    Heartbeat,
    Query,
    Tariff,
    TariffBand,
    TariffSet,
)
from protocol.words import (
    ConfigCause,
    ConfigResult,
    QueryTopic,
    StopReason,
    TariffCause,
    TariffFee,
    TariffResult,
    TariffUnit,
)

cases: Final = Catalogue[Pile]()

_CONFIGURATION: Final = clauses.SETTINGS.on("Configuration")
_TARIFF: Final = clauses.SETTINGS.on("Tariff")
_UTC_OFFSET_S: Final = 8 * 3600
_TOO_LATE_MS: Final = 60_000


async def configure(pile: Pile, version: int, values: dict[str, int], **terms: Any) -> Config:
    """Send settings and wait for the answer."""
    fields: dict[str, Any] = {
        "command_id": uuid.uuid4(),
        "version": version,
        "values": tuple(ConfigValue(key, value) for key, value in values.items()),
        "expires_at_ms": pile.expiry_ms(),
    }
    command = ConfigSet(**(fields | terms))
    pile.wire.say(command)
    return await pile.hear(Config, lambda config: config.command_id == command.command_id)


async def applied(pile: Pile, version: int, values: dict[str, int]) -> None:
    """Send settings that must be put in force."""
    answer = await configure(pile, version, values)
    check_equal("the answer", (answer.result, answer.key), (ConfigResult.APPLIED, None))
    check_equal("the version in force", answer.version, version)


async def in_force(pile: Pile) -> Config:
    """Ask for the configuration in force."""
    after = pile.mark
    await pile.done(Query(uuid.uuid4(), QueryTopic.CONFIG, pile.expiry_ms()))
    return await pile.hear(Config, lambda config: config.command_id is None, after=after)


async def _refused(pile: Pile, values: dict[str, int], key: str, cause: ConfigCause) -> None:
    await pile.in_service()
    await applied(pile, 3, {"volume": 41})
    answer = await configure(pile, 4, values)
    check_equal("the answer", answer.result, ConfigResult.REFUSED)
    check_equal("the setting at fault and why", (answer.key, answer.cause), (key, cause))
    told = await in_force(pile)
    check_equal("the version in force", told.version, 3)
    check_equal("what is in force of the refused settings", dict(told.values)["volume"], 41)


@cases.case("config.applied", clause=_CONFIGURATION, kind=Kind.NORMAL)
async def config_applied(pile: Pile) -> None:
    """Settings are put in force together, answered applied, and told when asked for."""
    await pile.in_service()
    await applied(pile, 5, {"volume": 17, "full_s": 900})
    told = await in_force(pile)
    check_equal("result and version", (told.result, told.version), (ConfigResult.REPORTED, 5))
    values = dict(told.values)
    check_equal("the settings", (values.get("volume"), values.get("full_s")), (17, 900))


@cases.case("config.unknown-key", clause=_CONFIGURATION, kind=Kind.REFUSAL)
async def config_unknown_key(pile: Pile) -> None:
    """One unknown setting refuses all of them, is named, and leaves everything as it was."""
    await _refused(pile, {"volume": 11, "flux_capacitor_w": 1}, "flux_capacitor_w", ConfigCause.UNKNOWN_KEY)


@cases.case("config.out-of-range", clause=_CONFIGURATION, kind=Kind.REFUSAL)
async def config_out_of_range(pile: Pile) -> None:
    """One value out of range refuses all settings and is named."""
    await _refused(pile, {"volume": 12, "full_s": 7_201}, "full_s", ConfigCause.OUT_OF_RANGE)


@cases.case("config.contradiction", clause=_CONFIGURATION, kind=Kind.REFUSAL)
async def config_contradiction(pile: Pile) -> None:
    """A warning at or above its trip is refused as a contradiction, naming the setting."""
    await _refused(pile, {"volume": 13, "temp_warn_dc": 800}, "temp_warn_dc", ConfigCause.CONTRADICTION)


@cases.case("config.expired", clause=clauses.ORDER.on("Commands"), kind=Kind.REFUSAL)
async def config_expired(pile: Pile) -> None:
    """A config_set whose deadline has passed is answered expired and not put in force."""
    await pile.in_service()
    answer = await configure(pile, 9, {"volume": 1}, expires_at_ms=pile.clock.now_ms() - _TOO_LATE_MS)
    check_equal("the answer", answer.result, ConfigResult.EXPIRED)
    told = await in_force(pile)
    check(told.version != 9, "the expired configuration is in force")


@cases.case("config.survives-power-cut", clause=_CONFIGURATION, kind=Kind.POWER_FAIL, needs=(Ability.POWER,))
async def config_survives_power_cut(pile: Pile) -> None:
    """Settings and their version survive a power cut, and the boot names the version in force."""
    await pile.in_service()
    await applied(pile, 6, {"volume": 23})
    after = pile.mark
    boot = await pile.cut_power()
    check_equal("the version the boot names", boot.config_version, 6)
    await pile.ports_reported(after=after)
    check_equal("the setting", dict((await in_force(pile)).values).get("volume"), 23)


@cases.case(
    "config.holds-at-once", clause=_CONFIGURATION, kind=Kind.NORMAL, needs=(Ability.HANDS,), physical_s=100
)
async def config_holds_at_once(pile: Pile) -> None:
    """A new setting holds for a running session, too: one that draws more than max_power_w allows ends."""
    await pile.in_service()
    start = await pile.charging(1, Load(400))
    await applied(pile, 7, {"max_power_w": 300})
    record = await pile.settlement(start, clock_s=100)
    check_equal("the reason", record.stop_reason, StopReason.PORT_OVER_POWER)


@cases.case("config.sets-the-rhythm", clause=_CONFIGURATION, kind=Kind.NORMAL, physical_s=100)
async def config_sets_the_rhythm(pile: Pile) -> None:
    """heartbeat_s of the configuration sets the rhythm of heartbeats."""
    pile.manners.heartbeat_s = 3_600
    await pile.in_service()
    await applied(pile, 8, {"heartbeat_s": 15})
    after = pile.mark
    await pile.hear(Heartbeat, nth=3, after=after, within_s=pile.physically_s(60))


def bands(*power_w: tuple[int, int]) -> tuple[TariffBand, ...]:
    """Prices of the service fee by power, all day long."""
    return tuple(
        TariffBand(TariffFee.SERVICE, TariffUnit.HOUR, 127, 0, 1_440, low, high, 3_000)
        for low, high in power_w
    )


async def show(pile: Pile, version: int, rows: tuple[TariffBand, ...]) -> Tariff:
    """Send a tariff and wait for the answer."""
    now_ms = pile.clock.now_ms()
    command = TariffSet(
        uuid.uuid4(), version, now_ms, _UTC_OFFSET_S, rows, pile.expiry_ms(), "0.30 yuan an hour"
    )
    pile.wire.say(command)
    return await pile.hear(Tariff, lambda tariff: tariff.command_id == command.command_id)


@cases.case("tariff.stored", clause=_TARIFF, kind=Kind.POWER_FAIL, needs=(Ability.POWER,))
async def tariff_stored(pile: Pile) -> None:
    """A tariff is answered stored, told when asked for, and named by the boot after a power cut."""
    await pile.in_service()
    answer = await show(pile, 31, bands((0, 200), (200, 0)))
    check_equal("result and version", (answer.result, answer.version), (TariffResult.STORED, 31))
    after = pile.mark
    boot = await pile.cut_power()
    check_equal("the version the boot names", boot.tariff_version, 31)
    await pile.ports_reported(after=after)
    await pile.done(Query(uuid.uuid4(), QueryTopic.TARIFF, pile.expiry_ms()))
    told = await pile.hear(Tariff, lambda tariff: tariff.command_id is None)
    check_equal("result and version", (told.result, told.version), (TariffResult.REPORTED, 31))


@cases.case("tariff.overlap", clause=_TARIFF, kind=Kind.REFUSAL)
async def tariff_overlap(pile: Pile) -> None:
    """A tariff whose bands of one fee overlap is refused, and the one before stays."""
    await pile.in_service()
    await show(pile, 32, bands((0, 0)))
    answer = await show(pile, 33, bands((0, 300), (200, 0)))
    check_equal("the answer", (answer.result, answer.cause), (TariffResult.REFUSED, TariffCause.OVERLAP))
    await pile.done(Query(uuid.uuid4(), QueryTopic.TARIFF, pile.expiry_ms()))
    told = await pile.hear(Tariff, lambda tariff: tariff.command_id is None)
    check_equal("the version shown", told.version, 32)
