"""Releases are what their maker signed; rollouts reach the fleet in stages and stop when piles fail."""

import hashlib
from datetime import timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from charging import firmware_releases, firmware_reports, firmware_rollouts, firmware_steps, piles
from charging.commands import CommandKind
from charging.errors import ReleaseConflict, ReleaseRefused, RolloutOver, RolloutRefused
from charging.firmware_releases import PART_BYTES, Manifest, Release
from charging.firmware_reports import UpdateReport
from charging.firmware_rollouts import Rollout, RolloutPile, RolloutPileState, RolloutPlan, RolloutState
from pileway.firmware_desk import is_made_by
from protocol import firmware
from tests.integration.charging.stand import WAITS, Stand

MAKER = Ed25519PrivateKey.from_private_bytes(b"m" * 32)
IS_GENUINE = is_made_by(MAKER.public_key())
IMAGE = bytes(range(256)) * 8192 + b"the end"
FLEET = 20


def manifest(image: bytes = IMAGE, *, version: str = "2.0", model: str = "PW-T") -> Manifest:
    return Manifest(model, version, "1.0", len(image), hashlib.sha256(image).digest())


def signed(described: Manifest) -> bytes:
    plain = firmware.Manifest(
        described.model, described.version, described.minimum_version, described.size_bytes, described.sha256
    )
    return firmware.sign(MAKER, plain)


def publish(stand: Stand, image: bytes = IMAGE, *, version: str = "2.0") -> Release:
    described = manifest(image, version=version)
    return firmware_releases.publish(
        stand.conn, described, signed(described), [image], is_genuine=IS_GENUINE, now=stand.now
    )


