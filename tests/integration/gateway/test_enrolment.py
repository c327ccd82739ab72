"""A pile enrols with its one-time code and its own key, and every other request is refused with a code."""

import base64
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fastapi import FastAPI
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from psycopg_pool import ConnectionPool

from charging import claim_attempts, piles
from charging import enrolment as claims
from charging.enrolment import SecretVault
from database.pool import Connection
from gateway import device_routes, enrolment
from gateway.certificate_authority import CertificateAuthority
from gateway.enrolment import Enrolment
from pileway import certificates, street
from pileway.certificates import Authority

if TYPE_CHECKING:
    from tests.conftest import Broker

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
VAULT = SecretVault(b"k" * 32)
PILE = "YQ-01"


class Desk:
    """The enrolment endpoint over HTTP, with a clock moved by hand and YQ-01 registered."""

    def __init__(self, pool: ConnectionPool[Connection], authority: Authority, device_url: str, ca_pem: str):
        self.pool = pool
        self.now = NOW
        self.wall_now = datetime.now(UTC)
        app = FastAPI()
        service = Enrolment(
            pool=pool,
            clock=lambda: self.now,
            wall_clock=lambda: self.wall_now,
            authority=CertificateAuthority(certificate=authority.certificate, key=authority.key),
            vault=VAULT,
            broker_url=device_url,
            broker_ca_pem=ca_pem,
        )
        app.include_router(enrolment.router(service))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="off"))
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        port = self._listener.getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15)

    def close(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(15)
        self._listener.close()

    def code(self, *, hours: int = 24, pile_id: str = PILE) -> str:
        with self.pool.connection() as conn:
            expires_at = self.now + timedelta(hours=hours)
            return claims.issue_claim_code(conn, pile_id=pile_id, expires_at=expires_at, now=self.now)

    def post(self, code: str, csr: str, *, pile_id: str = PILE) -> "Answer":
        body = {"pile_id": pile_id, "claim_code": code, "csr_pem": csr}
        return Answer(self.client.post("/device/v1/enroll", json=body))

    def certificates(self) -> int:
        with self.pool.connection() as conn:
            row = conn.execute("SELECT count(*) FROM pile_certificate").fetchone()
        assert row is not None
        return int(row[0])


class Answer:
    """What the endpoint said."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.json: dict[str, Any] = response.json()

    @property
    def refusal(self) -> tuple[int, str]:
        assert set(self.json["error"]) == {"code", "message"}
        return self.status, self.json["error"]["code"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return certificates.load_or_create_authority(tmp_path, "device-ca")


@pytest.fixture
def desk(pool: ConnectionPool[Connection], authority: Authority) -> Iterator[Desk]:
    with pool.connection() as conn:
        street.lay_out(conn, now=NOW)
    with closing(Desk(pool, authority, "mqtts://broker.example:8883", "the broker's CA")) as desk:
        yield desk


def _csr(
    common_name: str = PILE,
    *,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> x509.CertificateSigningRequest:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def _pem(request: x509.CertificateSigningRequest) -> str:
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _badly_signed() -> str:
    der = bytearray(_csr().public_bytes(serialization.Encoding.DER))
    der[-3] ^= 1
    body = base64.encodebytes(bytes(der)).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def test_an_enrolled_pile_gets_a_client_certificate_for_its_own_key(desk: Desk, authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    answer = desk.post(desk.code(), _pem(_csr(key=key)))
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    leaf, issuer = x509.load_pem_x509_certificates(answer.json["certificate_chain_pem"].encode())
    leaf.verify_directly_issued_by(issuer)
    assert issuer == authority.certificate
    assert leaf.public_key() == key.public_key()
    assert leaf.subject.rfc4514_string() == f"CN={PILE}"
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    life = leaf.not_valid_after_utc - desk.wall_now
    assert timedelta(days=364) < life <= timedelta(days=365)


def test_an_enrolled_pile_gets_its_secret_broker_shard_and_time(desk: Desk) -> None:
    answer = desk.post(desk.code(), _pem(_csr())).json
    with desk.pool.connection() as conn:
        [kept] = claims.secrets_of(conn, VAULT, PILE)
        pile = piles.get(conn, PILE)
    assert base64.b64decode(answer["device_secret"]) == kept.secret
    assert (answer["key_epoch"], answer["shard"]) == (1, pile.shard)
    assert (answer["broker_url"], answer["broker_ca_pem"]) == (
        "mqtts://broker.example:8883",
        "the broker's CA",
    )
    assert answer["time_ms"] == int(NOW.timestamp() * 1000)
    assert pile.state == "provisioned"


def test_the_certificate_is_on_the_books_by_its_serial(desk: Desk) -> None:
    answer = desk.post(desk.code(), _pem(_csr())).json
    leaf = x509.load_pem_x509_certificate(answer["certificate_chain_pem"].encode())
    with desk.pool.connection() as conn:
        rows = conn.execute("SELECT serial, pile_id, expires_at FROM pile_certificate").fetchall()
    assert rows == [(f"{leaf.serial_number:x}", PILE, leaf.not_valid_after_utc)]


def test_an_enrolled_pile_is_let_in_by_the_broker(
    pool: ConnectionPool[Connection], broker: "Broker", tmp_path: Path
) -> None:
    with pool.connection() as conn:
        street.lay_out(conn, now=NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    desk = Desk(pool, broker.device_authority, broker.device_url, broker.ca_path.read_text())
    with closing(desk):
        answer = desk.post(desk.code(), _pem(_csr(key=key))).json
    (tmp_path / "chain").write_text(answer["certificate_chain_pem"])
    (tmp_path / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    assert _is_let_in(answer, tmp_path)


def test_a_code_works_once(desk: Desk) -> None:
    code = desk.code()
    assert desk.post(code, _pem(_csr())).status == 200
    assert desk.post(code, _pem(_csr())).refusal == (403, "claim_refused")
    assert desk.certificates() == 1


def test_an_expired_a_foreign_and_a_wrong_code_are_refused_alike(desk: Desk) -> None:
    expired = desk.code(hours=1)
    foreign = desk.code(pile_id="YQ-02")
    desk.now += timedelta(hours=2)
    answers = [desk.post(code, _pem(_csr())) for code in (expired, foreign, "0000-0000-0000-0000")]
    assert [answer.refusal for answer in answers] == [(403, "claim_refused")] * 3
    assert len({answer.json["error"]["message"] for answer in answers}) == 1
    assert desk.certificates() == 0


def test_a_pile_nobody_registered_is_refused_like_a_wrong_code(desk: Desk) -> None:
    answer = desk.post(desk.code(), _pem(_csr("XX-99")), pile_id="XX-99")
    assert answer.refusal == (403, "claim_refused")


@pytest.mark.parametrize(
    "csr",
    [
        pytest.param(lambda: "no PEM at all", id="no_pem"),
        pytest.param(lambda: _pem(_csr("YQ-02")), id="another_piles_name"),
        pytest.param(lambda: _pem(_csr(key=ec.generate_private_key(ec.SECP384R1()))), id="other_curve"),
        pytest.param(lambda: _pem(_csr(key=rsa.generate_private_key(65537, 2048))), id="rsa"),
        pytest.param(_badly_signed, id="bad_signature"),
    ],
)
def test_a_bad_certificate_request_is_refused_and_uses_no_code_up(csr: Callable[[], str], desk: Desk) -> None:
    code = desk.code()
    assert desk.post(code, csr()).refusal == (400, "csr_invalid")
    assert desk.post(code, _pem(_csr())).status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"{}", b'{"pile_id": "a/b", "claim_code": "x", "csr_pem": "x"}', b"\xff\xfe"],
)
def test_a_bad_body_is_refused_in_json(body: bytes, desk: Desk) -> None:
    headers = {"Content-Type": "application/json"}
    answer = Answer(desk.client.post("/device/v1/enroll", content=body, headers=headers))
    assert answer.refusal == (400, "request_invalid")


def test_an_oversized_body_is_refused_unread(desk: Desk) -> None:
    answer = desk.post("x" * device_routes.MAX_REQUEST_BYTES, "")
    assert answer.refusal == (400, "request_invalid")


def test_a_body_of_unknown_length_is_refused(desk: Desk) -> None:
    answer = Answer(desk.client.post("/device/v1/enroll", content=iter([b"{}"])))
    assert answer.refusal == (400, "request_invalid")


def test_guessing_is_limited_per_pile_and_forgiven_in_time(desk: Desk) -> None:
    code, csr = desk.code(), _pem(_csr())
    for _ in range(claim_attempts.MOST_PER_PILE):
        assert desk.post("0000-0000-0000-0000", csr).refusal == (403, "claim_refused")
    blocked = desk.post(code, csr)
    assert blocked.refusal == (429, "too_many_attempts")
    assert int(blocked.headers["Retry-After"]) == claim_attempts.ATTEMPT_WINDOW.total_seconds()
    assert desk.post(desk.code(pile_id="YQ-02"), _pem(_csr("YQ-02")), pile_id="YQ-02").status == 200
    desk.wall_now += claim_attempts.ATTEMPT_WINDOW
    assert desk.post(code, csr).status == 200


def test_guesses_count_on_in_another_process_and_after_a_restart(desk: Desk, authority: Authority) -> None:
    csr = _pem(_csr())
    for _ in range(claim_attempts.MOST_PER_PILE):
        desk.post("0000-0000-0000-0000", csr)
    with closing(Desk(desk.pool, authority, "mqtts://broker.example:8883", "the broker's CA")) as other:
        other.wall_now = desk.wall_now
        assert other.post(other.code(), csr).refusal == (429, "too_many_attempts")


def test_guessing_is_limited_per_address_whatever_the_pile(desk: Desk) -> None:
    for n in range(claim_attempts.MOST_PER_SOURCE):
        pile_id = f"XX-{n}"
        answer = desk.post("0000-0000-0000-0000", _pem(_csr(pile_id)), pile_id=pile_id)
        assert answer.refusal == (403, "claim_refused")
    assert desk.post(desk.code(), _pem(_csr())).refusal == (429, "too_many_attempts")


def test_guesses_that_come_at_once_are_limited_like_those_in_turn(desk: Desk) -> None:
    csr = _pem(_csr())
    more = claim_attempts.MOST_PER_PILE + 14
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(desk.post, "0000-0000-0000-0000", csr) for _ in range(more)]
    statuses = [answer.result().refusal[0] for answer in answers]
    assert (statuses.count(403), statuses.count(429)) == (claim_attempts.MOST_PER_PILE, 14)


def test_piles_that_enrol_well_are_not_counted_against_their_address(desk: Desk) -> None:
    for _ in range(claim_attempts.MOST_PER_PILE + 1):
        assert desk.post(desk.code(), _pem(_csr())).status == 200


def test_a_new_code_ends_the_one_before_it(desk: Desk) -> None:
    lost, fresh = desk.code(), desk.code()
    assert desk.post(lost, _pem(_csr())).refusal == (403, "claim_refused")
    assert desk.post(fresh, _pem(_csr())).status == 200


def test_without_a_database_the_pile_is_told_to_come_again(desk: Desk) -> None:
    code = desk.code()
    desk.pool.close()
    assert desk.post(code, _pem(_csr())).refusal == (503, "unavailable")


def _is_let_in(answer: dict[str, Any], folder: Path) -> bool:
    client = Client(CallbackAPIVersion.VERSION2, client_id=PILE, protocol=MQTTProtocolVersion.MQTTv5)
    context = ssl.create_default_context(cadata=answer["broker_ca_pem"])
    context.load_cert_chain(str(folder / "chain"), str(folder / "key"))
    client.tls_set_context(context)  # pyright: ignore[reportUnknownMemberType]  # paho's gap
    connected = Event()

    def on_connect(_client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            connected.set()

    client.on_connect = on_connect
    host, port = answer["broker_url"].removeprefix("mqtts://").rsplit(":", 1)
    client.connect(host, int(port))
    client.loop_start()
    let_in = connected.wait(10)
    client.disconnect()
    client.loop_stop()
    return let_in
