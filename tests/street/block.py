"""A block of the street: the whole platform in processes of its own, simulated piles, a phone, an operator's desk."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import httpx

from billing.charges import SessionCharge
from charging.session_states import SessionState
from device_sim.battery import PACKS, Battery
from device_sim.configuration import PileConfig
from device_sim.fleet import FleetThread
from pileway import demo_platform, home, settings, street
from pileway.demo_platform import DemoPlatform
from pileway.demo_riders import Phone, phone
from pileway.sim_process import read_fleet
from tests.acceptance.stage import EVENING, PART_LIMIT_S, PREPAID_FEN, SESSION_LIMIT_S
from tests.settled_sessions import settled_once
from tests.waiting import wait_until

SITE = street.STREET[0]
OPERATOR, PROPERTY = "lvdian", "yuquan-wuye"
ANSWER_LIMIT_S = 40.0

Json = dict[str, Any]
Shape = Callable[[PileConfig], PileConfig]


def as_it_is(config: PileConfig) -> PileConfig:
    """Piles as the street has them."""
    return config


@dataclass(frozen=True)
class Desk:
    """What an operator does over HTTP."""

    http: httpx.Client

    def get(self, path: str, **query: Any) -> Any:
        """Read something that is there."""
        return self.said(self.http.get(path, params=query), httpx.codes.OK)

    def post(self, path: str, wish: Json, status: int = httpx.codes.OK) -> Any:
        """Ask for something and be answered so."""
        return self.said(self.http.post(path, json=wish), status)

    def put(self, path: str, wish: Json, status: int = httpx.codes.OK) -> Any:
        """Want something otherwise and be answered so."""
        return self.said(self.http.put(path, json=wish), status)

    def command(self, pile_id: str, action: str, wish: Json | None = None) -> Json:
        """Order something of a pile and wait for its outcome, which comes in time."""
        return self.post(f"/piles/{pile_id}/{action}?wait_s=25", wish or {})

    @staticmethod
    def said(answer: httpx.Response, status: int) -> Any:
        assert answer.status_code == status, answer.text
        return answer.json()


@dataclass(frozen=True)
class Block:
    """A running platform at 玉泉新村 with piles in the test's hands."""

    platform: DemoPlatform
    fleet: FleetThread
    rider: Phone
    desk: Desk

    def charge(self, pile_id: str, port_no: int, *, depth: float = 0.8) -> UUID:
        """A rider prepays 3 yuan at a socket where a battery is plugged in already."""
        self.fleet.plug(pile_id, port_no, Battery(PACKS[2], depth, seed=port_no))
        session_id, pay_url = self.rider.order(pile_id, port_no, PREPAID_FEN)
        self.rider.pay(pay_url)
        return session_id

    def session(self, session_id: UUID) -> Json:
        """The session with its money, as the operator sees it."""
        return self.desk.get(f"/sessions/{session_id}")

    def wait_for(self, session_id: UUID, *states: SessionState) -> Json:
        """Wait until the session is in one of the states."""
        return wait_until(
            lambda: seen if (seen := self.session(session_id))["state"] in states else None,
            limit_s=SESSION_LIMIT_S,
            what=f"session {session_id} to be {' or '.join(states)}",
        )

    def wait_energy(self, session_id: UUID, *, above_wh: float = 2.0) -> Json:
        """Wait until the samples show more energy than so many Wh."""
        return wait_until(
            lambda: seen if ((seen := self.session(session_id))["energy_wh"] or 0) > above_wh else None,
            limit_s=SESSION_LIMIT_S,
            what=f"more than {above_wh} Wh in session {session_id}",
        )

    def wait_gapless(self, session_id: UUID) -> None:
        """Wait until no two samples are further apart than two rhythms: kept ones come after the settlement."""
        wait_until(
            lambda: self.longest_gap_s(session_id) <= 60,
            limit_s=SESSION_LIMIT_S,
            what="samples without a gap",
        )

    def longest_gap_s(self, session_id: UUID) -> int:
        """The longest time of a charge without a sample."""
        elapsed = [point["elapsed_s"] for point in self.session(session_id)["curve"]]
        return max(later - earlier for earlier, later in pairwise(elapsed))

    def alarms(self, pile_id: str, kind: str) -> list[Json]:
        """A pile's alarms of a kind, newest first."""
        return self.desk.get("/alarms", pile_id=pile_id, kind=kind)["alarms"]

    def alarm(self, pile_id: str, kind: str, **facts: Any) -> Json:
        """Wait until the newest alarm of a kind is as described."""
        return wait_until(
            lambda: next(
                (each for each in self.alarms(pile_id, kind) if each | facts == each),
                None,
            ),
            limit_s=PART_LIMIT_S,
            what=f"an alarm {kind} of {pile_id} with {facts}",
        )

    def notices(self, party_id: str, pile_id: str) -> list[Json]:
        """What a party was told about a pile, newest first."""
        found = self.desk.get(f"/parties/{party_id}/notices", limit=200)["notices"]
        return [notice for notice in found if notice["pile_id"] == pile_id]

    def obstacle(self, pile_id: str, port_no: int) -> str:
        """What a rider is told who wants to charge where nothing may start."""
        wish = {"pile_id": pile_id, "port_no": port_no, "amount_fen": PREPAID_FEN}
        answer = self.rider.http.post(f"{self.rider.web_url}/api/rider/sessions", json=wish)
        assert answer.status_code == httpx.codes.CONFLICT, answer.text
        return str(answer.json()["error"]["message"])

    def told(self, session_id: UUID) -> list[str]:
        """What the rider of a session reads beside the charge."""
        return [notice.words for notice in self.rider.look(session_id).notices]

    def assert_settled_once(self, session_id: UUID) -> SessionCharge:
        """Charged once for what was taken, the rest refunded once; the ledger balances."""
        self.wait_for(session_id, SessionState.CLOSED)
        return settled_once(self.platform.pool, session_id, prepaid_fen=PREPAID_FEN)


