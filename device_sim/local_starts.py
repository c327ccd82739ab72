"""Sessions begun at the pile itself, without the platform: by a code typed in, or by a card while there is no link."""

from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from device_sim.part import Hears, Part
from device_sim.pile import Pile
from device_sim.port import LiveSession, Port
from device_sim.sessions import Sessions
from device_sim.settings import Settings
from protocol import start_code
from protocol.messages import LocalStart, LocalStartAck
from protocol.start_code import StartCode
from protocol.words import (
    AlarmKind,
    ClockState,
    LocalStartResult,
    LogLevel,
    SessionSource,
    StartCause,
    StopReason,
)

WRONG_CODES_MAX: Final = 10
WRONG_CODES_WITHIN_MS: Final = 600_000
LOCKED_MS: Final = 600_000


class Hint(StrEnum):
    """What the pile's display says to somebody it does not serve."""

    SWITCHED_OFF = "switched_off"
    """``card_mode`` or ``code_mode`` does not allow it."""
    ONLINE = "online"
    """A card is taken only while there is no link."""
    READER_BROKEN = "reader_broken"
    CLOCK_UNKNOWN = "clock_unknown"
    """A code says nothing to a pile that does not know the time."""
    LOCKED = "locked"
    """Too many wrong codes; try again later."""
    WRONG_CODE = "wrong_code"
    USED_CODE = "used_code"
    NO_POWER = "no_power"
    PORT_UNAVAILABLE = "port_unavailable"
    """The port takes no session; see ``cause``."""


class Served(NamedTuple):
    """What became of a card or a code: a session, or a hint and, where the port is at fault, why."""

    session_id: UUID | None
    hint: Hint | None = None
    cause: StartCause | None = None


NO_POWER: Final = Served(None, Hint.NO_POWER)


class LocalStarts(Part):
    """The card reader and the keypad."""

    def hears(self) -> Hears:
        """The platform has a session begun here, or does not want it."""
        return {LocalStartAck: self._acknowledged}

    def swipe_card(self, port: int, card: str) -> Served:
        """Somebody holds a card (its number, up to 64 characters) to the reader of a port, now."""
        pile = self.pile
        if pile.surroundings.has({AlarmKind.CARD_READER_FAULT}, port):
            return Served(None, Hint.READER_BROKEN)
        if not pile.thresholds.card_mode:
            return Served(None, Hint.SWITCHED_OFF)
        if pile.outbox.linked and pile.outbox.open:
            return Served(None, Hint.ONLINE)
        return self._begin(
            port,
            uuid4(),
            SessionSource.CARD,
            limit_s=pile.thresholds.card_limit_s,
            limit_dwh=pile.thresholds.card_limit_dwh,
            credential=card,
        )

    def type_code(self, port: int, digits: str) -> Served:
        """Somebody types a start code in at a port, now."""
        pile = self.pile
        if not pile.thresholds.code_mode:
            return Served(None, Hint.SWITCHED_OFF)
        if pile.clock is ClockState.NONE:
            return Served(None, Hint.CLOCK_UNKNOWN)
        if self._locked():
            return Served(None, Hint.LOCKED)
        at_s = pile.device_ms(pile.now_ms) // 1000
        # During a rotation the platform may still sell codes under the secret before.
        readings = (
            start_code.read(secret, epoch=epoch, port=port, digits=digits, at_s=at_s)
            for epoch, secret in pile.keys.secrets.items()
        )
        code = next((code for code in readings if code is not None), None)
        if code is None:
            self._remember_wrong_code()
            return Served(None, Hint.WRONG_CODE)
        if self._was_used(code):
            return Served(None, Hint.USED_CODE)
        longest_s = pile.thresholds.max_session_s
        return self._begin(
            port, code.session_id, SessionSource.CODE, limit_s=longest_s, limit_dwh=code.limit_dwh
        )

    def _begin(
        self,
        number: int,
        session_id: UUID,
        source: SessionSource,
        *,
        limit_s: int,
        limit_dwh: int,
        credential: str | None = None,
    ) -> Served:
        pile = self.pile
        sessions, port = pile.part(Sessions), pile.ports.get(number)
        cause = StartCause.NO_SUCH_PORT if port is None else sessions.obstacle(port)
        if cause is not None or port is None:
            pile.note(f"local start on port {number} refused", level=LogLevel.WARNING)
            return Served(None, Hint.PORT_UNAVAILABLE, cause)
        session = _session(pile, port, session_id, source, limit_s=limit_s, limit_dwh=limit_dwh)
        sessions.begin(port, session)
        told = LocalStart(
            session_id=session_id,
            source=source,
            port=number,
            at_ms=pile.device_ms(pile.now_ms),
            register_dwh=session.start_register_dwh,
            limit_s=limit_s,
            limit_dwh=limit_dwh,
            clock=pile.clock,
            credential=credential,
        )
        pile.records.keep(session_id, told)
        sessions.begun(port)
        return Served(session_id)

    def _acknowledged(self, ack: LocalStartAck) -> None:
        self.pile.records.told("local_start", ack.session_id)
        if ack.result is not LocalStartResult.REFUSED:
            return
        for port in self.pile.ports.values():
            if port.session is not None and port.session.session_id == ack.session_id:
                self.pile.end_session(port, StopReason.PLATFORM_STOP, self.pile.now_ms)

    def _was_used(self, code: StartCode) -> bool:
        memory = self.pile.memory
        running = {session.session_id for session in memory.sessions.values()}
        return code.session_id in running or code.session_id in memory.ended

    def _locked(self) -> bool:
        wrong_ms = self.pile.memory.wrong_codes_ms
        if len(wrong_ms) < WRONG_CODES_MAX or wrong_ms[-1] - wrong_ms[0] > WRONG_CODES_WITHIN_MS:
            return False
        return self.pile.now_ms < wrong_ms[-1] + LOCKED_MS

    def _remember_wrong_code(self) -> None:
        memory = self.pile.memory
        memory.wrong_codes_ms = [*memory.wrong_codes_ms[-WRONG_CODES_MAX + 1 :], self.pile.now_ms]
        self.pile.note("wrong start code", level=LogLevel.WARNING)
        self.pile.save()


def _session(
    pile: Pile, port: Port, session_id: UUID, source: SessionSource, *, limit_s: int, limit_dwh: int
) -> LiveSession:
    """A session by the pile's own rules; no command began it, so its id stands for one."""
    rules, shown = pile.thresholds, pile.part(Settings).shown(pile.now_ms)
    return LiveSession(
        command_id=session_id,
        session_id=session_id,
        limit_s=limit_s,
        limit_dwh=limit_dwh,
        max_power_w=round(rules.max_power_w),
        stop_when_full=True,
        float_s=rules.float_s,
        tariff_version=0 if shown is None else shown.version,
        accepted_ms=pile.now_ms,
        plug_until_ms=pile.now_ms + rules.plug_wait_s * 1000,
        start_register_dwh=port.register_dwh(pile.now_ms),
        clock_offset_ms=pile.device_clock.offset_ms,
        clock=pile.clock,
        source=source,
    )
