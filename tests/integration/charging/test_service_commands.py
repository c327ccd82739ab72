"""What a technician asks of a pile: whom, until when, and what of it is kept."""

from datetime import timedelta
from uuid import UUID

import pytest

from charging import command_records, pile_logs, ports, service_commands
from charging.commands import CommandKind
from charging.errors import PileOutOfService, PileUnknown, PortUnavailable, PortUnknown
from charging.pile_logs import MOST_KEPT, LogPart
from charging.ports import PortReport, PortState
from charging.service_commands import QueryTopic
from tests.integration.charging.stand import PILE, WAITS, Stand


def _log(stand: Stand, *, pile_id: str = PILE) -> UUID:
    return service_commands.fetch_log(
        stand.conn, pile_id=pile_id, since=stand.now, max_lines=100, waits=WAITS, now=stand.now
    )


def _set_port(stand: Stand, port_no: int, *, enabled: bool) -> UUID:
    return service_commands.set_port(
        stand.conn, pile_id=PILE, port_no=port_no, enabled=enabled, waits=WAITS, now=stand.now
    )


def test_each_kind_is_told_with_its_fields_and_a_deadline(stand: Stand) -> None:
    conn, now = stand.conn, stand.now
    service_commands.query(conn, pile_id=PILE, topic=QueryTopic.METER, waits=WAITS, now=now)
    service_commands.reboot(conn, pile_id=PILE, force=True, waits=WAITS, now=now)
    service_commands.locate(conn, pile_id=PILE, duration_s=9, port_no=None, waits=WAITS, now=now)
    service_commands.locate(conn, pile_id=PILE, duration_s=9, port_no=2, waits=WAITS, now=now)
    service_commands.speak(conn, pile_id=PILE, text="请拔下插头", waits=WAITS, now=now)
    service_commands.test_relay(conn, pile_id=PILE, port_no=3, waits=WAITS, now=now)
    _log(stand)
    told = stand.due()
    assert {command.expires_at for command in told} == {now + WAITS.service}
    bodies = [(command.kind, dict(command.body)) for command in told]
    since_ms = int(now.timestamp()) * 1000
    for wanted in (
        (CommandKind.QUERY, {"topic": "meter"}),
        (CommandKind.REBOOT, {"force": True}),
        (CommandKind.LOCATE, {"duration_s": 9}),
        (CommandKind.LOCATE, {"duration_s": 9, "port": 2}),
        (CommandKind.VOICE, {"text": "请拔下插头"}),
        (CommandKind.RELAY_TEST, {"port": 3}),
        (CommandKind.LOG, {"since_ms": since_ms, "max_lines": 100}),
    ):
        assert wanted in bodies


def test_no_command_goes_to_a_pile_out_of_service_or_to_what_is_not_there(stand: Stand) -> None:
    with pytest.raises(PileOutOfService, match="manufactured"):
        _log(stand, pile_id="YQ-02")
    stand.conn.execute("UPDATE pile SET state = 'revoked' WHERE pile_id = %s", (PILE,))
    with pytest.raises(PileOutOfService, match="revoked"):
        _log(stand)
    with pytest.raises(PileUnknown):
        _log(stand, pile_id="nobody")
    with pytest.raises(PortUnknown):
        _set_port(stand, 19, enabled=False)
    assert stand.count("command") == 0


def test_the_newest_order_for_a_port_replaces_the_one_before_and_no_other_ports(stand: Stand) -> None:
    off = _set_port(stand, 3, enabled=False)
    other = _set_port(stand, 4, enabled=False)
    on = _set_port(stand, 3, enabled=True)
    assert {command.command_id for command in stand.due()} == {other, on}
    superseded = command_records.get(stand.conn, off)
    assert (superseded.state, superseded.result) == ("expired", {"cause": "superseded"})
    assert command_records.get(stand.conn, on).expires_at == stand.now + WAITS.care


def test_a_disabled_port_takes_no_order(stand: Stand) -> None:
    report = PortReport(
        pile_id=PILE,
        port_no=3,
        state=PortState.DISABLED,
        fault=None,
        plugged=False,
        power_dw=0,
        boot=1,
        seq=5,
    )
    ports.reported(stand.conn, [report], now=stand.now)
    with pytest.raises(PortUnavailable):
        stand.order(port_no=3)


def test_a_piles_commands_are_listed_newest_first_without_secrets(stand: Stand) -> None:
    first = _log(stand)
    stand.conn.execute(
        """UPDATE command SET kind = 'key_rotate', body = '{"epoch": 2, "secret": "07"}' WHERE command_id = %s""",
        (first,),
    )
    stand.now += timedelta(seconds=1)
    second = _log(stand)
    [newest, oldest] = command_records.page(stand.conn, PILE, limit=5)
    assert (newest.command_id, oldest.command_id) == (second, first)
    assert oldest.body == {"epoch": 2}
    assert command_records.page(stand.conn, "YQ-02", limit=5) == []


def _part(stand: Stand, command_id: UUID, part: int, *, lines: int = 16, pile_id: str = PILE) -> LogPart:
    return LogPart(
        pile_id, command_id, part, [(stand.now, "info", f"line {part}.{n}\x00") for n in range(1, lines + 1)]
    )


def test_log_lines_are_kept_once_and_only_from_the_pile_that_was_asked(stand: Stand) -> None:
    command_id = _log(stand)
    for part in (1, 2, 1):
        pile_logs.keep(stand.conn, _part(stand, command_id, part, lines=2), now=stand.now)
    pile_logs.keep(stand.conn, _part(stand, command_id, 3, pile_id="YQ-02"), now=stand.now)
    not_asked = service_commands.reboot(stand.conn, pile_id=PILE, force=False, waits=WAITS, now=stand.now)
    pile_logs.keep(stand.conn, _part(stand, not_asked, 1), now=stand.now)
    kept = pile_logs.page(stand.conn, PILE, limit=50, command_id=None, before=None)
    assert [line.text for line in kept] == [
        "line 2.2\ufffd",
        "line 2.1\ufffd",
        "line 1.2\ufffd",
        "line 1.1\ufffd",
    ]
    older = pile_logs.page(stand.conn, PILE, limit=50, command_id=command_id, before=kept[1].line_id)
    assert older == kept[2:]


def test_only_the_newest_lines_of_a_pile_are_kept(stand: Stand) -> None:
    command_id = _log(stand)
    for part in range(1, 4):
        lines = _part(stand, command_id, part, lines=MOST_KEPT // 2)
        pile_logs.keep(stand.conn, lines, now=stand.now)
    assert stand.count("pile_log_line") == MOST_KEPT
    [newest] = pile_logs.page(stand.conn, PILE, limit=1, command_id=None, before=None)
    assert newest.text == f"line 3.{MOST_KEPT // 2}\ufffd"
