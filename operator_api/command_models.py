"""Commands as JSON, and what a technician may ask."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from charging.command_records import CommandRecord
from charging.commands import CommandKind, CommandState
from charging.service_commands import LONGEST_LOCATE_S, MOST_LOG_LINES, MOST_VOICE_CHARACTERS, QueryTopic
from operator_api.parameters import PRINTABLE_PATTERN, Instant

PortNo = Annotated[int, Field(ge=1, le=20, description="Number of the socket, from 1")]


class CommandView(BaseModel):
    """A command to a pile and how it ended."""

    command_id: UUID
    pile_id: str
    session_id: UUID | None
    kind: CommandKind
    body: Mapping[str, Any] = Field(description="The message's fields by name; a secret is left out")
    state: CommandState = Field(description="`pending` and `sent` are under way, the others are final")
    created_at: datetime
    expires_at: datetime = Field(description="The pile does nothing after it")
    send_count: int = Field(description="How often it was sent, always under the same id")
    answered_at: datetime | None
    result: Mapping[str, Any] | None = Field(
        description="What the pile answered: its word, and why it refused"
    )
    late_at: datetime | None = Field(description="When the pile answered after it had been given up")
    late_result: Mapping[str, Any] | None = Field(description="That answer; it changed nothing")


class CommandPage(BaseModel):
    """A pile's commands, newest first."""

    commands: list[CommandView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


class NewQuery(BaseModel):
    """Tell something now."""

    topic: QueryTopic


class NewLogRequest(BaseModel):
    """Send the newest lines of the log."""

    since_at: Instant | None = Field(None, description="Only lines since then, by the pile's clock")
    max_lines: int = Field(100, ge=1, le=MOST_LOG_LINES)


class NewReboot(BaseModel):
    """Start again."""

    force: bool = Field(False, description="At once, ending sessions that run; else once none runs")


class NewLocate(BaseModel):
    """Blink and beep."""

    duration_s: int = Field(30, ge=1, le=LONGEST_LOCATE_S)
    port_no: PortNo | None = Field(None, description="One socket; without it the whole pile")


class NewVoice(BaseModel):
    """Say something aloud."""

    text: str = Field(min_length=1, max_length=MOST_VOICE_CHARACTERS, pattern=PRINTABLE_PATTERN)


class NewRelayTest(BaseModel):
    """Close and open a free socket's relay and look."""

    port_no: PortNo


class NewPortSet(BaseModel):
    """Take a socket out of service, or back."""

    port_no: PortNo
    enabled: bool


class NewExtension(BaseModel):
    """New limits of a session; one left out stays as it is, none may be below the present one."""

    limit_s: int | None = Field(None, ge=1, le=7 * 86_400, description="Longest duration, in s")
    limit_wh: int | None = Field(None, ge=1, le=100_000, description="Most energy, in Wh")


class ExtensionView(BaseModel):
    """What was asked of the pile."""

    command: CommandView | None = Field(description="Null where these limits hold already")


def command_view(record: CommandRecord) -> CommandView:
    """A command as JSON."""
    return CommandView(
        command_id=record.command_id,
        pile_id=record.pile_id,
        session_id=record.session_id,
        kind=record.kind,
        body=record.body,
        state=record.state,
        created_at=record.created_at,
        expires_at=record.expires_at,
        send_count=record.send_count,
        answered_at=record.answered_at,
        result=record.result,
        late_at=record.late_at,
        late_result=record.late_result,
    )
