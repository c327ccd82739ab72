"""A collector of traces: takes OTLP over HTTP as a real one does, and keeps the spans."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

STOP_LIMIT_S = 10.0


@dataclass
class Collected:
    """Where the collector is, and what it was told."""

    endpoint: str
    spans: list[Span] = field(default_factory=list[Span])
    services: set[str] = field(default_factory=set[str])

    def named(self, name: str) -> list[Span]:
        """The spans of a name, oldest first."""
        return [span for span in self.spans if span.name == name]

    def children_of(self, span: Span) -> list[Span]:
        """In the order of their beginning."""
        children = [one for one in self.spans if one.parent_span_id == span.span_id]
        return sorted(children, key=lambda child: child.start_time_unix_nano)

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep what one export tells."""
        for resource in request.resource_spans:
            self.services |= {
                attribute.value.string_value
                for attribute in resource.resource.attributes
                if attribute.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)


class _Server(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.collected = Collected(f"http://127.0.0.1:{self.server_address[1]}")


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        request = ExportTraceServiceRequest()
        request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.collected.take(request)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def collector() -> Generator[Collected]:
    """Collect while the block runs."""
    server = _Server()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.collected
    finally:
        server.shutdown()
        server.server_close()
        thread.join(STOP_LIMIT_S)