@contextmanager
def open_block(
    folder: Path,
    *,
    piles: Mapping[str, int],
    speed: float,
    children: Mapping[str, str] = MappingProxyType({}),
    shape: Shape = as_it_is,
    **options: object,
) -> Generator[Block]:
    """Run the platform with piles (ports each), and piles of two ports behind them: `children` names each one's host.

    `shape` changes how piles are made; `options` are settings.
    """
    chosen = settings.load(
        home=folder,
        clock_speed=speed,
        port=home.free_port(),
        payment_sim_port=home.free_port(),
        enrolment_port=home.free_port(),
        **options,
    )
    sites = [replace(SITE, piles=piles)]
    with (
        demo_platform.platform(chosen, sites=sites, start_at=EVENING, with_piles=False) as platform,
        _desk(platform) as desk,
    ):
        configs = [
            shape(replace(config, bystanders=None)) for config in read_fleet(platform.fleet_path).configs()
        ]
        configs += [_registered(desk, child, host, configs) for child, host in children.items()]
        with (
            FleetThread(configs, clock=platform.settings.clock.now, speed=speed) as fleet,
            phone(platform) as rider,
        ):
            fleet.wait_ready(PART_LIMIT_S)
            yield Block(platform, fleet, rider, desk)


def _registered(desk: Desk, child: str, host: str, configs: Sequence[PileConfig]) -> PileConfig:
    """Put a pile behind a host on the books, as an operator does."""
    [carrier] = [config for config in configs if config.pile_id == host]
    wish = {
        "pile_id": child,
        "site_id": SITE.site_id,
        "model": "PW-2",
        "port_count": 2,
        "power_limit_w": 3_000,
        "parent_pile_id": host,
    }
    code = desk.post("/piles", wish, httpx.codes.CREATED)["claim"]["claim_code"]
    folder = carrier.folder.with_name(child)
    return replace(
        carrier, pile_id=child, port_count=2, folder=folder, claim_code=code, host=host, seed=carrier.seed + 1
    )


@contextmanager
def _desk(platform: DemoPlatform) -> Generator[Desk]:
    token = platform.settings.operator_token
    assert token is not None
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    url = f"{platform.settings.web_url}/operator/v1"
    with httpx.Client(base_url=url, headers=headers, timeout=ANSWER_LIMIT_S, trust_env=False) as http:
        yield Desk(http)
