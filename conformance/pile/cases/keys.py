"""A new device secret while the pile lives: written down first, answered under the new epoch."""

import secrets
import uuid
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability
from conformance.pile.subject import Pile
from conformance.pile.wire import Heard
from protocol.envelope import SECRET_BYTES
from protocol.messages import CommandAck, KeyRotate, MeterFrame, Settlement, StartAck
from protocol.words import CommandCause, CommandResult

cases: Final = Catalogue[Pile]()

_ROTATION: Final = clauses.KEYS.on("Rotation")


async def rotate(pile: Pile) -> Heard:
    """Give the pile the secret of the next epoch; gives how its answer came. Down goes on under the old epoch."""
    epoch = max(pile.wire.register.secrets)
    secret = secrets.token_bytes(SECRET_BYTES)
    command = KeyRotate(uuid.uuid4(), epoch + 1, secret, pile.expiry_ms())
    pile.wire.sealing_epoch = epoch
    pile.wire.say(command)
    pile.wire.register.secrets[epoch + 1] = secret
    answer, heard = await pile.wire.hear_frame(CommandAck, lambda ack: ack.command_id == command.command_id)
    check_equal("the answer", (answer.result, answer.cause), (CommandResult.DONE, None))
    return heard


def epochs_of(pile: Pile, after: int) -> set[int]:
    """The epochs of what came since a mark."""
    return {frame.opened.epoch for frame in pile.wire.heard[after:] if frame.opened is not None}


@cases.case(
    "key_rotate.answered-under-the-new-epoch", clause=_ROTATION, kind=Kind.NORMAL, needs=(Ability.HANDS,)
)
async def answered_under_the_new_epoch(pile: Pile) -> None:
    """The answer to key_rotate comes under the new epoch, and everything after it, in the middle of a session."""
    await pile.in_service()
    start = await pile.charging()
    old = pile.wire.epoch
    heard = await rotate(pile)
    check_equal("the epoch of the answer", heard.opened and heard.opened.epoch, old + 1)
    pile.wire.sealing_epoch = old + 1
    await pile.stopped(start)
    check_equal("the epochs after the answer", epochs_of(pile, heard.index), {old + 1})


@cases.case("key_rotate.counters-go-on", clause=_ROTATION, kind=Kind.NORMAL)
async def counters_go_on(pile: Pile) -> None:
    """Boot counter and sequence simply go on under the new epoch."""
    await pile.in_service()
    await pile.caught_up()
    last = next(frame.opened for frame in reversed(pile.wire.heard) if frame.opened is not None)
    heard = await rotate(pile)
    check(heard.opened is not None, "the answer does not open")
    assert heard.opened is not None
    check(heard.opened.counter > last.counter, f"{heard.opened.counter} follows {last.counter}")


@cases.case("key_rotate.both-epochs-down", clause=_ROTATION, kind=Kind.NORMAL)
async def both_epochs_down(pile: Pile) -> None:
    """The pile takes frames of both epochs until it has accepted one of the new, and of the new alone from then on."""
    await pile.in_service()
    await rotate(pile)
    old = pile.wire.epoch
    await pile.stopped(await pile.accepted())
    pile.wire.sealing_epoch = old + 1
    await pile.stopped(await pile.accepted())
    late = pile.a_start()
    pile.wire.send(pile.wire.sealed(late, epoch=old))
    await pile.caught_up()
    said = pile.wire.all(StartAck, lambda ack: ack.command_id == late.command_id)
    check_equal("the answers to a start under the old epoch", said, [])


@cases.case("key_rotate.wrong-epoch", clause=_ROTATION, kind=Kind.REFUSAL)
async def wrong_epoch(pile: Pile) -> None:
    """A secret of an epoch that is not the next one is refused, and the present one stays."""
    await pile.in_service()
    epoch = pile.wire.epoch
    after = pile.mark
    answer = await pile.acknowledged(
        KeyRotate(uuid.uuid4(), epoch + 2, bytes(SECRET_BYTES), pile.expiry_ms())
    )
    check_equal(
        "the answer", (answer.result, answer.cause), (CommandResult.REFUSED, CommandCause.WRONG_EPOCH)
    )
    await pile.stopped(await pile.accepted())
    check_equal("the epochs sealed under", epochs_of(pile, after), {epoch})


@cases.case(
    "key_rotate.backlog-and-power-cut",
    clause=_ROTATION,
    kind=Kind.POWER_FAIL,
    needs=(Ability.HANDS, Ability.POWER),
    physical_s=200,
)
async def backlog_and_power_cut(pile: Pile) -> None:
    """The new secret survives a power cut, and records from before it come under the new epoch."""
    pile.manners.settlement = None
    await pile.in_service()
    start = await pile.charging()
    await pile.hear(MeterFrame, within_s=pile.physically_s(60))
    first = await pile.stopped(start)
    await rotate(pile)
    after = pile.mark
    await pile.cut_power()
    again, heard = await pile.wire.hear_frame(Settlement, after=after)
    check_equal("the settlement from before the new key", again, first)
    check_equal("its epoch", heard.opened and heard.opened.epoch, pile.wire.epoch + 1)
    check_equal("the epochs after the power cut", epochs_of(pile, heard.index), {pile.wire.epoch + 1})
