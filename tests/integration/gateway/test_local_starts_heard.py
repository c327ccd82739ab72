"""Over a real broker: sessions begun at the pile are answered after the commit, and updates are followed."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from charging import cards, firmware_releases, firmware_rollouts, firmware_steps, sessions
from charging.firmware_releases import Manifest
from charging.firmware_rollouts import RolloutPlan, RolloutState
from charging.session_states import SessionSource, SessionState
from charging.waits import Waits
from gateway.service import Gateway
from protocol import messages
from protocol.words import ClockState, FirmwareStep, LocalStartResult
from protocol.words import SessionSource as Source

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    Until = Callable[[Callable[[], object]], None]

NUMBER = "04A1B2C3"


def _told(number: str) -> messages.LocalStart:
    return messages.LocalStart(
        session_id=uuid4(),
        source=Source.CARD,
        port=2,
        at_ms=int(datetime.now(UTC).timestamp() * 1000),
        register_dwh=5_000,
        limit_s=36_000,
        limit_dwh=30_000,
        clock=ClockState.SYNCED,
        credential=number,
    )


def test_a_card_start_is_committed_and_answered_and_a_repeat_answered_again(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    with laid_out.pool.connection() as conn:
        cards.register(conn, site_id="yuquan", number=NUMBER, label="17", now=datetime.now(UTC))
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    start = _told(NUMBER)
    for _ in range(2):
        pile.say(start)
        answer = pile.hears(messages.LocalStartAck)
        assert (answer.session_id, answer.result) == (start.session_id, LocalStartResult.ACCEPTED)
        with laid_out.pool.connection() as conn:
            session = sessions.get(conn, start.session_id)
        assert (session.state, session.source) == (SessionState.CHARGING, SessionSource.CARD)
    assert laid_out.count("charging_session") == 1


def test_an_unknown_card_is_refused_and_its_number_is_nowhere_in_the_database(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    pile.say(_told(NUMBER))
    assert pile.hears(messages.LocalStartAck).result is LocalStartResult.REFUSED
    with laid_out.pool.connection() as conn:
        details = conn.execute(
            "SELECT detail::text FROM pile_event WHERE kind = 'local_start_orphan'"
        ).fetchall()
    assert len(details) == 1
    assert NUMBER not in details[0][0]


def test_an_update_is_told_followed_and_done(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    image = b"an image"
    now = datetime.now(UTC)
    with laid_out.pool.connection() as conn:
        model = conn.execute("SELECT model FROM pile WHERE pile_id = 'YQ-01'").fetchone()
        assert model is not None
        described = Manifest(model[0], "9.0", "1.0", len(image), hashlib.sha256(image).digest())
        release = firmware_releases.publish(conn, described, b"s" * 64, [image], is_genuine=None, now=now)
        plan = RolloutPlan(
            release_id=release.release_id,
            pile_ids=["YQ-01"],
            window_from=now,
            window_to=now + timedelta(hours=1),
        )
        rollout = firmware_rollouts.begin(conn, plan, image_url="https://piles.example/x", now=now)
    _sweep(laid_out)
    told = pile.hears(messages.Firmware)
    assert (told.version, told.model, told.sha256, told.signature) == (
        "9.0",
        model[0],
        described.sha256,
        b"s" * 64,
    )
    for step, percent, running in (
        (FirmwareStep.DOWNLOADING, 40, "1.0.0"),
        (FirmwareStep.REBOOTING, 100, "1.0.0"),
        (FirmwareStep.DONE, 100, "9.0"),
    ):
        pile.say(
            messages.FirmwareState(
                command_id=told.command_id,
                version="9.0",
                running=running,
                step=step,
                percent=percent,
                at_ms=0,
            )
        )

    def done() -> bool:
        _sweep(laid_out)
        with laid_out.pool.connection() as conn:
            return firmware_rollouts.get(conn, rollout.rollout_id).state is RolloutState.DONE

    until(done)


def _sweep(laid_out: "Street") -> None:
    with laid_out.pool.connection() as conn:
        while firmware_steps.advance_rollout(conn, Waits(), datetime.now(UTC)):
            pass
