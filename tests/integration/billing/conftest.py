"""A site with its terms, and sessions whose prepayment has arrived."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from billing import agreements, parties, payments, tariffs
from billing.agreements import AgreementVersion
from billing.payments import Payment
from billing.tariff_objects import FeeKind, TariffVersion
from database.pool import Connection

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
PAYMENT_TIME = timedelta(minutes=5)

Pay = Callable[..., Payment]


@dataclass(frozen=True)
class Terms:
    """What a session of the site freezes."""

    tariff: TariffVersion
    agreement: AgreementVersion


def tariff_document(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"id": "t", "currency": "CNY", "elements": elements, "last_updated": "2026-03-01T00:00:00Z"}


def energy(price: str, **restrictions: Any) -> dict[str, Any]:
    return {
        "price_components": [{"type": "ENERGY", "price": price, "step_size": 1}],
        "restrictions": restrictions,
    }


@pytest.fixture
def terms(conn: Connection) -> Terms:
    """The terms of docs/ledger.md: peak and valley electricity, a service fee, four parties."""
    for party_id, kind in (
        ("lvdian", "operator"),
        ("yuquan-wuye", "property"),
        ("laowang", "sub_merchant"),
        ("pileway", "platform"),
    ):
        parties.add(conn, party_id=party_id, kind=kind, name=party_id.title(), now=NOW)
    tariff = tariffs.publish(
        conn,
        site_id="yuquan",
        tariffs={
            "electricity": tariff_document(
                energy("0.6103", start_time="08:00", end_time="22:00"),
                energy("0.3103", start_time="22:00", end_time="08:00"),
            ),
            "service": tariff_document(energy("0.45")),
        },
        effective_from=NOW - timedelta(days=1),
        now=NOW,
    )
    agreement = agreements.publish(
        conn,
        site_id="yuquan",
        shares={
            FeeKind.ELECTRICITY: {"yuquan-wuye": 10_000},
            FeeKind.SERVICE: {"lvdian": 5500, "yuquan-wuye": 2500, "laowang": 1000, "pileway": 1000},
        },
        effective_from=NOW - timedelta(days=1),
        now=NOW,
    )
    conn.commit()
    return Terms(tariff, agreement)


@pytest.fixture
def pay(conn: Connection) -> Pay:
    """Make a session's payment and have the rail prove it; commits."""

    def paid(amount_fen: int = 300, *, session_id: UUID | None = None, closed: bool = False) -> Payment:
        payment = payments.create(
            conn,
            session_id=session_id or uuid4(),
            amount_fen=amount_fen,
            rail="wechat_pay",
            now=NOW,
            expires_at=NOW + PAYMENT_TIME,
        )
        if closed:
            payments.close(conn, payment_id=payment.payment_id, now=NOW + PAYMENT_TIME)
        outcome = payments.mark_paid(
            conn,
            out_trade_no=payment.out_trade_no,
            rail_transaction_id=f"42000{payment.out_trade_no[:20]}",
            amount_fen=amount_fen,
            paid_at=NOW,
            now=NOW,
        )
        conn.commit()
        return outcome.payment

    return paid
