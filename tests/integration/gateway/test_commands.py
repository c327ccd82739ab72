"""A command is sent with its deadline, again with the same id until answered or expired, and never before boot_ack."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from charging.session_states import SessionState
from gateway import outbox
from gateway.hearing import Reply
from gateway.service import Gateway
from protocol import messages, topics
from protocol.words import StartCause, StartResult

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    Until = Callable[[Callable[[], object]], None]


def _answer(start: messages.Start, result: StartResult, cause: StartCause | None = None) -> messages.StartAck:
    return messages.StartAck(
        command_id=start.command_id,
        session_id=start.session_id,
        port=start.port,
        result=result,
        at_ms=0,
        cause=cause,
    )


def test_a_commit_sends_its_command_at_once_with_its_limits_and_deadline(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    session_id = laid_out.order("YQ-01", port_no=3, start=timedelta(seconds=20))
    raw, message = pile.heard.get(timeout=0.9)  # sooner than the outbox would look by itself
    assert isinstance(message, messages.Start)
    assert (message.session_id, message.port) == (session_id, 3)
    assert message.limit_dwh > 0
    left_s = message.expires_at_ms / 1000 - datetime.now(UTC).timestamp()
    assert 15 < left_s <= 20
    properties = cast("Any", raw.properties)
    assert 15 < properties.MessageExpiryInterval <= 20
    assert gateway.outbox.health.commands_sent == 1


def test_an_unanswered_command_is_sent_again_with_the_same_id_until_answered(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    laid_out.order("YQ-01")
    first = pile.hears(messages.Start)
    assert pile.hears(messages.Start) == first
    pile.say(_answer(first, StartResult.OK))
    until(lambda: laid_out.command_states()[0][0] == "done")
    sent = laid_out.command_states()[0][1]
    _let_a_resend_pass(connect_pile, laid_out)
    assert laid_out.command_states()[0] == ("done", sent)


def test_an_answered_command_counts_as_sent_whether_its_sending_was_noted_or_not(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    gateway = start_gateway()
    quick, slow = connect_pile("YQ-01"), connect_pile("YQ-02")
    quick.boots()
    slow.boots()
    laid_out.order("YQ-01")
    quick.say(_answer(quick.hears(messages.Start), StartResult.OK))
    laid_out.order("YQ-02")
    unanswered = slow.hears(messages.Start)
    until(lambda: laid_out.command_states() == [("done", 1), ("sent", 1)])
    slow.say(_answer(unanswered, StartResult.OK))
    until(lambda: laid_out.command_states()[1][0] == "done")
    gateway.stop()
    assert laid_out.command_states() == [("done", 1), ("done", 1)]


def test_a_refused_start_reaches_the_session(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    session_id = laid_out.order("YQ-01")
    pile.say(_answer(pile.hears(messages.Start), StartResult.REFUSED, StartCause.RELAY_DEAD))
    until(lambda: laid_out.session_state(session_id) == SessionState.FAILED)
    assert laid_out.command_states()[0][0] == "refused"


def test_a_command_past_its_deadline_is_not_sent_any_more(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    laid_out.order("YQ-01", start=timedelta(seconds=1.5))
    pile.hears(messages.Start)
    _let_a_resend_pass(connect_pile, laid_out, times=2)
    sent = laid_out.command_states()[0][1]
    _let_a_resend_pass(connect_pile, laid_out, pile_id="YQ-03")
    assert laid_out.command_states()[0][1] == sent <= 2


def test_a_gateway_that_dies_leaves_its_commands_to_the_next(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    first = start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    first.stop()
    session_id = laid_out.order("YQ-01")
    start_gateway()
    assert pile.hears(messages.Start).session_id == session_id


def test_nothing_but_boot_ack_goes_down_before_the_boot_is_answered(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    # The pile hears the answer before the gateway has noted that it is out.
    until(lambda: gateway.health.outbox.replies_sent)
    gateway.outbox.hold(["YQ-01"])
    session_id = laid_out.order("YQ-01")
    until(lambda: gateway.outbox.waiting)
    assert pile.heard.empty()
    assert laid_out.command_states() == [("pending", 0)]

    pile.boots()
    assert pile.hears(messages.Start).session_id == session_id


def test_a_command_that_could_not_be_sent_is_not_marked_as_sent(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    laid_out.execute("DELETE FROM pile_key WHERE pile_id = 'YQ-01'")
    gateway.outbox.rekeyed(["YQ-01"])
    # Looking finds it in an hour only, so that nothing but its news is tried.
    laid_out.execute(
        """
        CREATE FUNCTION look_later() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.retry_at := NEW.retry_at + INTERVAL '1 hour'; RETURN NEW; END $$;
        CREATE TRIGGER look_later BEFORE INSERT ON command FOR EACH ROW EXECUTE FUNCTION look_later()
        """
    )
    laid_out.order("YQ-01")
    until(lambda: gateway.health.outbox.commands_unsendable)
    gateway.stop()
    assert laid_out.command_states() == [("pending", 0)]


def test_a_flood_of_answers_does_not_push_out_the_answer_to_a_boot(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.MAX_REPLIES", 3)
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    gateway.outbox.post([_boot_reply("YQ-01"), *[Reply("YQ-02", _boot_ack)] * 4])
    pile.hears(messages.BootAck)


def test_an_answer_to_a_boot_that_can_never_be_sent_is_dropped_with_its_silence(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    until(lambda: gateway.health.outbox.replies_sent)
    gateway.outbox.hold(["YQ-01"])
    gateway.outbox.post([Reply("YQ-01", _unsendable, opens_boot=True)])
    until(lambda: gateway.health.outbox.replies_dropped)
    laid_out.order("YQ-01")
    pile.hears(messages.Start)


def test_an_answer_to_a_boot_is_dropped_where_the_pile_is_not_served_any_more(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", until: "Until"
) -> None:
    connect_pile("YQ-01")
    lower = topics.shard_of("YQ-01") < topics.SHARD_COUNT // 2
    gateway = start_gateway(lanes=(1 if lower else 0,), lane_count=2)
    gateway.outbox.post([_boot_reply("YQ-01")])
    until(lambda: gateway.health.outbox.replies_dropped)
    gateway.stop()  # the outbox turns once more
    assert gateway.health.outbox.replies_dropped == 1


def test_a_pile_that_is_offline_is_not_sent_commands(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01", will=messages.Gone(connection=1))
    pile.say(pile.boot_message())
    pile.hears(messages.BootAck)
    laid_out.order("YQ-01")
    until(lambda: laid_out.command_states()[0][0] == "sent")
    pile.vanish()
    until(lambda: not laid_out.pile("YQ-01").online)
    sent = laid_out.command_states()[0][1]
    _let_a_resend_pass(connect_pile, laid_out)
    assert laid_out.command_states()[0][1] == sent


def test_a_command_whose_row_is_held_holds_up_nobody_and_is_sent_again_with_the_same_id(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "DUE_LIMIT", 1)
    start_gateway()
    pile, other = connect_pile("YQ-01"), connect_pile("YQ-02")
    pile.boots()
    laid_out.order("YQ-01")
    with laid_out.pool.connection() as conn:
        conn.execute("SELECT command_id FROM command FOR NO KEY UPDATE")
        noted = laid_out.command_states()
        first = pile.hears(messages.Start)
        assert pile.hears(messages.Start) == first
        other.say(messages.TimeRequest(at_ms=0))
        other.hears(messages.Time)
        assert laid_out.command_states() == noted
    until(lambda: laid_out.command_states() != noted)


def _boot_ack(sent_at: datetime) -> messages.BootAck:
    return messages.BootAck(
        time_ms=int(sent_at.timestamp() * 1000), heartbeat_s=60, sample_s=60, reconnect_jitter_s=1
    )


def _unsendable(sent_at: datetime) -> messages.BootAck:
    return replace(_boot_ack(sent_at), heartbeat_s=0)


def _boot_reply(pile_id: str) -> Reply:
    return Reply(pile_id, _boot_ack, opens_boot=True)


def _let_a_resend_pass(
    connect_pile: "ConnectPile", laid_out: "Street", *, pile_id: str = "YQ-02", times: int = 1
) -> None:
    """Wait until another pile's unanswered command was sent again: whatever was due meanwhile was sent too."""
    witness = connect_pile(pile_id)
    witness.boots()
    laid_out.order(pile_id)
    for _ in range(1 + times):
        witness.hears(messages.Start)
