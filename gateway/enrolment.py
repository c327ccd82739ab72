"""How a pile gets its identity: it posts a one-time claim code and a certificate request.

It receives its client certificate, the broker's address and CA, and its 32-byte device secret: the only time
the secret leaves the platform. A request that is refused uses no code up.
"""

import base64
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Annotated

import structlog
from fastapi import APIRouter, Response
from psycopg_pool import ConnectionPool
from pydantic import BaseModel, StringConstraints

from charging import enrolment, piles
from charging.enrolment import SECRET_BYTES, SecretVault
from charging.errors import ClaimRefused
from database.pool import Connection
from gateway.certificate_authority import CertificateAuthority
from gateway.device_routes import DeviceRoute
from gateway.errors import EnrolmentFault, EnrolmentRefused

MAX_FAILURES = 10
"""So many refused codes of one pile within FAILURE_WINDOW, and it has to wait."""
FAILURE_WINDOW = timedelta(minutes=10)
MAX_WATCHED_PILES = 10_000

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


class FailureLimit:
    """Counts refused codes per pile; remembers the MAX_WATCHED_PILES that failed last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._failures: OrderedDict[str, list[datetime]] = OrderedDict()

    def check(self, pile_id: str, *, now: datetime) -> None:
        """Raises EnrolmentRefused while the pile has too many recent failures."""
        with self._lock:
            recent = [at for at in self._failures.get(pile_id, []) if now - at < FAILURE_WINDOW]
        if len(recent) >= MAX_FAILURES:
            raise EnrolmentRefused(
                EnrolmentFault.TOO_MANY_ATTEMPTS, "too many refused claim codes for this pile; wait"
            )

    def count(self, pile_id: str, *, now: datetime) -> None:
        """Remember one failure."""
        with self._lock:
            failures = self._failures.setdefault(pile_id, [])
            failures.append(now)
            del failures[:-MAX_FAILURES]
            self._failures.move_to_end(pile_id)
            while len(self._failures) > MAX_WATCHED_PILES:
                self._failures.popitem(last=False)


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
    failures: FailureLimit = field(default_factory=FailureLimit)

    def enroll(self, request: EnrolmentRequest) -> EnrolmentAnswer:
        """Check request and code, and put certificate and secret on the books. Raises EnrolmentRefused."""
        now = self.clock()
        self.failures.check(request.pile_id, now=self.wall_clock())
        issued = self.authority.issue(request.csr_pem, pile_id=request.pile_id, now=self.wall_clock())
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
        except ClaimRefused:
            self.failures.count(request.pile_id, now=self.wall_clock())
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


def router(service: Enrolment) -> APIRouter:
    """The device-facing routes; every refusal is JSON `{"error": {"code", "message"}}`."""
    routes = APIRouter(prefix="/device/v1", tags=["device"], route_class=DeviceRoute)

    def enroll(request: EnrolmentRequest, response: Response) -> EnrolmentAnswer:
        """Enrol a pile with its one-time claim code."""
        response.headers["Cache-Control"] = "no-store"
        return service.enroll(request)

    routes.add_api_route("/enroll", enroll, methods=["POST"], response_model=EnrolmentAnswer)
    return routes
