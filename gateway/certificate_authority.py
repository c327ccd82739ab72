"""The device certificate authority: checks a pile's request and signs its client certificate."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import EnrolmentFault, EnrolmentRefused

CERTIFICATE_LIFETIME = timedelta(days=365)
_CLOCK_ALLOWANCE = timedelta(hours=1)
_PILE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class IssuedCertificate:
    """A signed certificate; `chain_pem` is the certificate followed by its issuer, `serial` in hex.

    `key_sha256` is that of the certified SubjectPublicKeyInfo.
    """

    chain_pem: str
    serial: str
    expires_at: datetime
    key_sha256: bytes


@dataclass(frozen=True)
class PresentedCertificate:
    """A certificate of ours that somebody proved to hold; `serial` in hex."""

    pile_id: str
    serial: str


class CertificateAuthority:
    """Signs certificates for piles, and the list of those revoked, with the device CA's key."""

    def __init__(self, *, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def from_pem(cls, *, certificate_pem: bytes, key_pem: bytes) -> "CertificateAuthority":
        """Read the CA from PEM. Raises ValueError when the key is not elliptic or not the certificate's."""
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the device CA's key is not an elliptic-curve key")
        if key.public_key() != certificate.public_key():
            raise ValueError("the device CA's key does not belong to its certificate")
        return cls(certificate=certificate, key=key)

    def issue(self, csr_pem: str, *, pile_id: str, now: datetime) -> IssuedCertificate:
        """Check the request and sign a client certificate for the pile.

        The request must be PKCS#10 (RFC 2986) for a P-256 key, signed by that key, with the pile's id as its
        only common name; whatever else it asks for is ignored. Raises EnrolmentRefused.
        """
        public_key = _checked_key(csr_pem, pile_id)
        latest = self._certificate.not_valid_after_utc
        expires_at = min((now + CERTIFICATE_LIFETIME).replace(microsecond=0), latest)
        serial = x509.random_serial_number()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, pile_id)]))
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(serial)
            .not_valid_before(now - _CLOCK_ALLOWANCE)
            .not_valid_after(expires_at)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_signing_only(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        chain = certificate.public_bytes(pem) + self._certificate.public_bytes(pem)
        spki = public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return IssuedCertificate(
            chain_pem=chain.decode(),
            serial=f"{serial:x}",
            expires_at=expires_at,
            key_sha256=hashlib.sha256(spki).digest(),
        )

    def recognise(self, certificate_pem: str, *, now: datetime) -> PresentedCertificate | None:
        """Whose certificate it is; None unless we signed it and it holds now. Whether it is revoked, the books say."""
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            certificate.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return None
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if len(names) != 1 or not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            return None
        return PresentedCertificate(str(names[0].value), f"{certificate.serial_number:x}")

    def revocation_list(self, revoked: Mapping[str, datetime], *, number: int, issued_at: datetime) -> bytes:
        """Sign the list (RFC 5280, PEM) of revoked serials in hex, each with its date.

        OpenSSL believes the list with the latest `issued_at`, in whole seconds; it never lapses while we live.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(issued_at)
            .next_update(self._certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        for serial, revoked_at in revoked.items():
            entry = (
                x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(revoked_at)
            )
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def own_list(self, pem: bytes) -> x509.CertificateRevocationList | None:
        """A list of revoked certificates, if it is one that we signed."""
        try:
            known = x509.load_pem_x509_crl(pem)
            return known if known.is_signature_valid(self._key.public_key()) else None
        except ValueError:
            return None


def _checked_key(csr_pem: str, pile_id: str) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        public_key = request.public_key()
        signed = request.is_signature_valid
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        raise _refused("csr_pem is not a readable PKCS#10 request") from None
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(
        public_key.curve, ec.SECP256R1
    ):
        raise _refused("the request's key is not on the curve P-256")
    if not signed:
        raise _refused("the request is not signed by the key it names")
    if not _PILE_ID.fullmatch(pile_id) or [name.value for name in names] != [pile_id]:
        raise _refused("the request's common name is not the pile id")
    return public_key


def _refused(message: str) -> EnrolmentRefused:
    return EnrolmentRefused(EnrolmentFault.CSR_INVALID, message)


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
