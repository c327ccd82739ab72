"""Refused frames are counted for ever and kept within bounds."""

from datetime import UTC, datetime

import pytest

from charging import rejections
from charging.rejections import KEPT_BYTES, Rejection
from database.pool import Connection

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def rejection(reason: str, payload: bytes = b"x") -> Rejection:
    return Rejection(topic="v1/1/P1/up/boot", reason=reason, payload=payload, received_at=NOW)


def test_refused_frames_are_counted_by_reason(conn: Connection) -> None:
    rejections.keep(conn, [rejection("forged"), rejection("forged"), rejection("malformed")])
    rejections.keep(conn, [rejection("forged")])
    assert {count.reason: count.messages for count in rejections.counts(conn)} == {
        "forged": 3,
        "malformed": 1,
    }


def test_only_the_newest_frames_are_kept(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "KEPT_MESSAGES", 5)
    for number in range(20):
        rejections.keep(conn, [rejection("malformed", bytes([number]))])
    kept = conn.execute("SELECT payload FROM rejected_message ORDER BY rejected_id").fetchall()
    assert [bytes(payload)[0] for (payload,) in kept] == [15, 16, 17, 18, 19]
    assert rejections.counts(conn)[0].messages == 20


def test_an_oversized_frame_is_cut_and_its_size_remembered(conn: Connection) -> None:
    rejections.keep(conn, [rejection("oversized", b"x" * (KEPT_BYTES + 1))])
    row = conn.execute("SELECT size_bytes, length(payload) FROM rejected_message").fetchone()
    assert row == (KEPT_BYTES + 1, KEPT_BYTES)


def test_a_topic_that_text_cannot_hold_is_kept_all_the_same(conn: Connection) -> None:
    rejections.keep(conn, [Rejection(topic="v1/\x00", reason="bad_topic", payload=b"", received_at=NOW)])
    assert rejections.counts(conn)[0].messages == 1
