"""Piles: registration, presence and what they say of themselves.

Messages may come twice and in any order, so a pile's (boot, seq) decides: only a newer message changes presence.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.errors import ForeignKeyViolation, UniqueViolation
from psycopg.rows import TupleRow, class_row

from charging import events, pile_states
from charging.errors import ParentUnfit, PileExists, PileIdInvalid, PileUnknown, SiteUnknown
from charging.events import EventKind
from charging.pile_clocks import believable
from charging.pile_states import PileState

SHARDS = 64
MISSED_HEARTBEATS = 3
"""So many heartbeats missed in a row, and a pile counts as offline."""

_PILE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Pile:
    pile_id: str
    site_id: str
    model: str
    port_count: int
    power_limit_w: int
    shard: int
    state: PileState
    online: bool
    boot: int
    heartbeat_s: int
    sample_s: int
    reconnect_jitter_s: int
    firmware: str | None
    hardware: str | None
    signal_dbm: int | None
    last_seen_at: datetime | None
    registered_at: datetime
    parent_pile_id: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", PileState(self.state))


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """What a pile is told at boot: seconds between heartbeats, between samples, and the widest wait to reconnect."""

    heartbeat_s: int = 60
    sample_s: int = 30
    reconnect_jitter_s: int = 60


USUAL_RHYTHM = Rhythm()


@dataclass(frozen=True, kw_only=True)
class BootReport:
    """What a pile says when it comes up; `clock_off` is how far its clock was off, where that is worth telling."""

    pile_id: str
    boot: int
    seq: int
    connection: int
    firmware: str
    hardware: str
    port_count: int
    signal_dbm: int
    reason: str
    unsent: int
    clock_off: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """One heartbeat: signal dBm, temperature 0.1 °C, mains 0.1 V, power 0.1 W, energy register Wh, leakage mA."""

    pile_id: str
    boot: int
    connection: int
    sampled_at: datetime
    signal_dbm: int
    board_temperature_dc: int
    mains_dv: int
    power_dw: int
    energy_wh: int
    leakage_ma: int
    unsent: int


def shard_of(pile_id: str) -> int:
    """The shard of a pile: the first 8 bytes of SHA-256 of its id, big-endian, modulo 64."""
    return int.from_bytes(hashlib.sha256(pile_id.encode()).digest()[:8]) % SHARDS


def register(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    site_id: str,
    model: str,
    port_count: int,
    power_limit_w: int,
    rhythm: Rhythm = USUAL_RHYTHM,
    parent_pile_id: str | None = None,
    now: datetime,
) -> Pile:
    """Put a pile and its ports on the books; it can then be enrolled with a claim code.

    `parent_pile_id` is the host that hands on its messages. Raises PileIdInvalid, PileExists, SiteUnknown,
    ParentUnfit.
    """
    if not _PILE_ID.fullmatch(pile_id):
        raise PileIdInvalid(pile_id)
    if parent_pile_id is not None:
        _check_parent(conn, pile_id=pile_id, parent_pile_id=parent_pile_id, site_id=site_id)
    try:
        with conn.transaction():
            conn.execute(
                """
                INSERT INTO pile (pile_id, site_id, model, port_count, power_limit_w, shard, state,
                                  state_since, heartbeat_s, sample_s, reconnect_jitter_s, registered_at,
                                  parent_pile_id)
                VALUES (%(pile_id)s, %(site_id)s, %(model)s, %(port_count)s, %(power_limit_w)s, %(shard)s,
                        'manufactured', %(now)s, %(heartbeat_s)s, %(sample_s)s, %(reconnect_jitter_s)s, %(now)s,
                        %(parent_pile_id)s)
                """,
                {
                    "pile_id": pile_id,
                    "site_id": site_id,
                    "model": model,
                    "port_count": port_count,
                    "power_limit_w": power_limit_w,
                    "shard": shard_of(pile_id),
                    "heartbeat_s": rhythm.heartbeat_s,
                    "sample_s": rhythm.sample_s,
                    "reconnect_jitter_s": rhythm.reconnect_jitter_s,
                    "parent_pile_id": parent_pile_id,
                    "now": now,
                },
            )
    except UniqueViolation as error:
        raise PileExists(pile_id) from error
    except ForeignKeyViolation as error:
        raise SiteUnknown(site_id) from error
    conn.execute(
        """
        INSERT INTO pile_port (pile_id, port_no, state, reported_at)
        SELECT %(pile_id)s, port_no, 'idle', %(now)s FROM generate_series(1, %(port_count)s) AS port_no
        """,
        {"pile_id": pile_id, "port_count": port_count, "now": now},
    )
    pile_states.registered(conn, pile_id, now=now)
    events.record(conn, pile_id=pile_id, kind=EventKind.REGISTERED, now=now)
    return get(conn, pile_id)


def get(conn: Connection[TupleRow], pile_id: str) -> Pile:
    """The pile with this id. Raises PileUnknown."""
    with conn.cursor(row_factory=class_row(Pile)) as cursor:
        pile = cursor.execute(
            """
            SELECT pile_id, site_id, model, port_count, power_limit_w, shard, state, online, boot, heartbeat_s,
                   sample_s, reconnect_jitter_s, firmware, hardware, signal_dbm, last_seen_at, registered_at,
                   parent_pile_id
              FROM pile WHERE pile_id = %(pile_id)s
            """,
            {"pile_id": pile_id},
        ).fetchone()
    if pile is None:
        raise PileUnknown(pile_id)
    return pile


def booted(conn: Connection[TupleRow], report: BootReport, *, now: datetime) -> Pile:
    """Take a boot report; a provisioned pile becomes active. A repeat changes nothing. Raises PileUnknown."""
    pile = get(conn, report.pile_id)
    changed = conn.execute(
        """
        UPDATE pile SET firmware = %(firmware)s, hardware = %(hardware)s, signal_dbm = %(signal_dbm)s
         WHERE pile_id = %(pile_id)s AND (boot, seq) <= (%(boot)s, %(seq)s)
        """,
        {
            "pile_id": report.pile_id,
            "firmware": report.firmware,
            "hardware": report.hardware,
            "signal_dbm": report.signal_dbm,
            "boot": report.boot,
            "seq": report.seq,
        },
    ).rowcount
    pile_states.booted(conn, report.pile_id, now=now)
    _connected(conn, pile_id=report.pile_id, boot=report.boot, connection=report.connection)
    if changed and report.boot > pile.boot:
        events.record(
            conn,
            pile_id=report.pile_id,
            kind=EventKind.BOOTED,
            now=now,
            detail={"reason": report.reason, "firmware": report.firmware, "unsent": report.unsent},
        )
        if report.clock_off:
            events.record(
                conn,
                pile_id=report.pile_id,
                kind=EventKind.CLOCK_JUMPED,
                now=now,
                detail={"off_s": report.clock_off // timedelta(seconds=1)},
            )
    if report.port_count != pile.port_count and report.boot > pile.boot:
        events.record(
            conn,
            pile_id=report.pile_id,
            kind=EventKind.PORT_COUNT_DIFFERS,
            now=now,
            detail={"registered": pile.port_count, "reported": report.port_count},
        )
    return get(conn, report.pile_id)


def set_rhythm(
    conn: Connection[TupleRow], *, pile_id: str, heartbeat_s: int | None, sample_s: int | None
) -> None:
    """Expect this rhythm of a pile from now on, and tell it at boot; None leaves a value as it is."""
    conn.execute(
        """
        UPDATE pile SET heartbeat_s = coalesce(%(heartbeat_s)s, heartbeat_s),
               sample_s = coalesce(%(sample_s)s, sample_s)
         WHERE pile_id = %(pile_id)s
        """,
        {"pile_id": pile_id, "heartbeat_s": heartbeat_s, "sample_s": sample_s},
    )


def heartbeat(conn: Connection[TupleRow], telemetry: Telemetry, *, now: datetime) -> None:
    """Keep a heartbeat; a repeat of the same instant changes nothing. An unbelievable instant becomes now."""
    sampled_at = telemetry.sampled_at
    if not believable(sampled_at, now=now):
        events.clock_wrong(conn, pile_id=telemetry.pile_id, claim=sampled_at, now=now)
        sampled_at = now
    conn.execute(
        """
        INSERT INTO pile_telemetry (pile_id, sampled_at, received_at, signal_dbm, board_temperature_dc, mains_dv,
                                    power_dw, energy_wh, leakage_ma, unsent)
        VALUES (%(pile_id)s, %(sampled_at)s, %(now)s, %(signal_dbm)s, %(board_temperature_dc)s, %(mains_dv)s,
                %(power_dw)s, %(energy_wh)s, %(leakage_ma)s, %(unsent)s)
        ON CONFLICT DO NOTHING
        """,
        {
            "pile_id": telemetry.pile_id,
            "sampled_at": sampled_at,
            "now": now,
            "signal_dbm": telemetry.signal_dbm,
            "board_temperature_dc": telemetry.board_temperature_dc,
            "mains_dv": telemetry.mains_dv,
            "power_dw": telemetry.power_dw,
            "energy_wh": telemetry.energy_wh,
            "leakage_ma": telemetry.leakage_ma,
            "unsent": telemetry.unsent,
        },
    )
    conn.execute(
        "UPDATE pile SET signal_dbm = %(signal_dbm)s WHERE pile_id = %(pile_id)s",
        {"pile_id": telemetry.pile_id, "signal_dbm": telemetry.signal_dbm},
    )
    _connected(conn, pile_id=telemetry.pile_id, boot=telemetry.boot, connection=telemetry.connection)


def seen(conn: Connection[TupleRow], newest: Mapping[str, tuple[int, int]], *, now: datetime) -> None:
    """Note the newest (boot, seq) heard from each pile: whoever said something newer than before is online."""
    if not newest:
        return
    pile_ids = sorted(newest)
    conn.execute(
        "SELECT pile_id FROM pile WHERE pile_id = ANY(%(pile_ids)s) ORDER BY pile_id FOR NO KEY UPDATE",
        {"pile_ids": pile_ids},
    )
    came_back = conn.execute(
        """
        WITH heard AS (
            SELECT pile.pile_id, pile.online AS was_online, newest.boot, newest.seq
              FROM unnest(%(pile_ids)s::text[], %(boots)s::bigint[], %(seqs)s::bigint[]) AS newest (pile_id, boot, seq)
              JOIN pile USING (pile_id)
             WHERE (pile.boot, pile.seq) < (newest.boot, newest.seq))
        UPDATE pile SET online = true, last_seen_at = %(now)s, boot = heard.boot, seq = heard.seq
          FROM heard WHERE pile.pile_id = heard.pile_id
        RETURNING pile.pile_id, heard.was_online
        """,
        {
            "pile_ids": pile_ids,
            "boots": [newest[pile_id][0] for pile_id in pile_ids],
            "seqs": [newest[pile_id][1] for pile_id in pile_ids],
            "now": now,
        },
    ).fetchall()
    for pile_id, was_online in came_back:
        if not was_online:
            events.record(conn, pile_id=pile_id, kind=EventKind.LINK_UP, now=now)


def gone(conn: Connection[TupleRow], *, pile_id: str, boot: int, connection: int, now: datetime) -> bool:
    """Take a last will; one of an older connection than the pile last named changes nothing."""
    lost = conn.execute(
        """
        UPDATE pile SET online = false
         WHERE pile_id = %(pile_id)s AND online AND (connection_boot, connection) <= (%(boot)s, %(connection)s)
        """,
        {"pile_id": pile_id, "boot": boot, "connection": connection},
    ).rowcount
    if lost:
        events.record(conn, pile_id=pile_id, kind=EventKind.LINK_LOST, now=now, detail={"by": "last_will"})
        behind = conn.execute(
            "UPDATE pile SET online = false WHERE parent_pile_id = %(pile_id)s AND online RETURNING pile_id",
            {"pile_id": pile_id},
        ).fetchall()
        for (child_id,) in behind:
            events.record(
                conn, pile_id=child_id, kind=EventKind.LINK_LOST, now=now, detail={"by": "host_gone"}
            )
    return bool(lost)


def mark_silent(conn: Connection[TupleRow], *, grace: timedelta, now: datetime) -> str | None:
    """Mark offline one pile that missed three heartbeats and `grace` beyond; returns its id, None without one."""
    row = conn.execute(
        """
        WITH silent AS (
            SELECT pile_id FROM pile
             WHERE online AND last_seen_at + %(missed)s * heartbeat_s * interval '1 second' + %(grace)s < %(now)s
             LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE pile SET online = false FROM silent WHERE pile.pile_id = silent.pile_id
        RETURNING pile.pile_id
        """,
        {"missed": MISSED_HEARTBEATS, "grace": grace, "now": now},
    ).fetchone()
    if row is None:
        return None
    events.record(conn, pile_id=row[0], kind=EventKind.LINK_LOST, now=now, detail={"by": "silence"})
    return str(row[0])


def _check_parent(conn: Connection[TupleRow], *, pile_id: str, parent_pile_id: str, site_id: str) -> None:
    fit = conn.execute(
        """
        SELECT pile_id FROM pile
         WHERE pile_id = %(parent_pile_id)s AND site_id = %(site_id)s AND parent_pile_id IS NULL
        """,
        {"parent_pile_id": parent_pile_id, "site_id": site_id},
    ).fetchone()
    if fit is None:
        raise ParentUnfit(pile_id, parent_pile_id)


def _connected(conn: Connection[TupleRow], *, pile_id: str, boot: int, connection: int) -> None:
    conn.execute(
        """
        UPDATE pile SET connection_boot = %(boot)s, connection = %(connection)s
         WHERE pile_id = %(pile_id)s AND (connection_boot, connection) < (%(boot)s, %(connection)s)
        """,
        {"pile_id": pile_id, "boot": boot, "connection": connection},
    )
