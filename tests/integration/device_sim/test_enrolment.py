"""A pile enrols over HTTPS: once, with its own key, and only with whom it trusts."""

import asyncio
import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from device_sim import EnrolmentRefused, PileConfig, enrolment
from pileway import certificates, home

LIMIT_S = 20.0
ANSWER = {
    "certificate_chain_pem": "chain",
    "broker_url": "mqtts://broker.invalid:8883",
    "broker_ca_pem": "ca",
    "device_secret": b64encode(bytes(32)).decode(),
    "key_epoch": 4,
    "shard": 9,
    "time_ms": 1,
}


@dataclass
class Desk:
    """An HTTPS server that answers with the statuses it was given, and then enrols."""

    ca: Path
    url: str = ""
    statuses: list[int] = field(default_factory=list[int])
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A running enrolment desk with a certificate of its own authority."""
    secrets = tmp_path / "secrets"
    home.prepare(tmp_path)
    authority = certificates.load_or_create_authority(secrets, "desk-ca")
    identity = certificates.issue_server(authority, ["127.0.0.1"])
    for name, content in (("desk.crt", identity.certificate_pem), ("desk.key", identity.key_pem)):
        home.write_private(secrets / name, content)
    desk = Desk(secrets / "desk-ca.crt")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            desk.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status = desk.statuses.pop(0) if desk.statuses else 200
            body = json.dumps(ANSWER if status == 200 else {"error": {"code": "no"}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Tests need no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(secrets / "desk.crt", secrets / "desk.key")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    desk.url = f"https://127.0.0.1:{server.server_address[1]}/device/v1/enroll"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield desk
    server.shutdown()
    server.server_close()
    thread.join(LIMIT_S)


def config_of(desk: Desk, folder: Path, *, claim_code: str | None = "AAAA-BBBB-CCCC-DDDD") -> PileConfig:
    """A pile that was never enrolled."""
    return PileConfig(
        pile_id="P-9",
        port_count=4,
        folder=folder,
        enrolment_url=desk.url,
        claim_code=claim_code,
        enrolment_ca=desk.ca,
    )


def identity_of(config: PileConfig) -> enrolment.Identity:
    """Ask for the identity, with a limit."""
    return asyncio.run(asyncio.wait_for(enrolment.identity_of(config), LIMIT_S))


def test_a_pile_asks_with_its_own_key_and_keeps_the_answer(desk: Desk, tmp_path: Path) -> None:
    config = config_of(desk, tmp_path / "flash")
    identity = identity_of(config)
    [asked] = desk.asked
    request = x509.load_pem_x509_csr(asked["csr_pem"].encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=P-9"
    public_key = request.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert public_key.curve.name == "secp256r1"
    assert (asked["pile_id"], asked["claim_code"]) == ("P-9", "AAAA-BBBB-CCCC-DDDD")
    assert (identity.key_epoch, identity.broker_url) == (4, "mqtts://broker.invalid:8883")
    assert identity.private_key.stat().st_mode & 0o077 == 0
    assert identity_of(config) == identity
    assert len(desk.asked) == 1


def test_a_pile_asks_again_while_the_platform_is_busy(desk: Desk, tmp_path: Path) -> None:
    desk.statuses = [503, 429]
    assert identity_of(config_of(desk, tmp_path / "flash")).key_epoch == 4
    assert len(desk.asked) == 3


@pytest.mark.parametrize("status", [400, 403])
def test_a_refused_claim_is_not_tried_again(desk: Desk, tmp_path: Path, status: int) -> None:
    desk.statuses = [status]
    with pytest.raises(EnrolmentRefused) as caught:
        identity_of(config_of(desk, tmp_path / "flash"))
    assert caught.value.status == status
    assert len(desk.asked) == 1


def test_a_later_attempt_asks_for_the_same_key(desk: Desk, tmp_path: Path) -> None:
    desk.statuses = [403]
    config = config_of(desk, tmp_path / "flash")
    with pytest.raises(EnrolmentRefused):
        identity_of(config)
    identity_of(config)
    first, second = (x509.load_pem_x509_csr(asked["csr_pem"].encode()).public_key() for asked in desk.asked)
    assert first == second


def test_a_pile_without_a_claim_code_is_refused(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(EnrolmentRefused, match="no claim code"):
        identity_of(config_of(desk, tmp_path / "flash", claim_code=None))


def test_a_platform_with_a_foreign_certificate_learns_nothing(desk: Desk, tmp_path: Path) -> None:
    certificates.load_or_create_authority(tmp_path / "secrets", "other-ca")
    desk.ca = tmp_path / "secrets" / "other-ca.crt"
    config = config_of(desk, tmp_path / "flash")
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(enrolment.identity_of(config), 2))
    assert desk.asked == []
