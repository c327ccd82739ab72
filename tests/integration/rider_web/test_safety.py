"""Riders are told of an alarm on the page of their charge, live, and find locked sockets locked in words."""

import pytest

from charging.alarm_kinds import AlarmKind, AlarmLevel
from charging.session_states import SessionState
from tests.integration.rider_web.dangers import alarm
from tests.integration.rider_web.street_stand import PILE, StreetStand
from tests.integration.rider_web.test_live_stream import watching


def test_a_rider_hears_of_smoke_live_in_their_language(stand: StreetStand) -> None:
    session_id = stand.charging(port_no=4)
    with watching(stand, session_id, lang="en") as stream:
        assert stream.next()["notices"] == []
        alarm(stand)
        told = stream.until("finishing")
        while not told["notices"]:
            told = stream.next()
    [notice] = told["notices"]
    assert notice["severity"] == "danger"
    assert notice["words"].startswith("Smoke alarm! Charging was stopped. Keep away")
    [chinese] = stand.view(session_id, lang="zh-CN")["notices"]
    assert chinese["words"].startswith("烟雾报警！充电已停止。请远离充电桩")


def test_a_rider_who_has_paid_gets_everything_back_and_is_told_why(stand: StreetStand) -> None:
    session_id = stand.order(port_no=4)
    stand.pay(session_id)
    alarm(stand)
    view = stand.view(session_id, lang="en")
    assert (view["state"], view["cause"]) == (SessionState.FAILED, "pile_locked")
    assert view["explanation"].startswith("The pile is locked after a safety alarm")
    assert "the whole amount is on its way back" in view["notices"][0]["words"]


def test_a_warning_leaves_the_charge_alone(stand: StreetStand) -> None:
    session_id = stand.charging(port_no=2)
    alarm(stand, AlarmKind.LEAKAGE, level=AlarmLevel.WARN)
    view = stand.view(session_id, lang="en")
    assert view["phase"] == "charging"
    assert view["notices"][0]["words"].startswith("Warning, leakage current: it did not interrupt the charge")


@pytest.mark.parametrize(("kind", "other"), [(AlarmKind.SMOKE, "safety"), (AlarmKind.LEAKAGE, "free")])
def test_a_locked_socket_says_so_and_takes_no_money(stand: StreetStand, kind: AlarmKind, other: str) -> None:
    alarm(stand, kind)
    port = stand.http.get(f"/api/rider/ports/{PILE}/2", params={"lang": "en"}).json()
    assert (port["condition"], port["can_start"], port["headline"]) == ("safety", False, "Locked for safety")
    assert stand.http.get(f"/api/rider/ports/{PILE}/3").json()["condition"] == other
    refused = stand.http.post("/api/rider/sessions", json={"pile_id": PILE, "port_no": 2, "amount_fen": 300})
    assert refused.status_code == 409
    page = stand.http.get(f"/q/{PILE}/2", params={"lang": "zh-CN"}).text
    assert "因安全原因锁定" in page


def test_a_socket_whose_starts_keep_failing_says_so(stand: StreetStand) -> None:
    failed = [stand.order(port_no=5) for _ in range(3)]
    for session_id in failed:
        stand.pay(session_id)
        stand.refuse(session_id, "relay_dead")
    assert "此插座多次启动失败" in stand.view(failed[-1], lang="zh-CN")["notices"][0]["words"]
    port = stand.http.get(f"/api/rider/ports/{PILE}/5", params={"lang": "en"}).json()
    assert port["condition"] == "starts_kept_failing"
    assert "several times" in port["advice"]
    assert port["free_ports"] == [1, 2, 3, 4, 6, 7, 8, 9, 10]


def test_a_socket_whose_pile_has_not_released_its_latch_yet_is_not_offered_beside_another(
    stand: StreetStand,
) -> None:
    alarm(stand, AlarmKind.LEAKAGE, over=True)
    [lock] = stand.operator.get(f"/piles/{PILE}").json()["locks"]
    look = {"by": "王师傅", "reason": "dried"}
    assert stand.operator.post(f"/locks/{lock['lock_id']}/lift", json=look).is_success
    stand.charging(port_no=5)
    offered = stand.http.get(f"/api/rider/ports/{PILE}/5").json()["free_ports"]
    conditions = {
        port_no: stand.http.get(f"/api/rider/ports/{PILE}/{port_no}").json()["condition"]
        for port_no in range(1, 11)
    }
    assert (conditions[2], conditions[5]) == ("safety", "busy")
    assert offered == [port_no for port_no, condition in conditions.items() if condition == "free"]
