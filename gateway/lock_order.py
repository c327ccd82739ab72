"""A batch in the order the platform locks."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from gateway.hearing import Heard
from protocol import messages

_ANSWERS = (messages.StopAck, messages.CommandAck)
_MONEY = (
    messages.StartAck,
    messages.Started,
    messages.ExtendAck,
    messages.LocalStart,
    messages.Settlement,
    messages.Alarm,
)


@dataclass
class LockOrder:
    """What was heard, sorted: ports, sessions, accounts; wills after all a pile said before.

    Messages commute, so each kind keeps its order of arrival and nothing more is needed.
    """

    reports: list[Heard] = field(default_factory=list[Heard])
    meter_frames: list[Heard] = field(default_factory=list[Heard])
    money: list[Heard] = field(default_factory=list[Heard])
    answers: list[Heard] = field(default_factory=list[Heard])
    wills: list[Heard] = field(default_factory=list[Heard])

    @classmethod
    def of(cls, heard: Iterable[Heard]) -> "LockOrder":
        """Sort what was heard."""
        order = cls()
        for one in heard:
            message = one.message
            if isinstance(message, messages.MeterFrame):
                order.meter_frames.append(one)
            elif isinstance(message, messages.Gone):
                order.wills.append(one)
            elif isinstance(message, _ANSWERS):
                order.answers.append(one)
            elif isinstance(message, _MONEY):
                order.money.append(one)
            else:
                order.reports.append(one)
        return order

    @property
    def touches_piles(self) -> bool:
        """Whether a pile's row may change by more than that the pile was heard of."""
        return bool(self.reports or self.money or self.wills)

    def sessions(self) -> set[UUID]:
        """The sessions whose money may move."""
        named = (getattr(heard.message, "session_id", None) for heard in self.money)
        return {session_id for session_id in named if session_id is not None}

    def alarmed_piles(self) -> set[str]:
        """Piles of whose sessions any may be stopped."""
        return {heard.pile_id for heard in self.money if isinstance(heard.message, messages.Alarm)}
