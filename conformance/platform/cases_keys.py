"""New secrets in the middle of everything, new certificates, and the end of a pile's rights."""

import asyncio
import secrets as randomness
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, NotPossible, check, check_equal
from conformance.platform import records
from conformance.platform.bench import Capability
from conformance.platform.enrolling import new_key, request_pem
from conformance.platform.puppet import Puppet
from conformance.platform.scene import Scene
from conformance.platform.wire import NotLetIn
from protocol import messages
from protocol.words import CommandResult, SettlementResult

cases: Final = Catalogue[Scene]()

ROTATION: Final = clauses.KEYS.on("Rotation")
REVOCATION: Final = clauses.KEYS.on("Revocation")
RENEWAL: Final = clauses.KEYS.on("Renewal")
ROTATES: Final = (Capability.KEY_ROTATION,)
CUT_WITHIN_S: Final = 5.0
SLACK_S: Final = 5.0
"""For a busy machine, on top of what the contract says."""
KEPT: Final = SettlementResult.UNKNOWN_SESSION_KEPT


async def _offer(scene: Scene, pile: Puppet) -> messages.KeyRotate:
    await scene.ask(scene.bench.rotate_key, pile.pile_id)
    return await pile.hear(messages.KeyRotate)


async def _take(pile: Puppet, offer: messages.KeyRotate) -> None:
    """Write the new secret down, and answer under it."""
    pile.secrets[offer.epoch] = offer.secret
    pile.epoch = offer.epoch
    await pile.say(
        messages.CommandAck(command_id=offer.command_id, result=CommandResult.DONE, at_ms=pile.now_ms)
    )


@cases.case("rotation.goes-on-under-the-new-secret", clause=ROTATION, kind=Kind.NORMAL, needs=ROTATES)
async def goes_on_under_the_new_secret(scene: Scene) -> None:
    """A new secret of the next epoch is offered under the present one; once used, both sides go on under it."""
    pile = await scene.pile()
    old = pile.epoch
    offer = await _offer(scene, pile)
    check_equal("the epoch offered", offer.epoch, old + 1)
    check(offer.secret != pile.secrets[old], "the secret offered is the old one")
    await _take(pile, offer)
    await pile.expect_settled(pile.stray_settlement(), KEPT)
    await pile.say(messages.TimeRequest(at_ms=pile.now_ms))
    heard = await pile.hear_frame(messages.Time)
    check_equal("the epoch of frames down", heard.epoch, offer.epoch)
    await pile.hears_no(messages.KeyRotate, for_s=6)


@cases.case("rotation.old-secret-until-the-new-is-used", clause=ROTATION, kind=Kind.OFFLINE, needs=ROTATES)
async def old_secret_until_the_new_is_used(scene: Scene) -> None:
    """A pile whose offer was lost goes on under the old secret, both ways; the offer comes again as it was."""
    pile = await scene.pile()
    old = pile.epoch
    offer = await _offer(scene, pile)
    await pile.say(messages.TimeRequest(at_ms=pile.now_ms))
    heard = await pile.hear_frame(messages.Time)
    check_equal("the epoch of frames down", heard.epoch, old)
    again = await pile.hear(messages.KeyRotate)
    check_equal("the offer that came again", again, offer)
    await _take(pile, again)
    await pile.fence()


