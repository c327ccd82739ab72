"""Firmware: what the platform sends is what the maker signed and what can be fetched, and what piles say of it counts.

The kit is the maker: it signs with the key of the test vectors.
"""

import secrets as randomness
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.platform import records
from conformance.platform.bench import Capability, FirmwareRelease, UpdateFacts
from conformance.platform.puppet import Puppet
from conformance.platform.scene import Scene
from protocol import firmware, messages
from protocol.examples import FIRMWARE_KEY
from protocol.firmware import Manifest
from protocol.words import (
    BootReason,
    FirmwareError,
    FirmwareStep,
    SettlementResult,
)

cases: Final = Catalogue[Scene]()

FIRMWARE: Final = clauses.SERVICE.on("Firmware")
UPDATED: Final = (Capability.FIRMWARE,)
TOLD: Final = (*UPDATED, Capability.UPDATES)
MAKER: Final = Ed25519PrivateKey.from_private_bytes(FIRMWARE_KEY)
IMAGE_BYTES: Final = 50_000
BROKEN_OFF_AT: Final = 12_345
RUNNING: Final = "1.0.0"
RESEND_S: Final = 5.0


async def _offered(scene: Scene, pile: Puppet) -> tuple[FirmwareRelease, messages.Firmware]:
    """A release the platform was given for a pile, and what the pile hears of it."""
    image = randomness.token_bytes(IMAGE_BYTES)
    manifest = Manifest(
        model=pile.boot_message().model,
        version=f"2.{randomness.randbelow(10**6)}.{randomness.randbelow(10**6)}",
        minimum_version=RUNNING,
        size_bytes=len(image),
        sha256=sha256(image).digest(),
    )
    release = FirmwareRelease(manifest, firmware.sign(MAKER, manifest), image)
    await scene.ask(scene.bench.update_firmware, pile.pile_id, release)
    return release, await pile.hear(messages.Firmware)


async def _say(pile: Puppet, offer: messages.Firmware, step: FirmwareStep, **changes: Any) -> None:
    values: dict[str, Any] = {
        "command_id": offer.command_id,
        "version": offer.version,
        "running": offer.version if step is FirmwareStep.DONE else RUNNING,
        "step": step,
        "percent": 100 if step in (FirmwareStep.DONE, FirmwareStep.FAILED) else 40,
        "at_ms": pile.now_ms,
    }
    await pile.say(messages.FirmwareState(**(values | changes)))


async def _expect(scene: Scene, pile: Puppet, what: str, holds: Callable[[UpdateFacts], bool]) -> None:
    """Once everything said so far is read, the platform says so of the update."""
    await pile.fence()
    facts = await scene.ask(scene.bench.update, pile.pile_id)
    check(holds(facts), f"the update is not {what}, but {facts}")


def _is_done(facts: UpdateFacts) -> bool:
    return facts.done and not facts.failed


def _has_failed(facts: UpdateFacts) -> bool:
    return facts.failed and not facts.done


def _goes_on(facts: UpdateFacts) -> bool:
    return not facts.failed and not facts.done


@cases.case("firmware.is-what-the-maker-signed", clause=FIRMWARE, kind=Kind.NORMAL, needs=UPDATED)
async def is_what_the_maker_signed(scene: Scene) -> None:
    """The command carries the maker's manifest unchanged, and a signature that holds by the maker's key."""
    pile = await scene.pile()
    release, offer = await _offered(scene, pile)
    told = Manifest(offer.model, offer.version, offer.minimum_version, offer.size_bytes, offer.sha256)
    check_equal("the manifest told", told, release.manifest)
    genuine = firmware.is_genuine(MAKER.public_key(), told, offer.signature)
    check(genuine, "the signature is not the maker's over this manifest")
    check(offer.window_from_ms < offer.window_to_ms, "the window ends before it begins")
    check(pile.now_ms < min(offer.expires_at_ms, offer.window_to_ms), "it has expired already")


@cases.case("firmware.file-is-as-announced", clause=FIRMWARE, kind=Kind.NORMAL, needs=UPDATED)
async def file_is_as_announced(scene: Scene) -> None:
    """What `url` points to is there without a detour, and has the size and the SHA-256 the command announced."""
    pile = await scene.pile()
    release, offer = await _offered(scene, pile)
    check(offer.url.startswith(("https://", "http://")), f"no pile fetches {offer.url}")
    answer = await _fetched(scene, offer, {})
    check_equal("the status", answer.status_code, httpx.codes.OK)
    check_equal("the size of the file", len(answer.content), offer.size_bytes)
    check_equal("the SHA-256 of the file", sha256(answer.content).digest(), offer.sha256)
    check(answer.content == release.image, "the file is not the maker's")


