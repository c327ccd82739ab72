"""Every case for piles, in the order of the protocol document."""

from typing import Final

from conformance.case import Case
from conformance.pile.cases import boot, connection, enrolment, envelope, ports
from conformance.pile.subject import Pile

ALL: Final[tuple[Case[Pile], ...]] = (
    *enrolment.cases,
    *connection.cases,
    *envelope.cases,
    *boot.cases,
    *ports.cases,
)
