"""A configuration as wanted and as reported, and the way from one to the other."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import pytest

from charging import commands, configurations, events, pile_care, piles
from charging.commands import Command, CommandKind
from charging.configurations import ConfigReport, Configuration, Outcome, Result
from charging.errors import PileUnknown, SettingRefused
from charging.events import EventKind
from charging.pile_care import Report
from pileway import composition
from tests.integration.charging.stand import PILE, WAITS, Stand

TABLE = composition.settings_table()


def _want(stand: Stand, settings: Mapping[str, int], *, pile_id: str = PILE) -> Configuration:
    return configurations.want(
        stand.conn,
        pile_id=pile_id,
        settings=settings,
        set_by="operator",
        table=TABLE,
        waits=WAITS,
        now=stand.now,
    )


def _report(
    stand: Stand,
    version: int,
    *,
    seq: int,
    result: Result = Result.APPLIED,
    command_id: UUID | None = None,
    settings: Mapping[str, int] | None = None,
    key: str | None = None,
    cause: str | None = None,
    pile_id: str = PILE,
) -> None:
    report = ConfigReport(
        pile_id=pile_id,
        boot=1,
        seq=seq,
        version=version,
        settings=settings or {},
        result=result,
        command_id=command_id,
        key=key,
        cause=cause,
    )
    configurations.reported(stand.conn, report, now=stand.now)


def _boot(stand: Stand, *, boot: int, version: int) -> int:
    report = Report(pile_id=PILE, boot=boot, seq=1)
    return configurations.booted(stand.conn, report, version=version, now=stand.now)


def _wish(stand: Stand) -> Configuration:
    wish = configurations.wanted(stand.conn, PILE)
    assert wish is not None
    return wish


def _send_due(stand: Stand) -> list[Command]:
    """What is sent once everything due was looked at."""
    while configurations.send_due(stand.conn, WAITS, stand.now):
        pass
    return [command for command in stand.due() if command.kind is CommandKind.CONFIG_SET]


def test_a_wish_is_sent_at_once_and_in_force_when_the_pile_says_so(stand: Stand) -> None:
    wish = _want(stand, {"volume": 20, "full_w": 25})
    [command] = stand.due()
    assert command.body == {"version": 1, "values": [["full_w", 25], ["volume", 20]]}
    assert (wish.version, wish.outcome, wish.set_by, wish.set_at) == (1, None, "operator", stand.now)

    _report(
        stand, 1, seq=5, command_id=command.command_id, settings={"volume": 20, "full_w": 25, "full_s": 600}
    )
    care = pile_care.find(stand.conn, PILE)
    assert care is not None
    assert (care.config_version, care.config_settings["full_s"]) == (1, 600)
    assert _wish(stand).outcome is Outcome.APPLIED
    stand.now += WAITS.care + timedelta(hours=1)
    assert _send_due(stand) == []


@pytest.mark.parametrize(
    ("settings", "key", "cause"),
    [
        ({"volumee": 20}, "volumee", "unknown_key"),
        ({"volume": 101}, "volume", "out_of_range"),
        ({"temp_warn_dc": 900}, "temp_warn_dc", "contradiction"),
    ],
)
def test_what_cannot_be_is_refused_by_name_before_anything_is_sent(
    stand: Stand, settings: dict[str, int], key: str, cause: str
) -> None:
    with pytest.raises(SettingRefused) as refused:
        _want(stand, settings)
    assert (refused.value.key, refused.value.cause) == (key, cause)
    assert configurations.wanted(stand.conn, PILE) is None
    assert stand.due() == []
    with pytest.raises(PileUnknown):
        _want(stand, {"volume": 20}, pile_id="nobody")


def test_a_contradiction_with_what_is_in_force_is_refused_too(stand: Stand) -> None:
    _report(stand, 0, seq=2, result=Result.REPORTED, settings={"temp_trip_dc": 500})
    with pytest.raises(SettingRefused, match="contradiction"):
        _want(stand, {"temp_warn_dc": 550})


def test_the_same_wish_again_changes_nothing_and_another_replaces_the_command(stand: Stand) -> None:
    first = _want(stand, {"volume": 20})
    assert _want(stand, {"volume": 20}) == first
    second = _want(stand, {"volume": 30})
    assert second.version == 2
    [command] = stand.due()
    assert command.body["version"] == 2
    states = stand.conn.execute("SELECT state, result FROM command ORDER BY body ->> 'version'").fetchall()
    assert states == [("expired", {"cause": "superseded"}), ("sent", None)]


def test_a_refused_wish_is_shown_with_its_key_and_not_sent_until_it_is_changed(stand: Stand) -> None:
    _want(stand, {"leak_warn_ma": 10})
    [command] = stand.due()
    _report(
        stand,
        0,
        seq=5,
        result=Result.REFUSED,
        command_id=command.command_id,
        key="leak_warn_ma",
        cause="unknown_key",
    )
    wish = _wish(stand)
    assert (wish.outcome, wish.refused_key, wish.cause) == (Outcome.REFUSED, "leak_warn_ma", "unknown_key")
    kinds = [event.kind for event in events.newest(stand.conn, PILE, limit=10)]
    assert EventKind.CONFIG_REFUSED in kinds

    assert _boot(stand, boot=2, version=0) == 1
    stand.now += WAITS.care * 2
    assert _send_due(stand) == []
    assert _want(stand, {"volume": 20}).version == 2
    assert len(stand.due()) == 1


def test_a_pile_that_boots_with_another_version_is_told_again(stand: Stand) -> None:
    _want(stand, {"volume": 20})
    [command] = stand.due()
    _report(stand, 1, seq=5, command_id=command.command_id)
    assert _boot(stand, boot=2, version=0) == 1
    [again] = _send_due(stand)
    assert again.command_id != command.command_id
    assert again.body["version"] == 1


def test_one_command_is_under_way_at_a_time_however_often_a_pile_boots(stand: Stand) -> None:
    _want(stand, {"volume": 20})
    for boot in range(2, 5):
        assert _boot(stand, boot=boot, version=0) == 1
        _send_due(stand)
    assert stand.count("command") == 1
    stand.now += WAITS.care
    commands.expire(stand.conn, limit=5, now=stand.now)
    [again] = _send_due(stand)
    assert again.expires_at == stand.now + WAITS.care
    assert stand.count("command") == 2


def test_an_odd_answer_is_not_asked_again_before_its_time(stand: Stand) -> None:
    _want(stand, {"volume": 20})
    [command] = stand.due()
    _report(stand, 99, seq=5, command_id=command.command_id)
    assert _send_due(stand) == []
    assert _wish(stand).outcome is None
    stand.now += WAITS.care
    assert len(_send_due(stand)) == 1


def test_an_older_report_and_a_foreign_answer_change_nothing(stand: Stand) -> None:
    _want(stand, {"volume": 20})
    [command] = stand.due()
    _report(stand, 1, seq=9, command_id=command.command_id)
    _report(stand, 0, seq=8, result=Result.REPORTED)
    care = pile_care.find(stand.conn, PILE)
    assert care is not None
    assert care.config_version == 1

    _want(stand, {"volume": 30})
    [second] = stand.due()
    _report(
        stand, 0, seq=1, result=Result.REFUSED, command_id=second.command_id, key="volume", pile_id="YQ-02"
    )
    assert _wish(stand).outcome is None


def test_a_config_cannot_answer_a_command_of_another_kind(stand: Stand) -> None:
    stand.paid()
    [start] = stand.due()
    _report(stand, 0, seq=4, command_id=start.command_id)
    row = stand.conn.execute("SELECT state FROM command").fetchone()
    assert row == ("sent",)


def test_a_wish_is_of_no_pile_before_it_is_in_service(stand: Stand) -> None:
    wish = _want(stand, {"volume": 20}, pile_id="YQ-02")
    assert wish.version == 1
    assert stand.count("command") == 0


def test_a_rhythm_that_was_configured_is_expected_and_told_at_boot(stand: Stand) -> None:
    _want(stand, {"heartbeat_s": 300, "sample_s": 10})
    assert piles.get(stand.conn, PILE).heartbeat_s != 300
    [command] = stand.due()
    _report(stand, 1, seq=5, command_id=command.command_id)
    pile = piles.get(stand.conn, PILE)
    assert (pile.heartbeat_s, pile.sample_s) == (300, 10)
