"""How a pile renews its certificate before it expires: a new request over mutual TLS with the present one.

The server puts the client certificate its TLS layer checked into the request's scope, in the form of the ASGI TLS
extension; what a proxy might write into a header is never believed. The device secret does not change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import structlog
from fastapi import APIRouter, Request, Response
from psycopg_pool import ConnectionPool
from pydantic import BaseModel, StringConstraints

from charging import certificates
from charging.errors import CertificateRefused, RenewedTooOften
from database.pool import Connection
from gateway.certificate_authority import CertificateAuthority, PresentedCertificate
from gateway.device_routes import DeviceRoute
from gateway.errors import EnrolmentFault, EnrolmentRefused

log = structlog.get_logger()


class RenewalRequest(BaseModel):
    """What a pile posts: a PKCS#10 request in its own name, for the key it has or a new one."""

    csr_pem: Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class RenewalAnswer(BaseModel):
    """The new certificate, and where the broker is now; `time_ms` milliseconds since 1970 UTC."""

    certificate_chain_pem: str
    broker_url: str
    broker_ca_pem: str
    shard: int
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """Everything a renewal needs; the clocks are as for an enrolment."""

    pool: ConnectionPool[Connection]
    clock: Callable[[], datetime]
    wall_clock: Callable[[], datetime]
    authority: CertificateAuthority
    broker_url: str
    broker_ca_pem: str

    def renew(self, request: RenewalRequest, presented: PresentedCertificate) -> RenewalAnswer:
        """Sign the next certificate; the presented one stays good for some days. Raises EnrolmentRefused."""
        now = self.clock()
        issued = self.authority.issue(request.csr_pem, pile_id=presented.pile_id, now=self.wall_clock())
        try:
            with self.pool.connection() as conn, conn.transaction():
                shard = certificates.renew(
                    conn,
                    pile_id=presented.pile_id,
                    presented_serial=presented.serial,
                    serial=issued.serial,
                    expires_at=issued.expires_at,
                    now=now,
                )
        except CertificateRefused:
            raise _refused() from None
        except RenewedTooOften as error:
            raise EnrolmentRefused(EnrolmentFault.TOO_MANY_ATTEMPTS, str(error)) from None
        log.info("certificate_renewed", pile_id=presented.pile_id, serial=issued.serial)
        return RenewalAnswer(
            certificate_chain_pem=issued.chain_pem,
            broker_url=self.broker_url,
            broker_ca_pem=self.broker_ca_pem,
            shard=shard,
            time_ms=int(now.timestamp() * 1000),
        )

    def presented(self, request: Request) -> PresentedCertificate:
        """The certificate of this connection. Raises EnrolmentRefused."""
        chain = request.scope.get("extensions", {}).get("tls", {}).get("client_cert_chain") or ()
        if not chain:
            raise EnrolmentRefused(
                EnrolmentFault.CERTIFICATE_REQUIRED,
                "renewal needs the present certificate in the TLS handshake",
            )
        presented = self.authority.recognise(chain[0], now=self.wall_clock())
        if presented is None:
            raise _refused()
        return presented


def router(service: Renewal) -> APIRouter:
    """The renewal's route."""
    routes = APIRouter(prefix="/device/v1", tags=["device"], route_class=DeviceRoute)

    def renew(renewal: RenewalRequest, request: Request, response: Response) -> RenewalAnswer:
        """Renew the certificate presented in the TLS handshake."""
        response.headers["Cache-Control"] = "no-store"
        return service.renew(renewal, service.presented(request))

    routes.add_api_route("/renew", renew, methods=["POST"], response_model=RenewalAnswer)
    return routes


def _refused() -> EnrolmentRefused:
    return EnrolmentRefused(EnrolmentFault.CERTIFICATE_REFUSED, "the certificate is not good any more")
