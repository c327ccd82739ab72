"""Receipts for meter frames: once they are stored, for repeats too, and the reason for those that never will be."""

from dataclasses import replace
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check_equal
from conformance.platform.bench import Capability
from conformance.platform.puppet import Puppet
from conformance.platform.scene import Charge, Scene
from protocol.messages import FrameReceipt, MeterFrame, MeterReceipt
from protocol.words import FrameResult, ReceiptWish

cases: Final = Catalogue[Scene]()

RECEIPTS: Final = clauses.CHARGE.on("Receipts")
SOLD: Final = (Capability.ORDERS,)
BURST: Final = 8
LATER_FRAMES: Final = 16


@cases.case("receipt.for-frames-and-their-repeats", clause=RECEIPTS, kind=Kind.OFFLINE, needs=SOLD)
async def for_frames_and_repeats(scene: Scene) -> None:
    """Every kept frame is told of once it is stored; said again, for the receipt may be lost, it is told of again."""
    charge = await scene.charge()
    for _ in range(2):
        said = [await _say(charge, number, ReceiptWish.NOW) for number in range(1, BURST + 1)]
        check_equal("what is told of", await _told(charge.pile, BURST), said)


@cases.case("receipt.later-for-sixteen-together", clause=RECEIPTS, kind=Kind.NORMAL, needs=SOLD)
async def later_for_sixteen(scene: Scene) -> None:
    """Frames of now that ask for a receipt later are told of when there are sixteen."""
    charge = await scene.charge()
    said = [await _say(charge, number, ReceiptWish.LATER) for number in range(1, LATER_FRAMES + 1)]
    check_equal("what is told of", await _told(charge.pile, LATER_FRAMES), said)


@cases.case("receipt.says-why-a-frame-is-refused", clause=RECEIPTS, kind=Kind.REFUSAL, needs=SOLD)
async def says_why(scene: Scene) -> None:
    """A frame with an impossible value is told of with the reason, and those around it are stored."""
    charge = await scene.charge()
    pile = charge.pile
    first = await _say(charge, 1, ReceiptWish.NOW)
    await pile.say_map(MeterFrame.message, {1: pile.now_ms, 2: [[99, bytes(16), *[0] * 12]], 3: 2, 4: 2})
    refused = FrameReceipt(pile.boot, pile.seq, FrameResult.OUT_OF_RANGE)
    last = await _say(charge, 2, ReceiptWish.NOW)
    rows = await _told(pile, 3)
    check_equal("what is told of", sorted(rows), sorted([first, refused, last]))


async def _say(charge: Charge, number: int, wish: ReceiptWish) -> FrameReceipt:
    """Say a reading of that number; the row that is to come for it."""
    reading = charge.reading(after_s=30 * number, energy_dwh=number)
    await charge.pile.say(replace(reading, receipt=wish))
    return FrameReceipt(charge.pile.boot, charge.pile.seq, FrameResult.STORED)


async def _told(pile: Puppet, count: int) -> list[FrameReceipt]:
    """So many rows of receipts, in ascending order each."""
    rows: list[FrameReceipt] = []
    while len(rows) < count:
        told = (await pile.hear(MeterReceipt)).frames
        check_equal("the order of a receipt's rows", told, tuple(sorted(told)))
        rows += told
    return rows
