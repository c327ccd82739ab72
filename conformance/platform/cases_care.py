"""Configuration, tariff, service and extension: each is told until answered, and then no more."""

from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, NotPossible, check, check_equal
from conformance.platform import records
from conformance.platform.bench import Capability
from conformance.platform.puppet import Puppet
from conformance.platform.scene import Scene
from protocol import config_keys, messages
from protocol.words import (
    CommandResult,
    ConfigCause,
    ConfigResult,
    ExtendResult,
    SettlementResult,
    TariffResult,
    TariffUnit,
)

cases: Final = Catalogue[Scene]()

CONFIGURATION: Final = clauses.SETTINGS.on("Configuration")
COMMANDS: Final = clauses.ORDER.on("Commands")
RESEND_S: Final = 5.0
WISH: Final = {"volume": 35, "temp_trip_dc": 780}
CONFIGURED: Final = (Capability.CONFIGURATION,)
MOST_BANDS: Final = 128


async def _answer_config(pile: Puppet, wish: messages.ConfigSet, result: ConfigResult, version: int) -> None:
    in_force = config_keys.defaults()
    if result is ConfigResult.APPLIED:
        in_force |= {value.key: value.value for value in wish.values}
    refused = result is ConfigResult.REFUSED
    await pile.say(
        messages.Config(
            version=version,
            result=result,
            values=tuple(messages.ConfigValue(key, value) for key, value in in_force.items()),
            command_id=wish.command_id,
            key=wish.values[0].key if refused else None,
            cause=ConfigCause.UNKNOWN_KEY if refused else None,
        )
    )


@cases.case("config.reaches-the-pile-until-applied", clause=CONFIGURATION, kind=Kind.NORMAL, needs=CONFIGURED)
async def reaches_the_pile(scene: Scene) -> None:
    """A configuration comes as settings of the contract with a version; once applied it comes no more."""
    pile = await scene.pile()
    await scene.ask(scene.bench.configure, pile.pile_id, WISH)
    wish = await pile.hear(messages.ConfigSet)
    told = {value.key: value.value for value in wish.values}
    check(WISH.items() <= told.items(), f"the settings told are {told}")
    check(config_keys.offence_of({}, list(told.items())) is None, f"no pile could take {told}")
    check(wish.version > 0, "the configuration has no version")
    again = await pile.hear(messages.ConfigSet)
    check_equal("the command that came again", again, wish)
    await _answer_config(pile, wish, ConfigResult.APPLIED, wish.version)
    await pile.fence()
    pile.forget_heard()
    await pile.hears_no(messages.ConfigSet, for_s=RESEND_S * 1.5)
    ack = await pile.boots(config_version=wish.version)
    check_equal("the version wanted at boot", ack.config_version, wish.version)
    await pile.hears_no(messages.ConfigSet, for_s=2)


@cases.case(
    "config.comes-again-to-a-pile-that-lost-it", clause=CONFIGURATION, kind=Kind.POWER_FAIL, needs=CONFIGURED
)
async def comes_again_to_a_pile_that_lost_it(scene: Scene) -> None:
    """A pile that boots with another version than wanted is told the wish, in boot_ack and by config_set."""
    pile = await scene.pile()
    await scene.ask(scene.bench.configure, pile.pile_id, WISH)
    wish = await pile.hear(messages.ConfigSet)
    await _answer_config(pile, wish, ConfigResult.APPLIED, wish.version)
    await pile.fence()
    await pile.cut_power()
    await pile.connect()
    pile.forget_heard()
    ack = await pile.boots(config_version=0)
    check_equal("the version wanted at boot", ack.config_version, wish.version)
    again = await pile.hear(messages.ConfigSet)
    check_equal("the version told again", again.version, wish.version)
    await _answer_config(pile, again, ConfigResult.APPLIED, again.version)
    await pile.fence()


@cases.case("config.refused-is-not-forced", clause=CONFIGURATION, kind=Kind.REFUSAL, needs=CONFIGURED)
async def refused_is_not_forced(scene: Scene) -> None:
    """A configuration the pile refuses, naming the setting, is not sent again by itself."""
    pile = await scene.pile()
    await scene.ask(scene.bench.configure, pile.pile_id, WISH)
    wish = await pile.hear(messages.ConfigSet)
    await _answer_config(pile, wish, ConfigResult.REFUSED, 0)
    await pile.fence()
    pile.forget_heard()
    await pile.hears_no(
        messages.ConfigSet, where=lambda told: told.command_id == wish.command_id, for_s=RESEND_S * 1.5
    )


