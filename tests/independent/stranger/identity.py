"""Section 2 of docs/protocol.md: a key, a request with the claim code, and the answer on disk."""

import base64
import json
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

ANSWER_LIMIT_S = 15.0


@dataclass(frozen=True)
class Identity:
    """What an enrolled pile holds."""

    pile_id: str
    broker_url: str
    shard: int
    epoch: int
    secret: bytes
    certificate: Path
    private_key: Path
    broker_ca: Path


def enrol(pile_id: str, *, url: str, trust: Path, code: str, folder: Path) -> Identity:
    """Enrol and keep everything in the folder. Raises urllib.error.HTTPError for a refusal."""
    key = ec.generate_private_key(ec.SECP256R1())
    private_key = folder / "key.pem"
    private_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, pile_id)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    asked = {"pile_id": pile_id, "claim_code": code, "csr_pem": csr.public_bytes(Encoding.PEM).decode()}
    request = urllib.request.Request(
        url, data=json.dumps(asked).encode(), headers={"Content-Type": "application/json"}
    )
    context = ssl.create_default_context(cafile=trust)
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with direct.open(request, timeout=ANSWER_LIMIT_S) as response:
        answer = json.load(response)
    certificate, broker_ca = folder / "certificate.pem", folder / "broker.pem"
    certificate.write_text(answer["certificate_chain_pem"])
    broker_ca.write_text(answer["broker_ca_pem"])
    return Identity(
        pile_id=pile_id,
        broker_url=answer["broker_url"],
        shard=answer["shard"],
        epoch=answer["key_epoch"],
        secret=base64.b64decode(answer["device_secret"], validate=True),
        certificate=certificate,
        private_key=private_key,
        broker_ca=broker_ca,
    )