def test_an_image_is_kept_in_parts_and_read_back_whole(stand: Stand) -> None:
    release = publish(stand)
    assert (release.manifest, release.signature_checked) == (manifest(), True)
    parts = -(-len(IMAGE) // PART_BYTES)
    kept = [firmware_releases.read_part(stand.conn, release.sha256, part_no) for part_no in range(parts)]
    assert b"".join(kept) == IMAGE
    with pytest.raises(LookupError):
        firmware_releases.read_part(stand.conn, release.sha256, parts)


def test_the_same_release_again_is_the_first_and_other_bytes_are_refused(stand: Stand) -> None:
    first = publish(stand)
    assert publish(stand) == first
    with pytest.raises(ReleaseConflict, match=r"version '2\.0' of model 'PW-T'"):
        publish(stand, IMAGE + b"!")


@pytest.mark.parametrize(
    ("image", "signature", "what"),
    [
        (IMAGE, b"\x00" * 64, "signature"),
        (IMAGE[:-1] + b"!", None, "hash"),
        (IMAGE + b"!", None, "size"),
        (IMAGE[:-1], None, "size"),
    ],
)
def test_an_image_that_is_not_what_was_signed_is_refused(
    stand: Stand, image: bytes, signature: bytes | None, what: str
) -> None:
    described = manifest()
    stand.conn.commit()
    with pytest.raises(ReleaseRefused) as refused, stand.conn.transaction():
        firmware_releases.publish(
            stand.conn,
            described,
            signature or signed(described),
            [image],
            is_genuine=IS_GENUINE,
            now=stand.now,
        )
    assert refused.value.what == what
    assert (stand.count("firmware_release"), stand.count("firmware_image_part")) == (0, 0)


@pytest.fixture
def fleet(stand: Stand) -> list[str]:
    """Twenty piles of one model, in service and online."""
    names = [f"FW-{number:02}" for number in range(FLEET)]
    for name in names:
        piles.register(
            stand.conn,
            pile_id=name,
            site_id="yuquan",
            model="PW-T",
            port_count=2,
            power_limit_w=4000,
            now=stand.now,
        )
    stand.conn.execute(
        "UPDATE pile SET state = 'active', online = true, firmware = '1.0', last_seen_at = %s WHERE model = 'PW-T'",
        (stand.now,),
    )
    return names


def begin(stand: Stand, **wanted: object) -> Rollout:
    release = publish(stand)
    plan = RolloutPlan(
        release_id=release.release_id,
        window_from=stand.now,
        window_to=stand.now + timedelta(days=2),
        **wanted,  # pyright: ignore[reportArgumentType]  # a test's own words
    )
    return firmware_rollouts.begin(stand.conn, plan, image_url="https://piles.example/x", now=stand.now)


def parts(stand: Stand, rollout: Rollout, *states: RolloutPileState) -> list[RolloutPile]:
    found = firmware_rollouts.piles_of(stand.conn, rollout.rollout_id, limit=1000)
    return [part for part in found if not states or part.state in states]


def told(stand: Stand, rollout: Rollout) -> list[RolloutPile]:
    stand.sweep()
    return parts(stand, rollout, RolloutPileState.TOLD)


def report(stand: Stand, part: RolloutPile, step: str, *, error: str | None = None) -> bool:
    assert part.command_id is not None
    running = "2.0" if step == "done" else "1.0"
    said = UpdateReport(
        pile_id=part.pile_id,
        command_id=part.command_id,
        step=step,
        percent=100 if step == "done" else 40,
        running=running,
        error=error,
    )
    return firmware_reports.reported(stand.conn, said, now=stand.now)


def state(stand: Stand, rollout: Rollout) -> RolloutState:
    return firmware_rollouts.get(stand.conn, rollout.rollout_id).state


@pytest.mark.usefixtures("fleet")
def test_each_stage_waits_for_the_one_before_and_takes_its_share(stand: Stand) -> None:
    rollout = begin(stand)
    sizes: list[int] = []
    while state(stand, rollout) is RolloutState.RUNNING:
        now_told = told(stand, rollout)
        if not now_told:
            break
        sizes.append(len(now_told))
        stand.sweep()
        for part in now_told:
            assert report(stand, part, "done")
    stand.sweep()
    assert sizes == [1, 4, 15]
    assert state(stand, rollout) is RolloutState.DONE
    assert {part.running for part in parts(stand, rollout)} == {"2.0"}


@pytest.mark.usefixtures("fleet")
def test_a_pile_is_told_with_everything_it_needs_to_check(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[100], force=True)
    part = told(stand, rollout)[0]
    row = stand.conn.execute(
        "SELECT kind, body, expires_at FROM command WHERE command_id = %s", (part.command_id,)
    ).fetchone()
    assert row is not None
    assert (row[0], row[2]) == (CommandKind.FIRMWARE, rollout.window_to)
    assert row[1]["sha256"] == manifest().sha256.hex()
    assert row[1]["signature"] == signed(manifest()).hex()
    assert (row[1]["url"], row[1]["force"]) == ("https://piles.example/x", True)


def test_the_choice_is_by_hash_and_never_a_charging_or_barred_pile_first(
    stand: Stand, fleet: list[str]
) -> None:
    release = publish(stand)
    order = sorted(fleet, key=lambda name: firmware_rollouts.place_of(release.sha256, name))
    _occupy(stand, order[0])
    stand.conn.execute("UPDATE pile SET state = 'quarantined' WHERE pile_id = %s", (order[1],))
    rollout = begin(stand, stages_percent=[10, 100], stop_at_share_bps=10_000)
    assert order[1] not in {part.pile_id for part in parts(stand, rollout)}
    stand.conn.execute("UPDATE pile SET state = 'quarantined' WHERE pile_id = %s", (order[2],))
    first = told(stand, rollout)
    assert {part.pile_id for part in first} == {order[3], order[4]}
    for part in first:
        report(stand, part, "done")
    second = {part.pile_id for part in told(stand, rollout)}
    assert order[0] in second
    assert order[2] not in second
    for part in parts(stand, rollout, RolloutPileState.TOLD):
        report(stand, part, "done")
    stand.sweep()
    assert state(stand, rollout) is RolloutState.DONE
    assert [part.pile_id for part in parts(stand, rollout, RolloutPileState.LEFT_OUT)] == [order[2]]


def _occupy(stand: Stand, pile_id: str) -> None:
    """A charge on the pile's first port, by the books alone."""
    session = stand.charging()
    stand.conn.execute(
        "UPDATE charging_session SET pile_id = %s WHERE session_id = %s", (pile_id, session.session_id)
    )


@pytest.mark.usefixtures("fleet")
def test_failures_stop_it_with_the_reason_and_nobody_else_is_told(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[50, 100], stop_at_failures=2, stop_at_share_bps=10_000)
    first = told(stand, rollout)
    report(stand, first[0], "failed", error="signature")
    stand.sweep()
    assert state(stand, rollout) is RolloutState.RUNNING
    report(stand, first[1], "failed", error="hash")
    stand.sweep()
    stopped = firmware_rollouts.get(stand.conn, rollout.rollout_id)
    assert (stopped.state, stopped.reason) == (RolloutState.STOPPED, "2 piles failed")
    # Nobody had taken these commands yet: they are withdrawn.
    assert len(parts(stand, rollout, RolloutPileState.LEFT_OUT)) == 18
    assert stand.conn.execute("SELECT count(*) FROM command WHERE state = 'pending'").fetchone() == (0,)


@pytest.mark.usefixtures("fleet")
def test_a_share_of_failures_stops_it_too(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[5, 100])
    report(stand, told(stand, rollout)[0], "failed", error="boot_failed")
    stand.sweep()
    assert firmware_rollouts.get(stand.conn, rollout.rollout_id).reason == "1 of 1 piles failed"


@pytest.mark.usefixtures("fleet")
def test_a_silent_pile_has_failed_and_is_done_when_it_says_so_after_all(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[100], stop_at_failures=100, stop_at_share_bps=10_000)
    [talker, waiter, silent, *_] = told(stand, rollout)
    stand.now += timedelta(minutes=50)
    report(stand, talker, "downloading")
    report(stand, waiter, "waiting")
    stand.now += timedelta(minutes=20)
    stand.sweep()
    states = {part.pile_id: (part.state, part.error) for part in parts(stand, rollout)}
    assert states[talker.pile_id] == (RolloutPileState.TOLD, None)
    assert states[waiter.pile_id] == (RolloutPileState.TOLD, None)
    assert states[silent.pile_id] == (RolloutPileState.FAILED, "silent")
    stand.now += timedelta(hours=20)
    stand.sweep()
    [still] = parts(stand, rollout, RolloutPileState.TOLD)
    assert still.pile_id == waiter.pile_id
    assert report(stand, silent, "done")
    assert silent.pile_id in {part.pile_id for part in parts(stand, rollout, RolloutPileState.DONE)}


@pytest.mark.usefixtures("fleet")
def test_booting_with_the_new_version_counts_when_its_word_was_lost(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[5, 100])
    [part] = told(stand, rollout)
    firmware_reports.booted(stand.conn, pile_id=part.pile_id, version="1.0", now=stand.now)
    assert [each.pile_id for each in parts(stand, rollout, RolloutPileState.TOLD)] == [part.pile_id]
    firmware_reports.booted(stand.conn, pile_id=part.pile_id, version="2.0", now=stand.now)
    assert [each.pile_id for each in parts(stand, rollout, RolloutPileState.DONE)] == [part.pile_id]
    assert report(stand, part, "failed", error="boot_failed")
    [failed] = parts(stand, rollout, RolloutPileState.FAILED)
    assert (failed.pile_id, failed.error) == (part.pile_id, "boot_failed")


@pytest.mark.usefixtures("fleet")
def test_a_word_repeated_or_late_changes_nothing(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[5, 100])
    [part] = told(stand, rollout)
    report(stand, part, "done")
    before = parts(stand, rollout, RolloutPileState.DONE)
    stand.now += timedelta(minutes=1)
    assert report(stand, part, "downloading")
    assert report(stand, part, "done")
    assert parts(stand, rollout, RolloutPileState.DONE) == before
    stranger = UpdateReport(
        pile_id="FW-00", command_id=UUID(int=7), step="done", percent=100, running="2.0", error=None
    )
    assert firmware_reports.reported(stand.conn, stranger, now=stand.now) is False


@pytest.mark.usefixtures("fleet")
def test_paused_it_tells_nobody_and_goes_on_where_it_was(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[5, 100])
    [part] = told(stand, rollout)
    firmware_rollouts.pause(stand.conn, rollout.rollout_id, now=stand.now)
    report(stand, part, "done")
    assert told(stand, rollout) == []
    firmware_rollouts.resume(stand.conn, rollout.rollout_id, now=stand.now)
    assert len(told(stand, rollout)) == 19
    firmware_rollouts.abort(stand.conn, rollout.rollout_id, now=stand.now)
    with pytest.raises(RolloutOver, match="is aborted"):
        firmware_rollouts.resume(stand.conn, rollout.rollout_id, now=stand.now)


@pytest.mark.usefixtures("fleet")
def test_a_pile_that_took_its_command_goes_on_after_the_abort(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[5, 100])
    [part] = told(stand, rollout)
    stand.conn.execute(
        "UPDATE command SET state = 'sent', send_count = 1 WHERE command_id = %s", (part.command_id,)
    )
    firmware_rollouts.abort(stand.conn, rollout.rollout_id, now=stand.now)
    assert report(stand, part, "done")
    assert [each.pile_id for each in parts(stand, rollout, RolloutPileState.DONE)] == [part.pile_id]


def _command_state(stand: Stand, part: RolloutPile) -> str:
    row = stand.conn.execute("SELECT state FROM command WHERE command_id = %s", (part.command_id,)).fetchone()
    assert row is not None
    return row[0]


def _mark_sent(stand: Stand, part: RolloutPile) -> None:
    stand.conn.execute(
        "UPDATE command SET state = 'sent', send_count = 1 WHERE command_id = %s", (part.command_id,)
    )


@pytest.mark.usefixtures("fleet")
def test_an_abort_withdraws_what_no_pile_has_answered_and_leaves_out_whom_nobody_told(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[100], stop_at_failures=100, stop_at_share_bps=10_000)
    sent, taken, unsent, *_ = told(stand, rollout)
    _mark_sent(stand, sent)
    _mark_sent(stand, taken)
    report(stand, taken, "downloading")
    firmware_rollouts.abort(stand.conn, rollout.rollout_id, now=stand.now)
    assert [_command_state(stand, part) for part in (sent, taken, unsent)] == ["expired", "done", "expired"]
    still = {part.pile_id for part in parts(stand, rollout, RolloutPileState.TOLD)}
    assert still == {sent.pile_id, taken.pile_id}
    assert len(parts(stand, rollout, RolloutPileState.LEFT_OUT)) == FLEET - 2


@pytest.mark.usefixtures("fleet")
def test_a_pile_given_up_is_not_told_any_more_whatever_comes_of_the_rollout(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[5, 100], stop_at_failures=100, stop_at_share_bps=10_000)
    [silent] = told(stand, rollout)
    _mark_sent(stand, silent)
    stand.now += timedelta(seconds=rollout.patience_s + 1)
    assert firmware_steps.fail_silent_pile(stand.conn, WAITS, stand.now)
    assert _command_state(stand, silent) == "expired"
    # As it was before silent piles' commands were withdrawn at once.
    _mark_sent(stand, silent)
    firmware_rollouts.abort(stand.conn, rollout.rollout_id, now=stand.now)
    assert _command_state(stand, silent) == "expired"
    assert [part.pile_id for part in parts(stand, rollout, RolloutPileState.FAILED)] == [silent.pile_id]


@pytest.mark.usefixtures("fleet")
def test_a_window_that_closes_first_stops_it(stand: Stand) -> None:
    rollout = begin(stand, stages_percent=[5, 100])
    [part] = told(stand, rollout)
    stand.now = rollout.window_to
    report(stand, part, "done")
    stand.sweep()
    assert firmware_rollouts.get(stand.conn, rollout.rollout_id).reason == "the window is over"


@pytest.mark.parametrize("stages", [[], [0, 100], [50], [25, 5, 100], [100, 100]])
@pytest.mark.usefixtures("fleet")
def test_stages_that_do_not_grow_to_all_are_refused(stand: Stand, stages: list[int]) -> None:
    with pytest.raises(RolloutRefused, match="stages must grow"):
        begin(stand, stages_percent=stages)


@pytest.mark.usefixtures("fleet")
def test_a_pile_is_in_one_rollout_at_a_time_and_never_told_what_it_runs(stand: Stand) -> None:
    begin(stand, pile_ids=["FW-01", "FW-02"])
    stand.conn.execute("UPDATE pile SET firmware = '2.0' WHERE pile_id = 'FW-03'")
    other = begin(stand, pile_ids=["FW-02", "FW-03", "FW-04"])
    assert [part.pile_id for part in parts(stand, other)] == ["FW-04"]
    with pytest.raises(RolloutRefused, match="no pile"):
        begin(stand, pile_ids=["FW-03"])


@pytest.mark.parametrize("size", [1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1])
def test_images_of_any_length_come_back(stand: Stand, size: int) -> None:
    image = b"z" * size
    release = publish(stand, image)
    kept = b"".join(
        firmware_releases.read_part(stand.conn, release.sha256, part_no)
        for part_no in range(-(-size // PART_BYTES))
    )
    assert kept == image