@cases.case("tariff.is-told-to-a-pile-that-has-none", clause=clauses.SETTINGS.on("Tariff"), kind=Kind.NORMAL)
async def tariff_is_told(scene: Scene) -> None:
    """A pile that shows no tariff is told one whose bands do not overlap; stored, it comes no more."""
    pile = await scene.enrol(await scene.claim())
    await pile.connect()
    ack = await pile.boots(tariff_version=0)
    if ack.tariff_version == 0:
        raise NotPossible("the platform wants no tariff shown")
    told = await pile.hear(messages.TariffSet)
    check_equal("the version", told.version, ack.tariff_version)
    check(0 < len(told.bands) <= MOST_BANDS, f"there are {len(told.bands)} bands")
    check(all(band.from_minute < band.to_minute for band in told.bands), "a band ends before it begins")
    check(all(band.unit is not TariffUnit.UNKNOWN for band in told.bands), "a band has no unit")
    overlapping = [
        (one, other)
        for number, one in enumerate(told.bands)
        for other in told.bands[number + 1 :]
        if _overlap(one, other)
    ]
    check(not overlapping, f"bands overlap: {overlapping[:1]}")
    await pile.say(
        messages.Tariff(version=told.version, result=TariffResult.STORED, command_id=told.command_id)
    )
    await pile.fence()
    pile.forget_heard()
    await pile.hears_no(messages.TariffSet, for_s=RESEND_S * 1.5)
    again = await pile.boots(tariff_version=told.version)
    check_equal("the version wanted then", again.tariff_version, told.version)


def _overlap(one: messages.TariffBand, other: messages.TariffBand) -> bool:
    if one.fee is not other.fee or one.unit is not other.unit or not one.days & other.days:
        return False
    highest = [band.max_power_w or 1 << 30 for band in (one, other)]
    return max(one.from_minute, other.from_minute) < min(one.to_minute, other.to_minute) and max(
        one.min_power_w, other.min_power_w
    ) < min(highest)


@cases.case(
    "service.is-asked-until-answered", clause=clauses.SERVICE, kind=Kind.NORMAL, needs=[Capability.SERVICE]
)
async def service_is_asked_until_answered(scene: Scene) -> None:
    """A command of service comes with a deadline, again with the same id until answered, and then no more."""
    pile = await scene.pile()
    await scene.ask(scene.bench.locate, pile.pile_id, 2)
    asked = await pile.hear(messages.Locate)
    check_equal("the port", asked.port, 2)
    check(asked.expires_at_ms > pile.now_ms, "the deadline has passed already")
    again = await pile.hear(messages.Locate)
    check_equal("the command that came again", again, asked)
    await pile.say(
        messages.CommandAck(command_id=asked.command_id, result=CommandResult.DONE, at_ms=pile.now_ms)
    )
    await pile.fence()
    pile.forget_heard()
    await pile.hears_no(messages.Locate, for_s=RESEND_S * 1.5)


@cases.case("service.answers-to-nothing-are-harmless", clause=COMMANDS, kind=Kind.REFUSAL)
async def answers_to_nothing_are_harmless(scene: Scene) -> None:
    """Answers to commands nobody gave, of every kind, disturb nothing."""
    pile = await scene.pile()
    nobody = pile.stray_settlement().session_id
    await pile.say(messages.CommandAck(command_id=nobody, result=CommandResult.DONE, at_ms=pile.now_ms))
    await pile.say(
        messages.ExtendAck(
            command_id=nobody, session_id=nobody, port=1, result=ExtendResult.EXTENDED, at_ms=pile.now_ms
        )
    )
    await pile.say(messages.Config(version=0, result=ConfigResult.REPORTED, values=()))
    await pile.say(messages.Tariff(version=0, result=TariffResult.REPORTED))
    await pile.say(messages.LogLines(command_id=nobody, part=1, last=True, lines=()))
    await pile.fence()


@cases.case(
    "extend.gives-a-running-charge-more",
    clause=clauses.CHARGE.on("Extend"),
    kind=Kind.NORMAL,
    needs=(Capability.ORDERS, Capability.SESSIONS, Capability.EXTENSION),
)
async def gives_a_running_charge_more(scene: Scene) -> None:
    """An extension names the session, never lowers a limit, comes until answered, and the charge settles as usual."""
    charge = await scene.charge()
    await scene.wait_charging(charge.session_id)
    await scene.ask(scene.bench.extend, charge.session_id)
    pile, start = charge.pile, charge.start
    told = await pile.hear(messages.Extend)
    check_equal("session and port", (told.session_id, told.port), (charge.session_id, charge.port))
    check(told.limit_s >= start.limit_s and told.limit_dwh >= start.limit_dwh, "a limit was lowered")
    check((told.limit_s, told.limit_dwh) != (start.limit_s, start.limit_dwh), "nothing was extended")
    await pile.say(
        messages.ExtendAck(
            command_id=told.command_id,
            session_id=told.session_id,
            port=told.port,
            result=ExtendResult.EXTENDED,
            at_ms=pile.now_ms,
            limit_s=told.limit_s,
            limit_dwh=told.limit_dwh,
        )
    )
    await pile.fence()
    pile.forget_heard()
    await pile.hears_no(messages.Extend, for_s=RESEND_S * 1.5)
    await pile.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)
