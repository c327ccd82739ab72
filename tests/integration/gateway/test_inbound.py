"""What a pile says reaches the books once; what cannot be accepted is refused with its reason and stops nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import cbor2
import pytest

from charging.session_states import SessionState
from gateway.service import Gateway
from protocol import frames, messages, topics
from protocol.words import (
    ClockState,
    PortFault,
    PortState,
    SessionSource,
    SettlementResult,
    StartResult,
    StateCause,
    StopReason,
)

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    Until = Callable[..., None]


def test_a_pile_that_boots_is_answered_active_and_online(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    ack = pile.boots()
    assert ack.heartbeat_s == laid_out.pile("YQ-01").heartbeat_s
    known = laid_out.pile("YQ-01")
    assert (known.online, known.state, known.firmware, known.boot) == (True, "active", "1.0.0", 2)


def test_a_heartbeat_keeps_telemetry_and_port_states(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    pile.say(pile.heartbeat())
    until(lambda: laid_out.count("pile_telemetry") == 1)
    port = laid_out.port("YQ-01", 2)
    assert (port.state, port.plugged, port.power_dw) == ("plugged", True, 15)


def test_a_heartbeat_leaves_a_fault_as_port_state_told_it(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    pile.say(
        messages.PortStateChanged(
            at_ms=0,
            port=1,
            state=PortState.FAULT,
            previous=PortState.IDLE,
            plugged=True,
            power_dw=0,
            cause=StateCause.FAULT,
            fault=PortFault.RELAY_WELDED,
        )
    )
    until(lambda: laid_out.port("YQ-01", 1).fault == "relay_welded")
    beat = pile.heartbeat()
    pile.say(replace(beat, ports=(messages.PortReport(1, PortState.FAULT, 0), beat.ports[1])))
    until(lambda: laid_out.port("YQ-01", 2).plugged)
    assert laid_out.port("YQ-01", 1).fault == "relay_welded"


def test_a_will_counts_only_while_its_connection_is_the_newest(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01", will=messages.Gone(connection=7))
    pile.boot, pile.seq = 1, 1
    pile.say(pile.heartbeat(connection=7))
    until(lambda: laid_out.pile("YQ-01").online)

    pile.say(messages.Gone(connection=6))
    until(lambda: gateway.health.writer.frames == 2)
    assert laid_out.pile("YQ-01").online

    pile.vanish()
    until(lambda: not laid_out.pile("YQ-01").online)


def test_a_pile_asking_the_time_hears_it(connect_pile: "ConnectPile", start_gateway: "StartGateway") -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.say(messages.TimeRequest(at_ms=0))
    assert pile.hears(messages.Time).time_ms > 1_700_000_000_000


def test_a_frame_delivered_twice_in_one_go_is_stored_once(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    gateway = start_gateway(ready=False)
    pile = connect_pile("YQ-01")
    frame = pile.seal(pile.meter(uuid4()))
    pile.publish(frame.topic, frame.payload)
    pile.publish(frame.topic, frame.payload)
    until(lambda: gateway.health.writer.frames == 2)
    assert laid_out.count("meter_frame") == 1
    assert laid_out.count("meter_sample") == 1


def test_a_session_is_charged_from_start_to_settlement(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    session_id = laid_out.order("YQ-01")
    start = pile.hears(messages.Start)
    assert (start.session_id, start.port) == (session_id, 1)
    pile.say(
        messages.StartAck(
            command_id=start.command_id, session_id=session_id, port=1, result=StartResult.OK, at_ms=0
        )
    )
    pile.say(
        messages.Started(
            command_id=start.command_id,
            session_id=session_id,
            port=1,
            started_at_ms=0,
            register_dwh=0,
            power_dw=2000,
        )
    )
    until(lambda: laid_out.session_state(session_id) == SessionState.CHARGING)
    pile.say(pile.meter(session_id))
    pile.say(_settlement(session_id=session_id))
    assert pile.hears(messages.SettlementAck).result is SettlementResult.STORED
    assert laid_out.session_state(session_id) == SessionState.SETTLED

    pile.say(_settlement(session_id=session_id))
    assert pile.hears(messages.SettlementAck).result is SettlementResult.DUPLICATE
    assert laid_out.count("session_charge") == 1


def test_a_settlement_of_an_unknown_session_is_kept_and_answered(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.say(_settlement())
    assert pile.hears(messages.SettlementAck).result is SettlementResult.UNKNOWN_SESSION_KEPT
    assert laid_out.count("settlement") == 1


def test_a_settlement_that_contradicts_itself_is_answered_and_kept_aside(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.say(replace(_settlement(), end_register_dwh=0))
    assert pile.hears(messages.SettlementAck).result is SettlementResult.REJECTED
    assert laid_out.refusals() == {"settlement_inconsistent": 1}
    assert laid_out.count("settlement") == 0


def _nonsense(pile: "HandPile") -> frames.Frame:
    return frames.Frame(pile.topic("heartbeat"), b"\x00not cbor")


def _wrong_topic(pile: "HandPile") -> frames.Frame:
    return frames.Frame(pile.topic("Heart-Beat"), b"")


def _foreign_shard(pile: "HandPile") -> frames.Frame:
    shard = (topics.shard_of(pile.pile_id) + 1) % topics.SHARD_COUNT
    topic = pile.topic("heartbeat", shard=shard)
    return frames.Frame(topic, pile.seal_body(topic, b"\xa0"))


def _forged(pile: "HandPile") -> frames.Frame:
    return pile.seal(pile.heartbeat(), secret=b"x" * 32)


def _bit_flipped(pile: "HandPile") -> frames.Frame:
    frame = pile.seal(pile.heartbeat())
    return frame._replace(payload=frame.payload[:-1] + bytes([frame.payload[-1] ^ 1]))


def _moved_to_another_topic(pile: "HandPile") -> frames.Frame:
    return pile.seal(pile.heartbeat())._replace(topic=pile.topic("meter"))


def _unknown_epoch(pile: "HandPile") -> frames.Frame:
    return pile.seal(pile.heartbeat(), epoch=9)


def _oversized(pile: "HandPile") -> frames.Frame:
    return frames.Frame(pile.topic("meter"), b"\xd0" + bytes(20_000))


def _truncated(pile: "HandPile") -> frames.Frame:
    frame = pile.seal(pile.heartbeat())
    return frame._replace(payload=frame.payload[:40])


def _unknown_message(pile: "HandPile") -> frames.Frame:
    return frames.Frame(pile.topic("sauna"), pile.seal_body(pile.topic("sauna"), b"\xa0"))


def _fields_missing(pile: "HandPile") -> frames.Frame:
    return frames.Frame(pile.topic("heartbeat"), pile.seal_body(pile.topic("heartbeat"), b"\xa0"))


def _another_messages_body(pile: "HandPile") -> frames.Frame:
    body = cbor2.dumps({1: 1_700_000_000_000})
    return frames.Frame(pile.topic("meter"), pile.seal_body(pile.topic("meter"), body))


def _out_of_range(pile: "HandPile") -> frames.Frame:
    return frames.Frame(pile.topic("gone"), pile.seal_body(pile.topic("gone"), cbor2.dumps({1: -1})))


@pytest.mark.parametrize(
    ("bad_frame", "reason"),
    [
        (_nonsense, "malformed"),
        (_truncated, "malformed"),
        (_wrong_topic, "bad_topic"),
        (_foreign_shard, "foreign_shard"),
        (_forged, "forged"),
        (_bit_flipped, "forged"),
        (_moved_to_another_topic, "forged"),
        (_unknown_epoch, "unknown_epoch"),
        (_oversized, "oversized"),
        (_unknown_message, "unknown_message"),
        (_fields_missing, "missing_field"),
        (_another_messages_body, "missing_field"),
        (_out_of_range, "out_of_range"),
    ],
)
def test_a_bad_frame_is_refused_kept_and_stops_nothing(
    bad_frame: Callable[["HandPile"], frames.Frame],
    reason: str,
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    frame = bad_frame(pile)
    pile.publish(frame.topic, frame.payload)
    until(lambda: laid_out.refusals() == {reason: 1})
    assert laid_out.count("rejected_message") == 1
    assert laid_out.count("pile_telemetry") == 0

    pile.say(pile.heartbeat())
    until(lambda: laid_out.count("pile_telemetry") == 1)
    link = gateway.health.links[0]
    until(lambda: link.acks == 2)


def test_a_replayed_frame_is_refused(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    frame = pile.say(pile.heartbeat())
    until(lambda: laid_out.count("pile_telemetry") == 1)
    pile.publish(frame.topic, frame.payload)
    until(lambda: laid_out.refusals() == {"replayed": 1})


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("revoked", "pile_revoked"),
        ("quarantined", "pile_quarantined"),
        ("manufactured", "pile_not_enrolled"),
    ],
)
def test_a_pile_that_may_not_speak_is_cut_off_within_five_seconds(
    state: str,
    reason: str,
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    laid_out.set_state("YQ-01", state)

    def refused() -> bool:
        # The broker may have turned it out already; then this waits for a connection.
        frame = pile.seal(pile.heartbeat())
        pile.client.publish(frame.topic, frame.payload, qos=1)
        return reason in laid_out.refusals()

    until(refused, within_s=5)


def test_a_pile_nobody_registered_is_refused(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    stranger = connect_pile("XX-99", enrol=False)
    stranger.say(stranger.heartbeat())
    until(lambda: laid_out.refusals() == {"unknown_pile": 1})


def test_a_pile_enrolled_anew_is_heard_and_answered_under_its_new_secret(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    pile.secret, pile.epoch = laid_out.enrol("YQ-01", salt=b"again"), 2

    pile.boot += 1

    def answered() -> bool:
        pile.say(pile.boot_message())
        pile.pause()
        return not pile.heard.empty()

    until(answered)
    assert pile.hears(messages.BootAck).heartbeat_s > 0


def _settlement(**changes: object) -> messages.Settlement:
    settlement = messages.Settlement(
        session_id=uuid4(),
        source=SessionSource.APP,
        port=1,
        started_at_ms=1_790_000_000_000,
        ended_at_ms=1_790_000_600_000,
        duration_s=600,
        start_register_dwh=1000,
        end_register_dwh=1300,
        energy_dwh=300,
        slots=(messages.SlotEnergy(1_790_000_000 // 1800, 300, 600),),
        tiers=(messages.TierEnergy(9, 600, 300),),
        max_power_dw=2000,
        end_power_dw=100,
        stop_reason=StopReason.FULL,
        stop_code=0,
        samples_sent=1,
        tariff_version=1,
        clock=ClockState.SYNCED,
    )
    return replace(settlement, **changes)
