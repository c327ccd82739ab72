"""Firmware: checked first, installed after, and the old version back where the new one does not live."""

import hashlib
import uuid
from typing import Any, Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability
from conformance.pile.subject import Pile
from protocol.firmware import Manifest
from protocol.messages import Boot, Firmware, FirmwareState
from protocol.words import BootReason, FirmwareError, FirmwareStep

cases: Final = Catalogue[Pile]()

_FIRMWARE: Final = clauses.SERVICE.on("Firmware")
_MAKER: Final = (Ability.FIRMWARE,)
_NEW: Final = "7.0.0"
_HOUR_MS: Final = 3_600_000
_END_LIMIT_S: Final = 25.0


def a_firmware(pile: Pile, *, boots: bool = True, minimum: str = "", **terms: Any) -> Firmware:
    """Genuine firmware for the pile, offered at the kit's own address; ``terms`` replace fields after signing."""
    maker, now_ms = pile.bench.maker, pile.clock.now_ms()
    image = maker.image(_NEW, boots=boots)
    manifest = Manifest(maker.model, _NEW, minimum, len(image), hashlib.sha256(image).digest())
    fields: dict[str, Any] = {
        "command_id": uuid.uuid4(),
        "version": manifest.version,
        "model": manifest.model,
        "url": pile.wire.offer(pile.wire.register, image),
        "size_bytes": manifest.size_bytes,
        "sha256": manifest.sha256,
        "signature": maker.sign(manifest),
        "minimum_version": manifest.minimum_version,
        "window_from_ms": now_ms - _HOUR_MS,
        "window_to_ms": now_ms + 100 * _HOUR_MS,
        "force": False,
        "expires_at_ms": pile.expiry_ms(300),
    }
    return Firmware(**(fields | terms))


async def told(pile: Pile, command: Firmware, step: FirmwareStep, *, after: int = 0) -> FirmwareState:
    """The telling of this step of an update."""
    return await pile.hear(
        FirmwareState,
        lambda state: state.command_id == command.command_id and state.step is step,
        within_s=_END_LIMIT_S,
        after=after,
    )


async def fails(pile: Pile, command: Firmware, error: FirmwareError) -> None:
    """Send an update that must fail so and leave the pile running what it ran, without a boot."""
    boot = await pile.power_up()
    await pile.ports_reported(after=0)
    after = pile.mark
    pile.wire.say(command)
    end = await told(pile, command, FirmwareStep.FAILED)
    check_equal("the error", end.error, error)
    check_equal("what runs", end.running, boot.firmware)
    check_equal("the boots", pile.wire.all(Boot, after=after), [])


@cases.case("firmware.installed", clause=_FIRMWARE, kind=Kind.NORMAL, needs=_MAKER, limit_s=60)
async def installed(pile: Pile) -> None:
    """Genuine firmware is fetched, checked, installed, booted as ota, and done once the boot is acknowledged."""
    await pile.in_service()
    after = pile.mark
    command = a_firmware(pile)
    pile.wire.say(command)
    boot = await pile.hear(Boot, after=after, within_s=_END_LIMIT_S)
    check_equal("reason and version of the boot", (boot.reason, boot.firmware), (BootReason.OTA, _NEW))
    end = await told(pile, command, FirmwareStep.DONE)
    check_equal("what runs", end.running, _NEW)
    steps = [state.step for state in pile.wire.all(FirmwareState)]
    check_equal("the steps in order", steps, sorted(steps))


@cases.case("firmware.bad-signature", clause=_FIRMWARE, kind=Kind.REFUSAL, needs=_MAKER, limit_s=60)
async def bad_signature(pile: Pile) -> None:
    """Firmware that somebody else has signed is not installed."""
    await fails(pile, a_firmware(pile, signature=bytes(64)), FirmwareError.SIGNATURE)


@cases.case("firmware.wrong-hash", clause=_FIRMWARE, kind=Kind.REFUSAL, needs=_MAKER, limit_s=60)
async def wrong_hash(pile: Pile) -> None:
    """Firmware whose bytes are not the announced ones is not installed."""
    image = bytearray(pile.bench.maker.image(_NEW))
    image[-1] ^= 1
    url = pile.wire.offer(pile.wire.register, bytes(image))
    await fails(pile, a_firmware(pile, url=url), FirmwareError.HASH)


