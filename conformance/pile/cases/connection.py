"""The connection: how a pile connects, its last will, its numbers, and coming back."""

from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability
from conformance.pile.mqtt_packets import Connect, Publish
from conformance.pile.subject import Pile
from conformance.pile.tap import Call
from protocol import codec, topics
from protocol.messages import Boot, Gone, Heartbeat
from protocol.topics import Direction

cases: Final = Catalogue[Pile]()

KEEP_ALIVE_S: Final = 60
SESSION_EXPIRY_S: Final = 86_400
RECEIVE_MAXIMUM: Final = 20
LEAST_PACKET_BYTES: Final = 17_408
CUT_S: Final = 0.5


def connect_of(call: Call) -> Connect:
    """What a connection asked for; a call without a CONNECT fails."""
    check(call.connect is not None, f"connection {call.number} sent no CONNECT")
    assert call.connect is not None
    return call.connect


async def cut_network(pile: Pile, for_s: float = CUT_S) -> Call:
    """Take the network away and wait until the pile is back; gives the new connection."""
    before = len(pile.wire.tap.calls)
    pile.wire.tap.cut(for_s)
    await pile.wire.until(
        lambda: any(call.subscriptions for call in pile.wire.tap.calls[before:]),
        lambda: "the pile did not connect and subscribe again after its network came back",
        within_s=for_s + 20,
    )
    return next(call for call in pile.wire.tap.calls[before:] if call.subscriptions)


@cases.case("connection.asks-for-a-lasting-session", clause=clauses.CONNECTION, kind=Kind.NORMAL)
async def asks_for_a_lasting_session(pile: Pile) -> None:
    """CONNECT asks for clean start 0, session expiry 86400 s, keep-alive 60 s and receive maximum 20."""
    await pile.power_up()
    call = pile.wire.tap.calls[-1]
    connect = connect_of(call)
    check(call.tls_version in ("TLSv1.2", "TLSv1.3"), f"the pile speaks {call.tls_version}")
    check(not connect.clean_start, "clean start is 1: what came down while offline would be lost")
    check_equal("the keep-alive", connect.keep_alive_s, KEEP_ALIVE_S)
    if connect.version == 5:
        check_equal("the session expiry interval", connect.session_expiry_s, SESSION_EXPIRY_S)
        check_equal("the receive maximum", connect.receive_maximum, RECEIVE_MAXIMUM)
        size = connect.packet_size
        check(size is None or size >= LEAST_PACKET_BYTES, f"the maximum packet size is only {size}")


@cases.case("connection.leaves-a-sealed-will", clause=clauses.CONNECTION.on("Last will"), kind=Kind.NORMAL)
async def leaves_a_sealed_will(pile: Pile) -> None:
    """The last will is `gone` on its own topic at QoS 1, unretained, sealed, with the connection's number."""
    boot = await pile.power_up()
    connect = connect_of(pile.wire.tap.calls[-1])
    will = connect.will_topic
    check_equal("the topic of the last will", will, _topic_up(pile, "gone"))
    check_equal("the QoS of the last will", connect.will_qos, 1)
    check(not connect.will_retain, "the last will is retained")
    opened = pile.wire.opened(_topic_up(pile, "gone"), connect.will_payload)
    gone = codec.decode(Direction.UP, "gone", opened.body)
    check_equal("the last will", gone, Gone(connection=boot.connection))


@cases.case("connection.will-comes-when-the-network-goes", clause=clauses.CONNECTION, kind=Kind.OFFLINE)
async def will_comes_when_the_network_goes(pile: Pile) -> None:
    """When the network is lost the broker publishes the will of that connection, and the next has a new number."""
    await pile.in_service()
    first = pile.wire.all(Boot)[-1].connection
    after = pile.mark
    await cut_network(pile)
    gone = await pile.hear(Gone, after=after)
    check_equal("the connection the will names", gone.connection, first)
    heartbeat = await pile.hear(Heartbeat, after=after)
    check(heartbeat.connection > first, f"connection {heartbeat.connection} follows connection {first}")


