"""Enrolment as a pile does it, and as it should not be done (section 2 of the contract)."""

import base64
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

ANSWER_LIMIT_S: Final = 20.0
DEFAULT_BROKER_PORT: Final = 8883

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Identity:
    """What an enrolled pile holds."""

    pile_id: str
    broker_host: str
    broker_port: int
    broker_ca_pem: str
    certificate_chain_pem: str
    key_pem: bytes
    secret: bytes
    epoch: int
    shard: int


class EnrolmentDesk:
    """The enrolment server, asked over HTTPS."""

    def __init__(self, url: str, *, ca_pem: str | None) -> None:
        self.url = url
        self._ca_pem = ca_pem
        context = ssl.create_default_context(cadata=ca_pem)
        self._http = httpx.Client(verify=context, trust_env=False, timeout=ANSWER_LIMIT_S)

    def close(self) -> None:
        """Let go of its connections."""
        self._http.close()

    def ask(self, pile_id: str, code: str, csr_pem: str, **more: object) -> httpx.Response:
        """Post a request as the contract writes it."""
        body = {"pile_id": pile_id, "claim_code": code, "csr_pem": csr_pem, **more}
        return self.post(json=body)

    def renew(self, files: tuple[str, str] | None, csr_pem: str) -> httpx.Response:
        """Post a request for the next certificate beside the enrolment, showing the present one (certificate, key)."""
        context = ssl.create_default_context(cadata=self._ca_pem)
        if files is not None:
            context.load_cert_chain(*files)
        with httpx.Client(verify=context, trust_env=False, timeout=ANSWER_LIMIT_S) as http:
            return http.post(f"{self.url.rpartition('/')[0]}/renew", json={"csr_pem": csr_pem})

    def fetch(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """Get a file as a pile does: it trusts who enrolled it, and follows no redirect."""
        return self._http.get(url, headers=headers, follow_redirects=False)

    def post(self, **content: Any) -> httpx.Response:
        """Post anything."""
        return self._http.post(self.url, **content)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key as piles have them."""
    return ec.generate_private_key(ec.SECP256R1())


def request_pem(
    *common_names: str,
    key: PrivateKey,
    extensions: tuple[x509.ExtensionType, ...] = (),
    organisation: str = "",
) -> str:
    """A PKCS#10 request with these common names, signed by the key."""
    names = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]
    if organisation:
        names.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return pem_of(builder.sign(key, hashes.SHA256()))


def badly_signed_pem(pile_id: str) -> str:
    """A request whose signature is not its key's."""
    der = bytearray(
        x509.load_pem_x509_csr(request_pem(pile_id, key=new_key()).encode()).public_bytes(
            serialization.Encoding.DER
        )
    )
    der[-3] ^= 1
    body = base64.encodebytes(bytes(der)).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def pem_of(request: x509.CertificateSigningRequest) -> str:
    """A request as PEM."""
    return request.public_bytes(serialization.Encoding.PEM).decode()


def key_pem_of(key: PrivateKey) -> bytes:
    """A private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def identity_of(pile_id: str, answer: httpx.Response, key: PrivateKey) -> Identity:
    """What an answer of 200 makes of a pile. Raises KeyError or ValueError for one that lacks something."""
    told: dict[str, Any] = answer.json()
    broker = urlsplit(str(told["broker_url"]))
    if broker.scheme != "mqtts" or broker.hostname is None:
        raise ValueError(f"broker_url is {told['broker_url']}")
    return Identity(
        pile_id=pile_id,
        broker_host=broker.hostname,
        broker_port=broker.port or DEFAULT_BROKER_PORT,
        broker_ca_pem=told["broker_ca_pem"],
        certificate_chain_pem=told["certificate_chain_pem"],
        key_pem=key_pem_of(key),
        secret=base64.b64decode(told["device_secret"], validate=True),
        epoch=told["key_epoch"],
        shard=told["shard"],
    )
