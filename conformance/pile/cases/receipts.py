"""Receipts: frames kept until the platform has them, said again without one, and never after."""

import asyncio
import time
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, NotPossible, check, check_equal
from conformance.pile.bench import Ability
from conformance.pile.cases.connection import CUT_S, cut_network
from conformance.pile.subject import Pile
from conformance.pile.wire import ANSWER_LIMIT_S, Heard
from protocol.messages import FrameReceipt, MeterFrame, MeterReceipt
from protocol.words import FrameResult, ReceiptWish

cases: Final = Catalogue[Pile]()

_RECEIPTS: Final = clauses.CHARGE.on("Receipts")
_HANDS: Final = (Ability.HANDS,)
_BURST: Final = 8
_CALM: Final = 5
_KEPT_SAMPLES: Final = 20
"""So many are missed while the network is away: more than two bursts."""
_LOOK_S: Final = 1.0
_WAIT_S: Final = 10.0
"""Real seconds after which an open frame is said again."""


@cases.case(
    "receipt.kept-frames-wait-for-it", clause=_RECEIPTS, kind=Kind.OFFLINE, needs=_HANDS, physical_s=300
)
async def kept_frames_wait(pile: Pile) -> None:
    """Of frames kept while offline eight at most are open, others follow receipts, and one is said again after 10 s."""
    await _metering(pile, sample_s=1)
    pile.manners.frames = None
    after = pile.mark
    await cut_network(pile, max(CUT_S, _KEPT_SAMPLES / pile.clock.speed))
    _, begun = await pile.wire.hear_frame(MeterFrame, _is_kept, after=after)
    await asyncio.sleep(_LOOK_S)
    first = pile.wire.each(MeterFrame, _is_kept, after=after)
    _at_most_a_burst([frame.sampled_at_ms for frame, _ in first])
    told_s, after = time.monotonic(), pile.mark
    for _, heard in first:
        if heard.opened is not None:
            pile.wire.say(MeterReceipt((FrameReceipt(*heard.opened.counter, FrameResult.STORED),)))
    calm_s = _CALM * (told_s - begun.at_s)
    await pile.hear(MeterFrame, _is_kept, after=after, within_s=calm_s + ANSWER_LIMIT_S)
    await pile.wire.until(
        lambda: _said_again(pile, after=after) is not None,
        lambda: "no kept frame was said again without a receipt",
        within_s=2 * _WAIT_S,
    )
    again = _said_again(pile, after=after)
    assert again is not None
    (frame, late), before = again
    check_equal("the instant of the frame that is said again", frame.sampled_at_ms, before[0])
    waited_s = late.at_s - told_s
    check(waited_s > 0.8 * _WAIT_S, f"{waited_s:.1f} s after the last receipt a frame was said again")


@cases.case("receipt.ends-the-repetition", clause=_RECEIPTS, kind=Kind.OFFLINE, needs=_HANDS, physical_s=300)
async def ends_the_repetition(pile: Pile) -> None:
    """Frames the platform has given a receipt for are not said again after a lost connection."""
    await _metering(pile)
    stored = await _heard_and_told(pile)
    after = pile.mark
    await cut_network(pile, 1.0)
    await pile.hear(MeterFrame, after=after, nth=3, within_s=pile.physically_s(100))
    again = stored & _instants(pile, after=after)
    check_equal("the instants said again though they had a receipt", again, set[int]())


@cases.case(
    "receipt.refused-frame-is-kept-aside", clause=_RECEIPTS, kind=Kind.REFUSAL, needs=_HANDS, physical_s=300
)
async def refused_frame(pile: Pile) -> None:
    """Frames the platform can never take hold up no other, and are not said again."""
    await _metering(pile)
    pile.manners.frames = FrameResult.OUT_OF_RANGE
    refused = await _heard_and_told(pile, after=pile.mark)
    pile.manners.frames = FrameResult.STORED
    after = pile.mark
    await cut_network(pile, 1.0)
    await pile.hear(MeterFrame, after=after, nth=3, within_s=pile.physically_s(100))
    again = refused & _instants(pile, after=after)
    check_equal("the instants said again though they are refused", again, set[int]())


@cases.case(
    "receipt.missing-one-outlives-a-power-cut",
    clause=_RECEIPTS,
    kind=Kind.POWER_FAIL,
    needs=(Ability.HANDS, Ability.POWER),
    physical_s=300,
)
async def outlives_a_power_cut(pile: Pile) -> None:
    """Frames without a receipt are said again after a power cut, with their instants."""
    await _metering(pile)
    pile.manners.frames = None
    after = pile.mark
    await pile.hear(MeterFrame, after=after, nth=3, within_s=pile.physically_s(100))
    said = _instants(pile, after=after)
    after = pile.mark
    pile.manners.frames = FrameResult.STORED
    await pile.cut_power()
    await pile.wire.until(
        lambda: said <= _instants(pile, after=after),
        lambda: f"{len(said - _instants(pile, after=after))} frames without a receipt were not said again",
        within_s=2 * _WAIT_S,
    )


async def _metering(pile: Pile, *, sample_s: int = 10) -> None:
    """A session draws power, and its frames ask for receipts."""
    pile.manners.sample_s = sample_s
    await pile.in_service()
    await pile.charging()
    frame = await pile.hear(MeterFrame, within_s=pile.physically_s(60))
    if frame.receipt is None:
        raise NotPossible("the pile knows no receipts")


async def _heard_and_told(pile: Pile, *, after: int = 0) -> set[int]:
    """The instants of three frames at least, once the pile has heard what became of them."""
    await pile.hear(MeterFrame, after=after, nth=3, within_s=pile.physically_s(100))
    instants = _instants(pile, after=after)
    await pile.caught_up()
    return instants


def _said_again(pile: Pile, *, after: int) -> tuple[tuple[MeterFrame, Heard], list[int]] | None:
    """The first kept frame that was said twice, and the instants said before it. Raises Failed if those are many."""
    before: list[int] = []
    for frame, heard in pile.wire.each(MeterFrame, _is_kept, after=after):
        if frame.sampled_at_ms in before:
            return (frame, heard), before
        before.append(frame.sampled_at_ms)
        _at_most_a_burst(before)
    return None


def _at_most_a_burst(instants: list[int]) -> None:
    check(
        len(instants) <= _BURST,
        f"{len(instants)} kept frames were said without a receipt, more than {_BURST}",
    )


def _instants(pile: Pile, *, after: int) -> set[int]:
    return {frame.sampled_at_ms for frame in pile.wire.all(MeterFrame, after=after)}


def _is_kept(frame: MeterFrame) -> bool:
    return frame.receipt is ReceiptWish.NOW
