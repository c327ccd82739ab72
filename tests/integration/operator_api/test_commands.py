"""Operators command piles: each order is a command whose outcome can be waited for, read and listed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from charging import command_answers, commands, configurations, extensions, pile_logs
from charging.command_answers import Answer
from charging.configurations import ConfigReport, Result
from charging.extensions import ExtensionAnswer
from charging.pile_logs import LogPart
from tests.integration.rider_web.street_stand import PILE, StreetStand
from tests.waiting import wait_until

ORDERS: list[tuple[str, dict[str, Any]]] = [
    ("query", {"topic": "status"}),
    ("log", {}),
    ("reboot", {}),
    ("locate", {"port_no": 2}),
    ("voice", {"text": "请拔下插头"}),
    ("relay-test", {"port_no": 3}),
    ("port-set", {"port_no": 3, "enabled": False}),
]


def _post(stand: StreetStand, what: str, body: dict[str, Any], *, wait_s: float = 0) -> httpx.Response:
    return stand.operator.post(f"/piles/{PILE}/{what}", json=body, params={"wait_s": wait_s}, timeout=40)


def _answer(stand: StreetStand, command_id: UUID, *, cause: str | None = None) -> None:
    result = "refused" if cause else "done"
    with stand.pool.connection() as conn:
        answer = Answer(
            command_id,
            PILE,
            done=cause is None,
            result=result,
            cause=cause,
            received_at=stand.clock.now(),
            of_service=True,
        )
        command_answers.take(conn, [answer])


def _newest(stand: StreetStand) -> UUID | None:
    listed = stand.operator.get(f"/piles/{PILE}/commands", params={"limit": 1}).json()["commands"]
    return UUID(listed[0]["command_id"]) if listed else None


@pytest.mark.parametrize(("what", "body"), ORDERS, ids=[what for what, _ in ORDERS])
def test_an_order_is_a_command_under_way(stand: StreetStand, what: str, body: dict[str, Any]) -> None:
    ordered = _post(stand, what, body)
    assert ordered.status_code == 202, ordered.text
    command = ordered.json()
    assert (command["pile_id"], command["state"]) == (PILE, "pending")
    assert command["kind"] == what.replace("-", "_")
    assert datetime.fromisoformat(command["expires_at"]) > stand.clock.now()
    read = stand.operator.get(f"/commands/{command['command_id']}")
    assert (read.status_code, read.json()) == (200, command)


def test_who_orders_and_waits_gets_the_piles_refusal_with_its_cause(stand: StreetStand) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_post, stand, "relay-test", {"port_no": 3}, wait_s=30)
        _answer(stand, wait_until(lambda: _newest(stand), what="the command"), cause="relay_welded")
        ended = waiting.result(timeout=35)
    assert ended.status_code == 200
    assert ended.json()["state"] == "refused"
    assert ended.json()["result"] == {"result": "refused", "cause": "relay_welded"}


def test_who_waits_for_an_order_of_before_gets_its_expiry(stand: StreetStand) -> None:
    command_id = _post(stand, "reboot", {"force": True}).json()["command_id"]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(
            stand.operator.get, f"/commands/{command_id}", params={"wait_s": 30}, timeout=40
        )
        stand.clock.forward(minutes=1)
        with stand.pool.connection() as conn:
            commands.expire(conn, limit=5, now=stand.clock.now())
        ended = waiting.result(timeout=35).json()
    assert (ended["state"], ended["result"]) == ("expired", None)


def test_orders_are_listed_newest_first_page_by_page(stand: StreetStand) -> None:
    made: list[str] = []
    for _ in range(5):
        stand.clock.forward(seconds=1)
        made.append(_post(stand, "query", {"topic": "meter"}).json()["command_id"])
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = stand.operator.get(f"/piles/{PILE}/commands", params=params).json()
        seen += [command["command_id"] for command in page["commands"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("piles/YQ-02/reboot", {}, 409, "pile_out_of_service"),
        ("piles/NOBODY/reboot", {}, 404, "pile_unknown"),
        (f"piles/{PILE}/relay-test", {"port_no": 19}, 404, "port_unknown"),
        (f"piles/{PILE}/relay-test", {"port_no": 0}, 422, "invalid_request"),
        (f"piles/{PILE}/voice", {"text": "a\x00b"}, 422, "invalid_request"),
        (f"piles/{PILE}/voice", {"text": "长" * 201}, 422, "invalid_request"),
        (f"piles/{PILE}/locate", {"duration_s": 601}, 422, "invalid_request"),
        (f"piles/{PILE}/query", {"topic": "gossip"}, 422, "invalid_request"),
        (f"piles/{PILE}/reboot?wait_s=31", {}, 422, "invalid_request"),
        ("sessions/00000000-0000-4000-8000-000000000000/extend", {"limit_s": 60}, 404, "session_unknown"),
    ],
)
def test_what_cannot_be_ordered_is_refused_and_makes_no_command(
    stand: StreetStand, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    refused = stand.operator.post(f"/{path}", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert _newest(stand) is None


def test_an_unknown_command_is_not_waited_for(stand: StreetStand) -> None:
    refused = stand.operator.get(f"/commands/{uuid4()}", params={"wait_s": 30})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "command_unknown")


def test_a_session_is_extended_and_its_new_limit_shown_once_the_pile_agrees(stand: StreetStand) -> None:
    session_id = stand.charging()
    path = f"/sessions/{session_id}/extend"
    assert stand.operator.post(path, json={}).json() == {"command": None}
    below = stand.operator.post(path, json={"limit_s": 1})
    assert (below.status_code, below.json()["error"]["code"]) == (409, "extension_refused")
    ordered = stand.operator.post(path, json={"limit_s": 80_000})
    assert ordered.status_code == 202
    command = ordered.json()["command"]
    assert command["body"]["limit_s"] == 80_000
    again = stand.operator.post(path, json={"limit_s": 80_000}).json()["command"]
    assert again["command_id"] == command["command_id"]
    with stand.pool.connection() as conn:
        answer = ExtensionAnswer(
            pile_id=PILE,
            session_id=session_id,
            command_id=UUID(command["command_id"]),
            result="extended",
            limit_s=80_000,
            limit_dwh=command["body"]["limit_dwh"],
        )
        extensions.answered(conn, answer, now=stand.clock.now())
    assert stand.operator.post(path, json={"limit_s": 80_000}).json() == {"command": None}


def test_a_configuration_is_shown_as_wanted_and_as_reported(stand: StreetStand) -> None:
    path = f"/piles/{PILE}/configuration"
    before = stand.operator.get(path).json()
    assert (before["wanted"], before["reported"], before["in_force"]) == (None, None, True)
    wanted = stand.operator.put(path, json={"settings": {"volume": 20}}).json()
    assert (wanted["wanted"]["version"], wanted["wanted"]["outcome"], wanted["in_force"]) == (1, None, False)
    with stand.pool.connection() as conn:
        report = ConfigReport(
            pile_id=PILE,
            boot=1,
            seq=500,
            version=1,
            settings={"volume": 20, "full_w": 30},
            result=Result.REPORTED,
        )
        configurations.reported(conn, report, now=stand.clock.now())
    after = stand.operator.get(path).json()
    assert (after["wanted"]["outcome"], after["in_force"]) == ("applied", True)
    assert after["reported"]["settings"] == {"volume": 20, "full_w": 30}


@pytest.mark.parametrize(
    ("settings", "code", "field"),
    [
        ({"volumee": 20}, "setting_refused", "settings.volumee"),
        ({"volume": 20, "full_s": 9}, "setting_refused", "settings.full_s"),
        ({"volume": "loud"}, "invalid_request", "settings.volume"),
        ({"volume": True}, "invalid_request", "settings.volume"),
        ({}, "invalid_request", "settings"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(
    stand: StreetStand, settings: dict[str, Any], code: str, field: str
) -> None:
    refused = stand.operator.put(f"/piles/{PILE}/configuration", json={"settings": settings})
    assert refused.status_code == 422
    assert (refused.json()["error"]["code"], refused.json()["error"]["field"]) == (code, field)
    assert stand.operator.get(f"/piles/{PILE}/configuration").json()["wanted"] is None


def test_settings_are_listed_with_their_bounds(stand: StreetStand) -> None:
    [volume] = [each for each in stand.operator.get("/settings").json() if each["key"] == "volume"]
    assert (volume["unit"], volume["low"], volume["high"], volume["default"]) == ("%", 0, 100, 60)


def test_the_shown_tariff_reads_as_a_pile_is_told_it(stand: StreetStand) -> None:
    shown = stand.operator.get(f"/piles/{PILE}/shown-tariff").json()
    assert shown["wanted_version_id"] > 0
    assert (shown["reported_version_id"], shown["outcome"]) == (0, None)
    assert {band["fee"] for band in shown["bands"]} == {"electricity", "service"}
    assert all(band["days"] == [1, 2, 3, 4, 5, 6, 7] for band in shown["bands"])
    assert "元/度" in shown["text"]


def test_log_lines_are_read_newest_first_page_by_page(stand: StreetStand) -> None:
    command_id = UUID(_post(stand, "log", {"max_lines": 5}).json()["command_id"])
    lines = [(stand.clock.now(), "info", f"line {n}") for n in range(5)]
    with stand.pool.connection() as conn:
        pile_logs.keep(conn, LogPart(PILE, command_id, 1, lines), now=stand.clock.now())
    path = f"/piles/{PILE}/log-lines"
    first = stand.operator.get(path, params={"limit": 3, "command_id": str(command_id)}).json()
    rest = stand.operator.get(path, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [line["text"] for line in first["lines"] + rest["lines"]] == [
        f"line {n}" for n in reversed(range(5))
    ]
    assert rest["next_cursor"] is None
    odd = stand.operator.get(path, params={"cursor": "bm90IGEgbnVtYmVy"})
    assert (odd.status_code, odd.json()["error"]["code"]) == (422, "cursor_invalid")
