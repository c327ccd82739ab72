"""How a pile gets its identity: a key of its own, a certificate request with the claim code, and the answer on disk."""

import asyncio
import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from pydantic import BaseModel

from device_sim import https
from device_sim.configuration import PileConfig
from device_sim.errors import EnrolmentRefused
from device_sim.flash import write_whole
from device_sim.keyring import Keyring

log = structlog.get_logger()


@dataclass(frozen=True)
class Identity:
    """What an enrolled pile holds."""

    pile_id: str
    broker_url: str
    keys: Keyring
    certificate: Path
    private_key: Path
    broker_ca: Path

    def moved_to(self, broker_url: str) -> "Identity":
        """The same pile at another broker."""
        return replace(self, broker_url=broker_url)

    @property
    def key_epoch(self) -> int:
        """The epoch of the newest device secret."""
        return self.keys.epoch


class _Answer(BaseModel):
    certificate_chain_pem: str
    broker_url: str
    broker_ca_pem: str
    device_secret: str
    key_epoch: int
    shard: int
    time_ms: int


async def identity_of(config: PileConfig) -> Identity:
    """The pile's identity from its folder, or a new one by enrolment, asked for until the platform answers.

    Raises EnrolmentRefused when the platform does not take the claim, or there is none.
    """
    kept = load(config)
    if kept is not None:
        return kept
    if config.claim_code is None:
        raise EnrolmentRefused(config.pile_id, 0, "no claim code")
    config.folder.mkdir(parents=True, exist_ok=True)
    key = _own_key(_key_path(config))
    answer = await _enrol(config, request_pem(config.pile_id, key))
    write_whole(config.folder / "certificate.pem", [answer.certificate_chain_pem.encode()])
    write_whole(config.folder / "broker_ca.pem", [answer.broker_ca_pem.encode()])
    kept_facts = answer.model_dump(include={"broker_url", "device_secret", "key_epoch"})
    # Written last: an identity counts once this file is there.
    write_whole(identity_path(config.folder), [json.dumps(kept_facts).encode()])
    log.info("pile_enrolled", pile_id=config.pile_id, key_epoch=answer.key_epoch, shard=answer.shard)
    identity = load(config)
    assert identity is not None, "it was just written"
    return identity


def is_enrolled(folder: Path) -> bool:
    """Whether the pile whose memory is this folder has an identity and needs no claim code."""
    return identity_path(folder).exists()


def load(config: PileConfig) -> Identity | None:
    """The identity in the pile's folder, None before it is enrolled."""
    path = identity_path(config.folder)
    if not path.exists():
        return None
    facts = json.loads(path.read_bytes())
    return Identity(
        pile_id=config.pile_id,
        broker_url=facts["broker_url"],
        keys=Keyring(_secrets(facts), lambda secrets: _store_secrets(path, secrets)),
        certificate=config.folder / "certificate.pem",
        private_key=_key_path(config),
        broker_ca=config.folder / "broker_ca.pem",
    )


def _secrets(facts: dict[str, Any]) -> dict[int, bytes]:
    """Secrets by epoch: the newest, and the one before it while the platform changes over."""
    epoch = facts["key_epoch"]
    kept = {epoch: facts["device_secret"]}
    if "previous_secret" in facts:
        kept[facts["previous_epoch"]] = facts["previous_secret"]
    return {epoch: base64.b64decode(secret, validate=True) for epoch, secret in kept.items()}


def _store_secrets(path: Path, secrets: Mapping[int, bytes]) -> None:
    facts = json.loads(path.read_bytes())
    newest, *older = sorted(secrets, reverse=True)
    facts |= {"key_epoch": newest, "device_secret": base64.b64encode(secrets[newest]).decode()}
    facts.pop("previous_epoch", None)
    facts.pop("previous_secret", None)
    for epoch in older:
        facts |= {"previous_epoch": epoch, "previous_secret": base64.b64encode(secrets[epoch]).decode()}
    write_whole(path, [json.dumps(facts).encode()])


def identity_path(folder: Path) -> Path:
    """Where a pile keeps what enrolment told it."""
    return folder / "identity.json"


def _key_path(config: PileConfig) -> Path:
    return config.folder / "private_key.pem"


def _own_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The pile's key; kept from an earlier attempt, so that asking again asks for the same thing."""
    if path.exists():
        kept = load_pem_private_key(path.read_bytes(), password=None)
        if isinstance(kept, ec.EllipticCurvePrivateKey):
            return kept
    key = ec.generate_private_key(ec.SECP256R1())
    write_whole(path, [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())])
    return key


def request_pem(pile_id: str, key: ec.EllipticCurvePrivateKey) -> str:
    """A PKCS#10 request for the pile's name, signed by its key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, pile_id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def _words(response: httpx.Response) -> str:
    """Why, in the server's own words if it has any."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


async def _enrol(config: PileConfig, csr_pem: str) -> _Answer:
    trust = ssl.create_default_context(cafile=config.enrolment_ca)
    failed = 0
    async with https.client(trust) as client:
        while True:
            response = None
            try:
                response = await client.post(
                    config.enrolment_url,
                    json={"pile_id": config.pile_id, "claim_code": config.claim_code, "csr_pem": csr_pem},
                )
            except httpx.TransportError as error:
                log.warning(
                    "enrolment_unreachable",
                    pile_id=config.pile_id,
                    url=config.enrolment_url,
                    error=str(error),
                )
            else:
                if response.status_code == HTTPStatus.OK:
                    return _Answer.model_validate_json(response.content)
                if response.status_code not in https.TRY_AGAIN:
                    raise EnrolmentRefused(config.pile_id, response.status_code, _words(response))
                log.info("enrolment_postponed", pile_id=config.pile_id, status=response.status_code)
            await asyncio.sleep(https.retry_s(failed, response))
            failed += 1
