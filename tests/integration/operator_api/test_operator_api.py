"""The operator's API: who may use it, what it shows, how it pages and what it refuses."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from charging import enrolment, rejections
from charging.errors import ClaimRefused
from charging.rejections import Rejection
from tests.integration.rider_web.street_stand import NOON, PILE, StreetStand

NOBODYS = "00000000-0000-4000-8000-000000000000"
"""An id nobody has; tests are named by it, so it is no random one."""

PATHS = (
    "/sites",
    "/piles",
    f"/piles/{PILE}",
    "/sessions",
    f"/sessions/{NOBODYS}",
    "/parties",
    "/parties/lvdian",
    "/ledger/audit",
    "/rejected-messages",
)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}],
    ids=["none", "wrong", "basic", "empty"],
)
def test_without_the_token_nothing_is_shown(stand: StreetStand, headers: dict[str, str]) -> None:
    for path in PATHS:
        refused = stand.http.get(f"/operator/v1{path}", headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "token_refused")
        assert refused.headers["www-authenticate"] == "Bearer"


def test_sites_are_listed_with_what_runs_there(stand: StreetStand) -> None:
    stand.charging()
    [yuquan] = [site for site in stand.operator.get("/sites").json() if site["site_id"] == "yuquan"]
    assert (yuquan["name"], yuquan["piles"], yuquan["piles_online"]) == ("玉泉新村", 4, 1)
    assert (yuquan["ports"], yuquan["ports_taken"]) == (42, 1)


def test_a_pile_shows_its_sockets_and_firmware(stand: StreetStand) -> None:
    pile = stand.operator.get(f"/piles/{PILE}").json()
    assert (pile["online"], pile["firmware"], pile["port_count"]) == (True, "1.0.3", 10)
    assert [port["port_no"] for port in pile["ports"]] == list(range(1, 11))
    assert pile["ports"][0]["state"] == "idle"


def test_piles_page_by_id_and_each_comes_once(stand: StreetStand) -> None:
    seen = [pile["pile_id"] for pile in every_row(stand, "/piles", "piles", limit=5)]
    assert len(seen) == 12
    assert seen == sorted(set(seen))
    own = stand.operator.get("/piles", params={"site_id": "wutong"}).json()
    assert len(own["piles"]) == 5
    assert own["next_cursor"] is None


def test_sessions_page_newest_first_and_new_ones_move_nothing(stand: StreetStand) -> None:
    orders: list[UUID] = []
    for port_no in range(1, 6):
        stand.clock.forward(seconds=1)
        orders.append(stand.order(port_no=port_no))
    first = stand.operator.get("/sessions", params={"limit": 2}).json()
    stand.clock.forward(seconds=1)
    stand.order(port_no=6)
    rest = every_row(stand, "/sessions", "sessions", limit=2, cursor=first["next_cursor"])
    seen = [UUID(session["session_id"]) for session in first["sessions"] + rest]
    assert seen == orders[::-1]


def test_sessions_of_one_instant_are_all_seen(stand: StreetStand) -> None:
    orders = {str(stand.order(port_no=port_no)) for port_no in range(1, 6)}
    seen = [session["session_id"] for session in every_row(stand, "/sessions", "sessions", limit=2)]
    assert len(seen) == 5
    assert set(seen) == orders


def test_sessions_are_filtered_by_site_pile_and_state(stand: StreetStand) -> None:
    running = stand.charging(port_no=1)
    stand.order(port_no=2)

    def ids(**query: str) -> list[str]:
        listed = stand.operator.get("/sessions", params=query).raise_for_status().json()
        return [session["session_id"] for session in listed["sessions"]]

    assert ids(state="charging") == [str(running)]
    assert len(ids(site_id="yuquan")) == len(ids(pile_id=PILE)) == 2
    assert ids(site_id="wutong") == ids(pile_id="YQ-02") == []


def test_a_settled_session_is_shown_to_the_fen(stand: StreetStand) -> None:
    session_id = stand.charging(amount_fen=500)
    stand.meter(session_id, minutes=600)
    stand.settle(session_id)
    shown = stand.operator.get(f"/sessions/{session_id}", params={"points": 50}).json()
    charge = shown["charge"]
    assert charge["prepaid_fen"] == 500 == charge["charged_fen"] + charge["refund_fen"]
    assert charge["charged_fen"] == sum(fee["charged_fen"] for fee in charge["fees"])
    for fee in charge["fees"]:
        assert fee["rated_fen"] == sum(line["amount_fen"] for line in fee["lines"])
        assert fee["charged_fen"] == sum(fee["shares_fen"].values())
    assert charge["charged_fen"] == sum(charge["shares_fen"].values())
    assert charge["energy_wh"] == shown["energy_wh"] == 1800.0
    assert shown["payment"]["amount_fen"] == 500
    assert shown["payment"]["refund_fen"] == charge["refund_fen"]
    assert [refund["cause"] for refund in shown["refunds"]] == ["unused_prepayment"]
    assert [each["state"] for each in shown["transitions"]][:3] == ["created", "paid", "starting"]
    assert shown["transitions"][-1]["cause"] == "full"
    assert 2 <= len(shown["curve"]) <= 50
    assert shown["curve"][-1]["energy_wh"] == 1800.0
    assert stand.operator.get(f"/sessions/{session_id}", params={"points": 0}).json()["curve"] == []


def test_balances_and_the_audit_agree_with_the_charge(stand: StreetStand) -> None:
    session_id = stand.charging()
    stand.meter(session_id, minutes=120)
    stand.settle(session_id)
    shares = stand.operator.get(f"/sessions/{session_id}").json()["charge"]["shares_fen"]
    for party in stand.operator.get("/parties").json():
        assert party["balance_fen"] == shares.get(party["party_id"], 0)
        assert party["balance_fen"] == sum(party["pending_fen"].values())
        assert stand.operator.get(f"/parties/{party['party_id']}").json() == party
    audit = stand.operator.get("/ledger/audit").json()
    assert (audit["clean"], audit["findings"]) == (True, [])
    assert audit["debit_fen"] == audit["credit_fen"] > 0
    assert audit["entries"] == 2


def test_a_new_pile_can_enrol_with_the_newest_of_its_codes(stand: StreetStand) -> None:
    body = {"pile_id": "YQ-99", "site_id": "yuquan", "model": "PW-2", "port_count": 2, "power_limit_w": 2000}
    made = stand.operator.post("/piles", json=body)
    assert made.status_code == 201
    assert (made.json()["pile"]["state"], len(made.json()["pile"]["ports"])) == ("manufactured", 2)
    first = made.json()["claim"]["claim_code"]
    second = stand.operator.post("/piles/YQ-99/claims")
    assert second.status_code == 201
    with pytest.raises(ClaimRefused):
        _enrol(stand, code=first)
    _enrol(stand, code=second.json()["claim_code"])
    again = stand.operator.post("/piles", json=body)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "pile_exists")


def _enrol(stand: StreetStand, *, code: str) -> None:
    with stand.pool.connection() as conn:
        enrolment.redeem_claim_code(
            conn, pile_id="YQ-99", code=code, key_sha256=b"k" * 32, now=stand.clock.now()
        )


def test_refused_frames_are_counted_by_reason(stand: StreetStand) -> None:
    frame = Rejection(topic="v1/0/x/up/meter", reason="not_cose", payload=b"x", received_at=NOON)
    with stand.pool.connection() as conn:
        rejections.keep(conn, [frame, frame])
    [count] = stand.operator.get("/rejected-messages").json()
    assert (count["reason"], count["messages"]) == ("not_cose", 2)
    assert datetime.fromisoformat(count["last_at"]).astimezone(UTC) == NOON


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "code", "field"),
    [
        ("GET", "/piles/NOPE", {}, 404, "pile_unknown", "pile_id"),
        ("GET", "/piles", {"params": {"site_id": "nope"}}, 404, "site_unknown", "site_id"),
        ("GET", "/piles", {"params": {"limit": "0"}}, 422, "invalid_request", "limit"),
        ("GET", "/piles", {"params": {"limit": "201"}}, 422, "invalid_request", "limit"),
        ("GET", "/piles", {"params": {"cursor": "!"}}, 422, "cursor_invalid", "cursor"),
        ("GET", "/sessions", {"params": {"cursor": "WVEtMDE"}}, 422, "cursor_invalid", "cursor"),
        ("GET", "/sessions", {"params": {"cursor": "AA"}}, 422, "cursor_invalid", "cursor"),
        ("GET", "/sessions", {"params": {"state": "asleep"}}, 422, "invalid_request", "state"),
        ("GET", "/sessions", {"params": {"pile_id": "a\x00"}}, 422, "invalid_request", "pile_id"),
        ("GET", "/sessions/xyz", {}, 422, "invalid_request", "session_id"),
        ("GET", f"/sessions/{NOBODYS}", {}, 404, "session_unknown", "session_id"),
        ("GET", f"/sessions/{NOBODYS}", {"params": {"points": "501"}}, 422, "invalid_request", "points"),
        ("GET", "/parties/nobody", {}, 404, "party_unknown", "party_id"),
        ("POST", "/piles", {"json": {"pile_id": "a b"}}, 422, "invalid_request", "pile_id"),
        ("POST", "/piles", {"content": b"{"}, 400, "not_json", None),
        ("POST", "/piles/NOPE/claims", {}, 404, "pile_unknown", "pile_id"),
        ("DELETE", "/sites", {}, 405, "method_not_allowed", None),
        ("GET", "/nowhere", {}, 404, "not_found", None),
    ],
    ids=lambda value: value if isinstance(value, str) and "/sessions/" not in value else "",
)
def test_a_bad_request_is_refused_by_name(
    stand: StreetStand,
    method: str,
    path: str,
    more: dict[str, Any],
    status: int,
    code: str,
    field: str | None,
) -> None:
    if "content" in more:
        more = more | {"headers": {"Content-Type": "application/json"}}
    refused = stand.operator.request(method, path, **more)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["field"]) == (status, code, field)
    assert error["message"]
    assert "cookie" not in refused.headers


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"port_count": 1}, "port_count"),
        ({"port_count": 21}, "port_count"),
        ({"power_limit_w": 0}, "power_limit_w"),
        ({"model": "x\x00"}, "model"),
        ({"site_id": "NOPE"}, "site_id"),
        ({"pile_id": "x" * 65}, "pile_id"),
    ],
    ids=["one port", "many ports", "no power", "model", "site", "long id"],
)
def test_a_pile_that_cannot_be_is_not_registered(
    stand: StreetStand, change: dict[str, object], field: str
) -> None:
    body = {"pile_id": "YQ-99", "site_id": "yuquan", "model": "PW-2", "port_count": 2, "power_limit_w": 2000}
    refused = stand.operator.post("/piles", json=body | change)
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, field)


def every_row(
    stand: StreetStand, path: str, key: str, *, limit: int, cursor: str | None = None
) -> list[dict[str, Any]]:
    """All rows of a paged list, and each page no longer than asked for."""
    rows: list[dict[str, Any]] = []
    for _ in range(100):
        query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        page = stand.operator.get(path, params=query).raise_for_status().json()
        assert len(page[key]) <= limit
        rows += page[key]
        cursor = page["next_cursor"]
        if cursor is None:
            return rows
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/operator/v1/nothing", 404, "not_found"),
        ("POST", "/operator/v1/sites/yuquan/nothing", 404, "not_found"),
        ("GET", "/operator/v9/sites", 404, "not_found"),
        ("GET", "/operator", 404, "not_found"),
        ("DELETE", "/operator/v1/sites", 405, "method_not_allowed"),
    ],
)
def test_an_address_without_an_endpoint_is_told_in_the_operators_words(
    stand: StreetStand, method: str, path: str, status: int, code: str
) -> None:
    asked = {"Accept": "text/html", "Accept-Language": "zh-CN"}
    answer = stand.operator.request(method, f"{stand.url}{path}", headers=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"].isascii()
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.headers.get("allow") is not None) == (status == 405)


def test_a_failure_of_ours_is_told_in_the_operators_words(stand: StreetStand) -> None:
    with stand.pool.connection() as conn:
        conn.execute("ALTER TABLE site RENAME COLUMN address TO elsewhere")
    broken = stand.operator.get("/sites")
    assert (broken.status_code, broken.json()["error"]["code"]) == (500, "internal_error")
    assert "charge" not in broken.json()["error"]["message"]
    assert broken.headers["cache-control"] == "no-store"
