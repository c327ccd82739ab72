"""What gateways that run as processes of their own have heard so far, from their metrics."""

from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

ANSWER_LIMIT_S = 2.0

_HEARD = ("pileway_link_frames_total", "pileway_frames_total", "pileway_flood_dropped_frames_total")
_WAITING = "pileway_waiting_frames"
_CONNECTED = "pileway_link_connected"


@dataclass(frozen=True)
class Arrivals:
    """Of all gateways together; `heard` only grows while none is restarted."""

    heard: float
    """Frames delivered, committed and dropped: each counts at every step it takes."""
    waiting: float
    connected: float
    """Links to the broker that serve a lane."""

    @property
    def idle(self) -> bool:
        """Somebody listens, and nothing waits to be written."""
        return self.connected > 0 and self.waiting == 0


def read(metrics_ports: Iterable[int]) -> Arrivals | None:
    """Ask the gateways at these ports of this machine; None when one of them does not answer."""
    told: dict[str, float] = {}
    try:
        for port in metrics_ports:
            answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=ANSWER_LIMIT_S, trust_env=False)
            for family in text_string_to_metric_families(answer.raise_for_status().text):
                for sample in family.samples:
                    told[sample.name] = told.get(sample.name, 0.0) + sample.value
    except httpx.HTTPError:
        return None
    return Arrivals(
        heard=sum(told.get(name, 0.0) for name in _HEARD),
        waiting=told.get(_WAITING, 0.0),
        connected=told.get(_CONNECTED, 0.0),
    )
