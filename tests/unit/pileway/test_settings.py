"""Settings come from options, environment and secret files; an error names its variable."""

import base64
import os
from pathlib import Path

import pytest

from pileway import settings
from pileway.errors import SettingsInvalid
from pileway.settings import Settings, required

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches these tests."""
    for variable in os.environ:
        if variable.startswith(settings.PREFIX):
            monkeypatch.delenv(variable)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PILEWAY_CLOCK_SPEED", "fast", "number"),
        ("PILEWAY_CLOCK_SPEED", "0", "greater than 0"),
        ("PILEWAY_PORT", "70000", "65535"),
        ("PILEWAY_DATABASE_URL", "mysql://host/db", "postgresql://"),
        ("PILEWAY_BROKER_URL", "mqtt://host:1883", "mqtts://"),
        ("PILEWAY_DEVICE_BROKER_URL", "mqtt://127.0.0.1:1883", "mqtts://"),
        ("PILEWAY_PUBLIC_URL", "host", "https://"),
        ("PILEWAY_KEY_ENCRYPTION_KEY", "not base64!", "base64"),
        ("PILEWAY_KEY_ENCRYPTION_KEY", base64.b64encode(b"short").decode(), "5 bytes"),
        ("PILEWAY_OPERATOR_TOKEN", "short", "16"),
        ("PILEWAY_BROKER_CA_PATH", "/nowhere/ca.crt", "no such file"),
        ("PILEWAY_CLOCK_ANCHOR", "2026-01-01T00:00:00", "timezone"),
    ],
)
def test_bad_value_is_refused_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=words) as refusal:
        settings.load()
    assert refusal.value.variable == variable


def test_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILEWAY_DATABSE_URL", "postgresql://host/db")
    with pytest.raises(SettingsInvalid, match="PILEWAY_DATABSE_URL: there is no such setting"):
        settings.load()


def test_empty_variable_is_like_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILEWAY_DATABASE_URL", "")
    assert settings.load().database_url is None


def test_option_wins_over_environment_and_environment_over_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pileway_port").write_text("1001")
    (tmp_path / "pileway_key_encryption_key").write_text(KEY)
    monkeypatch.setenv("PILEWAY_SECRETS_DIR", str(tmp_path))
    assert settings.load().port == 1001
    monkeypatch.setenv("PILEWAY_PORT", "1002")
    assert settings.load().port == 1002
    assert settings.load(port=1003).port == 1003
    key = settings.load().key_encryption_key
    assert key is not None
    assert key.get_secret_value() == bytes(range(32))


def test_another_process_gets_the_very_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = settings.load(
        home=tmp_path,
        database_url="postgresql://u:p@host/db",
        key_encryption_key=KEY,
        clock_speed=60.0,
        clock_anchor="2026-01-01T00:00:00+00:00",
    )
    for variable, value in first.environment().items():
        monkeypatch.setenv(variable, value)
    second = settings.load()
    assert second.environment() == first.environment()
    assert second.clock == first.clock


def test_secrets_do_not_show() -> None:
    shown = repr(settings.load(database_url="postgresql://u:hunter2@host/db", key_encryption_key=KEY))
    assert "hunter2" not in shown
    assert KEY not in shown


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings.load().port = 9


def test_new_values_are_checked_like_the_first_ones() -> None:
    held = Settings(port=1234)
    assert held.with_values(host="0.0.0.0").port == 1234
    with pytest.raises(SettingsInvalid, match="PILEWAY_PORT"):
        held.with_values(port=0)


def test_setting_that_a_process_needs_is_asked_for_by_name() -> None:
    assert required("x", "PILEWAY_X") == "x"
    with pytest.raises(SettingsInvalid, match="PILEWAY_BROKER_URL: is not set"):
        required(settings.load().broker_url, "PILEWAY_BROKER_URL")
