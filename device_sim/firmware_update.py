"""How a pile takes new firmware: download, check, wait for window and riders, install beside the old, prove itself.

Every step is in memory before it is told. A power cut takes an update back to the beginning of what it was doing; the
boot that follows ends it or goes on with it once the platform listens.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_sim import firmware_slots
from device_sim.firmware_slots import Image, Slots, Update
from device_sim.part import Hears, Moment, Part, Turn
from device_sim.pile import Pile
from device_sim.port import NEVER_MS
from device_sim.restarting import Restarting
from protocol import codec
from protocol.firmware import Manifest, is_genuine, version_order
from protocol.messages import Firmware, FirmwareState
from protocol.topics import Direction
from protocol.words import BootReason, FirmwareError, FirmwareStep, LogLevel

QUARTER: Final = 25


class FirmwareUpdate(Part):
    """``firmware``. Whoever runs the pile watches ``wanted`` and downloads it to ``slots.download``."""

    def __init__(self, pile: Pile) -> None:
        """Boot: choose the slot, and remember what came of a trial."""
        super().__init__(pile)
        config = pile.config
        self.slots = Slots(config.folder, factory=Image(model=config.model, version=config.firmware))
        self.on_wanted: Callable[[], None] = lambda: None
        self._memory = pile.memory.firmware
        tried = self._memory.trial is not None
        pile.firmware = firmware_slots.boot(self._memory, self.slots, model=config.model) or config.firmware
        if tried and self._memory.trial is None:
            pile.boot_reason = BootReason.WATCHDOG
            pile.note("the new firmware does not boot: back to the old", level=LogLevel.ERROR)
        self._percent = 0
        self._window_open = False
        self._resumed = False

    def hears(self) -> Hears:
        """The command is answered by the states of its update."""
        return {Firmware: self._begin}

    @property
    def wanted(self) -> Firmware | None:
        """What is to be downloaded now."""
        update = self._memory.update
        downloading = update is not None and update.step is FirmwareStep.DOWNLOADING and self._resumed
        return _command(update) if downloading and update is not None else None

    def progress(self, percent: int) -> None:
        """The download has come so far; told at each quarter."""
        if self._memory.update is not None and percent // QUARTER > self._percent // QUARTER:
            self._percent = percent
            self._tell(self._memory.update)

    def downloaded(self, error: FirmwareError | None) -> None:
        """The download has ended."""
        if error is not None:
            self._fail(error)
        else:
            self._step(FirmwareStep.VERIFYING)
            self._verify(self.pile.now_ms)

    def give_up_trial(self) -> None:
        """The platform has not heard the new version in time: the next boot goes back to the old one."""
        if self._memory.trial is not None and self.pile.restart_reason is None:
            self._memory.trial_boots = firmware_slots.TRIAL_BOOTS
            self.pile.save()
            self.pile.restart_reason = BootReason.WATCHDOG

    def boot_acknowledged(self, at_ms: int) -> None:
        """The platform has heard this version: it stays. What a power cut interrupted goes on."""
        update = self._memory.update
        if self._resumed or update is None:
            self._resumed = True
            return
        self._resumed = True
        if self._memory.trial is not None:
            self._memory.slot, self._memory.trial = self._memory.trial, None
            self._step(FirmwareStep.DONE)
        elif update.ended:
            self._remember_end(update)
            self._tell(update)
        elif update.step is FirmwareStep.DOWNLOADING:
            self._tell(update)
            self.on_wanted()
        else:
            self._step(FirmwareStep.VERIFYING)
            self._verify(at_ms)

    def next_ms(self) -> int:
        """The window's beginning and end, while an update waits."""
        update = self._memory.update
        if update is None or update.step is not FirmwareStep.WAITING or not self._resumed:
            return NEVER_MS
        command = _command(update)
        due_ms = command.window_to_ms + 1 if self._window_open else command.window_from_ms
        return due_ms - self.pile.device_clock.offset_ms

    def happen(self, at_ms: int) -> None:
        """The window opens or has closed."""
        self._install_if_possible(at_ms)

    def turn(self, turn: Turn) -> None:
        """The session that has ended may have been the last."""
        update = self._memory.update
        waiting = update is not None and update.step is FirmwareStep.WAITING and self._resumed
        if waiting and turn.moment is Moment.ENDED:
            self._install_if_possible(turn.at_ms)

    def _begin(self, command: Firmware) -> None:
        pile, update = self.pile, self._memory.update
        if update is not None and _command(update).command_id == command.command_id:
            self._tell(update)
            return
        if update is not None and not update.ended:
            self._refuse(command, FirmwareError.UPDATE_RUNNING)
            return
        error = self._objection(command)
        if error is not None:
            self._refuse(command, error)
            return
        self._percent = 0
        self._memory.update = Update(codec.encode(command), FirmwareStep.DOWNLOADING)
        pile.note(f"firmware {command.version} is downloaded")
        self._step(FirmwareStep.DOWNLOADING)
        self.on_wanted()

    def _objection(self, command: Firmware) -> FirmwareError | None:
        if self.pile.is_late(command):
            return FirmwareError.EXPIRED
        if command.model != self.pile.config.model:
            return FirmwareError.WRONG_MODEL
        if version_order(self.pile.firmware) < version_order(command.minimum_version):
            return FirmwareError.TOO_OLD
        return None

    def _verify(self, at_ms: int) -> None:
        update = self._memory.update
        assert update is not None, "only an update is verified"
        error = self._flaw(_command(update))
        if error is not None:
            self._fail(error)
            return
        self._step(FirmwareStep.WAITING)
        self._install_if_possible(at_ms)

    def _flaw(self, command: Firmware) -> FirmwareError | None:
        """What is wrong with the download."""
        try:
            content = self.slots.download.read_bytes()
        except OSError:
            return FirmwareError.STORAGE
        if len(content) != command.size_bytes:
            return FirmwareError.SIZE
        if hashlib.sha256(content).digest() != command.sha256:
            return FirmwareError.HASH
        manifest = Manifest(
            command.model, command.version, command.minimum_version, command.size_bytes, command.sha256
        )
        key = self.pile.config.firmware_key
        genuine = key is not None and is_genuine(
            Ed25519PublicKey.from_public_bytes(key), manifest, command.signature
        )
        return None if genuine else FirmwareError.SIGNATURE

    def _install_if_possible(self, at_ms: int) -> None:
        update = self._memory.update
        assert update is not None, "only an update is installed"
        command, pile = _command(update), self.pile
        device_ms = pile.device_ms(at_ms)
        self._window_open = device_ms >= command.window_from_ms
        busy = any(port.session is not None for port in pile.ports.values())
        if device_ms > command.window_to_ms:
            self._fail(FirmwareError.CHARGING if busy else FirmwareError.EXPIRED)
        elif self._window_open and (command.force or not busy):
            self._install(command)

    def _install(self, command: Firmware) -> None:
        other = "b" if self._memory.slot == "a" else "a"
        self._step(FirmwareStep.INSTALLING)
        try:
            self.slots.install(other)
        except OSError:
            self._fail(FirmwareError.STORAGE)
            return
        self._memory.trial, self._memory.trial_boots = other, 0
        self._step(FirmwareStep.REBOOTING)
        self.pile.part(Restarting).ask(BootReason.OTA, force=command.force)

    def _step(self, step: FirmwareStep) -> None:
        update = self._memory.update
        assert update is not None, "only an update has steps"
        update.step = step
        if update.ended:
            self.pile.note(f"firmware {_command(update).version}: {step.name.lower()}")
            self._remember_end(update)
        self.pile.save()
        self._tell(update)

    def _fail(self, error: FirmwareError) -> None:
        assert self._memory.update is not None, "only an update fails"
        self._memory.update.error = error
        self._step(FirmwareStep.FAILED)

    def _refuse(self, command: Firmware, error: FirmwareError) -> None:
        """The command itself fails; nothing of an update that runs changes."""
        refusal = self._state(command, FirmwareStep.FAILED, error)
        self.pile.note(f"firmware {command.version} refused: {error.name.lower()}", level=LogLevel.WARNING)
        self.pile.records.answer(command.command_id, refusal)

    def _remember_end(self, update: Update) -> None:
        """A command repeated after the next update has begun is answered with its own end."""
        state = self._state(_command(update), update.step, update.error)
        self.pile.memory.remember_answer(state.command_id, state.message, codec.encode(state))

    def _tell(self, update: Update) -> None:
        self.pile.outbox.put(self._state(_command(update), update.step, update.error))

    def _state(self, command: Firmware, step: FirmwareStep, error: FirmwareError | None) -> FirmwareState:
        percent = self._percent if step is FirmwareStep.DOWNLOADING else 0 if error is not None else 100
        return FirmwareState(
            command_id=command.command_id,
            version=command.version,
            running=self.pile.firmware,
            step=step,
            percent=percent,
            at_ms=self.pile.device_ms(self.pile.now_ms),
            error=error,
        )


def _command(update: Update) -> Firmware:
    command = codec.decode(Direction.DOWN, "firmware", update.command)
    assert isinstance(command, Firmware), "the memory holds messages of this version"
    return command