@cases.case("connection.subscribes-after-every-connect", clause=clauses.CONNECTION, kind=Kind.OFFLINE)
async def subscribes_after_every_connect(pile: Pile) -> None:
    """After every connect the pile subscribes to its messages down at QoS 1."""
    await pile.in_service()
    await cut_network(pile)
    wanted = topics.subscription(Direction.DOWN, shard=topics.shard_of(pile.pile_id), pile_id=pile.pile_id)
    for call in pile.wire.tap.calls:
        if call.connect is not None:
            filters = dict(entry for subscription in call.subscriptions for entry in subscription.filters)
            check_equal(f"what connection {call.number} subscribes to", filters, {wanted: 1})


@cases.case("connection.publishes-at-qos-1-unretained", clause=clauses.CONNECTION, kind=Kind.NORMAL)
async def publishes_at_qos_1_unretained(pile: Pile) -> None:
    """Whatever the pile publishes goes out at QoS 1, never retained, on topics of its own."""
    await pile.in_service()
    start = await pile.accepted()
    await pile.stopped(start)
    for call in pile.wire.tap.calls:
        for said in call.publishes:
            check_equal(f"the QoS of {said.topic}", said.qos, 1)
            check(not said.retain, f"{said.topic} is retained")
            parsed = topics.parse(said.topic)
            check_equal("the topic's direction", parsed.direction, Direction.UP)
            check_equal("the topic's shard", parsed.shard, topics.shard_of(pile.pile_id))
            check_equal("the topic's pile", parsed.pile_id, pile.pile_id)


@cases.case("connection.heartbeat-first-on-reconnect", clause=clauses.CONNECTION, kind=Kind.OFFLINE)
async def heartbeat_first_on_reconnect(pile: Pile) -> None:
    """In an acknowledged boot the first message on a new connection is a heartbeat, and no boot follows."""
    await pile.in_service()
    after = pile.mark
    call = await cut_network(pile)
    await pile.hear(Heartbeat, after=after)
    await pile.caught_up()
    names = [said.topic.rpartition("/")[2] for said in call.publishes]
    check_equal("the first message of the new connection", names[0], "heartbeat")
    check("boot" not in names, "a boot was sent again in the same boot")


@cases.case("connection.boot-first-until-acked", clause=clauses.CONNECTION, kind=Kind.OFFLINE)
async def boot_first_until_acked(pile: Pile) -> None:
    """While the boot is not acknowledged the first message on a new connection is the boot, with its number."""
    pile.manners.answers_boot = False
    first = await pile.power_up()
    after = pile.mark
    call = await cut_network(pile)
    again = await pile.hear(Boot, after=after)
    check_equal("the first message", call.publishes[0].topic, _topic_up(pile, "boot"))
    check(again.connection > first.connection, "the new connection has no new number")


@cases.case("connection.says-again-what-was-not-confirmed", clause=clauses.CONNECTION, kind=Kind.OFFLINE)
async def says_again_what_was_not_confirmed(pile: Pile) -> None:
    """A message whose delivery the broker did not confirm is said again on the next connection, sealed anew."""
    await pile.in_service()
    start = pile.a_start()
    lost: list[bytes] = []

    def swallow_first_answer(said: Publish) -> bool:
        if lost or not said.topic.endswith("/start_ack"):
            return False
        lost.append(said.payload)
        return True

    pile.wire.tap.swallow = swallow_first_answer
    pile.wire.say(start)
    ack = await pile.answer_to(start)
    heard = next(frame for frame in pile.wire.heard if frame.message == ack)
    check(lost, "no start_ack was sent at all")
    check(heard.payload != lost[0] or _same_connection(pile, heard.payload), "the very same bytes came again")


@cases.case(
    "connection.numbers-begin-again-with-each-boot",
    clause=clauses.CONNECTION,
    kind=Kind.POWER_FAIL,
    needs=(Ability.POWER,),
)
async def numbers_begin_again_with_each_boot(pile: Pile) -> None:
    """Connections of a boot are numbered from 1; the boot after a power cut begins at 1 again."""
    await pile.in_service()
    boot = await pile.cut_power()
    check_equal("the number of the first connection after a power cut", boot.connection, 1)


def _topic_up(pile: Pile, name: str) -> str:
    return str(topics.Topic(topics.shard_of(pile.pile_id), pile.pile_id, Direction.UP, name))


def _same_connection(pile: Pile, payload: bytes) -> bool:
    """MQTT's own retransmission is allowed: the client sends the very same packet again, marked DUP."""
    return any(
        said.again and said.payload == payload for call in pile.wire.tap.calls for said in call.publishes
    )
