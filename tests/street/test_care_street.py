"""Piles are cared for: settings, tariff, service, keys, certificates, codes, cards, piles behind a host; end to end."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from charging import certificates as books
from charging.session_states import SessionState
from device_sim import faults
from device_sim.battery import PACKS, Battery
from device_sim.settings import Settings
from pileway import certificates
from tests.street.block import SITE, Block, Json, open_block
from tests.waiting import wait_until

SPEED = 120.0
LIMIT_S = 40.0
SET, TOLD, ROTATED, RENEWED, REMOTE, HOST, LEFT, RIGHT = (
    "C-SET",
    "C-TOLD",
    "C-ROT",
    "C-RENEW",
    "C-REMOTE",
    "C-HOST",
    "C-HOST-1",
    "C-HOST-2",
)
CARD = "8820 4417"
ENDED = (SessionState.CLOSED, SessionState.FAILED)


@pytest.fixture(scope="module")
def block(work_folder: Path) -> Iterator[Block]:
    piles: dict[str, int] = dict.fromkeys((SET, TOLD, ROTATED, RENEWED, REMOTE, HOST), 4)
    folder = Path(tempfile.mkdtemp(prefix="care-", dir=work_folder))
    with open_block(folder, piles=piles, speed=SPEED, children=dict.fromkeys((LEFT, RIGHT), HOST)) as block:
        yield block


def seen(block: Block, pile_id: str) -> Any:
    """The simulated pile itself."""
    return block.fleet.ask(lambda fleet: fleet.pile(pile_id).pile)


def wanted(block: Block, outcome: str, **settings: int) -> Json:
    """Want settings and wait for the pile's word."""
    version = block.desk.put(f"/piles/{SET}/configuration", {"settings": settings})["wanted"]["version"]

    def answered() -> Json | None:
        told = block.desk.get(f"/piles/{SET}/configuration")
        assert told["wanted"]["version"] == version
        return told if told["wanted"]["outcome"] == outcome else None

    return wait_until(answered, limit_s=LIMIT_S, what=f"{settings} to be {outcome}")


def test_a_configuration_is_in_force_and_outlives_a_power_cut(block: Block) -> None:
    told = wanted(block, "applied", volume=35, temp_warn_dc=550)
    assert told["in_force"]
    assert told["reported"]["settings"] | {"volume": 35, "temp_warn_dc": 550} == told["reported"]["settings"]
    block.fleet.cut_power(SET, 0.2)
    wait_until(lambda: seen(block, SET).memory.boot >= 2, limit_s=LIMIT_S, what="the second boot")
    assert seen(block, SET).thresholds.volume == 35
    answer = block.desk.command(SET, "query", {"topic": "config"})
    assert answer["state"] == "done"
    told = block.desk.get(f"/piles/{SET}/configuration")
    assert told["in_force"]
    assert told["reported"]["settings"]["volume"] == 35


def test_settings_that_cannot_be_are_refused_by_name(block: Block) -> None:
    refused = block.desk.put(
        f"/piles/{SET}/configuration", {"settings": {"temp_warn_dc": 900, "temp_trip_dc": 800}}, 422
    )
    assert "temp_warn_dc" in str(refused)
    assert block.desk.get(f"/piles/{SET}/configuration")["reported"]["settings"]["temp_warn_dc"] == 550


def test_the_pile_shows_the_tariff_of_its_site(block: Block) -> None:
    def shows() -> Json | None:
        told = block.desk.get(f"/piles/{SET}/shown-tariff")
        return told if told["reported_version_id"] == told["wanted_version_id"] else None

    told = wait_until(shows, limit_s=LIMIT_S, what="the tariff to be kept")
    assert told["outcome"] == "shown"
    shown = block.fleet.ask(lambda fleet: (pile := fleet.pile(SET)).pile.part(Settings).shown(pile.now_ms()))
    assert shown is not None
    assert sorted(band.price_cfen for band in shown.bands) == sorted(
        round(float(band["price_yuan"]) * 10_000) for band in told["bands"]
    )


def test_a_technician_s_commands_are_done_and_come_back_while_he_waits(block: Block) -> None:
    for action, wish in (
        ("locate", {"duration_s": 5, "port_no": 2}),
        ("voice", {"text": "请勿在此停车"}),
        ("relay-test", {"port_no": 3}),
        ("query", {"topic": "meter"}),
    ):
        done = block.desk.command(TOLD, action, wish)
        assert (done["state"], done["result"]["result"]) == ("done", "done"), action
    log = block.desk.command(TOLD, "log", {"max_lines": 20})
    assert log["state"] == "done"
    lines = block.desk.get(f"/piles/{TOLD}/log-lines", command_id=log["command_id"])["lines"]
    assert any(line["text"].startswith("boot 1: power") for line in lines)


