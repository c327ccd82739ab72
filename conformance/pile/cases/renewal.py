"""The certificate's renewal: in its last third, with the present one, while the pile goes on with its work."""

from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.authority import BEFORE_LAST_THIRD, IN_LAST_THIRD, YOUNG
from conformance.pile.bench import Ability
from conformance.pile.cases.connection import cut_network
from conformance.pile.cases.host import settled
from conformance.pile.cases.keys import epochs_of
from conformance.pile.desk import LOST, OTHER_KEY, Application, Renewals
from conformance.pile.subject import Pile
from conformance.pile.wire import ANSWER_LIMIT_S
from protocol.messages import Boot, Heartbeat, MeterFrame

cases: Final = Catalogue[Pile]()

_RENEWAL: Final = clauses.ENROLMENT.on("Renewal")
_FRESH: Final = (Ability.FRESH,)
_POWER: Final = (Ability.FRESH, Ability.POWER)
_REFUSED: Final = 403
_UNAVAILABLE: Final = 503
_FEW: Final = 4
_LATER_S: Final = 3
_ASK_LIMIT_S: Final = 20.0
_FIRST_WAITS_S: Final = (0.5, 1.0, 2.0)
"""The shortest waits before the second, third and fourth request: 1 s, 2 s, 4 s less a half."""
_TICK_S: Final = 0.1


def due(pile: Pile, *treatments: int, held: int | None = None) -> Renewals:
    """Let the pile enrol with a certificate that is in its last third, and treat its requests for the next one so."""
    pile.wire.register.life = IN_LAST_THIRD
    renewals = pile.wire.register.renewals
    renewals.spoiled.extend(treatments)
    renewals.held = held
    return renewals


def enrolled(pile: Pile) -> int:
    """The serial number of the certificate that enrolment gave."""
    serial = pile.wire.register.applications[-1].issued
    check(serial is not None, "the pile is not enrolled")
    return serial or 0


async def asked(pile: Pile, times: int = 1, *, within_s: float = _ASK_LIMIT_S) -> Application:
    """Wait until the pile has asked so often for its next certificate; gives the last of these requests."""
    requests = pile.wire.register.renewals.requests
    await pile.wire.until(
        lambda: len(requests) >= times,
        lambda: f"{len(requests)} requests for a new certificate came, not {times}, within {within_s:.0f} s",
        within_s=within_s,
    )
    return requests[times - 1]


async def connected_with(pile: Pile, serial: int, *, within_s: float = ANSWER_LIMIT_S) -> None:
    """Wait until the pile has a connection made with this certificate."""
    calls = pile.wire.tap.calls
    await pile.wire.until(
        lambda: any(call.certificate == serial and call.subscriptions and not call.over for call in calls),
        lambda: (
            f"no connection with certificate {serial:x}; there were {[f'{c.certificate:x}' for c in calls]}"
        ),
        within_s=within_s,
    )


@cases.case("renewal.asks-in-the-last-third", clause=_RENEWAL, kind=Kind.NORMAL, needs=_FRESH)
async def asks_in_the_last_third(pile: Pile) -> None:
    """In the last third of its certificate's life the pile posts a request, with its present one in the handshake."""
    due(pile)
    await pile.power_up()
    request = await asked(pile)
    check_equal("the certificate it came with", request.presented, enrolled(pile))
    check_equal("the status", (request.status, request.error), (200, ""))
    check_equal("the fields", set(request.fields), {"csr_pem"})
    check("content-length" in request.headers, "the request has no Content-Length")
    kind = request.headers.get("content-type", "").partition(";")[0]
    check_equal("the type of the request's body", kind, "application/json")


@cases.case("renewal.not-before-the-last-third", clause=_RENEWAL, kind=Kind.NORMAL, needs=_POWER)
async def not_before_the_last_third(pile: Pile) -> None:
    """A certificate with two fifths of its life before it is not renewed yet, at no boot and on no connection."""
    pile.wire.register.life = BEFORE_LAST_THIRD
    await pile.in_service()
    after = pile.mark
    await pile.cut_power()
    await pile.ports_reported(after=after)
    await cut_network(pile)
    await pile.caught_up()
    check_equal("the number of requests", len(pile.wire.register.renewals.requests), 0)


