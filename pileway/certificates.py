"""The private certificate authorities and what they sign: server, gateway and pile certificates (P-256).

Certificates live on the machine's real clock, never on an accelerated one: TLS libraries compare with it.
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pileway import home
from pileway.errors import AccessDenied

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=825)
RENEW_BEFORE = timedelta(days=30)
_CLOCK_SLACK = timedelta(hours=1)


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes


@dataclass(frozen=True)
class Authority:
    """A certificate authority that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM, for those who have to trust it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def load_or_create_authority(folder: Path, name: str) -> Authority:
    """Return the authority kept as `<name>.crt` and `<name>.key` in `folder`, making it on first use."""
    key_path, certificate_path = folder / f"{name}.key", folder / f"{name}.crt"
    key = _load_key(home.secret_bytes(key_path, make=lambda: _key_pem(_new_key())), key_path)
    if not certificate_path.exists():
        home.write_private(certificate_path, _sign_authority(f"Pileway {name}", key).public_bytes(_PEM))
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    if certificate.public_key() != key.public_key():
        raise AccessDenied(f"{certificate_path} and {key_path} do not belong together")
    return Authority(certificate=certificate, key=key)


def load_authority(certificate_path: Path, key_path: Path) -> Authority:
    """Return the authority kept in two PEM files of anybody's; raises `AccessDenied` for ones that do not fit."""
    key = _load_key(key_path.read_bytes(), key_path)
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    if certificate.public_key() != key.public_key():
        raise AccessDenied(f"{certificate_path} and {key_path} do not belong together")
    return Authority(certificate=certificate, key=key)


def keep_revocation_list(path: Path, authority: Authority) -> None:
    """See that `path` holds a list of revoked certificates by this authority, an empty one if there is none.

    A kept list stays as it is: whoever was revoked is refused from the broker's first moment.
    """
    if path.exists() and _is_list_of(authority, path.read_bytes()):
        return
    issued_at = (datetime.now(UTC) - _CLOCK_SLACK).replace(microsecond=0)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(issued_at)
        .next_update(authority.certificate.not_valid_after_utc)
    )
    home.write_private(path, builder.sign(authority.key, hashes.SHA256()).public_bytes(_PEM))


def issue_server(authority: Authority, names: Iterable[str]) -> Identity:
    """Issue a server certificate for host names and IP addresses."""
    key = _new_key()
    builder = _leaf(authority, "pileway server", key.public_key(), LEAF_LIFE)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
    )
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return Identity(certificate_pem=_sign(authority, builder), key_pem=_key_pem(key))


def kept_server(folder: Path, name: str, *, authority: Authority, names: Iterable[str]) -> Identity:
    """The server certificate kept as `<name>.crt` and `<name>.key`; a new one when it no longer serves."""
    certificate_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    wanted = tuple(names)
    if certificate_path.exists() and key_path.exists():
        kept = Identity(certificate_pem=certificate_path.read_bytes(), key_pem=key_path.read_bytes())
        if still_serves(kept.certificate_pem, authority=authority, names=wanted):
            return kept
    issued = issue_server(authority, wanted)
    home.write_private(key_path, issued.key_pem)
    home.write_private(certificate_path, issued.certificate_pem)
    return issued


def machine_names(bind_address: str) -> tuple[str, ...]:
    """Names and addresses under which a server that listens on `bind_address` is reached."""
    names = {"localhost", "127.0.0.1", socket.gethostname()}
    if bind_address not in ("0.0.0.0", "127.0.0.1"):  # noqa: S104 - compared, not bound
        names.add(bind_address)
    return tuple(sorted(names))


def issue_client(authority: Authority, common_name: str, *, life: timedelta = LEAF_LIFE) -> Identity:
    """Issue a client certificate with a new key; the common name becomes the broker's user name."""
    key = _new_key()
    return Identity(
        certificate_pem=sign_client_key(authority, common_name, key.public_key(), life=life),
        key_pem=_key_pem(key),
    )


def sign_client_key(
    authority: Authority, common_name: str, key: ec.EllipticCurvePublicKey, *, life: timedelta = LEAF_LIFE
) -> bytes:
    """Issue a client certificate (PEM) for a key somebody else keeps, such as a device that sent a request."""
    builder = _leaf(authority, common_name, key, life)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return _sign(authority, builder)


def still_serves(certificate_pem: bytes, *, authority: Authority, names: Iterable[str] = ()) -> bool:
    """Say whether a certificate is this authority's, names all of `names` and holds for 30 days more."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return (
        _issued_by(certificate, authority)
        and certificate.not_valid_after_utc - datetime.now(UTC) > RENEW_BEFORE
        and {_general_name(name) for name in names} <= _named(certificate)
    )


_PEM = serialization.Encoding.PEM


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _load_key(pem: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AccessDenied(f"{path} is not an elliptic-curve key")
    return key


def _sign_authority(common_name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _leaf(
    authority: Authority, common_name: str, key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(min(now + life, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )


def _sign(authority: Authority, builder: x509.CertificateBuilder) -> bytes:
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(_PEM)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _named(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _is_list_of(authority: Authority, content: bytes) -> bool:
    try:
        return x509.load_pem_x509_crl(content).is_signature_valid(authority.key.public_key())
    except ValueError:
        return False


def _issued_by(certificate: x509.Certificate, authority: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
