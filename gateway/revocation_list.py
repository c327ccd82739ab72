"""Keeps the list of certificates no broker may accept: made anew within a second of a revocation, signed, written.

A broker on this machine reads the file; one elsewhere is given it, or fetches it from `/device/v1/crl`. A list is
public by its nature: it holds serial numbers and dates.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Thread

import structlog
from fastapi import APIRouter, Response
from psycopg import InterfaceError, OperationalError
from psycopg_pool import ConnectionPool

from charging import certificates
from database.pool import Connection
from gateway.certificate_authority import CertificateAuthority
from gateway.device_routes import DeviceRoute

LOOK_EVERY_S = 0.5
CLOCK_ALLOWANCE = timedelta(hours=1)
"""The list is dated back, for a broker whose clock is slow: it would not believe a list from the future."""
STOP_TIMEOUT_S = 10.0

log = structlog.get_logger()


@dataclass(kw_only=True)
class RevocationList:
    """The list as it is now; `write` replaces the file that a broker reads, and is given the list as PEM."""

    pool: ConnectionPool[Connection]
    authority: CertificateAuthority
    wall_clock: Callable[[], datetime]
    write: Callable[[bytes], None]
    known_pem: bytes | None = None
    """The list that was kept from an earlier run."""
    _serials: frozenset[str] | None = field(default=None, init=False)
    _issued_at: datetime | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        known = self.authority.own_list(self.known_pem) if self.known_pem is not None else None
        if known is None:
            self.known_pem = None
            return
        self._serials = frozenset(f"{entry.serial_number:x}" for entry in known)
        self._issued_at = known.last_update_utc

    def refresh(self) -> bool:
        """Make the list anew if other certificates are barred than before; says whether it was."""
        now = self.wall_clock()
        with self.pool.connection() as conn:
            barred = {one.serial: one.barred_at for one in certificates.barred(conn, unexpired_at=now)}
        if self.known_pem is not None and self._serials == barred.keys():
            return False
        issued_at = (now - CLOCK_ALLOWANCE).replace(microsecond=0)
        if self._issued_at is not None:
            # Of two lists with one date OpenSSL keeps believing the first.
            issued_at = max(issued_at, self._issued_at + timedelta(seconds=1))
        self.known_pem = self.authority.revocation_list(
            barred, number=int(issued_at.timestamp()), issued_at=issued_at
        )
        self._serials, self._issued_at = frozenset(barred), issued_at
        self.write(self.known_pem)
        log.info("revocation_list_written", certificates=len(barred))
        return True

    @contextmanager
    def kept(self) -> Generator[None]:
        """Look again every LOOK_EVERY_S while the block runs."""
        stop = Event()
        thread = Thread(target=self._keep, args=(stop,), name="revocation-list")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(STOP_TIMEOUT_S)

    def _keep(self, stop: Event) -> None:
        while not stop.is_set():
            try:
                self.refresh()
            except (OperationalError, InterfaceError) as error:
                log.warning("revocation_list_waits_for_database", error=type(error).__name__)
            except Exception:
                # Outermost line: a disk that is full today must not leave revoked piles in for ever.
                log.exception("revocation_list_failed")
                self._serials = None
            stop.wait(LOOK_EVERY_S)


def router(revoked: RevocationList) -> APIRouter:
    """The list for brokers that are not on this machine."""
    routes = APIRouter(prefix="/device/v1", tags=["device"], route_class=DeviceRoute)

    def crl() -> Response:
        """The list of revoked certificates (RFC 5280, PEM)."""
        if revoked.known_pem is None:
            return Response(status_code=503, headers={"Retry-After": "1"})
        return Response(
            revoked.known_pem, media_type="application/x-pem-file", headers={"Cache-Control": "no-store"}
        )

    routes.add_api_route("/crl", crl, methods=["GET"], response_class=Response)
    return routes
