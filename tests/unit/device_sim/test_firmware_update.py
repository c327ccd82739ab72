"""New firmware is taken only when it is genuine and wanted, and no power cut leaves a pile that does not boot."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.battery import PACKS, Battery
from device_sim.firmware_slots import TRIAL_BOOTS
from device_sim.firmware_update import FirmwareUpdate
from device_sim.keyring import Keyring
from device_sim.nvm import Memory, Nvm
from device_sim.pile import Pile
from device_sim.rooms import PARTS
from protocol.fields import Message
from protocol.firmware import Manifest, sign
from protocol.messages import BootAck, Firmware, FirmwareState, Start
from protocol.words import BootReason, FirmwareError, FirmwareStep, StopReason
from tests.unit.device_sim.conftest import NOON_MS, Bench

MAKER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HOUR_MS = 3_600_000


class PowerCut(Exception):
    """The mains are lost in the middle of something."""


class CutShort(Nvm):
    """A memory that loses power at one of its writes, before or after that write."""

    def __init__(self, folder: Path, *, at_write: int, after: bool) -> None:
        super().__init__(folder)
        self._left = at_write
        self._after = after

    def save(self, memory: Memory, *, durable: bool = True) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise PowerCut
        super().save(memory, durable=durable)
        if self._left == 0:
            raise PowerCut


def image_of(version: str = "2.0.0", *, model: str = "PW-SIM", boots: bool = True) -> bytes:
    """What the maker ships."""
    return json.dumps({"model": model, "version": version, "boots": boots, "fill": "x" * 500}).encode()


def firmware_of(
    image: bytes,
    *,
    now_ms: int = NOON_MS,
    version: str = "2.0.0",
    model: str = "PW-SIM",
    minimum: str = "0.1.0",
    key: Ed25519PrivateKey = MAKER,
    window_ms: tuple[int, int] = (0, HOUR_MS),
    force: bool = False,
) -> Firmware:
    """A signed command to install an image; the window is from and to, after now."""
    sha256 = hashlib.sha256(image).digest()
    manifest = Manifest(model, version, minimum, len(image), sha256)
    return Firmware(
        command_id=uuid4(),
        version=version,
        model=model,
        url="http://files.invalid/image",
        size_bytes=len(image),
        sha256=sha256,
        signature=sign(key, manifest),
        minimum_version=minimum,
        window_from_ms=now_ms + window_ms[0],
        window_to_ms=now_ms + window_ms[1],
        force=force,
        expires_at_ms=now_ms + HOUR_MS,
    )


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """A pile that knows its maker."""
    bench.config = replace(bench.config, firmware_key=MAKER.public_key().public_bytes_raw())
    bench.power_up()
    return bench


def deliver(bench: Bench, image: bytes) -> None:
    """The download ends with these bytes."""
    update = bench.pile.part(FirmwareUpdate)
    assert update.wanted is not None
    update.slots.download.write_bytes(image)
    update.downloaded(None)
    bench.listen()


def states(bench: Bench) -> list[FirmwareState]:
    """All it has told of updates."""
    return bench.heard(FirmwareState)


def test_genuine_firmware_is_installed_and_proves_itself(bench: Bench) -> None:
    image = image_of()
    command = firmware_of(image)
    bench.tell(command)
    deliver(bench, image)
    assert bench.pile.restart_reason is BootReason.OTA
    bench.power_up()
    assert bench.pile.boot_message().firmware == "2.0.0"
    assert [state.step for state in states(bench)] == list(FirmwareStep)[:6]
    assert {state.command_id for state in states(bench)} == {command.command_id}
    assert states(bench)[-1].running == "2.0.0"
    bench.power_up()
    assert bench.pile.firmware == "2.0.0"
    assert states(bench)[-1].step is FirmwareStep.DONE


def test_a_third_version_goes_into_the_first_slot_again(bench: Bench) -> None:
    for version in ("2.0.0", "2.1.0", "1.5.0"):
        image = image_of(version)
        bench.tell(firmware_of(image, version=version))
        deliver(bench, image)
        bench.power_up()
        assert (bench.pile.firmware, states(bench)[-1].step) == (version, FirmwareStep.DONE)


@pytest.mark.parametrize(
    ("delivered", "error"),
    [
        (image_of()[:-1], FirmwareError.SIZE),
        (image_of()[:-1] + b" ", FirmwareError.HASH),
    ],
)
def test_a_download_that_is_not_what_was_announced_is_refused(
    bench: Bench, delivered: bytes, error: FirmwareError
) -> None:
    bench.tell(firmware_of(image_of()))
    deliver(bench, delivered)
    assert (states(bench)[-1].step, states(bench)[-1].error) == (FirmwareStep.FAILED, error)
    assert bench.pile.restart_reason is None


def test_a_signature_counts_only_for_what_it_covers_and_by_the_maker(bench: Bench) -> None:
    image = image_of()
    forged = firmware_of(image, key=Ed25519PrivateKey.from_private_bytes(bytes(32)))
    renamed = replace(firmware_of(image, version="1.9.0"), version="9.0.0")
    eased = replace(firmware_of(image), minimum_version="0.0.1")
    for command in (forged, renamed, eased):
        bench.tell(command)
        deliver(bench, image)
        assert states(bench)[-1].error is FirmwareError.SIGNATURE
    bench.config = replace(bench.config, firmware_key=None)
    bench.power_up()
    bench.tell(firmware_of(image))
    deliver(bench, image)
    assert states(bench)[-1].error is FirmwareError.SIGNATURE


def test_each_objection_refuses_the_command_before_anything_is_downloaded(bench: Bench) -> None:
    cases = [
        (firmware_of(image_of(), model="OTHER"), FirmwareError.WRONG_MODEL),
        (firmware_of(image_of(), minimum="0.2"), FirmwareError.TOO_OLD),
        (replace(firmware_of(image_of()), expires_at_ms=bench.now_ms - 1), FirmwareError.EXPIRED),
    ]
    for command, error in cases:
        bench.tell(command)
        bench.tell(command)
        first, again = states(bench)[-2:]
        assert first == again
        assert (first.step, first.error) == (FirmwareStep.FAILED, error)
        assert bench.pile.part(FirmwareUpdate).wanted is None


def test_a_second_update_is_refused_while_one_is_under_way(bench: Bench) -> None:
    image = image_of()
    first, second = firmware_of(image), firmware_of(image)
    bench.tell(first)
    bench.tell(second)
    assert (states(bench)[-1].command_id, states(bench)[-1].error) == (
        second.command_id,
        FirmwareError.UPDATE_RUNNING,
    )
    bench.tell(first)
    assert (states(bench)[-1].command_id, states(bench)[-1].step) == (
        first.command_id,
        FirmwareStep.DOWNLOADING,
    )
    deliver(bench, image)
    bench.power_up()
    bench.tell(second)
    assert states(bench)[-1].error is FirmwareError.UPDATE_RUNNING


def test_an_update_waits_for_its_window_and_for_the_last_rider(bench: Bench) -> None:
    image = image_of()
    bench.pile.plug(1, Battery(PACKS[0], 0.5, seed=3), now_ms=bench.now_ms)
    bench.start(limit_s=1_000)
    bench.wait(60)
    bench.tell(firmware_of(image, now_ms=bench.now_ms, window_ms=(500_000, HOUR_MS)))
    deliver(bench, image)
    bench.wait(600)
    assert states(bench)[-1].step is FirmwareStep.WAITING
    bench.wait(600)
    assert states(bench)[-1].step is FirmwareStep.REBOOTING
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.PRESET_TIME


def test_force_ends_what_runs_but_keeps_to_the_window(bench: Bench) -> None:
    image = image_of()
    bench.pile.plug(1, Battery(PACKS[0], 0.5, seed=3), now_ms=bench.now_ms)
    bench.start()
    bench.wait(60)
    bench.tell(firmware_of(image, now_ms=bench.now_ms, window_ms=(500_000, HOUR_MS), force=True))
    deliver(bench, image)
    bench.wait(499)
    assert bench.pile.restart_reason is None
    bench.wait(2)
    assert bench.pile.restart_reason is BootReason.OTA
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.REBOOT


@pytest.mark.parametrize(
    ("charging", "error"), [(True, FirmwareError.CHARGING), (False, FirmwareError.EXPIRED)]
)
def test_a_window_that_closes_ends_the_update(bench: Bench, charging: bool, error: FirmwareError) -> None:
    image = image_of()
    if charging:
        bench.pile.plug(1, Battery(PACKS[0], 0.9, seed=3), now_ms=bench.now_ms)
        bench.start()
        bench.wait(60)
    bench.tell(firmware_of(image, now_ms=bench.now_ms, window_ms=(0, 60_000)))
    if not charging:
        bench.wait(61)
    deliver(bench, image)
    bench.wait(61)
    assert (states(bench)[-1].step, states(bench)[-1].error) == (FirmwareStep.FAILED, error)
    assert bench.pile.restart_reason is None


@pytest.mark.parametrize("image", [image_of(boots=False), image_of(model="OTHER"), b"no image at all"])
def test_firmware_that_does_not_boot_gives_way_to_the_old(bench: Bench, image: bytes) -> None:
    bench.tell(firmware_of(image))
    deliver(bench, image)
    bench.power_up()
    assert (bench.pile.firmware, bench.pile.boot_reason) == ("0.1.0", BootReason.WATCHDOG)
    assert (states(bench)[-1].step, states(bench)[-1].error) == (
        FirmwareStep.FAILED,
        FirmwareError.BOOT_FAILED,
    )
    assert states(bench)[-1].running == "0.1.0"


def test_firmware_the_platform_never_hears_gives_way_to_the_old(bench: Bench) -> None:
    image = image_of()
    bench.tell(firmware_of(image))
    deliver(bench, image)
    for _ in range(TRIAL_BOOTS):
        bench.power_up(acknowledged=False)
        assert bench.pile.firmware == "2.0.0"
    bench.power_up()
    assert (bench.pile.firmware, states(bench)[-1].error) == ("0.1.0", FirmwareError.BOOT_FAILED)


def test_a_trial_that_is_given_up_ends_with_the_next_boot(bench: Bench) -> None:
    image = image_of()
    bench.tell(firmware_of(image))
    deliver(bench, image)
    bench.power_up(acknowledged=False)
    bench.pile.part(FirmwareUpdate).give_up_trial()
    assert bench.pile.restart_reason is BootReason.WATCHDOG
    bench.power_up()
    assert bench.pile.firmware == "0.1.0"


@dataclass
class Street:
    """A pile whose power is cut at one write of its memory, and what it said before and after."""

    bench: Bench
    said: list[Message] = field(default_factory=list[Message])

    def live(self, nvm: Nvm, command: Firmware, image: bytes) -> Pile:
        """Boot, be acknowledged, hear the command, and download if that is wanted."""
        pile = Pile(
            self.bench.config,
            nvm,
            keys=Keyring({1: bytes(32)}, lambda _: None),
            parts=PARTS,
            now_ms=self.bench.now_ms,
            reason=BootReason.POWER,
            clock_tolerance_ms=2_000,
        )
        pile.outbox.linked = True
        pile.receive(BootAck(self.bench.now_ms, 60, 30, 0), now_ms=self.bench.now_ms)
        pile.receive(command, now_ms=self.bench.now_ms)
        update = pile.part(FirmwareUpdate)
        if update.wanted is not None:
            update.slots.download.write_bytes(image)
            update.downloaded(None)
        while (message := pile.outbox.take()) is not None:
            self.said.append(message)
        return pile


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("boots", [False, True])
def test_power_lost_at_any_write_leaves_a_pile_that_boots_and_says_how_it_ended(
    bench: Bench, after: bool, boots: bool
) -> None:
    image = image_of(boots=boots)
    cuts = 0
    for at_write in range(1, 30):
        bench.wipe()
        command = firmware_of(image, now_ms=bench.now_ms)
        street = Street(bench)
        try:
            street.live(CutShort(bench.config.folder, at_write=at_write, after=after), command, image)
        except PowerCut:
            cuts += 1
        for _ in range(2):
            street.live(Nvm(bench.config.folder), command, image)
        pile = street.live(Nvm(bench.config.folder), command, image)
        assert pile.firmware == ("2.0.0" if boots else "0.1.0")
        last = [message for message in street.said if isinstance(message, FirmwareState)][-1]
        assert last.command_id == command.command_id
        assert last.step is (FirmwareStep.DONE if boots else FirmwareStep.FAILED)
    assert 5 < cuts < 29


def test_a_start_that_comes_after_an_update_is_served(bench: Bench) -> None:
    image = image_of()
    bench.tell(firmware_of(image))
    deliver(bench, image)
    bench.power_up()
    start: Start = bench.start(session_id=UUID(int=7))
    assert bench.pile.ports[1].session is not None
    assert bench.pile.ports[1].session.session_id == start.session_id
