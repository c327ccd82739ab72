"""A pile gets a new secret in the middle of its work, and nothing it said under the old one is lost."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from psycopg_pool import ConnectionPool

from charging import enrolment, key_rotation
from charging.commands import Command, CommandKind, CommandState
from charging.errors import PileUnknown, SecretUnreadable
from database.pool import Connection
from protocol import messages
from protocol.words import CommandResult, StopResult
from tests.integration.gateway.conftest import VAULT, now

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Any]
    Until = Callable[..., None]

PILE = "YQ-01"


def begin(street: "Street") -> UUID:
    with street.pool.connection() as conn:
        return key_rotation.begin(conn, VAULT, PILE, expires_at=now() + timedelta(hours=1), now=now())


def take_up(pile: "HandPile", offer: messages.KeyRotate) -> None:
    """Do as a pile does: keep the secret, and answer under it."""
    pile.secret, pile.epoch = offer.secret, offer.epoch
    pile.say(messages.CommandAck(command_id=offer.command_id, result=CommandResult.DONE, at_ms=0))


def samples(street: "Street") -> int:
    return street.count("meter_sample")


def test_a_rotation_amid_a_session_loses_nothing_of_a_backlog_under_the_old_secret(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    session_id = laid_out.order(PILE)
    assert pile.hears(messages.Start).session_id == session_id
    backlog = [
        pile.seal(pile.meter(session_id, at=now() - timedelta(minutes=minute), energy_dwh=100 - minute))
        for minute in range(40, 0, -1)
    ]

    begin(laid_out)
    take_up(pile, pile.hears(messages.KeyRotate))
    until(lambda: laid_out.command_states()[-1][0] == "done")
    for frame in backlog:
        pile.publish(frame.topic, frame.payload)
    pile.say(pile.meter(session_id, energy_dwh=200))

    until(lambda: samples(laid_out) == 41)
    assert laid_out.refusals() == {}
    assert len(laid_out.events(PILE, "key_rotated")) == 1


def test_the_platform_speaks_under_the_old_secret_until_it_has_read_the_new(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    begin(laid_out)
    offer = pile.hears(messages.KeyRotate)
    # Heard under epoch 1, the only one this pile opens.
    pile.say(messages.TimeRequest(at_ms=0))
    pile.hears(messages.Time)

    take_up(pile, offer)
    until(lambda: laid_out.events(PILE, "key_rotated") != [])
    # From now on this pile opens epoch 2 only.
    pile.say(messages.TimeRequest(at_ms=0))
    pile.hears(messages.Time)


def test_the_first_use_of_a_secret_counts_only_together_with_its_event(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    begin(laid_out)
    offer = pile.hears(messages.KeyRotate)
    pile.secret, pile.epoch = offer.secret, offer.epoch
    laid_out.execute("ALTER TABLE pile_event ADD CONSTRAINT no_more CHECK (kind <> 'key_rotated')")
    # Alone it is one statement without a transaction around it.
    pile.say(messages.StopAck(uuid4(), uuid4(), port=1, result=StopResult.STOPPED, at_ms=0))
    until(lambda: laid_out.refusals() == {"handler_error": 1})

    laid_out.execute("ALTER TABLE pile_event DROP CONSTRAINT no_more")
    pile.say(messages.TimeRequest(at_ms=0))
    until(lambda: laid_out.events(PILE, "key_rotated") == [{"epoch": offer.epoch}])


def test_the_old_secret_is_read_for_seven_days_more_and_then_refused(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    kept_back = [pile.seal(pile.meter(uuid4())) for _ in range(2)]
    begin(laid_out)
    take_up(pile, pile.hears(messages.KeyRotate))
    until(lambda: laid_out.events(PILE, "key_rotated") != [])

    with laid_out.pool.connection() as conn:
        almost = now() + key_rotation.KEPT_AFTER_USE - timedelta(minutes=1)
        assert not key_rotation.retire_old(conn, now=almost)
    pile.publish(*kept_back[0])
    until(lambda: samples(laid_out) == 1)

    with laid_out.pool.connection() as conn:
        assert key_rotation.retire_old(conn, now=now() + key_rotation.KEPT_AFTER_USE)
        assert not key_rotation.retire_old(conn, now=now() + key_rotation.KEPT_AFTER_USE)

    def refused() -> bool:
        pile.publish(*kept_back[1])
        return "unknown_epoch" in laid_out.refusals()

    until(refused)
    pile.say(pile.meter(uuid4()))
    until(lambda: laid_out.count("meter_frame") >= 2)


def test_an_offer_nobody_took_up_is_made_again_with_the_same_secret(
    pool: ConnectionPool[Connection], laid_out: "Street"
) -> None:
    laid_out.enrol(PILE)

    def offered() -> list[bytes]:
        with pool.connection() as conn:
            return [one.secret for one in enrolment.secrets_of(conn, VAULT, PILE) if not one.in_use]

    begin(laid_out)
    first = offered()
    begin(laid_out)
    assert offered() == first
    assert [state for state, _ in laid_out.command_states()] == ["expired", "pending"]


def test_the_secret_is_nowhere_in_the_database_but_wrapped(
    pool: ConnectionPool[Connection], laid_out: "Street"
) -> None:
    laid_out.enrol(PILE)
    begin(laid_out)
    with pool.connection() as conn:
        [secret] = [one.secret for one in enrolment.secrets_of(conn, VAULT, PILE) if not one.in_use]
        rows = conn.execute("SELECT body::text, coalesce(result::text, '') FROM command").fetchall()
        rows += conn.execute("SELECT detail::text, kind FROM pile_event").fetchall()
        wrapped = conn.execute("SELECT wrapped_secret FROM pile_key").fetchall()
    assert secret.hex() not in str(rows)
    assert all(secret not in value for (value,) in wrapped)


def test_a_pile_without_a_secret_has_none_to_rotate(laid_out: "Street") -> None:
    with pytest.raises(PileUnknown):
        begin(laid_out)


def test_an_offer_whose_secret_was_retired_cannot_be_sent(
    pool: ConnectionPool[Connection], laid_out: "Street"
) -> None:
    laid_out.enrol(PILE)
    command_id = begin(laid_out)
    laid_out.enrol(PILE, salt=b"a new board")
    offer = Command(
        command_id=command_id,
        pile_id=PILE,
        session_id=None,
        kind=CommandKind.KEY_ROTATE,
        body={"epoch": 2},
        state=CommandState.SENT,
        created_at=now(),
        expires_at=now(),
        send_count=1,
    )
    with pool.connection() as conn, pytest.raises(SecretUnreadable):
        key_rotation.with_secret(conn, VAULT, offer)
