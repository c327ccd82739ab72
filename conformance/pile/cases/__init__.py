"""Every case for piles, in the order of the protocol document."""

from typing import Final

from conformance.case import Case
from conformance.pile.cases import (
    boot,
    care,
    connection,
    enrolment,
    envelope,
    extend,
    firmware,
    host,
    keys,
    limits,
    local,
    metering,
    ports,
    receipts,
    refused_frames,
    relayed_frames,
    renewal,
    safety,
    service,
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
    *receipts.cases,
    *limits.cases,
    *extend.cases,
    *stop.cases,
    *settlement.cases,
    *street.cases,
    *safety.cases,
    *care.cases,
    *service.cases,
    *firmware.cases,
    *local.cases,
    *keys.cases,
    *renewal.cases,
    *host.cases,
    *relayed_frames.cases,
)
