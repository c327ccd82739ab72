"""A collector is told of batches from frame to acknowledgement, and of commands under their own ids."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.service import Gateway
from pileway.telemetry.tracing import Tracer
from protocol import messages
from protocol.words import StartResult
from tests.trace_collector import collector

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    Until = Callable[..., None]


def test_a_start_is_a_trace_from_its_request_to_its_committed_answer(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    with collector() as collected:
        tracer = Tracer(collected.endpoint, process="gateway", instance="gateway-1", ratio=1.0)
        gateway = start_gateway(tracing=tracer)
        pile = connect_pile("YQ-01")
        pile.boots()
        session_id = laid_out.order("YQ-01")
        start = pile.hears(messages.Start)
        answer = messages.StartAck(
            command_id=start.command_id,
            session_id=session_id,
            port=1,
            result=StartResult.OK,
            at_ms=start.expires_at_ms - 1000,
        )
        pile.say(answer)
        until(lambda: gateway.measures.outcomes)
        tracer.close()
    assert collected.services == {"pileway-gateway"}
    [command] = collected.named("command start")
    assert command.trace_id == start.command_id.bytes
    assert command.parent_span_id == b""
    assert [child.name for child in collected.children_of(command)] == [
        "to the gateway",
        "to the pile and back",
    ]
    told = " ".join(str(span) for span in collected.spans)
    assert str(session_id) not in told
    batch = collected.named("batch")[-1]
    children = collected.children_of(batch)
    assert [child.name for child in children] == ["wait", "decode", "write", "commit", "ack"]
    assert batch.start_time_unix_nano <= children[0].start_time_unix_nano + 1_000_000
    assert {attribute.key: attribute.value.int_value for attribute in batch.attributes}["pileway.frames"] >= 1


def test_a_share_of_traces_is_told_and_a_ratio_of_nothing_tells_nothing(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", until: "Until"
) -> None:
    with collector() as collected:
        tracer = Tracer(collected.endpoint, process="gateway", instance="gateway-1", ratio=0.0)
        gateway = start_gateway(tracing=tracer)
        connect_pile("YQ-01").boots()
        until(lambda: gateway.health.writer.batches)
        tracer.close()
    assert collected.spans == []
