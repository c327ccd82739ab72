"""The floors of ingest: a subscriber that only acknowledges, and a COPY that only copies.

Neither opens an envelope, judges, deduplicates or tells anybody: they say what the libraries allow on this machine.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import psycopg
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from psycopg import sql

from gateway import lanes
from pileway import logs
from pileway.bench.clients import Access
from pileway.bench.meter_fleet import Fleet
from pileway.errors import PartFailed
from protocol import topics
from protocol.topics import Direction

SESSION_EXPIRY_S = 3600
RECEIVE_MAXIMUM = 1000
KEEPALIVE_S = 60
ANSWER_LIMIT_S = 30.0
ROWS_A_COPY = 5000
"""What a full batch of the gateway holds: 500 frames of ten ports."""
SAMPLE_TABLE = "meter_sample"
FRAME_TABLE = "meter_frame"


def keep_for(access: Access, client_id: str) -> None:
    """Let the broker keep every frame of every pile for this client from now on. Raises PartFailed."""
    client = _client(access, client_id)
    granted = Event()

    def subscribe(client: Client, *_: object) -> None:
        client.subscribe([(topic, 1) for topic in _all_frames()])

    def on_subscribe(*_: object) -> None:
        granted.set()

    client.on_connect = subscribe
    client.on_subscribe = on_subscribe
    _connect(client, access)
    client.loop_start()
    try:
        if not granted.wait(ANSWER_LIMIT_S):
            raise PartFailed(f"the broker did not serve {client_id}")
    finally:
        client.disconnect()
        client.loop_stop()


def serve_subscriber(access: Access, client_id: str, count: int, log_path: Path, pipe: Pipe) -> None:
    """Take and acknowledge what the broker kept, then say how many seconds passed from the first to the last."""
    logs.set_up("bench-subscriber", to=log_path)
    client = _client(access, client_id)
    done = Event()
    begun_s: list[float] = []
    left = count

    def on_message(client: Client, _userdata: object, message: MQTTMessage) -> None:
        nonlocal left
        if not begun_s:
            begun_s.append(time.monotonic())
        client.ack(message.mid, message.qos)
        left -= 1
        if not left:
            begun_s.append(time.monotonic())
            done.set()

    client.on_message = on_message
    _connect(client, access)
    client.loop_start()
    try:
        pipe.send(begun_s[1] - begun_s[0] if done.wait(ANSWER_LIMIT_S + count / 1000) else None)
    finally:
        client.disconnect(properties=_ended())
        client.loop_stop()


def bare_copy(dsn: str, fleet: Fleet, numbers: range) -> float:
    """Seconds to COPY the samples of these frames as binary rows, committed batch by batch, nothing checked."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as conn:
        columns = conn.execute(
            """
            SELECT column_name, udt_name FROM information_schema.columns
             WHERE table_name = %s AND table_schema = 'public' ORDER BY ordinal_position
            """,
            (SAMPLE_TABLE,),
        ).fetchall()
        names = [name for name, _ in columns]
        rows = fleet.rows(numbers, received_at=datetime.now(UTC))
        copy_in = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(sql.Identifier(SAMPLE_TABLE))
        seconds = 0.0
        # The clock stands still while the rows of a batch are made.
        while batch := [_row(row, names) for row in islice(rows, ROWS_A_COPY)]:
            begun_s = time.monotonic()
            with conn.cursor() as cursor, cursor.copy(copy_in) as copy:
                copy.set_types([kind for _, kind in columns])
                for row in batch:
                    copy.write_row(row)
            seconds += time.monotonic() - begun_s
        return seconds


def _ended() -> Properties:
    """The broker is to keep nothing more for this client."""
    properties = Properties(PacketTypes.DISCONNECT)
    properties.SessionExpiryInterval = 0
    return properties


def _row(values: Mapping[str, object], names: Sequence[str]) -> tuple[object, ...]:
    return tuple(values[name] for name in names)


def _all_frames() -> list[str]:
    return [topics.subscription(Direction.UP, shard=shard) for shard in lanes.shards_of(0, lane_count=1)]


def _client(access: Access, client_id: str) -> Client:
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=True,
    )
    if access.broker_url.startswith("mqtts://"):
        client.tls_set_context(access.trust())  # pyright: ignore[reportUnknownMemberType]  # paho leaves it untyped
    return client


def _connect(client: Client, access: Access) -> None:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    address = urlsplit(access.broker_url)
    client.connect(
        address.hostname or "",
        address.port or 0,
        keepalive=KEEPALIVE_S,
        clean_start=False,
        properties=properties,
    )
