"""The kit's own certificate authority: it signs what piles ask for, and passes for them at the broker."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Life(NamedTuple):
    """How old a certificate is when it is issued, and how long it is still good."""

    age: timedelta
    left: timedelta


YOUNG: Final = Life(timedelta(hours=1), timedelta(days=30))
BEFORE_LAST_THIRD: Final = Life(timedelta(days=18), timedelta(days=12))
IN_LAST_THIRD: Final = Life(timedelta(days=22), timedelta(days=8))


class Issued(NamedTuple):
    """A certificate and its issuer in PEM, and its serial number."""

    chain_pem: str
    serial: int


class RequestRefused(Exception):
    """A certificate request that the protocol does not allow; the text says why."""


@dataclass(frozen=True)
class Files:
    """What the kit's servers need: the device authority, the server's own certificate, and whom piles trust."""

    device_ca: Path
    device_ca_key: Path
    server_certificate: Path
    server_key: Path
    server_ca: Path


class Authority:
    """Signs client certificates with the device CA's key."""

    def __init__(self, files: Files) -> None:
        self._ca_pem = files.device_ca.read_bytes()
        self._ca = x509.load_pem_x509_certificate(self._ca_pem)
        key = load_pem_private_key(files.device_ca_key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "the device CA is one of ours"
        self._key = key

    def issue(self, csr_pem: str, *, pile_id: str, life: Life = YOUNG) -> Issued:
        """The certificate a request asks for. Raises RequestRefused."""
        return self._issued(_key_of(csr_pem, pile_id), pile_id, life)

    def issue_for_another_key(self, *, pile_id: str) -> Issued:
        """A certificate in a pile's name for a key that nobody has."""
        return self._issued(ec.generate_private_key(ec.SECP256R1()).public_key(), pile_id, YOUNG)

    def stand_in(self, pile_id: str, folder: Path) -> ssl.SSLContext:
        """A client's side of mutual TLS under a pile's name, with a key of the kit's own."""
        key = ec.generate_private_key(ec.SECP256R1())
        path = folder / f"{pile_id}.stand-in.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.touch(mode=0o600)
        path.write_bytes(private + self._issued(key.public_key(), pile_id, YOUNG).chain_pem.encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(path)
        return context

    def _issued(self, key: ec.EllipticCurvePublicKey, common_name: str, life: Life) -> Issued:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self._ca.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - life.age)
            .not_valid_after(now + life.left)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, SHA256())
        )
        chain_pem = certificate.public_bytes(Encoding.PEM).decode() + self._ca_pem.decode()
        return Issued(chain_pem, certificate.serial_number)


def _key_of(csr_pem: str, pile_id: str) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        key, signed = request.public_key(), request.is_signature_valid
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        raise RequestRefused("csr_pem is not a readable PKCS#10 request") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RequestRefused("the request's key is not on the curve P-256")
    if not signed:
        raise RequestRefused("the request is not signed by the key it names")
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if [name.value for name in names] != [pile_id]:
        raise RequestRefused("the request's only common name is not the pile id")
    return key
