"""OpenTelemetry traces of batches, commands and requests; imported only where a collector is named.

A batch is told after its commit, from the instants its steps ended at, so that tracing adds nothing before the
acknowledgement. A command's trace has the command's own id, which every process knows and its row keeps: no context
needs to be carried, and whoever has the id finds the trace. Spans say counts, kinds and ids; never a payload, an
address with a session in it, or a person.
"""

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic, time_ns

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TraceState
from opentelemetry.util.types import Attributes

from gateway.measures import BatchStory, CommandStory
from pileway.telemetry.requests import RequestSpan

QUEUED_SPANS = 4_096
"""More than these wait for the collector, and the newest are dropped."""
SPANS_PER_EXPORT = 512
EXPORT_DELAY_MS = 2_000
EXPORT_LIMIT_S = 5.0
_NS = 1_000_000_000


class Tracer:
    """Tells one collector; `close` sends what is left. Batches and commands come from one thread."""

    def __init__(self, endpoint: str, *, process: str, instance: str, ratio: float) -> None:
        """`endpoint` is the collector's base address; of all traces the share `ratio` is told."""
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ParentBased(_UpperHalf(ratio)),
            resource=Resource.create({"service.name": f"pileway-{process}", "service.instance.id": instance}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_LIMIT_S),
                max_queue_size=QUEUED_SPANS,
                schedule_delay_millis=EXPORT_DELAY_MS,
                max_export_batch_size=SPANS_PER_EXPORT,
            )
        )
        self._tracer = self._provider.get_tracer("pileway")

    def close(self) -> None:
        """Send what is left, within EXPORT_LIMIT_S, and tell nothing more."""
        self._provider.shutdown()

    def batch(self, story: BatchStory) -> None:
        """From the arrival of a batch's first frame to its last acknowledgement."""
        steps = story.steps
        began_s = steps.began_s - story.waited_s
        with self._told(
            "batch",
            began_s,
            steps.acknowledged_s,
            {
                "pileway.frames": story.frames,
                "pileway.meter_frames": story.meter_frames,
                "pileway.repeated": story.repeated,
                "pileway.refused": story.refused,
            },
        ) as root:
            self._told_within(
                root,
                ("wait", began_s, steps.began_s),
                ("decode", steps.began_s, steps.decoded_s),
                ("write", steps.decoded_s, steps.written_s),
                ("commit", steps.written_s, steps.committed_s),
                ("ack", steps.committed_s, steps.acknowledged_s),
            )

    def command(self, story: CommandStory) -> None:
        """From a command's request to its committed answer; the trace has the command's id."""
        now_s = monotonic()
        began_s, sent_s = now_s - story.since_request_s, now_s - story.since_sending_s
        with self._told(
            f"command {story.kind}",
            began_s,
            now_s,
            {
                "pileway.command_id": str(story.command_id),
                "pileway.pile_id": story.pile_id,
                "pileway.outcome": story.outcome,
            },
            trace_id=story.command_id.int,
        ) as root:
            self._told_within(
                root, ("to the gateway", began_s, sent_s), ("to the pile and back", sent_s, now_s)
            )

    @contextmanager
    def request(self, method: str) -> Generator[RequestSpan]:
        """A web request; the lines logged under it carry its trace id."""
        with self._tracer.start_as_current_span(method, context=Context(), kind=SpanKind.SERVER) as span:
            trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            with structlog.contextvars.bound_contextvars(trace_id=trace_id):
                yield _RequestSpan(span)

    @contextmanager
    def _told(
        self,
        name: str,
        began_s: float,
        ended_s: float,
        attributes: Mapping[str, str | int],
        *,
        trace_id: int | None = None,
    ) -> Generator[Span]:
        """A span of the past, by the monotonic clock, at the head of its own trace."""
        with self._ids.next_is(trace_id):
            span = self._tracer.start_span(
                name, context=Context(), attributes=attributes, start_time=_wall_ns(began_s)
            )
        yield span
        span.end(_wall_ns(ended_s))

    def _told_within(self, parent: Span, *steps: tuple[str, float, float]) -> None:
        if not parent.is_recording():
            return
        context = trace.set_span_in_context(parent, Context())
        for name, began_s, ended_s in steps:
            self._tracer.start_span(name, context=context, start_time=_wall_ns(began_s)).end(
                _wall_ns(ended_s)
            )


class _RequestSpan:
    def __init__(self, span: Span) -> None:
        self._span = span

    def ended(self, *, method: str, route: str, status: int) -> None:
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        )
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._span.set_status(Status(StatusCode.ERROR))


class _Ids(RandomIdGenerator):
    """Random ids, but where the trace has one already."""

    def __init__(self) -> None:
        self._chosen = threading.local()

    @contextmanager
    def next_is(self, trace_id: int | None) -> Generator[None]:
        self._chosen.trace_id = trace_id
        try:
            yield
        finally:
            self._chosen.trace_id = None

    def generate_trace_id(self) -> int:
        chosen: int | None = getattr(self._chosen, "trace_id", None)
        return chosen or super().generate_trace_id()


class _UpperHalf(Sampler):
    """A share of all traces, by the first 48 bits of their ids: those of a command's id are random, later ones not."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._below = round(ratio * (1 << 48))

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        del parent_context, name, kind, links
        taken = trace_id >> 80 < self._below
        return SamplingResult(
            Decision.RECORD_AND_SAMPLE if taken else Decision.DROP, attributes if taken else None, trace_state
        )

    def get_description(self) -> str:
        return f"UpperHalf{{{self._ratio}}}"


def _wall_ns(at_s: float) -> int:
    """An instant of the monotonic clock by the machine's own."""
    return time_ns() - round((monotonic() - at_s) * _NS)
