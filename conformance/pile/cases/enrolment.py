"""Enrolment: what a pile posts, and how it gets through lost answers, refusals and power cuts."""

from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability
from conformance.pile.subject import Pile

cases: Final = Catalogue[Pile]()

_FRESH: Final = (Ability.FRESH,)
_LATER_S: Final = 3


@cases.case("enrolment.request-is-well-formed", clause=clauses.ENROLMENT, kind=Kind.NORMAL, needs=_FRESH)
async def request_is_well_formed(pile: Pile) -> None:
    """The pile posts its id, its claim code and a PKCS#10 request for its own P-256 key."""
    await pile.power_up()
    (application,) = pile.wire.register.applications
    check_equal("the status of the first request", application.status, 200)
    unknown = set(application.fields) - {"pile_id", "claim_code", "csr_pem"}
    check_equal("the fields nobody asked for", unknown, set[str]())
    check("content-length" in application.headers, "the request has no Content-Length")
    kind = application.headers.get("content-type", "").partition(";")[0]
    check_equal("the type of the request's body", kind, "application/json")


@cases.case(
    "enrolment.lost-answer-repeats-same-key", clause=clauses.ENROLMENT, kind=Kind.OFFLINE, needs=_FRESH
)
async def lost_answer_repeats_same_key(pile: Pile) -> None:
    """A pile whose answer is lost asks again with the same key, and lives by the last answer as a whole."""
    pile.wire.register.spoiled.extend((0, 0))
    await pile.power_up()
    applications = pile.wire.register.applications
    check_equal("the number of requests", len(applications), 3)
    keys = {str(application.fields.get("csr_pem")) for application in applications}
    codes = {str(application.fields.get("claim_code")) for application in applications}
    check_equal("the number of different certificate requests", len(keys), 1)
    check_equal("the number of different claim codes", len(codes), 1)
    heard = pile.wire.heard[0]
    check(heard.opened is not None, f"the first frame does not open: {heard.error}")
    check_equal("the epoch the pile seals under", heard.opened and heard.opened.epoch, 3)


@cases.case("enrolment.waits-when-refused-for-now", clause=clauses.ENROLMENT, kind=Kind.REFUSAL, needs=_FRESH)
async def waits_when_refused_for_now(pile: Pile) -> None:
    """A pile that is told 503 or 429 asks again later, and is enrolled in the end."""
    pile.wire.register.spoiled.extend((503, 429))
    await pile.power_up()
    statuses = [application.status for application in pile.wire.register.applications]
    check_equal("what the pile's requests were answered", statuses, [503, 429, 200])


@cases.case("enrolment.waits-as-it-is-told", clause=clauses.ENROLMENT, kind=Kind.REFUSAL, needs=_FRESH)
async def waits_as_it_is_told(pile: Pile) -> None:
    """A pile that is told 503 asks again no sooner than `Retry-After` says."""
    pile.wire.register.retry_after_s = _LATER_S
    pile.wire.register.spoiled.append(503)
    await pile.power_up()
    first, second = pile.wire.register.applications
    waited_s = second.at_s - first.at_s
    check(waited_s > _LATER_S - 0.1, f"told to wait {_LATER_S} s it asked after {waited_s:.1f} s")


@cases.case(
    "enrolment.survives-power-cut",
    clause=clauses.IDENTITY,
    kind=Kind.POWER_FAIL,
    needs=(Ability.FRESH, Ability.POWER),
)
async def survives_power_cut(pile: Pile) -> None:
    """An enrolled pile keeps key, certificate, secret and broker over a power cut and does not enrol again."""
    await pile.in_service()
    await pile.cut_power()
    check_equal("the number of enrolments", len(pile.wire.register.applications), 1)
