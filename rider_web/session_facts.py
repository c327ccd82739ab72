"""Everything a session's page and live stream show, read in one go for many sessions."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from billing import charges, payments, refunds, tariffs
from billing.charges import SessionCharge
from billing.refunds import Refund
from billing.tariff_objects import FeeKind, TariffVersion
from charging import notices, start_codes, views
from charging.errors import SessionUnknown
from charging.live_readings import Reading
from charging.notices import Notice
from charging.session_states import SessionState
from charging.start_codes import CodeLife
from charging.views import WatchedSession

TARIFFS_KEPT = 500
"""Tariff versions held in memory; they never change, so holding them is safe."""


@dataclass(frozen=True)
class SessionFacts:
    """A session with its money: `fees_fen` is a preview until `charge` says what it was."""

    watched: WatchedSession
    fees_fen: Mapping[FeeKind, int]
    charge: SessionCharge | None
    refunds: tuple[Refund, ...]
    pay_url: str | None
    notices: tuple[Notice, ...] = ()
    """What the rider was told beside it, newest first."""
    code: CodeLife | None = None
    """What to type in at the pile, for as long as the session waits for it."""
    tariff: TariffVersion | None = None
    """What the preview is rated by; None where there is none."""

    def with_readings(self, readings: Iterable[Reading]) -> "SessionFacts | None":
        """The facts with what was metered since, rated anew; None where they must be read again."""
        watched = self.watched.with_readings(readings)
        if watched is None or watched is self.watched:
            return self if watched else None
        if self.tariff is None:
            return None
        return replace(self, watched=watched, fees_fen=_preview(self.tariff, watched))


class FactsReader:
    """Reads session facts; remembers the tariff versions it has seen."""

    def __init__(self, pool: ConnectionPool[Connection[TupleRow]]) -> None:
        self._pool = pool
        self._tariffs: dict[int, TariffVersion] = {}
        self._lock = threading.Lock()

    def read(self, session_ids: Sequence[UUID]) -> dict[UUID, SessionFacts]:
        """The facts of those sessions that exist. Raises OperationalError, PoolTimeout."""
        with self._pool.connection() as conn:
            watched = views.watched(conn, session_ids)
            told = notices.of_sessions(conn, list(watched))
            return {
                session_id: self._facts(conn, each, tuple(told.get(session_id, ())))
                for session_id, each in watched.items()
            }

    def read_one(self, session_id: UUID) -> SessionFacts:
        """The facts of one session. Raises SessionUnknown."""
        facts = self.read([session_id]).get(session_id)
        if facts is None:
            raise SessionUnknown(session_id)
        return facts

    def _facts(
        self, conn: Connection[TupleRow], watched: WatchedSession, told: tuple[Notice, ...]
    ) -> SessionFacts:
        session = watched.session
        charge = tariff = None
        fees_fen: Mapping[FeeKind, int] = {}
        if session.state in (SessionState.SETTLED, SessionState.CLOSED):
            charge = charges.get(conn, session.session_id)
        if charge is not None:
            fees_fen = {fee.fee_kind: fee.charged_fen for fee in charge.fees}
        elif session.started_at is not None:
            tariff = self._tariff(conn, session.tariff_version_id)
            fees_fen = _preview(tariff, watched)
        pay_url = None
        if session.state is SessionState.CREATED:
            payment = payments.of_session(conn, session.session_id)
            pay_url = payment.pay_url if payment is not None else None
        over = (SessionState.SETTLED, SessionState.CLOSED, SessionState.FAILED, SessionState.CANCELLED)
        given_back = refunds.of_session(conn, session.session_id) if session.state in over else []
        code = None
        if session.state is SessionState.AWAITING_CODE:
            code = start_codes.of_session(conn, session.session_id)
        return SessionFacts(watched, fees_fen, charge, tuple(given_back), pay_url, told, code, tariff)

    def _tariff(self, conn: Connection[TupleRow], tariff_version_id: int) -> TariffVersion:
        with self._lock:
            known = self._tariffs.get(tariff_version_id)
        if known is not None:
            return known
        version = tariffs.get(conn, tariff_version_id)
        with self._lock:
            if len(self._tariffs) >= TARIFFS_KEPT:
                self._tariffs.pop(next(iter(self._tariffs)))
            self._tariffs[tariff_version_id] = version
        return version


def _preview(tariff: TariffVersion, watched: WatchedSession) -> Mapping[FeeKind, int]:
    periods, begin = watched.periods, watched.session.started_at
    if not periods or begin is None:
        return {}
    return charges.preview(tariff, periods, session_started_at=begin, prepaid_fen=watched.session.prepaid_fen)
