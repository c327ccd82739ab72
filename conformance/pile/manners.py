"""What the kit's platform answers by itself; a case changes it to see what its pile does then."""

from dataclasses import dataclass
from typing import Final

from protocol.envelope import Counter
from protocol.fields import Message
from protocol.messages import (
    Alarm,
    AlarmAck,
    Boot,
    BootAck,
    FrameReceipt,
    LocalStart,
    LocalStartAck,
    MeterFrame,
    MeterReceipt,
    Settlement,
    SettlementAck,
    Time,
    TimeRequest,
)
from protocol.words import FrameResult, LocalStartResult, ReceiptWish, SettlementResult

_WISHES: Final = (ReceiptWish.LATER, ReceiptWish.NOW)


@dataclass
class Manners:
    """Which messages are answered, and how. ``clock_error_ms`` is added to every time the platform tells."""

    answers_boot: bool = True
    heartbeat_s: int = 60
    sample_s: int = 30
    reconnect_jitter_s: int = 0
    settlement: SettlementResult | None = SettlementResult.STORED
    local_start: LocalStartResult | None = LocalStartResult.ACCEPTED
    answers_alarm: bool = True
    answers_time: bool = True
    frames: FrameResult | None = FrameResult.STORED
    clock_error_ms: int = 0

    def boot_ack(self, now_ms: int) -> BootAck:
        """The answer to a boot."""
        return BootAck(
            time_ms=now_ms + self.clock_error_ms,
            heartbeat_s=self.heartbeat_s,
            sample_s=self.sample_s,
            reconnect_jitter_s=self.reconnect_jitter_s,
        )

    def answer(self, message: Message, now_ms: int, *, counter: Counter) -> Message | None:
        """What the platform says to this, if anything; `counter` is what it was sealed under."""
        if isinstance(message, Boot) and self.answers_boot:
            return self.boot_ack(now_ms)
        if isinstance(message, TimeRequest) and self.answers_time:
            return Time(time_ms=now_ms + self.clock_error_ms)
        if isinstance(message, Alarm) and self.answers_alarm:
            return AlarmAck(message.alarm_id, message.level, message.cleared_at_ms is not None)
        if isinstance(message, Settlement) and self.settlement is not None:
            return SettlementAck(message.session_id, self.settlement)
        if isinstance(message, LocalStart) and self.local_start is not None:
            return LocalStartAck(message.session_id, self.local_start)
        if isinstance(message, MeterFrame) and message.receipt in _WISHES and self.frames is not None:
            return MeterReceipt((FrameReceipt(*counter, self.frames),))
        return None