def test_a_port_taken_out_of_service_refuses_with_words_until_it_is_back(block: Block) -> None:
    block.desk.command(TOLD, "port-set", {"port_no": 4, "enabled": False})
    wait_until(
        lambda: block.desk.get(f"/piles/{TOLD}")["ports"][3]["state"] == "disabled",
        limit_s=LIMIT_S,
        what="the port to say that it is out of service",
    )
    assert block.obstacle(TOLD, 4)
    block.desk.command(TOLD, "port-set", {"port_no": 4, "enabled": True})
    wait_until(
        lambda: block.desk.get(f"/piles/{TOLD}")["ports"][3]["state"] == "idle",
        limit_s=LIMIT_S,
        what="the port to be back",
    )
    session_id = block.charge(TOLD, 4)
    block.wait_for(session_id, SessionState.CHARGING)


def test_a_reboot_waits_for_the_session_that_runs_and_happens_after_it(block: Block) -> None:
    session_id = block.charge(TOLD, 1)
    block.wait_energy(session_id)
    accepted = block.desk.command(TOLD, "reboot", {"force": False})
    assert accepted["result"]["result"] == "accepted"
    assert block.session(session_id)["state"] == "charging"
    for port_no in (1, 4):
        block.fleet.unplug(TOLD, port_no)
    wait_until(lambda: seen(block, TOLD).memory.boot >= 2, limit_s=LIMIT_S, what="the boot")
    assert seen(block, TOLD).boot_reason.word == "command"
    block.assert_settled_once(session_id)


def test_a_running_session_is_given_more_room(block: Block) -> None:
    session_id = block.charge(SET, 2)
    before = block.wait_energy(session_id)
    wish = {"limit_s": before["limit_s"] + 3600}
    extended = block.desk.post(f"/sessions/{session_id}/extend?wait_s=25", wish)
    assert extended["command"]["state"] == "done"
    assert block.session(session_id)["limit_s"] == wish["limit_s"]
    assert seen(block, SET).ports[2].session.limit_s == wish["limit_s"]
    block.fleet.unplug(SET, 2)
    block.assert_settled_once(session_id)


def test_a_key_is_rotated_amid_a_session_with_a_backlog_under_the_old_one(block: Block) -> None:
    session_id = block.charge(ROTATED, 1)
    block.wait_energy(session_id)
    faults.begin(block.fleet, f"offline@{ROTATED}:360")
    ordered = block.desk.post(f"/piles/{ROTATED}/key-rotation", {}, 202)
    ended = block.desk.get(f"/commands/{ordered['command_id']}", wait_s=25)
    assert (ended["state"], ended["result"]["result"]) == ("done", "done")
    assert "secret" not in str(ended["body"])
    assert block.fleet.ask(lambda fleet: fleet.pile(ROTATED).pile.keys.epoch) == 2
    assert block.desk.command(ROTATED, "locate")["state"] == "done"
    reached = block.session(session_id)["energy_wh"]
    block.wait_energy(session_id, above_wh=reached + 2)
    block.fleet.unplug(ROTATED, 1)
    block.assert_settled_once(session_id)
    block.wait_gapless(session_id)


def certificate_of(block: Block, pile_id: str) -> Path:
    """Where a simulated pile keeps its certificate."""
    return block.fleet.ask(lambda fleet: fleet.pile(pile_id).config.folder) / "certificate.pem"


def test_a_certificate_in_its_last_third_is_renewed_and_used(block: Block) -> None:
    path = certificate_of(block, RENEWED)
    first = x509.load_pem_x509_certificate(path.read_bytes())
    age_certificate(block, path)
    block.fleet.cut_power(RENEWED, 0.2)

    def renewed() -> x509.Certificate | None:
        held = x509.load_pem_x509_certificate(path.read_bytes())
        left = held.not_valid_after_utc - datetime.now(UTC)
        return held if left > timedelta(days=100) and held.serial_number != first.serial_number else None

    held = wait_until(renewed, limit_s=LIMIT_S, what="a new certificate")
    with block.platform.pool.connection() as conn:
        known = conn.execute(
            "SELECT serial FROM pile_certificate WHERE pile_id = %(pile_id)s AND revoked_at IS NULL",
            {"pile_id": RENEWED},
        ).fetchall()
    assert f"{held.serial_number:x}" in {serial for (serial,) in known}
    assert block.desk.command(RENEWED, "locate")["state"] == "done"