@cases.case(
    "rotation.backlog-under-the-old-secret",
    clause=ROTATION,
    kind=Kind.OFFLINE,
    needs=(*ROTATES, Capability.ORDERS, Capability.SESSIONS),
)
async def backlog_under_the_old_secret(scene: Scene) -> None:
    """In the middle of a charge: readings and a settlement sealed before the rotation are read after it."""
    charge = await scene.charge()
    pile = charge.pile
    backlog = [pile.seal(charge.reading(after_s=20 * number, energy_dwh=10 * number)) for number in (1, 2, 3)]
    record = pile.seal(charge.record())
    await _take(pile, await _offer(scene, pile))
    await pile.fence()
    for frame in (*backlog, record):
        await pile.publish(frame)
    check_equal("the answer", await pile.settled(charge.session_id), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("rotation.survives-a-power-cut", clause=ROTATION, kind=Kind.POWER_FAIL, needs=ROTATES)
async def survives_a_power_cut(scene: Scene) -> None:
    """A pile that stored the new secret and lost its power before answering boots under it, and is answered."""
    pile = await scene.pile()
    offer = await _offer(scene, pile)
    pile.secrets[offer.epoch] = offer.secret
    await pile.cut_power()
    pile.epoch = offer.epoch
    await pile.connect()
    await pile.boots()
    await pile.say(messages.TimeRequest(at_ms=pile.now_ms))
    heard = await pile.hear_frame(messages.Time)
    check_equal("the epoch of frames down", heard.epoch, offer.epoch)


@cases.case("rotation.not-offered-secret-is-refused", clause=ROTATION, kind=Kind.REFUSAL)
async def not_offered_secret_is_refused(scene: Scene) -> None:
    """A frame under an epoch the platform never offered changes nothing."""
    pile = await scene.pile()
    record, present = pile.stray_settlement(), pile.epoch
    pile.epoch += 1
    pile.secrets[pile.epoch] = randomness.token_bytes(32)
    await pile.publish(pile.seal(record))
    pile.epoch = present
    await pile.expect_settled(record, KEPT)


async def _expect_cut(pile: Puppet) -> None:
    cut = await pile.live.wait_lost(within_s=CUT_WITHIN_S + SLACK_S)
    check(cut, f"the connection still stands {CUT_WITHIN_S + SLACK_S:.0f} s later")


async def _expect_unheard(pile: Puppet) -> None:
    """Once the 5 s are over, nobody answers whatever the pile tries."""
    await asyncio.sleep(CUT_WITHIN_S)
    try:
        await pile.try_connect()
    except NotLetIn:
        return
    await pile.subscribe()
    if not pile.live.lost.is_set():
        await pile.publish(pile.seal(pile.boot_message()))
    await pile.hears_no(messages.BootAck, for_s=3)


@cases.case(
    "revocation.cuts-the-pile-off",
    clause=REVOCATION,
    kind=Kind.REFUSAL,
    needs=[Capability.REVOCATION],
    limit_s=60,
)
async def cuts_the_pile_off(scene: Scene) -> None:
    """A revoked pile's connection is cut within 5 s; it is not heard again, nor enrolled with its old code."""
    claim, key = await scene.claim(), new_key()
    pile = await scene.enrol(claim, key=key)
    await pile.comes_into_service()
    await scene.ask(scene.bench.revoke, pile.pile_id)
    await _expect_cut(pile)
    await _expect_unheard(pile)
    csr = request_pem(claim.pile_id, key=key)
    answer = await scene.ask(scene.desk.ask, claim.pile_id, claim.code, csr)
    check_equal("the status of enrolling again", answer.status_code, 403)


@cases.case(
    "quarantine.shuts-out-and-lets-back",
    clause=REVOCATION,
    kind=Kind.REFUSAL,
    needs=[Capability.QUARANTINE],
    limit_s=90,
)
async def quarantine_shuts_out(scene: Scene) -> None:
    """A quarantined pile is cut off within 5 s and not heard; let back, it boots and is answered."""
    pile = await scene.pile()
    await scene.ask(scene.bench.quarantine, pile.pile_id)
    await _expect_cut(pile)
    await _expect_unheard(pile)
    await pile.leave()
    await scene.ask(scene.bench.release, pile.pile_id)
    await scene.until_let_in(pile)
    await pile.boots()


@cases.case("renewal.gives-the-next-certificate", clause=RENEWAL, kind=Kind.NORMAL)
async def gives_the_next_certificate(scene: Scene) -> None:
    """Over mutual TLS the pile gets a certificate for a new key; both work, and secret and epoch stay."""
    pile = await scene.pile()
    key = new_key()
    answer = await scene.renew(pile, request_pem(pile.pile_id, key=key))
    if answer.status_code == 404:
        raise NotPossible("the platform does not renew certificates")
    check_equal("the status", answer.status_code, 200)
    await pile.fence()
    pile.use_certificate(answer.json()["certificate_chain_pem"], key)
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    await pile.fence()


@cases.case("renewal.is-for-the-pile-itself", clause=RENEWAL, kind=Kind.REFUSAL)
async def is_for_the_pile_itself(scene: Scene) -> None:
    """Nobody renews without a certificate, and nobody in another's name."""
    pile, other = await scene.pile(), await scene.pile()
    foreign = await scene.renew(pile, request_pem(other.pile_id, key=new_key()))
    if foreign.status_code == 404:
        raise NotPossible("the platform does not renew certificates")
    check_equal("the status of renewing for another", foreign.status_code, 400)
    nobody = await scene.renew(None, request_pem(pile.pile_id, key=new_key()))
    check(nobody.status_code in (400, 401, 403), f"without a certificate the status is {nobody.status_code}")
    await pile.fence()
