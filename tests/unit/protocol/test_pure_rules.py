"""Settings, firmware manifests and start codes: rules both sides compute alike."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import config_keys, firmware, start_code
from protocol.config_keys import SETTINGS, Offence
from protocol.firmware import Manifest
from protocol.words import ConfigCause

SECRET = bytes(range(32))
MANIFEST = Manifest("PW-10", "1.5.0", "1.3.0", 4_096, bytes(32))


def test_the_defaults_go_together_and_lie_in_their_ranges() -> None:
    assert config_keys.offence_of({}, list(config_keys.defaults().items())) is None


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_out_of_its_range_is_named(key: str) -> None:
    for value in (SETTINGS[key].low - 1, SETTINGS[key].high + 1):
        offence = config_keys.offence_of({}, [("volume", 10), (key, value)])
        assert offence == Offence(key, ConfigCause.OUT_OF_RANGE)


def test_an_unknown_setting_is_named() -> None:
    assert config_keys.offence_of({}, [("warp_factor", 9)]) == Offence("warp_factor", ConfigCause.UNKNOWN_KEY)


def test_a_warning_above_its_trip_contradicts_it_and_the_setting_asked_for_is_named() -> None:
    in_force = {"temp_trip_dc": 500}
    assert config_keys.offence_of({}, [("temp_trip_dc", 500)]) == Offence(
        "temp_trip_dc", ConfigCause.CONTRADICTION
    )
    assert config_keys.offence_of({}, [("temp_warn_dc", 450), ("temp_trip_dc", 500)]) is None
    assert config_keys.offence_of({**in_force, "temp_warn_dc": 450}, [("temp_warn_dc", 500)]) == Offence(
        "temp_warn_dc", ConfigCause.CONTRADICTION
    )


def test_a_warning_switched_off_contradicts_nothing() -> None:
    assert config_keys.offence_of({}, [("temp_warn_dc", 0), ("temp_trip_dc", 300)]) is None


def test_a_signature_covers_every_field_of_the_manifest() -> None:
    key = Ed25519PrivateKey.generate()
    signature = firmware.sign(key, MANIFEST)
    assert firmware.is_genuine(key.public_key(), MANIFEST, signature)
    for changed in (
        MANIFEST._replace(model="PW-12"),
        MANIFEST._replace(version="1.5.1"),
        MANIFEST._replace(minimum_version="1.0.0"),
        MANIFEST._replace(size_bytes=4_097),
        MANIFEST._replace(sha256=b"\1" * 32),
    ):
        assert not firmware.is_genuine(key.public_key(), changed, signature)
    assert not firmware.is_genuine(Ed25519PrivateKey.generate().public_key(), MANIFEST, signature)
    assert not firmware.is_genuine(key.public_key(), MANIFEST, b"short")


def test_versions_are_ordered_by_their_numbers() -> None:
    ordered = ["", "0.9", "1.9.0", "1.10.0", "v1.10.1-rc2", "2"]
    assert sorted(ordered, key=firmware.version_order) == ordered


@given(
    st.integers(1, 20),
    st.integers(100, 999_999),
    st.integers(1_500_000_000, 3_000_000_000),
    st.integers(-start_code.WINDOW_S, 2 * start_code.WINDOW_S),
)
def test_a_code_is_read_at_its_port_within_its_windows(
    port: int, limit_dwh: int, at_s: int, later_s: int
) -> None:
    code = start_code.make(SECRET, epoch=1, port=port, limit_dwh=limit_dwh, at_s=at_s)
    assert len(code.digits) == 10
    assert limit_dwh - 100 < code.limit_dwh <= limit_dwh
    assert start_code.read(SECRET, epoch=1, port=port, digits=code.digits, at_s=at_s + later_s) == code


def test_a_code_is_worth_nothing_elsewhere_or_later() -> None:
    code = start_code.make(SECRET, epoch=1, port=3, limit_dwh=20_000, at_s=1_790_000_000)
    one_off = f"{(int(code.digits[4:]) + 1) % 1_000_000:06}"
    for port, epoch, digits, at_s in (
        (4, 1, code.digits, 1_790_000_000),
        (3, 2, code.digits, 1_790_000_000),
        (3, 1, code.digits, 1_790_000_000 + 3 * start_code.WINDOW_S),
        (3, 1, code.digits, 1_790_000_000 - 2 * start_code.WINDOW_S),
        (3, 1, f"9999{code.digits[4:]}", 1_790_000_000),
        (3, 1, code.digits[:4] + one_off, 1_790_000_000),
    ):
        assert start_code.read(SECRET, epoch=epoch, port=port, digits=digits, at_s=at_s) is None


@pytest.mark.parametrize(
    "digits", ["", "123", "0000123456", "１２３４５６７８９０", "12345678901", "abcdefghij"]
)
def test_what_is_no_code_is_refused(digits: str) -> None:
    assert start_code.read(SECRET, epoch=1, port=1, digits=digits, at_s=1_790_000_000) is None


@pytest.mark.parametrize("limit_dwh", [0, 99, 1_000_000])
def test_no_code_is_made_for_an_energy_it_cannot_carry(limit_dwh: int) -> None:
    with pytest.raises(ValueError, match="10 Wh"):
        start_code.make(SECRET, epoch=1, port=1, limit_dwh=limit_dwh, at_s=1_790_000_000)
