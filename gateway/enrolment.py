"""How a pile gets its identity: it posts a one-time claim code and a certificate request.

It receives its client certificate, the broker's address and CA, and its 32-byte device secret: the only time
the secret leaves the platform. A request that is refused uses no code up.
"""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import structlog
from fastapi import APIRouter, Request, Response
from psycopg_pool import ConnectionPool
from pydantic import BaseModel, StringConstraints

from charging import claim_attempts, enrolment, piles
from charging.enrolment import SECRET_BYTES, SecretVault
from charging.errors import ClaimRefused, TooManyAttempts
from database.pool import Connection
from gateway.certificate_authority import CertificateAuthority
from gateway.device_routes import DeviceRoute
from gateway.errors import EnrolmentFault, EnrolmentRefused

log = structlog.get_logger()


class EnrolmentRequest(BaseModel):
    """What a pile posts: its id, the code the operator was shown, and a PKCS#10 request for a P-256 key."""

    pile_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    claim_code: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    csr_pem: Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class EnrolmentAnswer(BaseModel):
    """What an enrolled pile needs; `device_secret` is base64, `time_ms` milliseconds since 1970 UTC."""

    certificate_chain_pem: str
    broker_url: str
    broker_ca_pem: str
    device_secret: str
    key_epoch: int
    shard: int
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """Everything an enrolment needs; `broker_url` and `broker_ca_pem` are handed to the pile.

    `clock` is the platform's; certificates are for TLS libraries, which know only `wall_clock`.
    """

    pool: ConnectionPool[Connection]
    clock: Callable[[], datetime]
    wall_clock: Callable[[], datetime]
    authority: CertificateAuthority
    vault: SecretVault
    broker_url: str
    broker_ca_pem: str

    def enroll(self, request: EnrolmentRequest, *, source: str) -> EnrolmentAnswer:
        """Check request and code, and put certificate and secret on the books; `source` is the caller's address.

        Raises EnrolmentRefused.
        """
        now = self.clock()
        issued = self.authority.issue(request.csr_pem, pile_id=request.pile_id, now=self.wall_clock())
        self._charge_attempt(request.pile_id, source)
        secret = secrets.token_bytes(SECRET_BYTES)
        try:
            with self.pool.connection() as conn, conn.transaction():
                enrolment.redeem_claim_code(
                    conn,
                    pile_id=request.pile_id,
                    code=request.claim_code,
                    key_sha256=issued.key_sha256,
                    now=now,
                )
                epoch = enrolment.provision(
                    conn,
                    self.vault,
                    pile_id=request.pile_id,
                    secret=secret,
                    certificate_serial=issued.serial,
                    certificate_expires_at=issued.expires_at,
                    now=now,
                )
                shard = piles.get(conn, request.pile_id).shard
                claim_attempts.give_back(conn, pile_id=request.pile_id, source=source)
        except ClaimRefused:
            raise EnrolmentRefused(
                EnrolmentFault.CLAIM_REFUSED, "the claim code is not valid for this pile"
            ) from None
        log.info("pile_enrolled", pile_id=request.pile_id, key_epoch=epoch, serial=issued.serial)
        return EnrolmentAnswer(
            certificate_chain_pem=issued.chain_pem,
            broker_url=self.broker_url,
            broker_ca_pem=self.broker_ca_pem,
            device_secret=base64.b64encode(secret).decode(),
            key_epoch=epoch,
            shard=shard,
            time_ms=int(now.timestamp() * 1000),
        )

    def _charge_attempt(self, pile_id: str, source: str) -> None:
        refused = None
        with self.pool.connection() as conn:
            try:
                claim_attempts.charge(conn, pile_id=pile_id, source=source, now=self.wall_clock())
            except TooManyAttempts as error:
                refused = EnrolmentRefused(EnrolmentFault.TOO_MANY_ATTEMPTS, f"{error}; wait")
        if refused is not None:
            raise refused


def router(service: Enrolment) -> APIRouter:
    """The device-facing routes; every refusal is JSON `{"error": {"code", "message"}}`."""
    routes = APIRouter(prefix="/device/v1", tags=["device"], route_class=DeviceRoute)

    def enroll(enrolling: EnrolmentRequest, request: Request, response: Response) -> EnrolmentAnswer:
        """Enrol a pile with its one-time claim code."""
        response.headers["Cache-Control"] = "no-store"
        return service.enroll(enrolling, source=request.client.host if request.client is not None else "")

    routes.add_api_route("/enroll", enroll, methods=["POST"], response_model=EnrolmentAnswer)
    return routes
