"""Expected failures of the operating rules; the edges turn them into words and status codes.

ChargingError
├── SiteUnknown, PileUnknown, PortUnknown, SessionUnknown   nothing by that name
├── PileExists, PileIdInvalid                               registration refused
├── ClaimRefused                                            enrolment refused
├── CertificateRefused, RenewedTooOften                     renewal refused
├── ParentUnfit                                             a host this pile cannot stand behind
├── TransitionRefused                                       a state that may not follow
├── PortUnavailable                                         a start refused, with its cause
├── AmountRefused, AmountBuysNothing                        a prepayment outside its limits, or below any price
├── AlarmUnknown, LockUnknown, NoticeUnknown                nothing by that id
├── AlarmStillRaised                                        a lock that only an override lifts
├── SettlementInconsistent                                  a settlement that contradicts itself
└── SecretUnreadable                                        a device secret the key in use cannot open
"""

from dataclasses import dataclass
from uuid import UUID


class ChargingError(Exception):
    """Base of every expected failure in charging."""


@dataclass
class SiteUnknown(ChargingError):
    site_id: str

    def __str__(self) -> str:
        return f"no site {self.site_id!r}"


@dataclass
class PileUnknown(ChargingError):
    pile_id: str

    def __str__(self) -> str:
        return f"no pile {self.pile_id!r}"


@dataclass
class PortUnknown(ChargingError):
    pile_id: str
    port_no: int

    def __str__(self) -> str:
        return f"pile {self.pile_id!r} has no port {self.port_no}"


@dataclass
class SessionUnknown(ChargingError):
    session_id: UUID

    def __str__(self) -> str:
        return f"no session {self.session_id}"


@dataclass
class PileExists(ChargingError):
    pile_id: str

    def __str__(self) -> str:
        return f"pile {self.pile_id!r} is registered already"


@dataclass
class PileIdInvalid(ChargingError):
    pile_id: str

    def __str__(self) -> str:
        return f"pile id {self.pile_id!r} is not 1 to 64 of A-Z a-z 0-9 _ -"


@dataclass
class ClaimRefused(ChargingError):
    """The code is unknown, used, expired, of another pile, or guessed too often; callers are not told which."""

    pile_id: str

    def __str__(self) -> str:
        return f"claim code refused for pile {self.pile_id!r}"


@dataclass
class CertificateRefused(ChargingError):
    """The presented certificate is revoked or not on the books, or its pile is shut out."""

    pile_id: str

    def __str__(self) -> str:
        return f"the certificate presented for pile {self.pile_id!r} is not good any more"


@dataclass
class RenewedTooOften(ChargingError):
    pile_id: str

    def __str__(self) -> str:
        return f"pile {self.pile_id!r} asked for too many certificates today"


@dataclass
class ParentUnfit(ChargingError):
    """The host is unknown, stands elsewhere, or is behind a host itself."""

    pile_id: str
    parent_pile_id: str

    def __str__(self) -> str:
        return f"pile {self.pile_id!r} cannot stand behind {self.parent_pile_id!r}"


@dataclass
class TransitionRefused(ChargingError):
    pile_id: str
    from_state: str
    to_state: str

    def __str__(self) -> str:
        return f"pile {self.pile_id!r} is {self.from_state} and cannot become {self.to_state}"


@dataclass
class PortUnavailable(ChargingError):
    """`cause` is one of StartFailure's values."""

    pile_id: str
    port_no: int
    cause: str

    def __str__(self) -> str:
        return f"port {self.port_no} of pile {self.pile_id!r} cannot start: {self.cause}"


@dataclass
class AmountRefused(ChargingError):
    amount_fen: int
    least_fen: int
    most_fen: int

    def __str__(self) -> str:
        return f"prepayment of {self.amount_fen} fen is outside {self.least_fen} to {self.most_fen} fen"


@dataclass
class AmountBuysNothing(ChargingError):
    amount_fen: int

    def __str__(self) -> str:
        return f"a prepayment of {self.amount_fen} fen buys no energy at this site's tariff"


@dataclass
class AlarmUnknown(ChargingError):
    pile_id: str
    alarm_id: UUID

    def __str__(self) -> str:
        return f"pile {self.pile_id!r} has told of no alarm {self.alarm_id}"


@dataclass
class LockUnknown(ChargingError):
    lock_id: int

    def __str__(self) -> str:
        return f"no lock {self.lock_id}"


@dataclass
class NoticeUnknown(ChargingError):
    notice_id: int

    def __str__(self) -> str:
        return f"no notice {self.notice_id}"


@dataclass
class AlarmStillRaised(ChargingError):
    pile_id: str
    kind: str

    def __str__(self) -> str:
        return f"pile {self.pile_id!r} still measures {self.kind}; lifting it needs an override"


@dataclass
class SettlementInconsistent(ChargingError):
    session_id: UUID
    why: str

    def __str__(self) -> str:
        return f"settlement of session {self.session_id}: {self.why}"


@dataclass
class SecretUnreadable(ChargingError):
    pile_id: str
    epoch: int

    def __str__(self) -> str:
        return f"secret {self.epoch} of pile {self.pile_id!r} does not open with this key-encryption key"
