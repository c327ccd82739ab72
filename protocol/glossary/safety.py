"""The fields of what protects life and property."""

from collections.abc import Mapping
from typing import Any, Final

from protocol import messages

FIELDS: Final[Mapping[type[Any], Mapping[str, str]]] = {
    messages.Alarm: {
        "alarm_id": "made by the pile at random (UUID version 4), the same from raising to clearing",
        "kind": "what is wrong",
        "level": "how bad it got",
        "action": "what the pile did by itself",
        "raised_at_ms": "when it began, by the pile's clock",
        "value": "what was measured at its worst, in the unit of the kind; 1 where nothing is measured",
        "limit": "the threshold that was crossed, in the same unit; 0 where there is none",
        "port": "the port; absent for the whole pile",
        "cleared_at_ms": "when it was over; absent while it lasts",
        "code": "the pile's own code behind `kind`",
    },
    messages.AlarmAck: {
        "alarm_id": "which alarm",
        "level": "the level the platform has",
        "cleared": "whether the platform has its clearing",
    },
    messages.FaultClear: {"port": "the port; absent for the whole pile"},
}
