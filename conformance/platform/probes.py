"""Frames that carry the settlement of a session nobody sold, to see whether the platform took them.

An accepted probe is answered by its session id, and one that was quietly stored would make the next a duplicate.
"""

from collections.abc import Callable
from typing import Final

from conformance.case import Failed, check, check_equal
from conformance.platform.puppet import Frame, Puppet
from conformance.platform.sealing import Recipe
from protocol import codec, messages
from protocol.words import SettlementResult

KEPT: Final = SettlementResult.UNKNOWN_SESSION_KEPT

Change = Callable[[Recipe], Recipe]


async def expect_taken(pile: Puppet, change: Change) -> None:
    """A probe sealed another way is answered as any other."""
    record = pile.stray_settlement()
    recipe = change(pile.recipe("settlement"))
    check(await pile.publish(Frame(recipe.topic, recipe.seal(codec.encode(record)))), "the broker refuses it")
    check_equal("the answer", await pile.settled(record.session_id), KEPT)


async def expect_refused(pile: Puppet, what: str, make: Callable[[messages.Settlement], Frame]) -> None:
    """A bad frame with a probe inside is not answered, and was not stored either."""
    record = pile.stray_settlement()
    await pile.publish(make(record))
    answer = await pile.settle(record)
    if answer is not KEPT:
        raise Failed(f"{what} was taken: the good frame after it is answered {answer.word}")
    await pile.hears_no(messages.SettlementAck, where=lambda ack: ack.session_id == record.session_id)


def sealed(pile: Puppet, change: Change) -> Callable[[messages.Settlement], Frame]:
    def make(record: messages.Settlement) -> Frame:
        recipe = change(pile.recipe("settlement"))
        return Frame(pile.topic("settlement"), recipe.seal(codec.encode(record)))

    return make


def spoiled(pile: Puppet, spoil: Callable[[bytes], bytes]) -> Callable[[messages.Settlement], Frame]:
    def make(record: messages.Settlement) -> Frame:
        frame = pile.seal(record)
        return Frame(frame.topic, spoil(frame.payload))

    return make