def age_certificate(block: Block, path: Path) -> None:
    """Give a pile a certificate with little life left, signed and on the books like any other."""
    authority = certificates.load_or_create_authority(block.platform.settings.home / "secrets", "device-ca")
    held = x509.load_pem_x509_certificate(path.read_bytes())
    key = held.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    aged_pem = certificates.sign_client_key(authority, RENEWED, key, life=timedelta(minutes=20))
    aged = x509.load_pem_x509_certificate(aged_pem)
    with block.platform.pool.connection() as conn:
        books.renew(
            conn,
            pile_id=RENEWED,
            presented_serial=f"{held.serial_number:x}",
            serial=f"{aged.serial_number:x}",
            expires_at=aged.not_valid_after_utc,
            now=block.platform.now,
        )
    path.write_bytes(aged_pem)


def test_a_code_starts_a_charge_at_a_pile_that_is_out_of_reach(block: Block) -> None:
    faults.begin(block.fleet, f"offline@{REMOTE}:840")
    wait_until(
        lambda: not block.desk.get(f"/piles/{REMOTE}")["online"],
        limit_s=LIMIT_S,
        what="the pile to be offline",
    )
    block.fleet.plug(REMOTE, 1, Battery(PACKS[2], 0.8, seed=1))
    session_id, pay_url = block.rider.order(REMOTE, 1, 300)
    block.rider.pay(pay_url)
    block.wait_for(session_id, SessionState.AWAITING_CODE)
    code = block.rider.look(session_id).start_code
    assert code is not None
    assert block.fleet.type_code(REMOTE, 1, code.digits).session_id == session_id
    assert block.fleet.type_code(REMOTE, 2, "0000000000").session_id is None
    block.wait_energy(session_id)
    assert block.session(session_id)["source"] == "code"
    block.fleet.unplug(REMOTE, 1)
    charge = block.assert_settled_once(session_id)
    assert charge.charged_fen > 0


def test_a_card_starts_a_charge_that_is_rated_and_costs_no_rider_anything(block: Block) -> None:
    card = block.desk.post("/cards", {"site_id": SITE.site_id, "number": CARD, "label": "residents"}, 201)
    version = block.desk.put(f"/piles/{REMOTE}/configuration", {"settings": {"card_mode": 1}})["wanted"][
        "version"
    ]
    wait_until(
        lambda: block.desk.get(f"/piles/{REMOTE}/configuration")["reported"]["version"] == version,
        limit_s=LIMIT_S,
        what="cards to be allowed",
    )
    faults.begin(block.fleet, f"offline@{REMOTE}:480")
    wait_until(lambda: not seen(block, REMOTE).outbox.linked, limit_s=LIMIT_S, what="the link to be lost")
    block.fleet.plug(REMOTE, 3, Battery(PACKS[2], 0.8, seed=3))
    session_id = block.fleet.swipe_card(REMOTE, 3, CARD.replace(" ", "")).session_id
    assert session_id is not None
    wait_until(
        lambda: block.desk.http.get(f"/sessions/{session_id}").is_success,
        limit_s=LIMIT_S,
        what="the session to be told of",
    )
    block.wait_energy(session_id)
    block.fleet.unplug(REMOTE, 3)
    ended = block.wait_for(session_id, *ENDED)
    assert (ended["source"], ended["prepaid_fen"], ended["charge"]) == ("card", 0, None)
    statement = block.desk.get(f"/cards/{card['card_id']}/statement")
    assert [line["session_id"] for line in statement["sessions"]] == [str(session_id)]
    assert statement["rated_fen"] > 0


def test_piles_behind_a_host_charge_side_by_side_and_see_their_radio_lost(block: Block) -> None:
    assert block.desk.get(f"/piles/{LEFT}")["parent_pile_id"] == HOST
    left, right, own = block.charge(LEFT, 1), block.charge(RIGHT, 2), block.charge(HOST, 1)
    for session_id in (left, right, own):
        block.wait_energy(session_id)
    assert block.desk.command(RIGHT, "locate")["state"] == "done"
    block.fleet.drop_link(LEFT, 1.0)
    wait_until(
        lambda: not block.desk.get(f"/piles/{LEFT}")["online"], limit_s=LIMIT_S, what="its radio to be lost"
    )
    assert block.desk.get(f"/piles/{RIGHT}")["online"]
    wait_until(
        lambda: block.desk.get(f"/piles/{LEFT}")["online"], limit_s=LIMIT_S, what="its radio to be back"
    )
    block.fleet.drop_link(HOST, 1.0)
    reached = block.session(left)["energy_wh"]
    block.wait_energy(left, above_wh=reached + 4)
    for pile_id, port_no in ((LEFT, 1), (RIGHT, 2), (HOST, 1)):
        block.fleet.unplug(pile_id, port_no)
    for session_id in (left, right, own):
        block.assert_settled_once(session_id)
        block.wait_gapless(session_id)
