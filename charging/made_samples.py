"""Made-up charging, a day at a time, for measurements on a large table: the server makes the rows itself.

Each port has a session around noon and one through the evening, every fourth of those twelve hours long. The power
follows a battery's curve: constant current, exponential decay, rest. Rows come in the order in which frames would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.session_curves import SampleSpan

SAMPLE_S = 30
DAY = timedelta(days=1)
LONG = timedelta(hours=12)
SAMPLES_PER_PORT_DAY = 1_150
"""About so many: 9.6 hours of charging."""


@dataclass(frozen=True)
class Curve:
    """A pack on its charger: mains power at both ends of constant current in W, the hours of that, minutes of the
    decay's time constant, the power where it rests."""

    start_w: float
    end_w: float
    cc_h: float
    tau_min: float
    cutoff_w: float
    rest_w: float


def prepare(conn: Connection[TupleRow], curves: Sequence[Curve]) -> None:
    """Give the connection what the other functions need; nothing of it outlives the connection."""
    conn.execute(
        """
        CREATE TEMPORARY TABLE made_curve AS
        SELECT number, start_w, end_w, cc_h * 3600 AS cc_s, tau_min * 60 AS tau_s, cutoff_w, rest_w
          FROM unnest(%(start_w)s::float8[], %(end_w)s::float8[], %(cc_h)s::float8[], %(tau_min)s::float8[],
                      %(cutoff_w)s::float8[], %(rest_w)s::float8[])
               WITH ORDINALITY AS curve (start_w, end_w, cc_h, tau_min, cutoff_w, rest_w, number)
        """,
        {
            "start_w": [curve.start_w for curve in curves],
            "end_w": [curve.end_w for curve in curves],
            "cc_h": [curve.cc_h for curve in curves],
            "tau_min": [curve.tau_min for curve in curves],
            "cutoff_w": [curve.cutoff_w for curve in curves],
            "rest_w": [curve.rest_w for curve in curves],
        },
    )
    conn.execute(
        """
        CREATE TEMPORARY TABLE made_session (
            session_id uuid, pile_id text, pile_no bigint, port_no smallint, begins_at timestamptz, ends_at timestamptz,
            start_w float8, end_w float8, cc_s float8, tau_s float8, cv_s float8, rest_w float8, factor float8)
        """
    )


def make_day(
    conn: Connection[TupleRow], pile_ids: Sequence[str], *, day: datetime, until: datetime, ports: int
) -> int:
    """Fill the day that begins at `day`, as far as `until`; returns how many samples came in. Days go upwards."""
    _begin_sessions(conn, pile_ids, day=day, ports=ports)
    bounds = {"day": day, "until": min(until, day + DAY), "step": timedelta(seconds=SAMPLE_S)}
    conn.execute(
        """
        INSERT INTO meter_frame (pile_id, sampled_at, received_at)
        SELECT pile_id, at, at + random() * INTERVAL '900 ms'
          FROM generate_series(%(day)s::timestamptz, %(until)s::timestamptz - %(step)s, %(step)s) AS tick
         CROSS JOIN LATERAL (
            SELECT DISTINCT pile_id, tick + pile_no * 97 %% 30000 * INTERVAL '1 ms' AS at
              FROM made_session WHERE begins_at <= tick AND ends_at > tick) AS frame
            ON CONFLICT DO NOTHING
        """,
        bounds,
    )
    made = conn.execute(_INSERT_SAMPLES, bounds).rowcount
    conn.execute("DELETE FROM made_session WHERE ends_at <= %(next)s", {"next": day + DAY})
    return made


def long_sessions(conn: Connection[TupleRow], *, limit: int) -> list[SampleSpan]:
    """Some sessions of twelve hours that go on into the next day, to read again."""
    with conn.cursor(row_factory=class_row(SampleSpan)) as cursor:
        return cursor.execute(
            """
            SELECT session_id, pile_id, begins_at - INTERVAL '1 hour' AS since, ends_at + INTERVAL '1 hour' AS until
              FROM made_session WHERE ends_at - begins_at = %(long)s ORDER BY session_id LIMIT %(limit)s
            """,
            {"long": LONG, "limit": limit},
        ).fetchall()


def newest_at(conn: Connection[TupleRow], *, since: datetime) -> datetime:
    """The instant of the newest frame, or `since` where none is newer."""
    row = conn.execute(
        "SELECT max(sampled_at) FROM meter_frame WHERE sampled_at > %(since)s", {"since": since}
    ).fetchone()
    return since if row is None or row[0] is None else row[0]


