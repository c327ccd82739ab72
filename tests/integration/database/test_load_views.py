"""The load reports by hour and by local day, on whatever server the tests have."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from charging import meter
from database.pool import Connection
from tests import meter_frames

MIDNIGHT_SHANGHAI = datetime(2026, 5, 4, 16, tzinfo=UTC)


def test_hour_sums_energy_time_and_peak_of_a_port(conn: Connection) -> None:
    meter_frames.register(conn, "p1")
    frames = meter_frames.steady(pile_id="p1", session_id=uuid4(), since=MIDNIGHT_SHANGHAI, count=180)
    meter.write_batch(conn, frames)
    rows = conn.execute(
        "SELECT hour, pile_id, port_no, energy_dws, busy_s, peak_dw, samples FROM port_load_hour ORDER BY hour"
    ).fetchall()
    assert rows == [
        (MIDNIGHT_SHANGHAI, "p1", 1, 2_400 * 3_600, 3_600, 2_410, 120),
        (MIDNIGHT_SHANGHAI + timedelta(hours=1), "p1", 1, 2_400 * 1_800, 1_800, 2_410, 60),
    ]


def test_day_begins_at_midnight_in_shanghai_and_sums_the_ports(conn: Connection) -> None:
    meter_frames.register(conn, "p1", "p2")
    for port_no, power_dw in ((1, 1_000), (2, 3_000)):
        frames = meter_frames.steady(
            pile_id=f"p{port_no}",
            session_id=uuid4(),
            since=MIDNIGHT_SHANGHAI - timedelta(minutes=1),
            count=4,
            power_dw=power_dw,
            port_no=port_no,
        )
        meter.write_batch(conn, frames)
    rows = conn.execute(
        "SELECT day, pile_id, energy_dws, busy_s, peak_dw, samples FROM pile_load_day ORDER BY day, pile_id"
    ).fetchall()
    before = MIDNIGHT_SHANGHAI - timedelta(days=1)
    assert rows == [
        (before, "p1", 60_000, 60, 1_010, 2),
        (before, "p2", 180_000, 60, 3_010, 2),
        (MIDNIGHT_SHANGHAI, "p1", 60_000, 60, 1_010, 2),
        (MIDNIGHT_SHANGHAI, "p2", 180_000, 60, 3_010, 2),
    ]
    whole = conn.execute(
        "SELECT day, site_id, energy_dws, busy_s, peak_dw, samples FROM site_load_day ORDER BY day"
    ).fetchall()
    assert whole == [
        (before, meter_frames.SITE, 240_000, 120, 3_010, 4),
        (MIDNIGHT_SHANGHAI, meter_frames.SITE, 240_000, 120, 3_010, 4),
    ]


def test_what_a_pile_drew_stays_with_its_site(conn: Connection) -> None:
    meter_frames.register(conn, "p1")
    meter_frames.register(conn, site_id="elsewhere")
    with pytest.raises(psycopg.errors.RestrictViolation):
        conn.execute("UPDATE pile SET site_id = 'elsewhere' WHERE pile_id = 'p1'")
