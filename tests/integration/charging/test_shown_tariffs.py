"""The tariff piles show: that of their site, told after a boot and when a new one holds."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from billing import tariffs
from billing.tariff_objects import FeeKind
from charging import events, pile_care, shown_tariffs
from charging.commands import Command, CommandKind
from charging.events import EventKind
from charging.pile_care import Report
from charging.shown_tariffs import Outcome, Result, TariffReport
from tests.integration.charging.stand import PILE, WAITS, Stand

SITE = "yuquan"


def _boot(stand: Stand, *, boot: int, version: int) -> int:
    report = Report(pile_id=PILE, boot=boot, seq=1)
    return shown_tariffs.booted(stand.conn, report, site_id=SITE, version=version, now=stand.now)


def _told(stand: Stand) -> list[Command]:
    for step in (shown_tariffs.notice_new, shown_tariffs.send_due):
        while step(stand.conn, WAITS, stand.now):
            pass
    return [command for command in stand.due() if command.kind is CommandKind.TARIFF_SET]


def _answer(
    stand: Stand, version: int, result: Result, *, seq: int, command_id: UUID, cause: str | None = None
) -> None:
    report = TariffReport(
        pile_id=PILE, boot=9, seq=seq, version=version, result=result, command_id=command_id, cause=cause
    )
    shown_tariffs.reported(stand.conn, report, now=stand.now)


def _current(stand: Stand) -> int:
    return tariffs.current(stand.conn, site_id=SITE, at=stand.now).tariff_version_id


def _publish(stand: Stand, price: str, *, at: datetime, **restrictions: Any) -> int:
    elements: list[dict[str, Any]] = [{"price_components": [{"type": "ENERGY", "price": "0.77"}]}]
    first = {"price_components": [{"type": "ENERGY", "price": price}], "restrictions": restrictions}
    version = tariffs.publish(
        stand.conn,
        site_id=SITE,
        tariffs={
            FeeKind.ELECTRICITY: {
                "id": "e",
                "currency": "CNY",
                "elements": [first, *elements] if restrictions else [first],
                "last_updated": stand.now.isoformat(),
            }
        },
        effective_from=at,
        now=stand.now,
    )
    return version.tariff_version_id


def test_a_pile_that_boots_without_its_sites_tariff_is_told_it(stand: Stand) -> None:
    version = _boot(stand, boot=2, version=0)
    assert version == _current(stand)
    [command] = _told(stand)
    assert command.body["version"] == version
    assert command.body["utc_offset_s"] == 28_800
    assert ["electricity", "kwh"] in [band[:2] for band in command.body["bands"]]
    assert "电费" in command.body["text"]
    _answer(stand, version, Result.STORED, seq=2, command_id=command.command_id)
    told = shown_tariffs.telling(stand.conn, pile_id=PILE, tariff_version_id=version)
    assert told is not None
    assert told.outcome is Outcome.SHOWN
    stand.now += WAITS.care * 2
    assert _told(stand) == []


def test_a_pile_that_shows_it_is_told_nothing(stand: Stand) -> None:
    _told(stand)
    assert _boot(stand, boot=2, version=_current(stand)) == _current(stand)
    assert _told(stand) == []


def test_a_new_tariff_is_told_when_it_begins_to_hold_and_not_before(stand: Stand) -> None:
    _boot(stand, boot=2, version=_current(stand))
    assert _told(stand) == []
    version = _publish(stand, "0.42", at=stand.now + timedelta(hours=1))
    assert _told(stand) == []
    stand.now += timedelta(hours=1)
    [command] = _told(stand)
    assert command.body["version"] == version
    assert [band[7] for band in command.body["bands"]] == [4200]
    assert _told(stand) == []


def test_a_refused_tariff_is_told_to_the_operator_once_and_not_sent_again(stand: Stand) -> None:
    version = _boot(stand, boot=2, version=0)
    [command] = _told(stand)
    _answer(stand, 0, Result.REFUSED, seq=2, command_id=command.command_id, cause="too_many_bands")
    told = shown_tariffs.telling(stand.conn, pile_id=PILE, tariff_version_id=version)
    assert told is not None
    assert (told.outcome, told.cause) == (Outcome.REFUSED, "too_many_bands")
    _boot(stand, boot=10, version=0)
    stand.now += WAITS.care * 2
    assert _told(stand) == []
    kinds = [event.kind for event in events.newest(stand.conn, PILE, limit=20)]
    assert kinds.count(EventKind.TARIFF_REFUSED) == 1


def test_a_tariff_no_pile_can_show_is_an_event_and_no_wish(stand: Stand) -> None:
    _boot(stand, boot=2, version=_current(stand))
    stand.now += timedelta(hours=1)
    _publish(stand, "0.42", at=stand.now, max_kwh="1")
    assert _told(stand) == []
    [event] = [
        event
        for event in events.newest(stand.conn, PILE, limit=20)
        if event.kind == EventKind.TARIFF_UNSHOWABLE
    ]
    assert "energy or the time so far" in event.detail["cause"]
    assert _boot(stand, boot=3, version=0) == 0
    assert _told(stand) == []


def test_a_report_of_another_version_has_it_told_again(stand: Stand) -> None:
    version = _boot(stand, boot=2, version=0)
    [command] = _told(stand)
    _answer(stand, version, Result.STORED, seq=2, command_id=command.command_id)
    report = TariffReport(pile_id=PILE, boot=9, seq=3, version=0, result=Result.REPORTED)
    shown_tariffs.reported(stand.conn, report, now=stand.now)
    [again] = _told(stand)
    assert again.body["version"] == version
    care = pile_care.find(stand.conn, PILE)
    assert care is not None
    assert care.tariff_version == 0