def _begin_sessions(
    conn: Connection[TupleRow], pile_ids: Sequence[str], *, day: datetime, ports: int
) -> None:
    conn.execute(
        """
        INSERT INTO made_session
        SELECT gen_random_uuid(), pile_id, pile_no, port_no, begins_at, begins_at + lasts,
               end_w - (end_w - start_w) * least(1, depth / 0.8), end_w, cc_s * depth / 0.8, tau_s,
               tau_s * ln(end_w / cutoff_w), rest_w, CASE WHEN end_w >= 320 THEN 980 ELSE 620 END
          FROM (SELECT pile_id, pile_no, port_no, 0.15 + 0.8 * random() AS depth,
                       1 + floor(random() * (SELECT count(*) FROM made_curve)) AS curve_number,
                       %(day)s + CASE WHEN is_evening THEN INTERVAL '17 hours' + random() * INTERVAL '4.5 hours'
                                      ELSE INTERVAL '10 hours' + random() * INTERVAL '4 hours' END AS begins_at,
                       CASE WHEN NOT is_evening THEN INTERVAL '2 hours' + random() * INTERVAL '1 hour'
                            WHEN random() < 0.25 THEN %(long)s
                            ELSE INTERVAL '3 hours' + random() * INTERVAL '5 hours' END AS lasts
                  FROM unnest(%(pile_ids)s::text[]) WITH ORDINALITY AS pile (pile_id, pile_no),
                       generate_series(1, %(ports)s) AS port_no, unnest(ARRAY[false, true]) AS is_evening
                OFFSET 0) AS begun
          JOIN made_curve ON made_curve.number = begun.curve_number
        """,
        {"pile_ids": list(pile_ids), "ports": ports, "day": day, "long": LONG},
    )


_INSERT_SAMPLES = """
    INSERT INTO meter_sample (session_id, pile_id, port_no, sampled_at, received_at, elapsed_s, window_s, voltage_dv,
                              current_ma, power_dw, power_min_dw, power_max_dw, power_mean_dw, power_factor_milli,
                              energy_dwh, temperature_dc, phase)
    SELECT session_id, pile_id, port_no, at, at + INTERVAL '350 ms', elapsed_s, 30, voltage_dv,
           power_w * 1e7 / (voltage_dv * factor), power_w * noise * 10, power_w * 9.95, power_w * 10.05, power_w * 10,
           factor, joules / 360, 220 + 120 * power_w / end_w + 4 * noise,
           CASE WHEN elapsed_s < cc_s THEN 0 WHEN elapsed_s < cc_s + cv_s THEN 1 ELSE 2 END
      FROM (SELECT session_id, pile_id, port_no, at, elapsed_s, end_w, cc_s, cv_s,
                   2280 + 40 * sin(elapsed_s / 9000.0) + 12 * random() AS voltage_dv,
                   0.994 + 0.012 * random() AS noise,
                   CASE WHEN elapsed_s < cc_s THEN start_w + (end_w - start_w) * elapsed_s / cc_s
                        WHEN elapsed_s < cc_s + cv_s THEN end_w * exp((cc_s - elapsed_s) / tau_s)
                        ELSE rest_w END AS power_w,
                   CASE WHEN elapsed_s < cc_s
                        THEN elapsed_s * (start_w + (end_w - start_w) * elapsed_s / cc_s / 2)
                        ELSE cc_s * (start_w + end_w) / 2
                             + end_w * tau_s * (1 - exp(-least(elapsed_s - cc_s, cv_s) / tau_s))
                             + rest_w * greatest(0, elapsed_s - cc_s - cv_s) END AS joules,
                   factor * (0.8 + 0.2 * least(1, elapsed_s / cc_s)) AS factor
              FROM (SELECT session_id, pile_id, port_no, start_w, end_w, cc_s, tau_s, cv_s, rest_w, factor,
                           tick + pile_no * 97 %% 30000 * INTERVAL '1 ms' AS at,
                           extract(epoch FROM tick - begins_at)::int AS elapsed_s
                      FROM generate_series(%(day)s::timestamptz, %(until)s::timestamptz - %(step)s, %(step)s) AS tick
                     CROSS JOIN LATERAL (
                        SELECT session_id, pile_id, pile_no, port_no, begins_at, start_w, end_w, cc_s, tau_s, cv_s,
                               rest_w, factor
                          FROM made_session
                         WHERE begins_at <= tick AND ends_at > tick ORDER BY pile_no, port_no) AS session
                    OFFSET 0) AS reading
            OFFSET 0) AS sample
"""
