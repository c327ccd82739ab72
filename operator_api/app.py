"""The operator's side of the API process: a JSON API under /operator/v1 and the documents at /docs."""

from collections.abc import Callable
from datetime import datetime

from fastapi import Depends, FastAPI
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool
from starlette.types import ASGIApp, Receive, Scope, Send

from charging.command_waits import CommandWaits
from charging.configurations import SettingsTable
from charging.enrolment import SecretVault
from charging.waits import Waits
from operator_api import (
    access,
    alarm_endpoints,
    card_endpoints,
    care_endpoints,
    command_endpoints,
    documents,
    firmware_endpoints,
    identity_endpoints,
    load_endpoints,
    money_endpoints,
    notice_endpoints,
    problems,
    refund_endpoints,
    session_endpoints,
    site_endpoints,
)
from operator_api.firmware_endpoints import FirmwareDesk
from operator_api.problems import DOCUMENTED
from operator_api.request_guard import RequestGuard
from operator_api.service import OperatorService

ROOT = "/operator"
PREFIX = f"{ROOT}/v1"

DESCRIPTION = """
Open platform for community e-bike charging.

Money is integer fen (1/100 yuan) in fields named `*_fen`; prices are yuan as decimal strings in fields named
`*_yuan`. Energy is Wh (`*_wh`), power W (`*_w`), durations seconds (`*_s`), instants RFC 3339 with offset (`*_at`).

Refusals are `{"error": {"code", "message", "field"}}`: `code` is stable, `message` is for people, `field` names the
parameter or field to blame. The operator's endpoints need the bearer token; the rider's are open, and a session's
random id is the key to it.

Lists that can grow are paged: pass `limit`, then `next_cursor` as `cursor` until it is null. Pages are stable: rows
that appear meanwhile do not move others.
"""

TAGS = [
    {"name": "Sites", "description": "Compounds and car parks where piles stand."},
    {
        "name": "Piles",
        "description": "Charging piles, their sockets, their enrolment and their refused frames.",
    },
    {
        "name": "Commands",
        "description": "What piles are told to do: each has a deadline, is sent until answered, and is done once.",
    },
    {
        "name": "Care",
        "description": "Configuration and shown tariff as wanted and as reported, and the log of a pile.",
    },
    {"name": "Firmware", "description": "Releases as their maker signed them, and their way over the fleet."},
    {
        "name": "Safety",
        "description": "Alarms with their evidence, locks that only a person lifts, and who was told.",
    },
    {"name": "Sessions", "description": "Charges: one row from order to refund."},
    {"name": "Cards", "description": "Cards that start sessions at piles, and what they took."},
    {"name": "Money", "description": "Parties, balances and the double-entry ledger."},
    {"name": "Rider", "description": "What the page behind the QR code uses."},
    {"name": "Rails", "description": "Where payment channels notify us."},
]


def create_app(
    *,
    pool: ConnectionPool[Connection[TupleRow]],
    clock: Callable[[], datetime],
    token: str,
    waits: Waits,
    settings: SettingsTable,
    outcomes: CommandWaits,
    firmware: FirmwareDesk | None = None,
    vault: SecretVault | None = None,
) -> FastAPI:
    """An app with the operator's API and the documents; other routers may join it, and its limit on bodies.

    Without `firmware` it has no endpoints for that, and without `vault` none for piles' identities.

    Raises ValueError for a token too short to be one.
    """
    app = FastAPI(
        title="Pileway",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url=documents.OPENAPI_URL,
        docs_url=None,
        redoc_url=None,
    )
    service = OperatorService(pool, clock, waits, settings, outcomes)
    routers = [
        endpoints.create_router(service)
        for endpoints in (
            site_endpoints,
            load_endpoints,
            session_endpoints,
            command_endpoints,
            care_endpoints,
            card_endpoints,
            alarm_endpoints,
            notice_endpoints,
            money_endpoints,
            refund_endpoints,
        )
    ]
    if firmware is not None:
        routers.append(firmware_endpoints.create_router(service, firmware))
    if vault is not None:
        routers.append(identity_endpoints.create_router(service, vault))
    for router in routers:
        app.include_router(
            router,
            prefix=PREFIX,
            dependencies=[Depends(access.required(token))],
            responses=DOCUMENTED,
        )
    app.include_router(documents.create_router())
    app.router.default = _unknown_address(app.router.default)
    limits = {f"{PREFIX}{path}": most_bytes for path, most_bytes in firmware_endpoints.BODY_LIMITS.items()}
    app.add_middleware(RequestGuard, prefix=PREFIX, token=token, limits=limits)
    return app


def _unknown_address(otherwise: ASGIApp) -> ASGIApp:
    """What answers where no route does: ours below our root, which no rider reads, and what did so before elsewhere."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if path == ROOT or path.startswith(f"{ROOT}/"):
            await problems.nothing_there()(scope, receive, send)
        else:
            await otherwise(scope, receive, send)

    return answer
