"""The pile's device secrets: the newest seals what it says; one before it opens until the platform has changed over."""

from collections.abc import Callable, Mapping
from typing import Final

from protocol.envelope import Opener, Sealer
from protocol.topics import Direction

Store = Callable[[Mapping[int, bytes]], None]
"""Writes the secrets by epoch down, durably, before it returns."""

EPOCHS_KEPT: Final = 2


class Keyring:
    """One pile's secrets by epoch. ``store`` is called before a change counts."""

    def __init__(self, secrets: Mapping[int, bytes], store: Store) -> None:
        self._store = store
        self._hold(secrets)

    @property
    def epoch(self) -> int:
        """The epoch that seals."""
        return self.sealer.epoch

    @property
    def secret(self) -> bytes:
        """The device secret of that epoch."""
        return self._secrets[self.epoch]

    @property
    def secrets(self) -> Mapping[int, bytes]:
        """Every secret that may still be in use, by epoch."""
        return self._secrets

    def __hash__(self) -> int:
        return hash(self.epoch)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyring) and self._secrets == other._secrets

    def take(self, epoch: int, secret: bytes) -> None:
        """Seal under a new secret from now on, and open frames of both."""
        self._change({self.epoch: self.secret, epoch: secret})

    def heard_under(self, epoch: int) -> None:
        """A genuine frame of this epoch came: once it is of the newest, the older secret has served."""
        if epoch == self.epoch and len(self._secrets) > 1:
            self._change({epoch: self.secret})

    def _change(self, secrets: Mapping[int, bytes]) -> None:
        assert len(secrets) <= EPOCHS_KEPT, "a key changes over from one epoch to the next"
        self._store(secrets)
        self._hold(secrets)

    def _hold(self, secrets: Mapping[int, bytes]) -> None:
        newest = max(secrets)
        self._secrets = dict(secrets)
        self.sealer = Sealer(secrets[newest], epoch=newest, direction=Direction.UP)
        self.opener = Opener(secrets, direction=Direction.DOWN)
