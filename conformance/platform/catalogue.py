"""Every case a platform is held to, in the order of the contract's subjects."""

from typing import Final

from conformance.case import Case
from conformance.platform import (
    cases_body,
    cases_care,
    cases_charge,
    cases_clearing,
    cases_codes,
    cases_enrolment,
    cases_envelope,
    cases_firmware,
    cases_hosts,
    cases_isolation,
    cases_keys,
    cases_link,
    cases_local,
    cases_receipts,
    cases_safety,
    cases_settlement,
)
from conformance.platform.scene import Scene

CASES: Final[tuple[Case[Scene], ...]] = (
    *cases_enrolment.cases,
    *cases_isolation.cases,
    *cases_envelope.cases,
    *cases_body.cases,
    *cases_link.cases,
    *cases_charge.cases,
    *cases_receipts.cases,
    *cases_settlement.cases,
    *cases_local.cases,
    *cases_codes.cases,
    *cases_safety.cases,
    *cases_clearing.cases,
    *cases_care.cases,
    *cases_firmware.cases,
    *cases_keys.cases,
    *cases_hosts.cases,
)
TOTAL_LIMIT_S: Final = 600.0
"""For the whole run, in real seconds; on a clock of an hour a second it takes little more than one minute."""