@cases.case("renewal.connects-anew-with-it", clause=_RENEWAL, kind=Kind.NORMAL, needs=_FRESH)
async def connects_anew_with_it(pile: Pile) -> None:
    """In service with the old certificate, the pile connects anew with the new one: no boot, same secret and epoch."""
    renewals = due(pile, held=_UNAVAILABLE)
    await pile.in_service()
    await connected_with(pile, enrolled(pile))
    epoch, after = pile.wire.epoch, pile.mark
    renewals.held = None
    await pile.wire.until(
        lambda: bool(renewals.granted()), lambda: "no request was granted", within_s=_ASK_LIMIT_S
    )
    await connected_with(pile, renewals.granted()[-1])
    await pile.hear(Heartbeat, after=after)
    await pile.caught_up()
    check_equal("the boots since", pile.wire.all(Boot, after=after), [])
    check_equal("the epochs since", epochs_of(pile, after), {epoch})
    check_equal("the number of enrolments", len(pile.wire.register.applications), 1)
    check_equal("the certificates granted", len(renewals.granted()), 1)


@cases.case(
    "renewal.goes-on-charging",
    clause=_RENEWAL,
    kind=Kind.NORMAL,
    needs=(Ability.FRESH, Ability.HANDS),
    physical_s=100,
)
async def goes_on_charging(pile: Pile) -> None:
    """A session runs on while the certificate is asked for, refused, given and put to use, and loses no sample."""
    renewals = due(pile, held=_UNAVAILABLE)
    pile.manners.sample_s = 10
    await pile.in_service()
    start = await pile.charging()
    await pile.hear(MeterFrame, nth=2, within_s=pile.physically_s(60))
    before, after = len(renewals.requests), pile.mark
    renewals.held = None
    await asked(pile, before + 1)
    await connected_with(pile, renewals.requests[-1].issued or 0)
    await pile.hear(Heartbeat, after=after)
    check_equal("the boots since", pile.wire.all(Boot, after=after), [])
    back_ms = pile.clock.now_ms()
    await pile.hear(MeterFrame, lambda frame: frame.sampled_at_ms > back_ms, within_s=pile.physically_s(60))
    record = await settled(pile, start)
    check(record.energy_dwh > 0, "no energy was settled")


@cases.case("renewal.lost-answers", clause=_RENEWAL, kind=Kind.OFFLINE, needs=_FRESH)
async def lost_answers(pile: Pile) -> None:
    """Without an answer the pile asks again after 1 s, 2 s and 4 s, less up to a half, still with its present one."""
    renewals = due(pile, LOST, LOST, LOST)
    await pile.power_up()
    await asked(pile, _FEW)
    requests = renewals.requests
    check_equal("the certificates it came with", {one.presented for one in requests}, {enrolled(pile)})
    for place, shortest_s in enumerate(_FIRST_WAITS_S):
        waited_s = requests[place + 1].at_s - requests[place].at_s
        check(
            waited_s > shortest_s - _TICK_S,
            f"after {place + 1} lost answers it asked within {waited_s:.1f} s",
        )
    await connected_with(pile, renewals.granted()[-1])


@cases.case("renewal.waits-as-it-is-told", clause=_RENEWAL, kind=Kind.REFUSAL, needs=_FRESH)
async def waits_as_it_is_told(pile: Pile) -> None:
    """A pile that is told 503 or 429 asks again no sooner than `Retry-After` says, and in the end has the new one."""
    pile.wire.register.retry_after_s = _LATER_S
    renewals = due(pile, 503, 429)
    await pile.power_up()
    await asked(pile, 3)
    first, second, third = renewals.requests
    for earlier, later in ((first, second), (second, third)):
        waited_s = later.at_s - earlier.at_s
        check(waited_s > _LATER_S - _TICK_S, f"told to wait {_LATER_S} s it asked after {waited_s:.1f} s")
    await connected_with(pile, renewals.granted()[-1])


@cases.case("renewal.refused-for-good", clause=_RENEWAL, kind=Kind.REFUSAL, needs=_FRESH)
async def refused_for_good(pile: Pile) -> None:
    """A pile that is refused keeps its present certificate, connects with it again and goes on with its work."""
    renewals = due(pile, held=_REFUSED)
    await pile.in_service()
    await asked(pile)
    await pile.stopped(await pile.accepted())
    call = await cut_network(pile)
    check_equal("the certificate it connects with", call.certificate, enrolled(pile))
    await pile.stopped(await pile.accepted())
    check(len(renewals.requests) < _FEW, f"it asked {len(renewals.requests)} times though it was refused")


