"""Endpoints for commands: what a technician asks of a pile, and how each command ended."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from psycopg import Connection
from psycopg.rows import TupleRow

from charging import command_records, extensions, piles, service_commands
from charging.command_records import RecordKey
from operator_api import command_models, cursors
from operator_api.command_models import (
    CommandPage,
    CommandView,
    ExtensionView,
    NewExtension,
    NewLocate,
    NewLogRequest,
    NewPortSet,
    NewQuery,
    NewReboot,
    NewRelayTest,
    NewVoice,
)
from operator_api.parameters import PILE_ID_PATTERN, Cursor
from operator_api.problems import NOT_FOUND, OUT_OF_SERVICE, ErrorBody, OperatorRoute
from operator_api.service import OperatorService

MOST_COMMANDS = 200
_SINCE_EVER = datetime(1970, 1, 1, tzinfo=UTC)

PileId = Annotated[str, Path(max_length=64, pattern=PILE_ID_PATTERN, description="Pile id")]
CommandId = Annotated[UUID, Path(description="Command id")]
WaitS = Annotated[
    float, Query(ge=0, le=30, description="Wait so many seconds for the outcome: 200 with it, else 202")
]
_UNDER_WAY: dict[int | str, dict[str, Any]] = {
    202: {"model": CommandView, "description": "Ordered, and not ended yet"}
}
_NOT_EXTENDED: dict[int | str, dict[str, Any]] = {
    202: {"model": ExtensionView, "description": "Ordered, and not ended yet"},
    409: {
        "model": ErrorBody,
        "description": "The session does not run, its limits are higher, or its pile is out of service",
    },
}
_ORDERED = NOT_FOUND | OUT_OF_SERVICE | _UNDER_WAY
Ask = Callable[[Connection[TupleRow], datetime], UUID]


class Desk:
    """Orders commands in a transaction of their own and waits for their outcome after it."""

    def __init__(self, service: OperatorService) -> None:
        self._service = service

    def order(self, ask: Ask, response: Response, *, wait_s: float) -> CommandView:
        """Order one; the status says whether it has ended."""
        with self._service.pool.connection() as conn:
            command_id = ask(conn, self._service.clock())
        return self.outcome(command_id, response, wait_s=wait_s)

    def outcome(self, command_id: UUID, response: Response, *, wait_s: float) -> CommandView:
        """One that was ordered, with the status 202 while it is under way."""
        record = self._service.outcomes.outcome(command_id, wait_s=wait_s)
        response.status_code = 200 if record.ended else 202
        return command_models.command_view(record)


def create_router(service: OperatorService) -> APIRouter:
    """Commands of service, extensions of sessions, and commands as they ended."""
    router = APIRouter(route_class=OperatorRoute, tags=["Commands"])
    desk = Desk(service)
    _read(router, service)
    _tell(router, service, desk)
    _handle(router, service, desk)
    _extend(router, service, desk)
    return router


def _read(router: APIRouter, service: OperatorService) -> None:
    @router.get(
        "/commands/{command_id}", summary="A command, its outcome waited for if asked", responses=NOT_FOUND
    )
    def get_command(command_id: CommandId, wait_s: WaitS = 0) -> CommandView:
        return command_models.command_view(service.outcomes.outcome(command_id, wait_s=wait_s))

    @router.get("/piles/{pile_id}/commands", summary="A pile's commands, newest first", responses=NOT_FOUND)
    def list_commands(
        pile_id: PileId,
        limit: Annotated[int, Query(ge=1, le=MOST_COMMANDS, description="At most so many")] = 50,
        cursor: Cursor = None,
    ) -> CommandPage:
        after = cursors.read_pair(cursor)
        with service.pool.connection() as conn:
            piles.get(conn, pile_id)
            found = command_records.page(
                conn, pile_id, limit=limit + 1, after=RecordKey(*after) if after else None
            )
        page = found[:limit]
        last = page[-1] if len(found) > limit else None
        return CommandPage(
            commands=[command_models.command_view(record) for record in page],
            next_cursor=cursors.write_pair(last.created_at, last.command_id) if last else None,
        )


def _tell(router: APIRouter, service: OperatorService, desk: Desk) -> None:
    waits = service.waits

    @router.post(
        "/piles/{pile_id}/query",
        summary="Have a pile tell its status, configuration, tariff or meters",
        responses=_ORDERED,
    )
    def query(pile_id: PileId, new: NewQuery, response: Response, wait_s: WaitS = 0) -> CommandView:
        def ask(conn: Connection[TupleRow], now: datetime) -> UUID:
            return service_commands.query(conn, pile_id=pile_id, topic=new.topic, waits=waits, now=now)

        return desk.order(ask, response, wait_s=wait_s)

    @router.post(
        "/piles/{pile_id}/log",
        summary="Have a pile send its log; read it under `log-lines`",
        responses=_ORDERED,
    )
    def fetch_log(pile_id: PileId, new: NewLogRequest, response: Response, wait_s: WaitS = 0) -> CommandView:
        def ask(conn: Connection[TupleRow], now: datetime) -> UUID:
            return service_commands.fetch_log(
                conn,
                pile_id=pile_id,
                since=new.since_at or _SINCE_EVER,
                max_lines=new.max_lines,
                waits=waits,
                now=now,
            )

        return desk.order(ask, response, wait_s=wait_s)

    @router.post(
        "/piles/{pile_id}/voice",
        summary="Have a pile say something aloud",
        responses=_ORDERED,
    )
    def speak(pile_id: PileId, new: NewVoice, response: Response, wait_s: WaitS = 0) -> CommandView:
        def ask(conn: Connection[TupleRow], now: datetime) -> UUID:
            return service_commands.speak(conn, pile_id=pile_id, text=new.text, waits=waits, now=now)

        return desk.order(ask, response, wait_s=wait_s)

    @router.post(
        "/piles/{pile_id}/locate",
        summary="Have a pile blink and beep, so that it is found",
        responses=_ORDERED,
    )
    def locate(pile_id: PileId, new: NewLocate, response: Response, wait_s: WaitS = 0) -> CommandView:
        def ask(conn: Connection[TupleRow], now: datetime) -> UUID:
            return service_commands.locate(
                conn,
                pile_id=pile_id,
                duration_s=new.duration_s,
                port_no=new.port_no,
                waits=waits,
                now=now,
            )

        return desk.order(ask, response, wait_s=wait_s)


def _handle(router: APIRouter, service: OperatorService, desk: Desk) -> None:
    waits = service.waits

    @router.post("/piles/{pile_id}/reboot", summary="Have a pile start again", responses=_ORDERED)
    def reboot(pile_id: PileId, new: NewReboot, response: Response, wait_s: WaitS = 0) -> CommandView:
        def ask(conn: Connection[TupleRow], now: datetime) -> UUID:
            return service_commands.reboot(conn, pile_id=pile_id, force=new.force, waits=waits, now=now)

        return desk.order(ask, response, wait_s=wait_s)

    @router.post(
        "/piles/{pile_id}/relay-test",
        summary="Have a pile test a free socket's relay",
        responses=_ORDERED,
    )
    def test_relay(pile_id: PileId, new: NewRelayTest, response: Response, wait_s: WaitS = 0) -> CommandView:
        def ask(conn: Connection[TupleRow], now: datetime) -> UUID:
            return service_commands.test_relay(
                conn, pile_id=pile_id, port_no=new.port_no, waits=waits, now=now
            )

        return desk.order(ask, response, wait_s=wait_s)

    @router.post(
        "/piles/{pile_id}/port-set",
        summary="Take a socket out of service, or back; sent for a day",
        responses=_ORDERED,
    )
    def set_port(pile_id: PileId, new: NewPortSet, response: Response, wait_s: WaitS = 0) -> CommandView:
        def ask(conn: Connection[TupleRow], now: datetime) -> UUID:
            return service_commands.set_port(
                conn, pile_id=pile_id, port_no=new.port_no, enabled=new.enabled, waits=waits, now=now
            )

        return desk.order(ask, response, wait_s=wait_s)


def _extend(router: APIRouter, service: OperatorService, desk: Desk) -> None:
    @router.post(
        "/sessions/{session_id}/extend",
        summary="Give a running session more time or energy; the prepayment still caps the money",
        responses=NOT_FOUND | _NOT_EXTENDED,
    )
    def extend(session_id: UUID, new: NewExtension, response: Response, wait_s: WaitS = 0) -> ExtensionView:
        with service.pool.connection() as conn:
            command_id = extensions.extend(
                conn,
                session_id=session_id,
                limit_s=new.limit_s,
                limit_dwh=None if new.limit_wh is None else new.limit_wh * 10,
                waits=service.waits,
                now=service.clock(),
            )
        if command_id is None:
            return ExtensionView(command=None)
        return ExtensionView(command=desk.outcome(command_id, response, wait_s=wait_s))
