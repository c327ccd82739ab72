"""`pileway conformance platform`: any platform judged by the conformance kit, our own on parts of its own."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from conformance import run
from conformance.case import Case
from conformance.platform import catalogue, judging
from conformance.platform.bench import PlatformBench
from conformance.platform.outside import OPERATOR_HOOKS, Hooks, OutsidePlatform, read_claims
from conformance.platform.scene import Scene
from conformance.report import Report
from conformance.run import Progress
from pileway import conformance_own
from pileway.errors import PilewayError


class Unusable(PilewayError):
    """What was said of another platform does not suffice to play with it."""


def every_case(patterns: Sequence[str]) -> list[Case[Scene]]:
    """The cases whose ids match, or all."""
    return run.chosen(catalogue.CASES, patterns)


def judge(
    bench: PlatformBench,
    chosen: Sequence[Case[Scene]],
    *,
    progress: Progress,
    without: Collection[str] = (),
) -> Report:
    """Play cases against a platform. Raises Unusable for one that offers what it is stated to be without."""
    unknown = set(without) - judging.DISPENSABLE.keys()
    if unknown:
        raise Unusable(f"--without wants one of {', '.join(judging.DISPENSABLE)}")
    offered = [name for name in without if judging.DISPENSABLE[name][0] in bench.capabilities]
    if offered:
        raise Unusable(f"--without {offered[0]}, and yet a command that offers it")
    return asyncio.run(judging.judge(bench, chosen, progress=progress, without=without))


def judge_own(chosen: Sequence[Case[Scene]], *, progress: Progress) -> Report:
    """Play cases against our own platform. Raises PilewayError when it cannot be opened."""
    with conformance_own.own_platform() as bench:
        return judge(bench, chosen, progress=progress)


def outside(
    enrolment_url: str, *, claim_codes: Path | None, trust: Path | None, hooks: Hooks, speed: float
) -> OutsidePlatform:
    """A platform that is not ours. Raises Unusable for files that cannot be used."""
    if claim_codes is None:
        raise Unusable("--enrol-at needs --claim-codes, the piles to play")
    try:
        return OutsidePlatform(
            enrolment_url=enrolment_url,
            enrolment_ca_pem=None if trust is None else trust.read_text(),
            claims=read_claims(claim_codes),
            hooks=hooks,
            speed=speed,
        )
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from None


def with_operator(hooks: Hooks, commands: Sequence[str]) -> Hooks:
    """Hooks with an operator's commands, each `name=command`. Raises Unusable."""
    split = [command.partition("=") for command in commands]
    named = {name: command for name, _, command in split}
    unknown = named.keys() - OPERATOR_HOOKS
    if unknown or "" in named.values():
        raise Unusable(
            f"--operator-command wants NAME=COMMAND, NAME one of {', '.join(sorted(OPERATOR_HOOKS))}"
        )
    return replace(hooks, **named)