@cases.case("renewal.certificate-for-another-key", clause=_RENEWAL, kind=Kind.REFUSAL, needs=_POWER)
async def certificate_for_another_key(pile: Pile) -> None:
    """A certificate for a key that is not the pile's is not taken: the present one serves on, over a power cut too."""
    renewals = due(pile, OTHER_KEY, held=_UNAVAILABLE)
    await pile.in_service()
    await asked(pile)
    call = await cut_network(pile)
    check_equal("the certificate it connects with", call.certificate, enrolled(pile))
    after = pile.mark
    await pile.cut_power()
    await pile.ports_reported(after=after)
    check_equal("the certificate after a power cut", pile.wire.tap.calls[-1].certificate, enrolled(pile))
    renewals.held = None
    await pile.wire.until(lambda: bool(renewals.granted()), lambda: "it asked no more", within_s=_ASK_LIMIT_S)
    await connected_with(pile, renewals.granted()[-1])


@cases.case("renewal.power-cut-before-the-answer", clause=_RENEWAL, kind=Kind.POWER_FAIL, needs=_POWER)
async def power_cut_before_the_answer(pile: Pile) -> None:
    """A power cut while the pile waits for its answer costs nothing: it asks again with the present certificate."""
    renewals = due(pile, LOST, LOST)
    await pile.in_service()
    await asked(pile)
    await pile.cut_power()
    await pile.wire.until(
        lambda: bool(renewals.granted()),
        lambda: "it asked no more after the power cut",
        within_s=_ASK_LIMIT_S,
    )
    check_equal(
        "the certificates it came with", {one.presented for one in renewals.requests}, {enrolled(pile)}
    )
    await connected_with(pile, renewals.granted()[-1])


@cases.case("renewal.power-cut-at-the-answer", clause=_RENEWAL, kind=Kind.POWER_FAIL, needs=_POWER)
async def power_cut_at_the_answer(pile: Pile) -> None:
    """Without power at the moment of the answer the pile comes back with a certificate, and ends with a new one."""
    renewals = due(pile)
    await pile.power_up()
    await asked(pile)
    after = pile.mark
    await pile.cut_power()
    await pile.ports_reported(after=after)
    await connected_with(pile, renewals.granted()[-1])
    check(
        {one.presented for one in renewals.requests} <= {enrolled(pile), *renewals.granted()},
        "an unknown one",
    )


@cases.case("renewal.outlives-power-cuts", clause=_RENEWAL, kind=Kind.POWER_FAIL, needs=_POWER)
async def outlives_power_cuts(pile: Pile) -> None:
    """The new certificate is kept over power cuts, and is not asked for again."""
    renewals = due(pile)
    await pile.in_service()
    await asked(pile)
    await connected_with(pile, renewals.granted()[-1])
    for _ in range(2):
        after = pile.mark
        await pile.cut_power(0.1)
        await pile.ports_reported(after=after)
        check_equal(
            "the certificate after a power cut", pile.wire.tap.calls[-1].certificate, renewals.granted()[-1]
        )
    check_equal("the number of requests", len(renewals.requests), 1)


@cases.case("renewal.comes-with-its-newest", clause=_RENEWAL, kind=Kind.NORMAL, needs=_POWER)
async def comes_with_its_newest(pile: Pile) -> None:
    """The next renewal is asked for with the certificate the last one gave: the one before it may serve no more."""
    renewals = due(pile, 200, held=_UNAVAILABLE)
    renewals.life = IN_LAST_THIRD
    await pile.in_service()
    first = await asked(pile)
    await connected_with(pile, first.issued or 0)
    renewals.life, renewals.held = YOUNG, None
    await pile.cut_power()
    await pile.wire.until(
        lambda: len(renewals.granted()) > 1, lambda: "the second was not asked for", within_s=_ASK_LIMIT_S
    )
    late = [one.presented for one in renewals.requests[1:]]
    check_equal("the certificates it came with", set(late), {first.issued})
    await connected_with(pile, renewals.granted()[-1])
