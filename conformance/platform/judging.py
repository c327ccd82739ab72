"""A whole run against a platform: many cases at once, and those that kill its gateway by themselves afterwards."""

from collections.abc import Collection, Sequence
from typing import Final

from conformance import run
from conformance.case import Case
from conformance.platform.bench import Capability, PlatformBench
from conformance.platform.catalogue import TOTAL_LIMIT_S
from conformance.platform.scene import PlatformStage, Scene
from conformance.report import Report
from conformance.run import Progress

SIDE = "platform"
DISPENSABLE: Final = {
    "codes": (Capability.CODES, "sells no start codes"),
    "cards": (Capability.CARDS, "takes no cards"),
    "firmware": (Capability.FIRMWARE, "updates no firmware"),
    "hosts": (Capability.HOSTS, "has no piles behind hosts"),
}
"""What a platform may be without by its make and keep the contract all the same, and the report's words for it."""


async def judge(
    bench: PlatformBench,
    chosen: Sequence[Case[Scene]],
    *,
    progress: Progress,
    without: Collection[str] = (),
) -> Report:
    """Play cases against a platform; the report is in the order given.

    `without` names what of DISPENSABLE the platform is stated to be without, and its bench does not offer.

    A gateway that dies between commit and answer leaves its neighbours' settlements to be answered as duplicates,
    which is right and not what their cases are about.
    """
    lacking = [DISPENSABLE[name] for name in without]
    stated = {str(capability): words for capability, words in lacking}
    peaceful = [case for case in chosen if Capability.GATEWAY_CRASH not in case.needs]
    deadly = [case for case in chosen if Capability.GATEWAY_CRASH in case.needs]
    first = await run.run(
        peaceful,
        PlatformStage(bench),
        side=SIDE,
        total_limit_s=TOTAL_LIMIT_S,
        progress=progress,
        without=stated,
    )
    left_s = TOTAL_LIMIT_S - first.seconds
    second = await run.run(
        deadly, PlatformStage(bench, at_once=1), side=SIDE, total_limit_s=left_s, progress=progress
    )
    found = {result.id: result for result in (*first.results, *second.results)}
    return Report(
        side=SIDE,
        began_at=first.began_at,
        seconds=first.seconds + second.seconds,
        results=tuple(found[case.case_id] for case in chosen),
        profile=first.profile,
    )
