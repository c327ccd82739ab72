"""Device secrets at rest open only for their own pile and epoch, under their own key."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.enrolment import SecretVault
from charging.errors import SecretUnreadable


@given(st.binary(min_size=32, max_size=32), st.integers(1, 1000))
def test_a_wrapped_secret_opens_for_its_pile_and_epoch(secret: bytes, epoch: int) -> None:
    vault = SecretVault(os.urandom(32))
    wrapped = vault.wrap(secret, pile_id="P1", epoch=epoch)
    assert vault.unwrap(wrapped, pile_id="P1", epoch=epoch) == secret
    assert secret not in wrapped


@pytest.mark.parametrize(("pile_id", "epoch"), [("P2", 1), ("P1", 2)])
def test_a_wrapped_secret_moved_to_another_pile_or_epoch_does_not_open(pile_id: str, epoch: int) -> None:
    vault = SecretVault(os.urandom(32))
    wrapped = vault.wrap(b"s" * 32, pile_id="P1", epoch=1)
    with pytest.raises(SecretUnreadable, match=f"secret {epoch} of pile '{pile_id}'"):
        vault.unwrap(wrapped, pile_id=pile_id, epoch=epoch)


def test_another_key_encryption_key_opens_nothing() -> None:
    wrapped = SecretVault(os.urandom(32)).wrap(b"s" * 32, pile_id="P1", epoch=1)
    with pytest.raises(SecretUnreadable):
        SecretVault(os.urandom(32)).unwrap(wrapped, pile_id="P1", epoch=1)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_encryption_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} bytes, not 32"):
        SecretVault(b"k" * length)
