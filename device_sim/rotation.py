"""How a pile takes its next device secret: written down first, answered under the new epoch."""

from device_sim.part import DONE, EXPIRED, Hears, Part, Verdict, refused
from protocol.messages import KeyRotate
from protocol.words import CommandCause, CommandResult


class Rotation(Part):
    """``key_rotate``. The keyring keeps the old secret until the platform has been heard under the new one."""

    def hears(self) -> Hears:
        """Answers itself, because its answer comes before all else that waits."""
        return {KeyRotate: self._rotate}

    def _rotate(self, rotate: KeyRotate) -> None:
        pile = self.pile
        verdict = self._verdict(rotate)
        if verdict.result is CommandResult.DONE and rotate.epoch != pile.keys.epoch:
            pile.keys.take(rotate.epoch, rotate.secret)
            pile.note(f"seals under epoch {rotate.epoch}")
        pile.acknowledge(rotate.command_id, verdict, first=True)

    def _verdict(self, rotate: KeyRotate) -> Verdict:
        keys = self.pile.keys
        if rotate.epoch == keys.epoch and rotate.secret == keys.secret:
            # A power cut came between the secret and the answer.
            return DONE
        if self.pile.is_late(rotate):
            return EXPIRED
        return DONE if rotate.epoch == keys.epoch + 1 else refused(CommandCause.WRONG_EPOCH)
