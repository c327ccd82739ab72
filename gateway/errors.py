"""Errors of the gateway.

GatewayError
├── BrokerUrlInvalid        the broker's address cannot be used; stops a start
├── BrokerRefused           the broker does not want a connection; tried again later
├── LinkLost                a connection to the broker ended or broke its rules; a link makes another
├── LaneRangeInvalid        lanes that do not divide the shards; stops a start
└── EnrolmentRefused        a pile gets no certificate; answered with its code
"""

from dataclasses import dataclass
from enum import StrEnum


class GatewayError(Exception):
    """Base of the gateway's errors."""


@dataclass
class BrokerUrlInvalid(GatewayError):
    url: str

    def __str__(self) -> str:
        return f"broker address {self.url!r} is not mqtts://host[:port] (mqtt:// only to 127.0.0.1, ::1, localhost)"


@dataclass
class BrokerRefused(GatewayError):
    reason: str

    def __str__(self) -> str:
        return f"the broker answered {self.reason}"


@dataclass
class LinkLost(GatewayError):
    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass
class LaneRangeInvalid(GatewayError):
    lane: int
    lane_count: int

    def __str__(self) -> str:
        return f"lane {self.lane} of {self.lane_count}: the count must divide 64 and the lane lie below it"


class Refusal(StrEnum):
    """Why the gateway refuses a frame, beside the protocol's own reasons; the words are stored with it."""

    UNKNOWN_PILE = "unknown_pile"
    PILE_REVOKED = "pile_revoked"
    PILE_QUARANTINED = "pile_quarantined"
    PILE_NOT_ENROLLED = "pile_not_enrolled"
    FOREIGN_SHARD = "foreign_shard"
    REPLAYED = "replayed"
    UNKNOWN_MESSAGE = "unknown_message"
    COUNTER_REUSED = "counter_reused"
    FLOODING = "flooding"
    NOT_THIS_HOSTS_CHILD = "not_this_hosts_child"
    SETTLEMENT_INCONSISTENT = "settlement_inconsistent"
    HANDLER_ERROR = "handler_error"


class EnrolmentFault(StrEnum):
    """Why an enrolment or a renewal was refused; the words are part of the device contract."""

    REQUEST_INVALID = "request_invalid"
    CSR_INVALID = "csr_invalid"
    CLAIM_REFUSED = "claim_refused"
    CERTIFICATE_REQUIRED = "certificate_required"
    CERTIFICATE_REFUSED = "certificate_refused"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    UNAVAILABLE = "unavailable"


@dataclass
class EnrolmentRefused(GatewayError):
    fault: EnrolmentFault
    message: str

    def __str__(self) -> str:
        return self.message
