"""Every case for piles, in the order of the protocol document."""

from typing import Final

from conformance.case import Case
from conformance.pile.cases import (
    boot,
    connection,
    enrolment,
    envelope,
    limits,
    metering,
    ports,
    refused_frames,
    settlement,
    start,
    stop,
    street,
)
from conformance.pile.subject import Pile

ALL: Final[tuple[Case[Pile], ...]] = (
    *enrolment.cases,
    *connection.cases,
    *envelope.cases,
    *refused_frames.cases,
    *boot.cases,
    *ports.cases,
    *start.cases,
    *metering.cases,
    *limits.cases,
    *stop.cases,
    *settlement.cases,
    *street.cases,
)