@cases.case(
    "firmware.more-bytes-than-announced", clause=_FIRMWARE, kind=Kind.REFUSAL, needs=_MAKER, limit_s=60
)
async def more_bytes_than_announced(pile: Pile) -> None:
    """A download longer than announced is broken off and not installed."""
    url = pile.wire.offer(pile.wire.register, pile.bench.maker.image(_NEW) + bytes(100_000))
    await fails(pile, a_firmware(pile, url=url), FirmwareError.SIZE)


@cases.case("firmware.wrong-model", clause=_FIRMWARE, kind=Kind.REFUSAL, needs=_MAKER, limit_s=60)
async def wrong_model(pile: Pile) -> None:
    """Firmware for another model is not installed."""
    await fails(pile, a_firmware(pile, model="ANOTHER"), FirmwareError.WRONG_MODEL)


@cases.case("firmware.too-old-to-update", clause=_FIRMWARE, kind=Kind.REFUSAL, needs=_MAKER, limit_s=60)
async def too_old_to_update(pile: Pile) -> None:
    """Firmware that needs a newer version than the running one is not installed."""
    await fails(pile, a_firmware(pile, minimum="6.9.9"), FirmwareError.TOO_OLD)


@cases.case(
    "firmware.waits-for-sessions",
    clause=_FIRMWARE,
    kind=Kind.NORMAL,
    needs=(*_MAKER, Ability.HANDS),
    limit_s=60,
)
async def waits_for_sessions(pile: Pile) -> None:
    """While a session runs the update waits; it goes on once the session has ended."""
    await pile.in_service()
    start = await pile.charging()
    after = pile.mark
    command = a_firmware(pile)
    pile.wire.say(command)
    await told(pile, command, FirmwareStep.WAITING)
    await pile.caught_up()
    check_equal("the boots while the session runs", pile.wire.all(Boot, after=after), [])
    await pile.ask_stop(pile.a_stop(start))
    await told(pile, command, FirmwareStep.DONE)
    await pile.settlement(start)


@cases.case("firmware.falls-back", clause=_FIRMWARE, kind=Kind.POWER_FAIL, needs=_MAKER, limit_s=90)
async def falls_back(pile: Pile) -> None:
    """Firmware that does not boot leaves the old version running, and the update failed as boot_failed."""
    first = await pile.power_up()
    await pile.ports_reported(after=0)
    command = a_firmware(pile, boots=False)
    pile.wire.say(command)
    end = await told(pile, command, FirmwareStep.FAILED)
    check_equal("error and what runs", (end.error, end.running), (FirmwareError.BOOT_FAILED, first.firmware))
    check_equal("the version of the last boot", pile.wire.all(Boot)[-1].firmware, first.firmware)


@cases.case(
    "firmware.power-cut-on-the-way",
    clause=_FIRMWARE,
    kind=Kind.POWER_FAIL,
    needs=(*_MAKER, Ability.POWER),
    limit_s=90,
)
async def power_cut_on_the_way(pile: Pile) -> None:
    """A power cut in the middle of an update leaves a pile that boots, and the update ends, well or not."""
    await pile.in_service()
    command = a_firmware(pile)
    pile.wire.say(command)
    await pile.hear(FirmwareState)
    after = pile.mark
    await pile.cut_power(0.1)
    end = await pile.hear(
        FirmwareState,
        lambda state: state.step in (FirmwareStep.DONE, FirmwareStep.FAILED),
        after=after,
        within_s=2 * _END_LIMIT_S,
    )
    running = pile.wire.all(Boot)[-1].firmware
    check_equal("what runs", end.running, running)
    check(
        (end.step is FirmwareStep.DONE) == (running == _NEW),
        "the end told does not fit the version that runs",
    )


@cases.case(
    "firmware.one-at-a-time", clause=_FIRMWARE, kind=Kind.REFUSAL, needs=(*_MAKER, Ability.HANDS), limit_s=60
)
async def one_at_a_time(pile: Pile) -> None:
    """A second update while one waits is failed as update_running, and the first goes on."""
    await pile.in_service()
    start = await pile.charging()
    first, second = a_firmware(pile), a_firmware(pile)
    pile.wire.say(first)
    await told(pile, first, FirmwareStep.WAITING)
    pile.wire.say(second)
    end = await told(pile, second, FirmwareStep.FAILED)
    check_equal("the error", end.error, FirmwareError.UPDATE_RUNNING)
    await pile.ask_stop(pile.a_stop(start))
    await told(pile, first, FirmwareStep.DONE)