@cases.case("firmware.broken-download-goes-on", clause=FIRMWARE, kind=Kind.OFFLINE, needs=UPDATED)
async def broken_download_goes_on(scene: Scene) -> None:
    """A pile whose download broke off asks for the rest by Range, and gets that and no more."""
    pile = await scene.pile()
    release, offer = await _offered(scene, pile)
    rest = await _fetched(scene, offer, {"Range": f"bytes={BROKEN_OFF_AT}-"})
    check_equal("the status", rest.status_code, httpx.codes.PARTIAL_CONTENT)
    check_equal(
        "the range",
        rest.headers.get("content-range"),
        f"bytes {BROKEN_OFF_AT}-{IMAGE_BYTES - 1}/{IMAGE_BYTES}",
    )
    check(rest.content == release.image[BROKEN_OFF_AT:], "the rest is not the file's")
    part = await _fetched(scene, offer, {"Range": "bytes=100-199"})
    check(part.content == release.image[100:200], "a part of the middle is not the file's")


async def _fetched(scene: Scene, offer: messages.Firmware, headers: dict[str, str]) -> httpx.Response:
    return await scene.ask(scene.desk.fetch, offer.url, headers)


@cases.case("firmware.comes-until-a-state-is-told", clause=FIRMWARE, kind=Kind.OFFLINE, needs=UPDATED)
async def comes_until_a_state_is_told(scene: Scene) -> None:
    """The command comes again with the same id and content; the first step the pile tells ends that."""
    pile = await scene.pile()
    _, offer = await _offered(scene, pile)
    again = await pile.hear(messages.Firmware)
    check_equal("the command that came again", again, offer)
    await _say(pile, offer, FirmwareStep.DOWNLOADING)
    await pile.fence()
    pile.forget_heard()
    await pile.hears_no(messages.Firmware, for_s=RESEND_S * 1.5)


@cases.case("firmware.steps-lead-to-done", clause=FIRMWARE, kind=Kind.NORMAL, needs=TOLD)
async def steps_lead_to_done(scene: Scene) -> None:
    """Every step is taken; the update goes on until the pile says done, and is done then."""
    pile = await scene.pile()
    _, offer = await _offered(scene, pile)
    for step in (
        FirmwareStep.DOWNLOADING,
        FirmwareStep.VERIFYING,
        FirmwareStep.WAITING,
        FirmwareStep.INSTALLING,
        FirmwareStep.REBOOTING,
    ):
        await _say(pile, offer, step)
        await _expect(scene, pile, f"under way after {step.word}", _goes_on)
    await pile.cut_power()
    await pile.connect()
    await pile.boots(reason=BootReason.OTA, firmware=offer.version)
    await _say(pile, offer, FirmwareStep.DONE)
    await _expect(scene, pile, "done", _is_done)


@cases.case("firmware.steps-in-any-order", clause=clauses.ORDER.on("Up"), kind=Kind.OFFLINE, needs=TOLD)
async def steps_in_any_order(scene: Scene) -> None:
    """Steps that arrive after the end, or twice, change nothing of it."""
    pile = await scene.pile()
    _, offer = await _offered(scene, pile)
    await _say(pile, offer, FirmwareStep.INSTALLING)
    for _ in range(2):
        await _say(pile, offer, FirmwareStep.DOWNLOADING)
    await _expect(scene, pile, "under way", _goes_on)
    for _ in range(2):
        await _say(pile, offer, FirmwareStep.DONE)
    for late in (FirmwareStep.REBOOTING, FirmwareStep.VERIFYING, FirmwareStep.DOWNLOADING):
        await _say(pile, offer, late)
    await _expect(scene, pile, "done", _is_done)


@cases.case("firmware.failure-is-taken", clause=FIRMWARE, kind=Kind.REFUSAL, needs=TOLD)
async def failure_is_taken(scene: Scene) -> None:
    """A pile that refuses the file says why: the update has failed so, is not sent again, and stays failed."""
    pile = await scene.pile()
    _, offer = await _offered(scene, pile)
    await _say(pile, offer, FirmwareStep.FAILED, error=FirmwareError.SIGNATURE)
    await _say(pile, offer, FirmwareStep.VERIFYING)
    await _say(pile, offer, FirmwareStep.FAILED, error=FirmwareError.SIGNATURE)
    await _expect(
        scene,
        pile,
        "failed for its signature",
        lambda facts: _has_failed(facts) and facts.error == FirmwareError.SIGNATURE.word,
    )
    pile.forget_heard()
    await pile.hears_no(messages.Firmware, for_s=RESEND_S * 1.5)


