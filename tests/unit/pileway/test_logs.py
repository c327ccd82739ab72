"""Whatever somebody logs, secrets do not reach the log."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileway.logs import HIDDEN, clean_text, hide_secrets


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "operator_token",
        "device_secret",
        "Authorization",
        "key_encryption_key",
        "wechat_pay_api_v3_key",
        "database_dsn",
        "payload",
        "phone",
        "claim_code",
        "private_key",
    ],
)
def test_value_with_a_secret_name_is_hidden_even_inside(name: str) -> None:
    event = hide_secrets(None, "info", {"event": "seen", name: "s3cret", "detail": {name: ["s3cret"]}})
    assert "s3cret" not in str(event)
    assert event["event"] == "seen"


@pytest.mark.parametrize("name", ["session_id", "idempotency_key", "energy_dwh", "pile_id", "event_key"])
def test_ids_and_quantities_stay(name: str) -> None:
    assert hide_secrets(None, "info", {name: "42"}) == {name: "42"}


@given(st.text(st.characters(categories=("L", "N")), min_size=1))
def test_password_in_an_address_is_hidden_anywhere(password: str) -> None:
    text = clean_text(f"cannot reach postgresql://pileway:{password}@host:5432/db now")
    assert text == f"cannot reach postgresql://pileway:{HIDDEN}@host:5432/db now"


def test_private_key_is_hidden() -> None:
    pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----"
    assert clean_text(f"read {pem} from file") == f"read {HIDDEN} from file"


def test_bytes_are_told_by_their_size() -> None:
    assert hide_secrets(None, "info", {"frame": b"\x00\x01"}) == {"frame": "[2 bytes]"}


@pytest.mark.parametrize(("as_json", "is_json"), [(None, True), (True, True), (False, False)])
def test_lines_have_the_form_that_was_asked_for(as_json: bool | None, is_json: bool) -> None:
    script = (
        "import structlog; from pileway import logs;"
        f"logs.set_up('gateway', as_json={as_json});"
        "structlog.contextvars.bind_contextvars(trace_id='4bf9');"
        "structlog.get_logger().info('seen', token='s3cret', pile_id='YQ-01')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert "s3cret" not in done.stderr
    assert done.stderr.startswith("{") is is_json
    if is_json:
        line = json.loads(done.stderr)
        assert (line["event"], line["process"], line["pile_id"], line["trace_id"]) == (
            "seen",
            "gateway",
            "YQ-01",
            "4bf9",
        )
