"""A pile renews its certificate over mutual TLS with the present one, as long as that one is good."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import FastAPI
from psycopg_pool import ConnectionPool

from charging import certificates as books
from charging import enrolment as claims
from charging import pile_states
from charging.enrolment import SecretVault
from database.pool import Connection
from gateway import enrolment, renewal, revocation_list
from gateway.certificate_authority import CertificateAuthority
from gateway.enrolment import Enrolment
from gateway.renewal import Renewal
from gateway.revocation_list import RevocationList
from pileway import certificates, home, street
from pileway.certificates import Authority
from pileway.client_certificates import ClientCertificateProtocol

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
VAULT = SecretVault(b"k" * 32)
PILE = "YQ-01"

Key = ec.EllipticCurvePrivateKey


class Counter:
    """The HTTPS server that piles enrol and renew at, with a clock moved by hand."""

    def __init__(self, pool: ConnectionPool[Connection], folder: Path) -> None:
        self.pool = pool
        self.now = NOW
        self.folder = folder
        self.devices = certificates.load_or_create_authority(folder, "device-ca")
        server = certificates.load_or_create_authority(folder, "service-ca")
        certificates.kept_server(folder, "web", authority=server, names=("localhost", "127.0.0.1"))
        self._listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            self._app(),
            log_config=None,
            ws="none",
            lifespan="off",
            http=ClientCertificateProtocol,
            ssl_certfile=folder / "web.crt",
            ssl_keyfile=folder / "web.key",
            ssl_ca_certs=str(folder / "device-ca.crt"),
            ssl_cert_reqs=ssl.CERT_OPTIONAL,
        )
        self._server = uvicorn.Server(config)
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}/device/v1"

    def _app(self) -> FastAPI:
        app = FastAPI()
        authority = CertificateAuthority(certificate=self.devices.certificate, key=self.devices.key)
        parts: dict[str, Any] = {
            "pool": self.pool,
            "clock": lambda: self.now,
            "wall_clock": lambda: datetime.now(UTC),
            "authority": authority,
            "broker_url": "mqtts://broker.example:8883",
            "broker_ca_pem": "the broker's CA",
        }
        app.include_router(enrolment.router(Enrolment(vault=VAULT, **parts)))
        app.include_router(renewal.router(Renewal(**parts)))
        self.revoked = RevocationList(
            pool=self.pool, authority=authority, wall_clock=parts["wall_clock"], write=lambda _: None
        )
        app.include_router(revocation_list.router(self.revoked))
        return app

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        self._listener.close()

    def client(self, files: tuple[Path, Path] | None = None) -> httpx.Client:
        """A client that trusts the server and presents a certificate, if given."""
        context = ssl.create_default_context(cafile=self.folder / "service-ca.crt")
        if files is not None:
            context.load_cert_chain(*files)
        return httpx.Client(verify=context, timeout=15, trust_env=False)

    def enrol(self, key: Key) -> str:
        """Enrol YQ-01; returns its certificate chain."""
        with self.pool.connection() as conn:
            code = claims.issue_claim_code(
                conn, pile_id=PILE, expires_at=self.now + timedelta(hours=1), now=self.now
            )
        body = {"pile_id": PILE, "claim_code": code, "csr_pem": csr(key)}
        with self.client() as client:
            answer = client.post(f"{self.url}/enroll", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["certificate_chain_pem"]

    def renew(self, chain: str, key: Key, csr_pem: str) -> httpx.Response:
        """Renew, presenting that chain."""
        with self.client(self.files(chain, key)) as client:
            return client.post(f"{self.url}/renew", json={"csr_pem": csr_pem})

    def files(self, chain: str, key: Key) -> tuple[Path, Path]:
        """The chain and the key as files."""
        certificate_path, key_path = self.folder / "presented.crt", self.folder / "presented.key"
        home.write_private(certificate_path, chain.encode())
        home.write_private(
            key_path,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        return certificate_path, key_path

    def barred(self) -> set[str]:
        with self.pool.connection() as conn:
            return {one.serial for one in books.barred(conn, unexpired_at=datetime.now(UTC))}


@pytest.fixture
def counter(pool: ConnectionPool[Connection], tmp_path: Path) -> Iterator[Counter]:
    with pool.connection() as conn:
        street.lay_out(conn, now=NOW)
    with ExitStack() as stack:
        yield stack.enter_context(closing(Counter(pool, tmp_path)))


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def csr(key: Key, name: str = PILE) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def serial_of(chain: str) -> str:
    return f"{x509.load_pem_x509_certificate(chain.encode()).serial_number:x}"


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_renewed_certificate_is_for_the_new_key_and_on_the_books(counter: Counter) -> None:
    old, new = new_key(), new_key()
    first = counter.enrol(old)
    response = counter.renew(first, old, csr(new))
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    answer = response.json()
    assert set(answer) == {"certificate_chain_pem", "broker_url", "broker_ca_pem", "shard", "time_ms"}
    leaf, issuer = x509.load_pem_x509_certificates(answer["certificate_chain_pem"].encode())
    leaf.verify_directly_issued_by(issuer)
    assert leaf.public_key() == new.public_key()
    assert answer["time_ms"] == int(NOW.timestamp() * 1000)
    assert counter.barred() == set()


def test_the_same_key_may_be_kept_and_an_answer_that_got_lost_asked_for_again(counter: Counter) -> None:
    key = new_key()
    first = counter.enrol(key)
    assert counter.renew(first, key, csr(key)).status_code == 200
    assert counter.renew(first, key, csr(key)).status_code == 200


def test_a_superseded_certificate_is_good_for_some_days_and_then_barred(counter: Counter) -> None:
    key = new_key()
    first = counter.enrol(key)
    counter.renew(first, key, csr(key))
    with counter.pool.connection() as conn:
        assert not books.retire_superseded(conn, now=NOW + books.SUPERSEDED_LASTS - timedelta(seconds=1))
        assert books.retire_superseded(conn, now=NOW + books.SUPERSEDED_LASTS)
        assert not books.retire_superseded(conn, now=NOW + books.SUPERSEDED_LASTS)
    assert counter.barred() == {serial_of(first)}
    assert refusal(counter.renew(first, key, csr(key))) == (403, "certificate_refused")


def test_renewing_under_the_new_certificate_ends_the_one_before_it(counter: Counter) -> None:
    key = new_key()
    first = counter.enrol(key)
    counter.now += timedelta(hours=1)
    second = counter.renew(first, key, csr(key)).json()["certificate_chain_pem"]
    counter.now += timedelta(hours=1)
    assert counter.renew(second, key, csr(key)).status_code == 200
    assert counter.barred() == {serial_of(first)}


def test_without_a_certificate_nothing_is_renewed(counter: Counter) -> None:
    with counter.client() as client:
        response = client.post(f"{counter.url}/renew", json={"csr_pem": csr(new_key())})
    assert refusal(response) == (401, "certificate_required")


def test_a_header_that_claims_a_certificate_is_not_believed(counter: Counter) -> None:
    chain = counter.enrol(new_key())
    headers = {"X-Client-Cert": "".join(chain.splitlines()), "X-SSL-Client-Verify": "SUCCESS"}
    with counter.client() as client:
        response = client.post(f"{counter.url}/renew", json={"csr_pem": csr(new_key())}, headers=headers)
    assert refusal(response) == (401, "certificate_required")


def test_a_certificate_of_a_foreign_authority_ends_the_handshake(counter: Counter, tmp_path: Path) -> None:
    foreign = certificates.load_or_create_authority(home.private_folder(tmp_path / "foreign"), "device-ca")
    key = new_key()
    leaf = certificates.sign_client_key(foreign, PILE, key.public_key()).decode()
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        counter.renew(leaf, key, csr(key))


def test_a_certificate_that_is_not_on_the_books_is_refused(counter: Counter) -> None:
    key = new_key()
    leaf = _signed_beside_the_books(counter.devices, key)
    assert refusal(counter.renew(leaf, key, csr(key))) == (403, "certificate_refused")


def test_a_request_in_another_piles_name_is_refused(counter: Counter) -> None:
    key = new_key()
    first = counter.enrol(key)
    assert refusal(counter.renew(first, key, csr(key, "YQ-02"))) == (400, "csr_invalid")


@pytest.mark.parametrize("shut_out", [pile_states.revoke, pile_states.quarantine])
def test_a_pile_that_is_shut_out_renews_nothing(shut_out: Any, counter: Counter) -> None:
    key = new_key()
    first = counter.enrol(key)
    with counter.pool.connection() as conn:
        shut_out(conn, PILE, by="Li", reason="stolen", now=NOW)
    assert refusal(counter.renew(first, key, csr(key))) == (403, "certificate_refused")
    assert counter.barred() == {serial_of(first)}


def test_a_pile_that_asks_all_day_is_told_to_wait(counter: Counter) -> None:
    key = new_key()
    first = counter.enrol(key)
    for _ in range(books.RENEWALS_A_DAY):
        assert counter.renew(first, key, csr(key)).status_code == 200
    refused = counter.renew(first, key, csr(key))
    assert refusal(refused) == (429, "too_many_attempts")
    assert int(refused.headers["Retry-After"]) > 0
    counter.now += timedelta(days=1)
    assert counter.renew(first, key, csr(key)).status_code == 200


def test_a_broker_elsewhere_can_fetch_the_list_of_revoked_certificates(counter: Counter) -> None:
    chain = counter.enrol(new_key())
    with counter.client() as client:
        assert client.get(f"{counter.url}/crl").status_code == 503
        with counter.pool.connection() as conn:
            pile_states.revoke(conn, PILE, by="Li", reason="stolen", now=NOW)
        counter.revoked.refresh()
        listed = x509.load_pem_x509_crl(client.get(f"{counter.url}/crl").content)
    assert listed.is_signature_valid(counter.devices.key.public_key())
    assert [f"{entry.serial_number:x}" for entry in listed] == [serial_of(chain)]


def _signed_beside_the_books(authority: Authority, key: Key) -> str:
    return certificates.sign_client_key(authority, PILE, key.public_key()).decode()