@cases.case("firmware.of-every-failure", clause=clauses.BODY.on("Growth"), kind=Kind.REFUSAL, needs=TOLD)
async def of_every_failure(scene: Scene) -> None:
    """A failure for a reason of a later version counts as a failure all the same."""
    pile = await scene.pile()
    _, offer = await _offered(scene, pile)
    failed = messages.FirmwareState(
        command_id=offer.command_id,
        version=offer.version,
        running=RUNNING,
        step=FirmwareStep.FAILED,
        percent=0,
        at_ms=pile.now_ms,
        error=FirmwareError.DOWNLOAD,
    )
    await pile.say_map("firmware_state", records.as_map(failed) | {7: 4_095})
    await _expect(scene, pile, "failed", _has_failed)


@cases.case("firmware.end-is-told-again-after-boot", clause=FIRMWARE, kind=Kind.POWER_FAIL, needs=TOLD)
async def end_is_told_again(scene: Scene) -> None:
    """A pile that lost its power after a failed update tells the failure again after every boot, and it stays so."""
    pile = await scene.pile()
    _, offer = await _offered(scene, pile)
    for _ in range(2):
        await pile.cut_power()
        await pile.connect()
        await pile.boots(firmware=RUNNING)
        await _say(pile, offer, FirmwareStep.FAILED, error=FirmwareError.STORAGE)
        await _expect(
            scene,
            pile,
            "failed for its memory",
            lambda facts: _has_failed(facts) and facts.error == FirmwareError.STORAGE.word,
        )


@cases.case("firmware.falls-back", clause=FIRMWARE, kind=Kind.POWER_FAIL, needs=TOLD)
async def falls_back(scene: Scene) -> None:
    """A new version that boots once and then leaves the old one running has failed in the end."""
    pile = await scene.pile()
    _, offer = await _offered(scene, pile)
    await _say(pile, offer, FirmwareStep.REBOOTING)
    await pile.cut_power()
    await pile.connect()
    await pile.boots(reason=BootReason.OTA, firmware=offer.version)
    await pile.cut_power()
    await pile.connect()
    await pile.boots(reason=BootReason.WATCHDOG, firmware=RUNNING)
    await _say(pile, offer, FirmwareStep.FAILED, error=FirmwareError.BOOT_FAILED)
    await _expect(
        scene,
        pile,
        "failed to boot",
        lambda facts: _has_failed(facts) and facts.error == FirmwareError.BOOT_FAILED.word,
    )


@cases.case("firmware.state-of-another-pile", clause=FIRMWARE, kind=Kind.REFUSAL, needs=TOLD)
async def state_of_another_pile(scene: Scene) -> None:
    """What another pile says of this one's update, or of one nobody asked for, changes nothing."""
    pile, other = await scene.pile(), await scene.pile()
    _, offer = await _offered(scene, pile)
    for step, error in ((FirmwareStep.FAILED, FirmwareError.HASH), (FirmwareStep.DONE, None)):
        await _say(other, offer, step, error=error)
        await _say(other, offer, step, error=error, command_id=uuid4())
    await other.fence()
    await _expect(scene, pile, "under way", _goes_on)
    again = await pile.hear(messages.Firmware)
    check_equal("the command, which is still unanswered", again.command_id, offer.command_id)
    await _say(pile, offer, FirmwareStep.DONE)
    await _expect(scene, pile, "done", _is_done)


@cases.case(
    "firmware.leaves-charges-alone",
    clause=FIRMWARE,
    kind=Kind.NORMAL,
    needs=(*UPDATED, Capability.ORDERS, Capability.SESSIONS),
)
async def leaves_charges_alone(scene: Scene) -> None:
    """An update waits for the charge that runs: not forced, it stops none, and starts are still sent meanwhile."""
    charge = await scene.charge()
    pile = charge.pile
    await scene.wait_charging(charge.session_id)
    _, offer = await _offered(scene, pile)
    check(not offer.force, "the update is forced, although nobody asked for that")
    await _say(pile, offer, FirmwareStep.WAITING)
    second = await scene.charge(pile, port=2)
    for each in (charge, second):
        await pile.expect_settled(each.record(), SettlementResult.STORED)
        await scene.expect_charged(each.session_id, energy_dwh=records.ENERGY_DWH)
    await pile.fence()
    await pile.hears_no(messages.Stop)
