"""How a pile renews its certificate over mutual TLS in its last third, keeping the old until the new is on disk."""

import json
import random
import ssl
from datetime import datetime
from http import HTTPStatus
from typing import Final, NamedTuple

import httpx
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BaseModel, ValidationError

from device_sim import enrolment, https
from device_sim.configuration import PileConfig
from device_sim.enrolment import Identity
from device_sim.flash import write_whole

LOOK_EVERY_S: Final = 6 * 3600.0
REFUSED_RETRY_S: Final = 3600.0

_SHARE_LEFT: Final = 3

log = structlog.get_logger()


class NotRenewed(NamedTuple):
    """There is no new certificate; ``response`` is what came instead, None if nothing came."""

    response: httpx.Response | None = None


class _Answer(BaseModel):
    certificate_chain_pem: str
    broker_url: str
    broker_ca_pem: str


def is_due(identity: Identity, *, now: datetime) -> bool:
    """Whether less than a third of the certificate's life is left; ``now`` is the real, aware time."""
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (ends - now) * _SHARE_LEFT < ends - begins


def retry_s(missed: NotRenewed, *, failed: int) -> float:
    """How long to wait after so many failures before this one: long where asking again will hardly help."""
    if missed.response is None or missed.response.status_code in https.TRY_AGAIN:
        return https.retry_s(failed, missed.response)
    return REFUSED_RETRY_S * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def fits(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether a certificate is for this key."""
    return certificate.public_key() == key.public_key()


async def renew(config: PileConfig, identity: Identity) -> Identity | NotRenewed:
    """Ask for the next certificate with the present one, and store it."""
    key = load_pem_private_key(identity.private_key.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), "the pile made its key itself"
    trust = ssl.create_default_context(cafile=config.enrolment_ca)
    trust.load_cert_chain(identity.certificate, identity.private_key)
    csr_pem = enrolment.request_pem(config.pile_id, key)
    try:
        async with https.client(trust) as client:
            response = await client.post(_url(config), json={"csr_pem": csr_pem})
    except httpx.TransportError as error:
        log.info("renewal_unreachable", pile_id=config.pile_id, error=type(error).__name__)
        return NotRenewed()
    if response.status_code != HTTPStatus.OK:
        log.warning("renewal_refused", pile_id=config.pile_id, status=response.status_code)
        return NotRenewed(response)
    try:
        answer = _Answer.model_validate_json(response.content)
        chain = x509.load_pem_x509_certificates(answer.certificate_chain_pem.encode())
    except (ValidationError, ValueError):
        log.warning("renewal_unreadable", pile_id=config.pile_id)
        return NotRenewed(response)
    if not fits(chain[0], key):
        log.warning("renewal_for_another_key", pile_id=config.pile_id)
        return NotRenewed(response)
    return _store(config, identity, answer)


def _store(config: PileConfig, identity: Identity, answer: _Answer) -> Identity:
    """Where the broker is first, the certificate last: the old one is good for the new place, too."""
    write_whole(identity.broker_ca, [answer.broker_ca_pem.encode()])
    facts_path = enrolment.identity_path(config.folder)
    facts = json.loads(facts_path.read_bytes()) | {"broker_url": answer.broker_url}
    write_whole(facts_path, [json.dumps(facts).encode()])
    write_whole(identity.certificate, [answer.certificate_chain_pem.encode()])
    log.info("certificate_renewed", pile_id=config.pile_id)
    return identity.moved_to(answer.broker_url)


def _url(config: PileConfig) -> str:
    """Renewal is beside enrolment, unless the configuration knows better."""
    return config.renewal_url or config.enrolment_url.rsplit("/", 1)[0] + "/renew"
