"""A site's load by hour and by day, as the operator asks for it."""

from datetime import timedelta
from uuid import uuid4

from charging import meter
from tests import meter_frames
from tests.integration.rider_web.street_stand import NOON, PILE, StreetStand

DAY = NOON.date().isoformat()
BEFORE = (NOON.date() - timedelta(days=1)).isoformat()


def _meter(stand: StreetStand) -> None:
    frames = meter_frames.steady(
        pile_id=PILE, session_id=uuid4(), since=NOON.replace(minute=0), count=180, power_dw=2_400
    )
    with stand.pool.connection() as conn:
        meter.write_batch(conn, frames)


def test_a_day_is_told_by_its_hours(stand: StreetStand) -> None:
    _meter(stand)
    told = stand.operator.get("/sites/yuquan/load", params={"day": DAY}).json()
    assert [(hour["energy_wh"], hour["busy_s"], hour["peak_socket_w"]) for hour in told["hours"]] == [
        (240.0, 3600, 241.0),
        (120.0, 1800, 241.0),
    ]
    assert (told["whole"]["energy_wh"], told["whole"]["busy_s"], told["peak_hour_w"]) == (360.0, 5400, 240.0)
    quiet = stand.operator.get("/sites/yuquan/load", params={"day": BEFORE}).json()
    assert (quiet["hours"], quiet["whole"]["energy_wh"], quiet["peak_hour_w"]) == ([], 0.0, 0.0)


def test_days_are_told_in_order_whether_they_are_over_or_not(stand: StreetStand) -> None:
    _meter(stand)
    with stand.pool.connection() as conn:
        meter.write_batch(
            conn,
            meter_frames.steady(
                pile_id=PILE, session_id=uuid4(), since=NOON - timedelta(days=1), count=4, power_dw=1_200
            ),
        )
    window = {"first_day": BEFORE, "last_day": DAY}
    told = stand.operator.get("/sites/yuquan/load-days", params=window).json()
    assert [day["energy_wh"] for day in told["days"]] == [4.0, 360.0]
    assert stand.operator.get("/sites/wutong/load-days", params=window).json()["days"] == []


def test_a_site_nobody_knows_has_no_load(stand: StreetStand) -> None:
    refused = stand.operator.get("/sites/nowhere/load", params={"day": DAY})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "site_unknown")
