"""`pileway conformance pile`: a broker, the kit's platform and piles for it; then the cases, and their report."""

import asyncio
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from conformance import run
from conformance.case import Case, Failed
from conformance.pile import cases
from conformance.pile.attendant import ASK_LIMIT_S, Attendant
from conformance.pile.authority import Files
from conformance.pile.bench import Ability
from conformance.pile.fresh_stage import FreshStage, claim_code
from conformance.pile.outside_stage import RESTART_LIMIT_S, OutsideStage
from conformance.pile.platform import Broker, Platform
from conformance.pile.subject import Pile
from conformance.report import Report
from conformance.run import Progress
from pileway import home
from pileway.embedded_broker import EmbeddedBroker
from pileway.simulated_bench import SimulatedWorkshop

AT_ONCE: Final = 12
TOTAL_LIMIT_S: Final = 200.0
OUTSIDE_TOTAL_LIMIT_S: Final = 8 * 3600.0
OUTSIDE_SLACK_S: Final = 2 * RESTART_LIMIT_S + ASK_LIMIT_S
CHILDLESS: Final = {str(Ability.CHILDREN): "carries no other piles"}
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True)
class Parts:
    """A running broker with the kit's way in, the files of its authorities, and a folder for memories."""

    broker: Broker
    files: Files
    folder: Path


@contextmanager
def parts(*, host: str = LOOPBACK) -> Generator[Parts]:
    """A broker of the kit's own in a temporary folder. Raises a PilewayError that says what is missing."""
    with tempfile.TemporaryDirectory(prefix="pileway-conformance-") as root:
        folder = home.prepare(Path(root))
        server = EmbeddedBroker(
            folder=folder / "broker",
            secrets=folder / "secrets",
            log_path=folder / "log" / "mosquitto.log",
            bind_address=host,
        )
        address = server.start()
        try:
            yield Parts(
                Broker(
                    device_url=address.device_url,
                    service_url=address.service_url,
                    certificate=address.gateway_certificate_path,
                    key=address.gateway_key_path,
                ),
                Files(
                    device_ca=folder / "secrets" / "device-ca.crt",
                    device_ca_key=folder / "secrets" / "device-ca.key",
                    server_certificate=folder / "secrets" / "broker.crt",
                    server_key=folder / "secrets" / "broker.key",
                    server_ca=address.server_ca_path,
                ),
                folder,
            )
        finally:
            server.stop()


def judge_simulator(
    chosen: Sequence[Case[Pile]],
    *,
    progress: Progress,
    at_once: int = AT_ONCE,
    workshop: Callable[[Path], SimulatedWorkshop] = SimulatedWorkshop,
) -> Report:
    """Play cases against simulated piles, a new one for each, made by a workshop in a folder of its own."""
    with parts() as made, workshop(made.folder / "piles") as makes:
        return asyncio.run(_judge(made, makes, chosen, progress, at_once))


async def _judge(
    made: Parts, workshop: SimulatedWorkshop, chosen: Sequence[Case[Pile]], progress: Progress, at_once: int
) -> Report:
    async with Platform(made.broker, made.files) as platform:
        stage = FreshStage(platform, workshop, at_once=at_once)
        return await run.run(chosen, stage, side="pile", total_limit_s=TOTAL_LIMIT_S, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A pile that somebody connects: its name, where it finds us, and how long it may take to come.

    Cases that take longer than `longest_s` of real time are skipped; without `attended` those that need a hand, too.
    `children` are the piles behind it; None if it is made to have none, so that their cases do not apply.
    """

    pile_id: str
    host: str
    wait_s: float
    longest_s: float
    attended: bool
    children: tuple[str, ...] | None = ()


def judge_outside(
    outside: Outside, chosen: Sequence[Case[Pile]], *, progress: Progress, say: Callable[[str], None]
) -> Report:
    """Play cases against a pile connected from outside; a report without results when none comes."""
    with parts(host=outside.host) as made:
        return asyncio.run(_judge_outside(outside, made, chosen, progress, say))


async def _judge_outside(
    outside: Outside,
    made: Parts,
    chosen: Sequence[Case[Pile]],
    progress: Progress,
    say: Callable[[str], None],
) -> Report:
    host = outside.host
    async with Platform(made.broker, made.files, host=host, told_host=host) as platform:
        stage = OutsideStage(
            platform,
            claims=[(pile_id, claim_code()) for pile_id in (outside.pile_id, *(outside.children or ()))],
            wait_s=outside.wait_s,
            longest_s=outside.longest_s,
            attendant=Attendant(say) if outside.attended else None,
            tell=say,
        )
        try:
            async with stage:
                return await run.run(
                    chosen,
                    stage,
                    side="pile",
                    total_limit_s=OUTSIDE_TOTAL_LIMIT_S,
                    progress=progress,
                    slack_s=OUTSIDE_SLACK_S,
                    without=CHILDLESS if outside.children is None else run.NOTHING,
                )
        except Failed as why:
            say(f"No case could be played: {why}")
            return Report(side="pile", began_at=datetime.now(UTC), seconds=0.0, results=())


def every_case(patterns: Sequence[str]) -> list[Case[Pile]]:
    """The cases whose ids match, or all."""
    return run.chosen(cases.ALL, patterns)
