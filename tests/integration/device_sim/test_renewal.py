"""A pile renews its certificate in its last third, over mutual TLS, and connects with the new one."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from device_sim import FleetThread, PileConfig, enrolment, renewal
from pileway import certificates, home
from protocol.messages import Heartbeat

if TYPE_CHECKING:
    from tests.conftest import Broker
    from tests.integration.device_sim.conftest import Platform, StreetClock

LIMIT_S = 20.0


@dataclass
class Desk:
    """A renewal desk that signs with the broker's device authority, and remembers which certificate asked."""

    url: str = ""
    ca: Path = Path()
    presented: list[int] = field(default_factory=list[int])
    issued: list[bytes] = field(default_factory=list[bytes])
    statuses: list[int] = field(default_factory=list[int])
    other_key: bool = False


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something, with a limit."""
    limit_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit_s, "what was waited for did not come"


def issue(
    broker: "Broker", public_key: ec.EllipticCurvePublicKey, *, age: timedelta, left: timedelta
) -> bytes:
    """A certificate of the device authority for a key, so old and with so much life left."""
    authority, now = broker.device_authority, datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "P-1")]))
        .issuer_name(authority.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - age)
        .not_valid_after(now + left)
    )
    return builder.sign(authority.key, SHA256()).public_bytes(Encoding.PEM)


def key_of(config: PileConfig) -> ec.EllipticCurvePublicKey:
    """The pile's public key."""
    key = load_pem_private_key((config.folder / "private_key.pem").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.public_key()


@pytest.fixture
def desk(broker: "Broker", tmp_path: Path) -> Iterator[Desk]:
    """A running desk whose server certificate is of an authority of its own."""
    home.prepare(tmp_path)
    secrets = tmp_path / "secrets"
    authority = certificates.load_or_create_authority(secrets, "desk-ca")
    identity = certificates.issue_server(authority, ["127.0.0.1"])
    for name, content in (
        ("desk.crt", identity.certificate_pem),
        ("desk.key", identity.key_pem),
        ("piles.crt", broker.device_authority.certificate_pem),
    ):
        home.write_private(secrets / name, content)
    desk = Desk(ca=secrets / "desk-ca.crt")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert isinstance(self.connection, ssl.SSLSocket)
            presented = self.connection.getpeercert(binary_form=True)
            assert presented is not None
            desk.presented.append(x509.load_der_x509_certificate(presented).serial_number)
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = desk.statuses.pop(0) if desk.statuses else 200
            body = json.dumps(self._answer(asked["csr_pem"])).encode() if status == 200 else b"{}"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _answer(self, csr_pem: str) -> dict[str, object]:
            request = x509.load_pem_x509_csr(csr_pem.encode())
            public_key = request.public_key()
            if desk.other_key:
                public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
            assert isinstance(public_key, ec.EllipticCurvePublicKey)
            chain = issue(broker, public_key, age=timedelta(0), left=timedelta(days=365))
            desk.issued.append(chain)
            return {
                "certificate_chain_pem": chain.decode(),
                "broker_url": broker.device_url,
                "broker_ca_pem": broker.ca_path.read_text(),
                "shard": 1,
                "time_ms": 1,
            }

        def log_message(self, format: str, *args: object) -> None:
            """Tests need no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(secrets / "desk.crt", secrets / "desk.key")
    tls.load_verify_locations(secrets / "piles.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    desk.url = f"https://127.0.0.1:{server.server_address[1]}/device/v1/enroll"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield desk
    server.shutdown()
    server.server_close()
    thread.join(LIMIT_S)


@pytest.fixture
def old(broker: "Broker", config: PileConfig, desk: Desk) -> PileConfig:
    """A pile whose certificate has a tenth of its life left."""
    aged = issue(broker, key_of(config), age=timedelta(days=90), left=timedelta(days=10))
    (config.folder / "certificate.pem").write_bytes(aged)
    return replace(config, enrolment_url=desk.url, enrolment_ca=desk.ca)


def serial_of(pem: bytes) -> int:
    """The serial number of a certificate."""
    return x509.load_pem_x509_certificate(pem).serial_number


def test_an_old_certificate_is_renewed_and_the_pile_connects_with_the_new(
    platform: "Platform", old: PileConfig, desk: Desk, clock: "StreetClock"
) -> None:
    before = serial_of((old.folder / "certificate.pem").read_bytes())
    with FleetThread([old], clock=clock, speed=clock.speed) as fleet:
        fleet.wait_ready(LIMIT_S)
        platform.wait_for(Heartbeat, lambda beats: bool(beats) and beats[-1].connection >= 2)
        wait_until(lambda: (old.folder / "certificate.pem").read_bytes() == desk.issued[-1])
    assert desk.presented == [before]
    identity = enrolment.load(old)
    assert identity is not None
    assert not renewal.is_due(identity, now=datetime.now(UTC))
    assert identity.key_epoch == 1


@pytest.mark.parametrize("other_key", [False, True])
def test_what_is_no_good_answer_leaves_the_old_certificate_in_place(
    old: PileConfig, desk: Desk, other_key: bool
) -> None:
    before = (old.folder / "certificate.pem").read_bytes()
    desk.other_key = other_key
    desk.statuses = [] if other_key else [403]
    identity = enrolment.load(old)
    assert identity is not None
    assert isinstance(asyncio.run(renewal.renew(old, identity)), renewal.NotRenewed)
    assert len(desk.presented) == 1
    assert (old.folder / "certificate.pem").read_bytes() == before


@pytest.mark.parametrize(("left_days", "due"), [(34, False), (33, True), (-1, True)])
def test_renewal_is_due_in_the_last_third(
    broker: "Broker", config: PileConfig, left_days: int, due: bool
) -> None:
    left = timedelta(days=left_days)
    aged = issue(broker, key_of(config), age=timedelta(days=100) - left, left=left)
    (config.folder / "certificate.pem").write_bytes(aged)
    identity = enrolment.load(config)
    assert identity is not None
    assert renewal.is_due(identity, now=datetime.now(UTC)) is due
