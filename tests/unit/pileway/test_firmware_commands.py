"""The maker's side: a key made once, and a manifest that everybody can check."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pileway import cli, firmware_commands
from pileway.errors import PilewayError
from protocol import firmware
from protocol.firmware import Manifest


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "maker.pem"
    firmware_commands.keygen(path)
    return path


def test_a_private_key_is_the_owners_alone_and_never_overwritten(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(PilewayError, match="never overwritten"):
        firmware_commands.keygen(key)


def test_a_signed_manifest_is_genuine_and_describes_the_image(key: Path, tmp_path: Path) -> None:
    image = tmp_path / "pile.bin"
    image.write_bytes(b"firmware" * 1000)
    words = [
        "firmware",
        "sign",
        str(image),
        "--model",
        "PW-10",
        "--version",
        "2.1",
        "--minimum-version",
        "1.0",
    ]
    ran = CliRunner().invoke(cli.app, [*words, "--key", str(key)])
    assert ran.exit_code == 0, ran.output
    signed = json.loads((tmp_path / "pile.bin.manifest.json").read_text())
    assert signed["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    manifest = Manifest("PW-10", "2.1", "1.0", 8000, bytes.fromhex(signed["sha256"]))
    public = firmware_commands.public_key(key.with_name("maker.pem.pub"))
    signature = bytes.fromhex(signed["signature"])
    assert firmware.is_genuine(public, manifest, signature)
    assert not firmware.is_genuine(public, manifest._replace(version="2.2"), signature)


@pytest.mark.parametrize("content", [b"", b"no key"])
def test_what_is_no_key_or_image_is_refused_in_a_sentence(key: Path, tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    with pytest.raises(PilewayError, match="no unencrypted private key"):
        firmware_commands.sign(bad, model="m", version="1", minimum_version="1", key_path=bad, out=None)
    with pytest.raises(ValueError, match="public key"):
        firmware_commands.public_key(bad)
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(PilewayError, match="0 bytes"):
        firmware_commands.sign(empty, model="m", version="1", minimum_version="1", key_path=key, out=None)
