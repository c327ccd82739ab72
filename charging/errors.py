"""Expected failures of the operating rules; the edges turn them into words and status codes.

ChargingError
├── SiteUnknown, PileUnknown, PortUnknown, SessionUnknown   nothing by that name
├── PileExists, PileIdInvalid                               registration refused
├── ClaimRefused, TooManyAttempts                           enrolment refused
├── CertificateRefused, RenewedTooOften                     renewal refused
├── ParentUnfit                                             a host this pile cannot stand behind
├── TransitionRefused                                       a state that may not follow
├── PortUnavailable                                         a start refused, with its cause
├── AmountRefused, AmountBuysNothing                        a prepayment outside its limits, or below any price
├── AlarmUnknown, LockUnknown, NoticeUnknown                nothing by that id
├── AlarmStillRaised                                        a lock that only an override lifts
├── ReleaseUnknown, RolloutUnknown, CardUnknown             nothing by that id
├── ReleaseRefused, ReleaseConflict                         firmware that is not what its maker signed, or not the first
├── RolloutRefused, RolloutOver                             a rollout that cannot begin, or has ended
├── CardExists                                              a number that is registered already
├── SettlementInconsistent                                  a settlement that contradicts itself
├── CommandUnknown, PileOutOfService                        no such command; no pile to command
├── SettingRefused, TariffUnshowable                        a configuration or a tariff no pile could take
├── ExtensionRefused                                        no more time or energy for a session
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
class TooManyAttempts(ChargingError):
    """Too many claim codes were refused to this pile, or to where the request came from."""

    pile_id: str

    def __str__(self) -> str:
        return f"too many refused claim codes for pile {self.pile_id!r}, or from its address"


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
class ReleaseUnknown(ChargingError):
    release_id: int

    def __str__(self) -> str:
        return f"no firmware release {self.release_id}"


@dataclass
class ReleaseRefused(ChargingError):
    """`what` is size, hash or signature."""

    what: str
    why: str

    def __str__(self) -> str:
        return self.why


@dataclass
class ReleaseConflict(ChargingError):
    model: str
    version: str

    def __str__(self) -> str:
        return f"version {self.version!r} of model {self.model!r} exists already and is another one"


@dataclass
class RolloutUnknown(ChargingError):
    rollout_id: UUID

    def __str__(self) -> str:
        return f"no rollout {self.rollout_id}"


@dataclass
class RolloutRefused(ChargingError):
    """`field` is what keeps it from beginning."""

    field: str
    why: str

    def __str__(self) -> str:
        return self.why


@dataclass
class RolloutOver(ChargingError):
    rollout_id: UUID
    state: str

    def __str__(self) -> str:
        return f"rollout {self.rollout_id} is {self.state}"


@dataclass
class CardUnknown(ChargingError):
    card_id: UUID

    def __str__(self) -> str:
        return f"no card {self.card_id}"


@dataclass
class CardExists(ChargingError):
    """The number itself is not named."""

    card_id: UUID

    def __str__(self) -> str:
        return f"this number is registered at this site already, as card {self.card_id}"


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


@dataclass
class CommandUnknown(ChargingError):
    command_id: UUID

    def __str__(self) -> str:
        return f"no command {self.command_id}"


@dataclass
class PileOutOfService(ChargingError):
    """`state` is one of PileState's values."""

    pile_id: str
    state: str

    def __str__(self) -> str:
        return f"pile {self.pile_id!r} takes no commands: it is {self.state}"


@dataclass
class SettingRefused(ChargingError):
    """`cause` is the protocol's word: unknown_key, out_of_range, contradiction."""

    pile_id: str
    key: str
    cause: str

    def __str__(self) -> str:
        return f"setting {self.key!r} of pile {self.pile_id!r} refused: {self.cause}"


@dataclass
class TariffUnshowable(ChargingError):
    tariff_version_id: int
    why: str

    def __str__(self) -> str:
        return f"tariff version {self.tariff_version_id} cannot be shown by a pile: {self.why}"


@dataclass
class ExtensionRefused(ChargingError):
    """`why` is one of session_not_running, below_present, too_long."""

    session_id: UUID
    why: str

    def __str__(self) -> str:
        return f"session {self.session_id} cannot be extended: {self.why}"
