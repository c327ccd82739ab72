"""Operators and properties see alarms, are told of them, and a person clears them."""

from datetime import timedelta

import pytest

from charging.alarm_kinds import AlarmKind
from tests.integration.rider_web.dangers import alarm
from tests.integration.rider_web.street_stand import PILE, StreetStand

NOBODYS = "00000000-0000-4000-8000-000000000000"
"""An id nobody has; tests are named by it, so it is no random one."""

LOOK = {"by": "王师傅", "reason": "checked, nothing burns"}


def test_an_alarm_is_listed_with_its_evidence_and_its_lock_is_on_the_pile(stand: StreetStand) -> None:
    alarm_id = alarm(stand)
    [listed] = stand.operator.get("/alarms", params={"open": True}).json()["alarms"]
    assert (listed["kind"], listed["level"], listed["severity"]) == ("smoke", "trip", "danger")
    detail = stand.operator.get(f"/piles/{PILE}/alarms/{alarm_id}").json()
    assert detail["evidence"][0]["snapshot"]["said"] == {"value": 42}
    assert [lock["port_no"] for lock in detail["locks"]] == [None]
    pile = stand.operator.get(f"/piles/{PILE}").json()
    assert [(lock["cause"], lock["kind"]) for lock in pile["locks"]] == [("alarm", "smoke")]
    in_list = stand.operator.get("/piles", params={"site_id": "yuquan"}).json()["piles"]
    assert [len(each["locks"]) for each in in_list] == [1, 0, 0, 0]


def test_clearing_needs_an_override_while_the_pile_still_measures_it(stand: StreetStand) -> None:
    alarm_id = alarm(stand)
    path = f"/piles/{PILE}/alarms/{alarm_id}/clear"
    refused = stand.operator.post(path, json=LOOK)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "alarm_still_raised")
    cleared = stand.operator.post(path, json={**LOOK, "override": True})
    assert cleared.status_code == 200
    assert (cleared.json()["alarm"]["closed_by"], cleared.json()["alarm"]["open"]) == ("王师傅", False)
    assert cleared.json()["locks"][0]["overrode"] is True
    assert stand.operator.get(f"/piles/{PILE}").json()["locks"] == []


def test_a_lock_is_lifted_once_the_alarm_is_over(stand: StreetStand) -> None:
    alarm(stand, over=True)
    [lock] = stand.operator.get(f"/piles/{PILE}").json()["locks"]
    lifted = stand.operator.post(f"/locks/{lock['lock_id']}/lift", json=LOOK).json()
    assert (lifted["lifted_by"], lifted["overrode"]) == ("王师傅", False)


def test_alarms_are_filtered_and_paged_and_each_comes_once(stand: StreetStand) -> None:
    for port_no in range(1, 6):
        alarm(stand, AlarmKind.OVER_CURRENT, port_no=port_no, over=port_no == 5)
        stand.clock.forward(seconds=1)
    alarm(stand, AlarmKind.SMOKE)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query: dict[str, str | int] = {"limit": 2, "kind": "over_current"}
        page = stand.operator.get("/alarms", params=query | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["alarm_id"] for one in page["alarms"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 5
    assert len(stand.operator.get("/alarms", params={"open": True}).json()["alarms"]) == 5
    elsewhere = stand.operator.get("/alarms", params={"site_id": "wutong", "pile_id": PILE}).json()
    assert (elsewhere["alarms"], elsewhere["counted_only"]) == ([], 0)


def test_operator_and_property_read_and_acknowledge_their_own(stand: StreetStand) -> None:
    alarm(stand)
    for party_id in ("lvdian", "yuquan-wuye"):
        page = stand.operator.get(f"/parties/{party_id}/notices", params={"unread": True}).json()
        [notice] = page["notices"]
        assert page["unread"] == 1
        assert "烟雾报警" in notice["words_zh"]
        path = f"/parties/{party_id}/notices/{notice['notice_id']}/acknowledge"
        assert stand.operator.post(path, json={"by": "小李"}).json()["acknowledged_by"] == "小李"
        assert stand.operator.post(path, json={"by": "another"}).json()["acknowledged_by"] == "小李"
        after = stand.operator.get(f"/parties/{party_id}/notices", params={"unread": True}).json()
        assert (after["notices"], after["unread"]) == ([], 0)
        assert len(stand.operator.get(f"/parties/{party_id}/notices").json()["notices"]) == 1
    assert stand.operator.get("/parties/wutong-wuye/notices").json()["notices"] == []


def test_a_party_cannot_acknowledge_another_s(stand: StreetStand) -> None:
    alarm(stand)
    [notice] = stand.operator.get("/parties/lvdian/notices").json()["notices"]
    path = f"/parties/yuquan-wuye/notices/{notice['notice_id']}/acknowledge"
    assert stand.operator.post(path, json={"by": "x"}).status_code == 404


def test_a_site_s_rules_are_set_within_bounds(stand: StreetStand) -> None:
    usual = stand.operator.get("/sites/yuquan/safety").json()
    assert usual == {
        "fire_locks_site": False,
        "fault_lasts_s": 90,
        "failed_starts": 3,
        "failed_within_s": 86_400,
    }
    wanted = usual | {"fire_locks_site": True, "failed_starts": 5}
    assert stand.operator.put("/sites/yuquan/safety", json=wanted).json() == wanted
    assert stand.operator.get("/sites/yuquan/safety").json() == wanted
    assert stand.operator.put("/sites/yuquan/safety", json=wanted | {"fault_lasts_s": 5}).status_code == 422
    assert stand.operator.put("/sites/nowhere/safety", json=wanted).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", f"/piles/{PILE}/alarms/{NOBODYS}", "alarm_unknown"),
        ("POST", f"/piles/{PILE}/alarms/{NOBODYS}/clear", "alarm_unknown"),
        ("POST", "/locks/999/lift", "lock_unknown"),
        ("GET", "/parties/nobody/notices", "party_unknown"),
    ],
)
def test_what_is_not_there_is_refused_by_name(stand: StreetStand, method: str, path: str, code: str) -> None:
    refused = stand.operator.request(method, path, json=LOOK if method == "POST" else None)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, code)


def test_nothing_of_it_is_shown_without_the_token(stand: StreetStand) -> None:
    for path in ("/alarms", "/alarm-kinds", "/parties/lvdian/notices", "/sites/yuquan/safety"):
        assert stand.http.get(f"/operator/v1{path}").status_code == 401


def test_the_table_of_kinds_is_readable(stand: StreetStand) -> None:
    kinds = {row["kind"]: row for row in stand.operator.get("/alarm-kinds").json()}
    assert len(kinds) == len(AlarmKind)
    assert (kinds["smoke"]["locks"], kinds["smoke"]["stops_pile"]) == ("pile", True)
    assert kinds["leakage"]["unit"] == "mA"


def test_a_notice_is_announced_when_it_is_committed(stand: StreetStand) -> None:
    with stand.pool.connection() as listener:
        listener.set_autocommit(True)
        listener.execute("LISTEN notice_live")
        alarm(stand)
        told = {one.payload for one in listener.notifies(timeout=timedelta(seconds=5).seconds, stop_after=2)}
        listener.execute("UNLISTEN notice_live")
        listener.set_autocommit(False)
    assert told == {"lvdian", "yuquan-wuye"}


def test_alarms_of_a_place_nobody_knows_are_not_found(stand: StreetStand) -> None:
    for params, code in (({"site_id": "nope"}, "site_unknown"), ({"pile_id": "nope"}, "pile_unknown")):
        missing = stand.operator.get("/alarms", params=params)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, code)
