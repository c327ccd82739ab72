"""Endpoints for parties, their balances and the ledger's audit, and for refused frames."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from billing import ledger, ledger_audit, parties
from billing.errors import PartyUnknown
from billing.ledger import PartyBalance
from billing.ledger_audit import Check
from billing.parties import Party, PartyKind
from billing.tariff_objects import FeeKind
from charging import rejections
from operator_api.parameters import SITE_ID_PATTERN
from operator_api.problems import NOT_FOUND, OperatorRoute
from operator_api.service import OperatorService


class PartyView(BaseModel):
    """Somebody who takes a share of the revenue, and what they have earned and not been paid out."""

    party_id: str
    kind: PartyKind
    name: str
    created_at: datetime
    balance_fen: int = Field(description="Earned and not yet paid out, over all fee kinds, in fen")
    pending_fen: dict[FeeKind, int] = Field(description="The same by fee kind, in fen; sums to `balance_fen`")


class AccountView(BaseModel):
    """An account of the trial balance."""

    code: str
    kind: str = Field(description="asset, liability, revenue or expense")
    debit_fen: int = Field(description="Sum of debits, in fen")
    credit_fen: int = Field(description="Sum of credits, in fen")
    balance_fen: int = Field(description="In the account's own direction, in fen")


class FindingView(BaseModel):
    """Two sums that should agree and do not."""

    check: Check
    subject: str = Field(description="The entry, account, session or payment it is about")
    expected_fen: int = Field(description="In fen")
    found_fen: int = Field(description="In fen")


class AuditView(BaseModel):
    """The whole ledger, recomputed from its rows by another path than the one that wrote them."""

    clean: bool = Field(description="Nothing is wrong")
    entries: int = Field(description="Journal entries looked at")
    sessions: int = Field(description="Sessions they belong to")
    debit_fen: int = Field(description="Sum of all debits, in fen; equals `credit_fen`")
    credit_fen: int = Field(description="Sum of all credits, in fen")
    findings: list[FindingView]
    accounts: list[AccountView]


class RejectedCount(BaseModel):
    """Frames of one kind that were refused."""

    reason: str = Field(description="Why, as a machine word")
    messages: int = Field(description="How many ever")
    last_at: datetime


def create_router(service: OperatorService) -> APIRouter:
    """Parties, ledger and refused frames."""
    router = APIRouter(route_class=OperatorRoute)

    @router.get("/parties", tags=["Money"], summary="Every party with its balance")
    def list_parties() -> list[PartyView]:
        with service.pool.connection() as conn:
            balances = ledger.party_balances(conn)
            return [_party(party, balances) for party in parties.list_all(conn)]

    @router.get(
        "/parties/{party_id}", tags=["Money"], summary="One party with its balance", responses=NOT_FOUND
    )
    def get_party(
        party_id: Annotated[str, Path(max_length=63, pattern=SITE_ID_PATTERN, description="Party id")],
    ) -> PartyView:
        with service.pool.connection() as conn:
            for party in parties.list_all(conn):
                if party.party_id == party_id:
                    return _party(party, ledger.party_balances(conn))
        raise PartyUnknown((party_id,))

    @router.get(
        "/ledger/audit", tags=["Money"], summary="Recompute the ledger and report what does not agree"
    )
    def audit() -> AuditView:
        with service.pool.connection() as conn:
            report = ledger_audit.audit(conn)
            accounts = ledger.balances(conn)
        return AuditView(
            clean=report.clean,
            entries=report.entries,
            sessions=report.sessions,
            debit_fen=sum(account.debit_fen for account in accounts),
            credit_fen=sum(account.credit_fen for account in accounts),
            findings=[
                FindingView(
                    check=finding.check,
                    subject=finding.subject,
                    expected_fen=finding.expected_fen,
                    found_fen=finding.found_fen,
                )
                for finding in report.findings
            ],
            accounts=[
                AccountView(
                    code=account.code,
                    kind=account.kind.value,
                    debit_fen=account.debit_fen,
                    credit_fen=account.credit_fen,
                    balance_fen=account.balance_fen,
                )
                for account in accounts
            ],
        )

    @router.get(
        "/rejected-messages", tags=["Piles"], summary="Frames from piles that were refused, by reason"
    )
    def rejected() -> list[RejectedCount]:
        with service.pool.connection() as conn:
            return [
                RejectedCount(reason=count.reason, messages=count.messages, last_at=count.last_at)
                for count in rejections.counts(conn)
            ]

    return router


def _party(party: Party, balances: Sequence[PartyBalance]) -> PartyView:
    own = [balance for balance in balances if balance.party_id == party.party_id]
    return PartyView(
        party_id=party.party_id,
        kind=party.kind,
        name=party.name,
        created_at=party.created_at,
        balance_fen=sum(balance.balance_fen for balance in own),
        pending_fen={FeeKind(balance.fee_kind): balance.balance_fen for balance in own},
    )
