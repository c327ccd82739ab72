"""What piles say of their updates, told to charging."""

import structlog

from charging import firmware_reports
from charging.firmware_reports import UpdateReport
from database.pool import Connection
from gateway.hearing import Heard
from protocol import messages

log = structlog.get_logger()


def firmware_state(conn: Connection, heard: Heard) -> None:
    """How far an update is; one that nobody here asked for is only logged."""
    message = heard.says(messages.FirmwareState)
    report = UpdateReport(
        pile_id=heard.pile_id,
        command_id=message.command_id,
        step=message.step.word,
        percent=message.percent,
        running=message.running,
        error=message.error.word if message.error is not None else None,
    )
    if not firmware_reports.reported(conn, report, now=heard.frame.received_at):
        log.warning("firmware_state_unasked", pile_id=heard.pile_id, step=report.step)
