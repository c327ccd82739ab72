"""The gateway's metrics, read from its health and its measures when somebody scrapes."""

from collections.abc import Callable, Iterable

from prometheus_client.core import Metric

from database import leases
from database.pool import Connection
from gateway.errors import Refusal
from gateway.link import LinkHealth
from gateway.service import Gateway, GatewayHealth
from pileway.telemetry.families import (
    counter,
    counters,
    gauge,
    gauges,
    histogram,
    histograms,
)
from pileway.telemetry.server import Checks
from protocol.errors import ProtocolError

_LINK_COUNTERS: tuple[tuple[str, str, Callable[[LinkHealth], int]], ...] = (
    (
        "connections",
        "Connections made to the broker; each after the first is a reconnection.",
        lambda h: h.connections,
    ),
    ("frames", "Frames the broker delivered.", lambda h: h.frames),
    ("redeliveries", "Frames the broker delivered once more.", lambda h: h.redeliveries),
    ("acks", "Frames acknowledged after their commit.", lambda h: h.acks),
    ("stale_acks", "Acknowledgements not sent, as their connection was gone.", lambda h: h.stale_acks),
    (
        "overflows",
        "Frames that found no room; the connection was cut for each at QoS 1.",
        lambda h: h.overflows,
    ),
    ("published", "Messages given to the broker for piles.", lambda h: h.published),
    ("taken", "Messages for piles that the broker took.", lambda h: h.taken),
)


def _reasons(kind: type[ProtocolError]) -> set[str]:
    return {kind.reason}.union(*map(_reasons, kind.__subclasses__()))


_REASONS = sorted({*map(str, Refusal), *_reasons(ProtocolError)} - {ProtocolError.reason})


class GatewayCollector:
    """Reads one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterable[Metric]:
        """Every family, whether it has samples yet or not."""
        health = self._gateway.health
        yield from self._ingest(health)
        yield from self._steps()
        yield from self._lanes(health)
        yield from self._commands(health)
        yield from self._care(health)

    def _ingest(self, health: GatewayHealth) -> Iterable[Metric]:
        writer = health.writer
        # Known reasons are shown before anything is refused: a series born with its first frame hides that one.
        counts = {**dict.fromkeys(_REASONS, 0), **writer.refused.copy()}
        refused = {("refused", reason): float(count) for reason, count in counts.items()}
        yield counters(
            "pileway_frames",
            "Frames committed, by what became of them; a frame carried in another counts as one more.",
            ("result", "reason"),
            {("stored", ""): writer.stored, ("repeated", ""): writer.repeated, **refused},
        )
        yield gauge(
            "pileway_waiting_frames", "Frames received that wait for the writer.", health.waiting_frames
        )
        yield counter("pileway_batches", "Batches committed.", writer.batches)
        yield counter(
            "pileway_batch_retries", "Batches tried once more: database away, deadlock.", writer.retries
        )
        yield gauge(
            "pileway_writer_database_away",
            "1 while the writer keeps a batch because the database does not answer.",
            writer.database_away,
        )

    def _steps(self) -> Iterable[Metric]:
        measures = self._gateway.measures
        yield histogram("pileway_batch_frames", "Frames in a batch.", measures.batch_frames)
        yield histograms(
            "pileway_batch_step_seconds",
            "Time a committed batch took: to open its frames as far as not done ahead, to write them, to commit.",
            ("step",),
            {
                ("decode",): measures.decode_s,
                ("write",): measures.write_s,
                ("commit",): measures.commit_s,
            },
        )
        yield histogram(
            "pileway_sample_lag_seconds",
            "Real seconds from a live sample's instant to its commit; later ones count as replayed.",
            measures.lag_s,
        )
        yield histogram(
            "pileway_replayed_sample_age_seconds",
            "Real seconds from a replayed sample's instant to its commit.",
            measures.replayed_age_s,
        )

    def _lanes(self, health: GatewayHealth) -> Iterable[Metric]:
        links = {str(lane): link for lane, link in health.links.items()}
        yield gauges(
            "pileway_lane_held",
            "1 for each lane whose lease this gateway holds, of those it may.",
            ("lane",),
            {(str(lane),): float(lane in health.links) for lane in self._gateway.wanted_lanes},
        )
        yield gauges(
            "pileway_link_connected",
            "1 while the lane's link to the broker is connected and subscribed.",
            ("lane",),
            {(lane,): float(link.connected) for lane, link in links.items()},
        )
        for name, words, read in _LINK_COUNTERS:
            yield counters(
                f"pileway_link_{name}",
                words,
                ("lane",),
                {(lane,): read(link) for lane, link in links.items()},
            )

    def _commands(self, health: GatewayHealth) -> Iterable[Metric]:
        outbox, measures = health.outbox, self._gateway.measures
        yield counter(
            "pileway_commands_sent", "Commands a link took, repeats included.", outbox.commands_sent
        )
        yield counter(
            "pileway_commands_unsendable", "Commands that could not be sealed.", outbox.commands_unsendable
        )
        yield counter("pileway_replies_sent", "Answers to piles that a link took.", outbox.replies_sent)
        yield counter(
            "pileway_replies_dropped",
            "Answers to piles that no link took, or that gave way to newer ones.",
            outbox.replies_dropped,
        )
        yield counter(
            "pileway_receipts_sent", "Receipts of meter frames that a link took.", outbox.receipts_sent
        )
        yield counter(
            "pileway_receipts_dropped",
            "Receipts of meter frames that no link took, or that gave way to newer ones.",
            outbox.receipts_dropped,
        )
        yield gauge(
            "pileway_outbox_waiting",
            "Answers and receipts that wait to go down, and commands kept back behind an answer.",
            health.waiting_messages,
        )
        yield gauge(
            "pileway_outbox_listening", "1 while the outbox hears of new commands at once.", outbox.listening
        )
        yield counters(
            "pileway_command_answers",
            "Piles' answers to commands this gateway sent, by kind and by their word.",
            ("kind", "outcome"),
            {key: float(count) for key, count in measures.outcomes.copy().items()},
        )
        yield histograms(
            "pileway_command_answer_seconds",
            "Real seconds from a command's request to its committed answer.",
            ("kind",),
            {(kind,): answer_s for kind, answer_s in measures.answer_s.items()},
        )

    def _care(self, health: GatewayHealth) -> Iterable[Metric]:
        warden = health.warden
        yield counter(
            "pileway_flood_dropped_frames", "Frames of flooding piles, dropped unread.", warden.dropped
        )
        yield counter("pileway_quarantines", "Piles quarantined because they flooded.", warden.quarantined)
        yield counter("pileway_piles_turned_out", "Barred piles turned out of the broker.", warden.turned_out)
        yield counter("pileway_identity_signs", "Signs of two devices under one identity.", warden.signs)


class LaneQuestion:
    """Whether the lanes a gateway should hold are served: connected here, or held by another gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def __call__(self, conn: Connection) -> Checks:
        """One check a lane."""
        links = self._gateway.lanes.links
        absent = [lane for lane in self._gateway.wanted_lanes if lane not in links]
        elsewhere = set(leases.held(conn, absent))
        checks: dict[str, str | None] = {}
        for lane in self._gateway.wanted_lanes:
            if lane in links:
                reason = None if links[lane].connected else "is not connected to the broker"
            else:
                reason = None if lane in elsewhere else "nobody holds its lease"
            checks[f"lane {lane}"] = reason
        return checks
